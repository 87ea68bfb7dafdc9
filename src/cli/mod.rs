//! The commands, as far as they are text: pure rendering, no terminal.

pub mod check;
