//! What a reload replaces, all at once, and how one is asked for.

use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use tokio::sync::{mpsc, oneshot};
use tokio::time::timeout;

use crate::config::{Problem, Provider, Settings};
use crate::policy::route::Router;
use crate::upstream::{Keyring, Link, LinkError};

/// Reloads that wait at most; one more is told so.
const WAITING_MAX: usize = 8;
/// How long a reload may take, files and all.
const PATIENCE: Duration = Duration::from_secs(30);

/// The configuration in force, and what was made of it. A call sees one of them from its beginning to its end.
pub struct Current {
    /// What the operator said.
    pub settings: Settings,
    /// The routing table.
    pub router: Arc<Router>,
    /// TLS roots and protocol towards providers.
    pub tls: Arc<rustls::ClientConfig>,
    /// Credentials of the accounts that have more than a key.
    pub keyring: Keyring,
}

/// What is in force now, for all threads.
pub type Live = Arc<ArcSwap<Current>>;

impl Current {
    /// A provider's client, for the thread that asks.
    ///
    /// # Errors
    /// An address, credential or header that HTTP cannot carry.
    pub fn link(&self, provider: &Arc<Provider>) -> Result<Rc<Link>, LinkError> {
        Link::new(Arc::clone(provider), &self.tls, &self.keyring)
    }

    /// True when every provider row makes a client.
    ///
    /// # Errors
    /// The first that does not.
    pub fn check_links(&self) -> Result<(), LinkError> {
        self.settings.providers.values().try_for_each(|provider| self.link(provider).map(drop))
    }
}

/// What a reload did.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Reloaded {
    /// Paths of the values that are in force now and were not before.
    pub changed: Vec<String>,
    /// Paths whose new values wait for the next start.
    pub start_only: Vec<String>,
    /// What works but should be known.
    pub warnings: Vec<String>,
}

/// Why a reload did nothing, or is not known to have done anything.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NotReloaded {
    /// All that is wrong with the new configuration; the old one stays in force.
    Wrong(Vec<Problem>),
    /// Not now, for this reason; the old one stays in force.
    Busy(&'static str),
    /// There is nothing to read again, or the process is ending.
    Never(&'static str),
    /// It takes too long; how it ends will be in the log.
    Late,
}

/// How a reload ended.
pub type Outcome = Result<Reloaded, NotReloaded>;

/// Asks the process to read its configuration again.
#[derive(Clone, Debug)]
pub struct Reloads(mpsc::Sender<oneshot::Sender<Outcome>>);

impl Reloads {
    /// The asking end, and the one that answers.
    pub fn channel() -> (Self, mpsc::Receiver<oneshot::Sender<Outcome>>) {
        let (sender, receiver) = mpsc::channel(WAITING_MAX);
        (Self(sender), receiver)
    }

    /// Reloads now.
    ///
    /// # Errors
    /// Everything that is wrong with the new configuration, or why it was not read.
    pub async fn reload(&self) -> Outcome {
        let (answer, outcome) = oneshot::channel();
        if let Err(refused) = self.0.try_send(answer) {
            return Err(match refused {
                mpsc::error::TrySendError::Full(_) => NotReloaded::Busy("others wait for a reload already"),
                mpsc::error::TrySendError::Closed(_) => {
                    NotReloaded::Never("this process has no configuration to read again")
                }
            });
        }
        match timeout(PATIENCE, outcome).await {
            Ok(Ok(outcome)) => outcome,
            Ok(Err(_)) => Err(NotReloaded::Never("the process is ending")),
            Err(_) => Err(NotReloaded::Late),
        }
    }
}
