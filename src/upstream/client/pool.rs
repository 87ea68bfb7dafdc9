//! Connections that wait for their next request.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::rc::Rc;
use std::time::Duration;

use actix_rt::time::{Instant, sleep};

use super::connection::Connection;

/// How long an idle connection is kept: below what common servers and balancers allow.
const IDLE: Duration = Duration::from_secs(30);
/// How long a connection is used at all, so that DNS changes are followed.
const LIFETIME: Duration = Duration::from_secs(600);

/// Idle connections, the one that was used last at the back: they take turns, so that as many stay open as were in use
/// together while calls come often enough. There are never more than that.
#[derive(Default)]
pub struct Pool {
    idle: RefCell<VecDeque<Idle>>,
    /// True while a task closes those that were idle for long.
    swept: Cell<bool>,
}

struct Idle {
    connection: Connection,
    since: Instant,
}

impl Idle {
    fn is_old(&self, now: Instant) -> bool {
        now - self.since > IDLE || now - self.connection.made() > LIFETIME
    }
}

impl Pool {
    /// Takes the one that has waited longest; those that are old, or were closed meanwhile, go.
    pub fn take(&self) -> Option<Connection> {
        let now = Instant::now();
        loop {
            let mut next = self.idle.borrow_mut().pop_front()?;
            if !next.is_old(now) && next.connection.is_quiet() {
                return Some(next.connection);
            }
        }
    }

    /// Keeps one for its next request.
    pub fn put(self: &Rc<Self>, connection: Connection) {
        self.idle.borrow_mut().push_back(Idle { connection, since: Instant::now() });
        if !self.swept.replace(true) {
            let pool = Rc::downgrade(self);
            actix_rt::spawn(async move {
                loop {
                    sleep(IDLE).await;
                    let Some(pool) = pool.upgrade() else { return };
                    if !pool.sweep() {
                        return;
                    }
                }
            });
        }
    }

    /// Closes those that were idle for long; false when none is left, and nobody need look again.
    fn sweep(&self) -> bool {
        let now = Instant::now();
        let mut idle = self.idle.borrow_mut();
        idle.retain(|idle| !idle.is_old(now));
        self.swept.set(!idle.is_empty());
        !idle.is_empty()
    }
}
