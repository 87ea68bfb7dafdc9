//! Decisions: state machines and arithmetic without clock, I/O or actors; `now` is a parameter.

pub mod address;
pub mod completion;
pub mod quota;
pub mod route;
pub mod tokens;
pub mod vault;
