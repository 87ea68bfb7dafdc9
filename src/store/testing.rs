//! What tests of the store, the API and the command line share: a folder that goes away, and receipts.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use ulid::Ulid;

use super::{By, KeySpec, SqliteStore};
use crate::chat::Usage;
use crate::money::Usd;
use crate::receipt::{Caller, Outcome, Receipt};

/// A folder of its own that is removed on drop.
pub struct TempFolder(PathBuf);

impl TempFolder {
    /// Makes one.
    pub fn new() -> Self {
        let folder = std::env::temp_dir().join(format!("llm-gateway-test-{}", Ulid::generate()));
        std::fs::create_dir(&folder).unwrap();
        Self(folder)
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for TempFolder {
    fn drop(&mut self) {
        // A folder left behind in the system's temporary folder harms nobody.
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// A fresh store and its folder.
pub async fn store() -> (TempFolder, SqliteStore) {
    let folder = TempFolder::new();
    let store = SqliteStore::open(folder.path()).await.unwrap();
    (folder, store)
}

/// The one who makes changes in tests.
pub fn by(now_ms: i64) -> By {
    By { actor: "test".to_owned(), now_ms }
}

/// A key with nothing but a name.
pub fn named(name: &str) -> KeySpec {
    KeySpec { name: name.to_owned(), ..KeySpec::default() }
}

/// A completed attempt of key `key_a` with the smallest numbers.
pub fn receipt(time_ms: i64) -> Receipt {
    Receipt {
        call_id: Ulid::generate(),
        attempt: 1,
        request_id: "req-1".into(),
        time_ms,
        caller: Caller { key_id: "key_a".into(), project: None },
        tags: Arc::from([]),
        requested_model: "auto".into(),
        provider: "openai".into(),
        model: "gpt-5-mini".into(),
        known_model: true,
        upstream_model: "gpt-5-mini-2025".into(),
        status: 200,
        reached: true,
        outcome: Outcome::Completed,
        error: None,
        stream: false,
        ttft_ms: Some(7),
        duration_ms: 9,
        usage: Some(Usage { prompt: 10, completion: 5, total: 15, reasoning: Some(2), ..Usage::default() }),
        unmetered: None,
        estimated: false,
        cost: Some(Usd::from_units(1_000)),
        charged: Some(Usd::from_units(1_000)),
        markup: crate::money::Markup::default(),
        tag_sets: Arc::from([]),
        held: None,
        price: None,
        service_tier: None,
        place: None,
    }
}
