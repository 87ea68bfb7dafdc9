//! Decisions: state machines and arithmetic without clock, I/O or actors; `now` is a parameter.

pub mod account;
pub mod address;
pub mod admission;
pub mod budget;
pub mod completion;
mod hash;
pub mod health;
pub mod idempotency;
pub mod pool;
pub mod quota;
pub mod retry;
pub mod route;
pub mod tally;
pub mod tokens;
pub mod vault;
