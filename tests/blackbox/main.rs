//! Black-box tests: the built binary, over HTTP.

mod chat;
mod support;
