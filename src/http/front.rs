//! What the public handlers of one worker thread reach: one supervisor, the keys, the outbox, a few settings.

use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use actix::Addr;

use super::body_room::BodyRoom;
use super::idempotent::Idempotency;
use crate::actors::cells::CellLoad;
use crate::actors::gauges::Gauges;
use crate::actors::live::Live;
use crate::actors::outbox::Outbox;
use crate::actors::recorder::Recorder;
use crate::actors::supervisor::Supervisor;
use crate::config::{Server, Settings};
use crate::fleet::Fleet;
use crate::policy::vault::Vault;
use crate::request_log::Logged;
use crate::store::KeyTable;
use crate::trace::Sampler;
use crate::upstream::Fetcher;

/// The reach of one worker's handlers.
pub struct Front {
    /// Who assigns targets.
    pub supervisor: Addr<Supervisor>,
    /// Who may come in.
    pub keys: Arc<KeyTable>,
    /// What is shared with other replicas; `None`: nothing.
    pub fleet: Option<Fleet>,
    /// Where call records go.
    pub outbox: Rc<Outbox>,
    /// Process-wide numbers.
    pub gauges: Gauges,
    /// Those of this cell: calls in flight, messages that wait.
    pub load: CellLoad,
    /// What is in force.
    pub live: Live,
    /// Whether calls are taken.
    pub readiness: Arc<super::readiness::Readiness>,
    /// Turns true when streams that still run must end.
    pub cut: tokio::sync::watch::Receiver<bool>,
    /// Room for large bodies, shared by all cells.
    pub body_room: BodyRoom,
    /// Reasoning of earlier answers, shared by all cells.
    pub vault: Arc<Vault>,
    /// Requests that carry a key of their client's, shared by all cells.
    pub idempotency: Arc<Idempotency>,
    /// Where bodies go that are stored.
    pub recorder: Recorder,
    /// Who fetches images for requests; `None`: nobody may.
    pub fetcher: Option<Rc<Fetcher>>,
    /// Which calls are traced; `None`: none is.
    pub sampler: Option<Sampler>,
}

impl Front {
    /// Bounds at the door, as they are now.
    pub fn limits(&self) -> Limits {
        Limits::of(&self.live.load().settings)
    }
}

/// Bounds and habits of the public listener.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Largest request body, bytes.
    pub body: u64,
    /// How long a client may take to send its body.
    pub body_timeout: Duration,
    /// Deadline of a whole call.
    pub request_timeout: Duration,
    /// Silence after which a stream gets a ping.
    pub ping_interval: Duration,
    /// How long a stream's head is held back.
    pub first_event_grace: Duration,
    /// Refuse instead of dropping parameters.
    pub strict: bool,
    /// Bodies that are stored of calls whose key has no project.
    pub logged: Logged,
    /// Bytes of a body that are stored.
    pub logged_body: usize,
}

impl Limits {
    /// From the settings.
    pub fn of(settings: &Settings) -> Self {
        let Server { body_limit, body_timeout, request_timeout, ping_interval, first_event_grace, .. } =
            settings.server;
        Self {
            body: body_limit,
            body_timeout,
            request_timeout,
            ping_interval,
            first_event_grace,
            strict: settings.strict,
            logged: settings.request_log.default,
            logged_body: settings.request_log.max_body,
        }
    }
}
