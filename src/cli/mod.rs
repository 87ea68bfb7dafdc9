//! The command line: one file per command, and how their answers are written out.

pub mod check;
pub mod demo;
pub mod health;
pub mod keys;
pub mod migrate;
pub mod models;
pub mod out;
pub mod reconcile;
pub mod serve;
pub mod stub;
