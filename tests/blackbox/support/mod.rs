//! What every capability's tests stand on: a gateway process, an upstream that misbehaves on command, a client.

#![allow(dead_code, unused_imports, reason = "each module uses its own part")]

mod balancer;
mod client;
mod collector;
mod gateway;
mod https;
mod live;
pub mod postgres;
mod process;
mod raw;
pub mod receipts;
mod redis;
mod replicas;
mod seed;
mod stub;
mod switch;
mod upstream;

use std::time::Duration;

pub use balancer::{Balancer, free_port};
pub use client::{Answer, Client, Event, question};
pub use collector::{Collector, Span};
pub use gateway::{ADMIN_KEY, Gateway, NO_BREAKER, Setup};
pub use https::{PNG, Pictures, Reply, certificate};
pub use live::Live;
pub use process::{Output, Process, Signal};
pub use raw::{RawAnswer, raw, try_raw};
pub use redis::Redis;
pub use replicas::Replicas;
pub use seed::{receipt, seed};
pub use stub::StrictUpstream;
pub use switch::Switch;
pub use upstream::{
    BlackHole, Request, Script, USAGE_EVENT, Upstream, charged, chunk, completion, ending, event,
    stream_head, streamed, text_event, whole,
};

/// How long a test waits for something that must happen.
pub const PATIENCE: Duration = Duration::from_secs(20);

/// Waits until `condition` gives something; panics with `what` after [`PATIENCE`].
pub async fn eventually<T, F: Future<Output = Option<T>>>(what: &str, mut condition: impl FnMut() -> F) -> T {
    let deadline = tokio::time::Instant::now() + PATIENCE;
    loop {
        if let Some(found) = condition().await {
            return found;
        }
        assert!(tokio::time::Instant::now() < deadline, "did not happen in time: {what}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}
