//! Comma-separated values (RFC 4180): written for spreadsheets, read from anywhere. Pure.
//!
//! Why by hand: what is written must do nothing in a spreadsheet, and what is read must be named by line.

mod read;
mod write;

pub use read::{CsvError, Reader, Record};
pub use write::Row;
