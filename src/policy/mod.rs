//! Policy: decisions as plain state machines and arithmetic. No I/O, and no clock: `now` is a parameter.

pub mod completion;
pub mod quota;
pub mod tokens;
