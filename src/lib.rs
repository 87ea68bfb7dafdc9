//! An OpenAI-compatible LLM gateway built as an actor system. See ARCHITECTURE.md.

pub mod catalog;
pub mod chat;
pub mod cli;
pub mod config;
pub mod error;
pub mod money;
pub mod receipt;
pub mod wire;
