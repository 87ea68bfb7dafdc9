//! The command line: one file per command. What is printed is made by pure functions.

pub mod keys;
