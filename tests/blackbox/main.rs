//! Black-box tests: the built binary, over HTTP.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stderr,
    reason = "a test that cannot go on fails"
)]

mod admin;
mod agents;
mod bodies;
mod chat;
mod clock;
mod config_files;
mod credentials;
mod crowds;
mod degraded;
mod demo;
mod disconnect;
mod documents;
mod drain;
mod errors;
mod explain;
mod exports;
mod failover;
mod faults;
mod fetching;
mod framing;
mod handling;
mod headers;
mod images;
mod key_limits;
mod keys;
mod ledger;
mod lifecycle;
mod metering;
mod metrics;
mod models;
mod overload;
mod reconcile;
mod recorded;
mod reload;
mod requests;
mod responses_only;
mod routing;
mod slow_readers;
mod sse_forms;
mod streaming;
mod structure;
mod support;
mod tenancy;
mod tending;
mod upstream_faults;
mod usage;
