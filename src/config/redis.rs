//! The Redis that replicas share: where it is, how long it may take, what is done without it.

use std::path::PathBuf;
use std::time::Duration;

use super::problem::Problem;
use super::reader::Reader;
use super::secret::{self, Outside, Resolved, Secret};

/// Longest timeout: a request must not wait for longer.
const TIMEOUT_MAX: Duration = Duration::from_secs(5);

/// The Redis that replicas share.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RedisSettings {
    /// Its address, which may hold a password; `None`: nothing is shared.
    pub url: Option<Secret>,
    /// Certificates to trust instead of the built-in ones.
    pub ca_file: Option<PathBuf>,
    /// The longest that a request waits for it.
    pub timeout: Duration,
    /// While it is gone, refuse what is not in hand.
    pub deny_on_loss: bool,
    /// What its keys begin with.
    pub prefix: String,
}

/// Reads the section.
pub(super) fn read(
    read: &Reader<'_>,
    outside: &Outside<'_>,
    problems: &mut Vec<Problem>,
    warnings: &mut Vec<String>,
) -> RedisSettings {
    let timeout = read.duration("redis.timeout");
    if timeout.is_zero() || timeout > TIMEOUT_MAX {
        problems.push(Problem::new("redis.timeout", "is not between 1ms and 5s".to_owned()));
    }
    let prefix = read.text("redis.prefix").unwrap_or_default();
    if !prefix.chars().all(|c| c.is_ascii_alphanumeric() || "-_.:".contains(c)) {
        problems.push(Problem::new(
            "redis.prefix",
            "has characters other than a-z, 0-9, -, _, . and :".to_owned(),
        ));
    }
    let url = read.text("redis.url").and_then(|reference| match secret::resolve(&reference, outside) {
        Ok(Resolved::Value(url, warning)) => {
            // An address without a password is no secret.
            let warning = warning.filter(|_| url.expose().contains('@'));
            warnings.extend(warning.map(|warning| format!("redis.url: {warning}")));
            Some(url)
        }
        Ok(Resolved::NotSet(variable)) => {
            problems.push(Problem::new("redis.url", format!("{variable} is not set")));
            None
        }
        Err(message) => {
            problems.push(Problem::new("redis.url", message));
            None
        }
    });
    let deny_on_loss = read.text("redis.on_loss").as_deref() == Some("deny");
    let ca_file = read.text("redis.ca_file").map(PathBuf::from);
    RedisSettings { url, ca_file, timeout, deny_on_loss, prefix }
}
