//! The actors, and what they share: process-wide gauges and each cell's outbox to Billing.

pub mod billing;
pub mod cells;
pub mod exporter;
pub mod gauges;
pub mod live;
pub mod mailbox;
pub mod messages;
pub mod metrics;
pub mod outbox;
pub mod provider;
pub mod recorder;
pub mod standing;
pub mod supervisor;
mod tending;
#[cfg(test)]
pub mod testing;

/// One message carries many facts: `Arc<Batch>` goes from outboxes to Billing and from there to Metrics.
impl actix::Message for crate::receipt::Batch {
    type Result = ();
}
