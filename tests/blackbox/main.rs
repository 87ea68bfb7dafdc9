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
mod balance;
mod bodies;
mod budgets;
mod chat;
mod clock;
mod config_files;
mod counted;
mod credentials;
mod crowds;
mod declared;
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
mod fleet_budgets;
mod fleet_calls;
mod fleet_chaos;
mod fleet_quotas;
mod fleet_redis;
mod fleet_scripts;
mod framing;
mod handling;
mod headers;
mod idempotency;
mod images;
mod journal;
mod key_limits;
mod keys;
mod ledger;
mod lifecycle;
mod metering;
mod metrics;
mod models;
mod overload;
mod projects;
mod reconcile;
mod recorded;
mod reload;
mod request_log;
mod requests;
mod responses_only;
mod rolling;
mod routing;
mod shared_store;
mod slow_readers;
mod sse_forms;
mod status_page;
mod stores;
mod streaming;
mod structure;
mod support;
mod tenancy;
mod tending;
mod tracing;
mod tracing_content;
mod unwaited;
mod upstream_faults;
mod usage;
mod webhooks;
