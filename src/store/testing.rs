//! What tests of the store, the API and the command line share: a folder that goes away, and receipts.

#[path = "../../tests/blackbox/support/receipts.rs"]
mod receipts;

use std::path::{Path, PathBuf};

use ulid::Ulid;

pub use receipts::receipt;

use super::{By, KeySpec, SqliteStore};

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
