//! Readiness: whether this process should be sent calls.
//!
//! Invariants: a process only goes forward, from starting to ready to leaving to draining; a store that fails is reported
//! and does not make the process unready, since it goes on serving and keeps its receipts.

use std::sync::atomic::{AtomicU8, Ordering};

use crate::actors::gauges::Gauges;
use crate::journal::Standing;

/// Where the process is in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub enum Stage {
    /// Before the first configuration is in force.
    Starting = 0,
    /// Serving.
    Ready = 1,
    /// Serving still, but nobody should send it more: balancers take a while to hear of it.
    Leaving = 2,
    /// Finishing what it has and taking nothing new.
    Draining = 3,
}

impl Stage {
    /// The word in the body of `/health/ready`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Starting => "starting",
            Self::Ready => "ready",
            Self::Leaving => "leaving",
            Self::Draining => "draining",
        }
    }
}

/// The stage and what is checked beside it; shared by the gateway and both listeners.
#[derive(Debug)]
pub struct Readiness {
    stage: AtomicU8,
    gauges: Gauges,
}

impl Readiness {
    /// A process that starts.
    pub const fn new(gauges: Gauges) -> Self {
        Self { stage: AtomicU8::new(Stage::Starting as u8), gauges }
    }

    /// Goes forward to `stage`; going back is ignored, so that a late start cannot undo a drain.
    pub fn advance(&self, stage: Stage) {
        self.stage.fetch_max(stage as u8, Ordering::Relaxed);
        if stage >= Stage::Leaving {
            self.gauges.drain.begin();
        }
    }

    /// Where the process is.
    pub fn stage(&self) -> Stage {
        match self.stage.load(Ordering::Relaxed) {
            0 => Stage::Starting,
            1 => Stage::Ready,
            2 => Stage::Leaving,
            _ => Stage::Draining,
        }
    }

    /// True when calls are taken.
    pub fn takes_calls(&self) -> bool {
        matches!(self.stage(), Stage::Ready | Stage::Leaving)
    }

    /// True when it should get no more of them.
    pub fn is_leaving(&self) -> bool {
        self.stage() >= Stage::Leaving
    }

    /// True when the store took what it was last given.
    pub fn store_up(&self) -> bool {
        self.gauges.store_up.get()
    }

    /// True while there is memory for new calls.
    pub fn memory_up(&self) -> bool {
        !self.gauges.memory.is_tight()
    }

    /// True while receipts are journalled.
    pub fn journal_up(&self) -> bool {
        self.gauges.journal.standing() == Standing::Ok
    }

    /// True when Billing can take more receipts without the gateway soon having to shed.
    pub fn billing_up(&self) -> bool {
        !self.gauges.unsettled.is_full()
    }
}
