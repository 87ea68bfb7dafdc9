//! An OpenAI-compatible LLM gateway built as an actor system. See ARCHITECTURE.md.

// What unit tests share with those in tests/ names the library as it is named there.
#[cfg(test)]
extern crate self as llm_gateway;

pub mod actors;
pub mod bill;
pub mod catalog;
pub mod cell;
pub mod chat;
pub mod cli;
pub mod config;
pub mod csv;
pub mod dispatch;
pub mod error;
pub mod fleet;
pub mod gateway;
pub mod http;
pub mod journal;
pub mod json;
pub mod money;
pub mod policy;
pub mod receipt;
pub mod request_log;
pub mod rfc3339;
pub mod store;
pub mod stub;
pub mod telemetry;
pub mod timer;
pub mod trace;
pub mod upstream;
pub mod wire;
