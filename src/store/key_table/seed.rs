//! What was spent before this process counted, read from the ledger into the purses.

use std::sync::Arc;

use futures_util::stream::{self, StreamExt as _};

use super::super::group::GroupKind;
use super::super::rows::Payer;
use super::super::{Store, StoreError};
use super::KeyTable;
use crate::money::Usd;
use crate::policy::budget::{Purse, Unseeded};

/// Sums that are asked of the store at a time.
const SEEDS_AT_ONCE: usize = 4;

/// Somebody who is charged, and the money.
#[derive(Clone, Debug)]
pub struct PurseOf {
    /// Who.
    pub payer: Payer,
    /// What people call them.
    pub name: Arc<str>,
    /// The money.
    pub purse: Arc<Purse>,
}

impl KeyTable {
    /// Everybody whose spending is limited or told of.
    pub fn purses(&self) -> Vec<PurseOf> {
        let keys = self.by_digest.iter().filter(|entry| entry.purse.has_budget()).map(|entry| PurseOf {
            payer: Payer::Key(entry.caller.key_id.to_string()),
            name: entry.name.as_str().into(),
            purse: Arc::clone(&entry.purse),
        });
        let groups = [(GroupKind::Project, &self.projects), (GroupKind::Tags, &self.tag_sets)];
        let groups = groups.into_iter().flat_map(|(kind, entries)| {
            entries.iter().filter(|entry| entry.purse.has_budget()).map(move |entry| PurseOf {
                payer: Payer::Group(kind, entry.name.to_string()),
                name: Arc::clone(&entry.name),
                purse: Arc::clone(&entry.purse),
            })
        });
        keys.chain(groups).collect()
    }

    /// Reads from the ledger what was charged before the purses counted, where that is not known yet.
    /// `settled_before_ms`: everything charged before it is in the ledger; purses that count from later on are read
    /// again with the next call.
    ///
    /// # Errors
    /// The first failure of the store; the other purses are seeded all the same.
    pub async fn seed(&self, store: &dyn Store, settled_before_ms: i64) -> Result<(), StoreError> {
        let open = self.purses().into_iter().filter_map(|of| Some((of.purse.unseeded()?, of)));
        let read = |(asked, of): (Unseeded, PurseOf)| async move {
            let spent = store.charged(&of.payer, asked.window.start_ms, asked.since_ms).await?;
            let spent = Usd::from_units(i64::try_from(spent).unwrap_or(i64::MAX));
            of.purse.seed(asked, spent, asked.since_ms <= settled_before_ms);
            Ok(())
        };
        let results: Vec<Result<(), StoreError>> =
            stream::iter(open).map(read).buffer_unordered(SEEDS_AT_ONCE).collect().await;
        results.into_iter().find(Result::is_err).unwrap_or(Ok(()))
    }
}
