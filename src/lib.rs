//! An OpenAI-compatible LLM gateway built as an actor system. See ARCHITECTURE.md.

pub mod actors;
pub mod catalog;
pub mod chat;
pub mod config;
pub mod error;
pub mod http;
pub mod money;
pub mod policy;
pub mod receipt;
pub mod rfc3339;
pub mod store;
pub mod telemetry;
pub mod wire;
