//! Answers under idempotency keys: what repeated requests share, and who keeps the store in step.

use std::sync::Arc;

use tokio::task::JoinHandle;

use crate::actors::gauges::Gauges;
use crate::config::Settings;
use crate::http::idempotent::{Idempotency, Keeper};
use crate::store::Store;

/// What repeated requests share, kept in step with the store by a task of this thread, if that has a part in them.
pub(super) fn kept(
    settings: &Settings,
    store: &Arc<dyn Store>,
    gauges: &Gauges,
) -> (Arc<Idempotency>, JoinHandle<()>) {
    let counts = gauges.idempotency.clone();
    let (shared, keeper) = Idempotency::new(&settings.idempotency, store, counts);
    (shared, tokio::task::spawn_local(run(keeper)))
}

async fn run(keeper: Option<Keeper>) {
    if let Some(keeper) = keeper {
        keeper.run().await;
    }
}
