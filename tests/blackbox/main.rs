//! Black-box tests: the built binary, over HTTP.
