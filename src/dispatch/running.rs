//! One attempt that runs, seen from its call.

use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use tokio::sync::mpsc;
use tokio::time::Instant;

use super::way::Race;
use crate::actors::messages::Assignee;
use crate::upstream::ReplyEvent;
use crate::wire::envelope::{AttemptNote, Envelope};

/// Bytes held back before the first content at most; beyond it they go out.
const HELD_BYTES_MAX: usize = 64 * 1024;

/// One attempt that runs. Dropping it cancels the exchange.
pub struct Running {
    /// What it brings.
    pub events: mpsc::Receiver<ReplyEvent>,
    /// Who was asked.
    pub assignee: Assignee,
    /// What identifies its answer.
    pub envelope: Arc<Envelope>,
    /// Parameters that the target could not take.
    pub dropped: Vec<String>,
    /// When a second target is asked beside it, should it have no content by then.
    pub hedge_at: Option<Instant>,
    /// Bytes without content.
    pub withheld: BytesMut,
    /// Since when it runs.
    pub since: Instant,
    /// It runs beside a slow one.
    pub race: Option<Race>,
}

impl Running {
    /// What is told of it by an answer that another one gave in its place.
    pub fn hedged(&self) -> AttemptNote {
        AttemptNote {
            provider: self.envelope.used_provider.clone(),
            model: self.envelope.used_model.clone(),
            status: 0,
            error: Some("hedged".to_owned()),
            latency_ms: u64::try_from(self.since.elapsed().as_millis()).unwrap_or(u64::MAX),
        }
    }

    /// Holds bytes back until there is content among them, or too many; then all of them.
    pub fn held(&mut self, bytes: Bytes, content: bool) -> Option<Bytes> {
        if !content && self.withheld.len() + bytes.len() <= HELD_BYTES_MAX {
            self.withheld.extend_from_slice(&bytes);
            return None;
        }
        if self.withheld.is_empty() {
            return Some(bytes);
        }
        self.withheld.extend_from_slice(&bytes);
        Some(self.withheld.split().freeze())
    }
}
