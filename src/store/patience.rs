//! Waiting for a store in the background: not for ever, and with a word in the log when it begins to fail.

use std::time::Duration;

use tokio::time::timeout;

use super::StoreFuture;
use super::error::StoreError;

/// How long the store may take for one thing.
const LONGEST: Duration = Duration::from_secs(10);

/// Waits for what a store is asked while no caller waits for the answer.
pub struct Patience {
    /// What it means that the store fails.
    lost: &'static str,
    /// It failed the last time.
    failed: bool,
}

impl Patience {
    /// Says `lost` in the log when the store begins to fail.
    pub fn new(lost: &'static str) -> Self {
        Self { lost, failed: false }
    }

    /// What the store answers, if it does within ten seconds.
    pub async fn wait<T>(&mut self, asked: StoreFuture<'_, T>) -> Option<T> {
        let late = || Err(StoreError::Unavailable("the store takes too long".to_owned()));
        let answered = timeout(LONGEST, asked).await.unwrap_or_else(|_| late());
        if let Err(error) = &answered
            && !self.failed
        {
            tracing::warn!(%error, "{}", self.lost);
        }
        self.failed = answered.is_err();
        answered.ok()
    }
}
