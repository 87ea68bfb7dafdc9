//! Why the store did not do it.

use std::fmt;

use crate::error::Error;

/// A failure of the store, in words for the operator's log: one line, no secret.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StoreError {
    /// The request itself cannot be done; what the client is told.
    Refused(Error),
    /// The store cannot be opened or used as it is; what to do about it.
    Unusable(String),
    /// The store did not answer, or not in time; trying again later may help.
    Unavailable(String),
}

impl fmt::Display for StoreError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Refused(error) => error.fmt(f),
            Self::Unusable(text) | Self::Unavailable(text) => f.write_str(text),
        }
    }
}

impl std::error::Error for StoreError {}

impl From<Error> for StoreError {
    fn from(error: Error) -> Self {
        Self::Refused(error)
    }
}

impl From<StoreError> for Error {
    /// What the client sees: never the store's own words.
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::Refused(error) => error,
            StoreError::Unusable(_) => Self::Internal,
            StoreError::Unavailable(_) => Self::Overloaded {
                message: "The gateway's store does not answer. Try again shortly.".to_owned(),
                retry_after: std::time::Duration::from_secs(1),
            },
        }
    }
}
