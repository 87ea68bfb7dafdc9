//! What the store gives back, and what it can be asked for. Values without behaviour beyond cursors.

use ulid::Ulid;

use super::group::{GroupKind, GroupSpec, Managed};
use super::key::Digest;
use super::spec::KeySpec;
use crate::money::Usd;

/// A key as stored. Never the key itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyRecord {
    /// `key_` and a ULID.
    pub id: String,
    /// SHA-256 of the key's text.
    pub digest: Digest,
    /// Its first 8 characters.
    pub prefix: String,
    /// What the operator chose.
    pub spec: KeySpec,
    /// Who may change it.
    pub managed: Managed,
    /// When it was made, milliseconds since the epoch.
    pub created_ms: i64,
    /// When it was revoked, if it was.
    pub revoked_ms: Option<i64>,
    /// Number of the change that left it as it is: grows with every change of any key.
    pub revision: i64,
}

/// One page of a list, newest first.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Page<T> {
    /// The rows.
    pub data: Vec<T>,
    /// Where the next page begins; `None` on the last one.
    pub next_cursor: Option<String>,
}

/// One ledger row: an attempt that reached an upstream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LedgerRow {
    /// With `attempt` the identity of the row.
    pub call_id: Ulid,
    /// From 1.
    pub attempt: u16,
    /// `x-request-id`.
    pub request_id: String,
    /// When the attempt ended, milliseconds since the epoch.
    pub time_ms: i64,
    /// Who asked.
    pub key_id: String,
    /// The key's project at that time.
    pub project: Option<String>,
    /// The model string as the client sent it.
    pub requested_model: String,
    /// Provider id.
    pub provider: String,
    /// Canonical model, or the upstream name of an unknown one.
    pub model: String,
    /// The name sent upstream.
    pub upstream_model: String,
    /// HTTP status of the upstream, 0 when no head arrived.
    pub status: u16,
    /// `completed`, `failed` or `cancelled`.
    pub outcome: String,
    /// Metric label of the error.
    pub error: Option<String>,
    /// True for a streaming request.
    pub stream: bool,
    /// Milliseconds to the first content.
    pub ttft_ms: Option<u32>,
    /// Milliseconds to the end.
    pub duration_ms: u32,
    /// Token counts; `None` when unknown.
    pub tokens: Option<TokenCounts>,
    /// True when the counts were made here.
    pub estimated: bool,
    /// What it cost; `None` when unpriced.
    pub cost: Option<Usd>,
    /// What the caller was charged; `None` when unpriced.
    pub charged: Option<Usd>,
    /// Tags, name and value.
    pub tags: Vec<(String, String)>,
}

/// Token counts of a row or a sum of rows. The cached ones are part of `prompt`, reasoning of `completion`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TokenCounts {
    /// Input.
    pub prompt: u64,
    /// Input read from the provider's cache.
    pub cached: u64,
    /// Input written to the provider's cache.
    pub cache_write: u64,
    /// Output.
    pub completion: u64,
    /// Output spent on reasoning.
    pub reasoning: u64,
}

/// Which ledger rows; `None` does not restrict.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RequestFilter {
    /// Key id.
    pub key: Option<String>,
    /// Project.
    pub project: Option<String>,
    /// One of the row's tags, `name=value`.
    pub tag: Option<String>,
    /// Canonical model.
    pub model: Option<String>,
    /// Provider id.
    pub provider: Option<String>,
    /// Upstream status.
    pub status: Option<u16>,
    /// `completed`, `failed` or `cancelled`.
    pub outcome: Option<String>,
    /// `x-request-id`.
    pub request_id: Option<String>,
    /// `x-request-id`, or the id of a call.
    pub of: Option<String>,
    /// Not before, milliseconds since the epoch.
    pub from_ms: Option<i64>,
    /// Before, milliseconds since the epoch.
    pub to_ms: Option<i64>,
}

/// What usage can be grouped by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum GroupBy {
    /// Key id.
    Key,
    /// Project; none is a group of its own.
    Project,
    /// Canonical model.
    Model,
    /// Provider id.
    Provider,
    /// `name=value`; a row with several tags counts in each, one without in none's.
    Tag,
    /// Start of the hour, UTC.
    Hour,
    /// Start of the day, UTC.
    Day,
}

impl GroupBy {
    /// All of them, with the words of the API.
    pub const ALL: [(&'static str, Self); 7] = [
        ("key", Self::Key),
        ("project", Self::Project),
        ("model", Self::Model),
        ("provider", Self::Provider),
        ("tag", Self::Tag),
        ("hour", Self::Hour),
        ("day", Self::Day),
    ];

    /// The word of the API.
    pub fn as_str(self) -> &'static str {
        Self::ALL.iter().find(|(_, group)| *group == self).map_or("", |(word, _)| word)
    }
}

/// The value of one group.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum GroupValue {
    /// A name, or nothing (no project, no tag).
    Name(Option<String>),
    /// Start of an hour or a day, milliseconds since the epoch.
    Time(i64),
}

/// Totals over ledger rows.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct UsageRow {
    /// One value per group asked for, in that order.
    pub groups: Vec<GroupValue>,
    /// Attempts that reached an upstream.
    pub requests: u64,
    /// Those that failed.
    pub errors: u64,
    /// Those whose cost is not known.
    pub unpriced: u64,
    /// Token counts.
    pub tokens: TokenCounts,
    /// Cost in units of 1e-12 USD, without the unpriced ones.
    pub cost_units: i128,
    /// What callers were charged, likewise.
    pub charged_units: i128,
}

/// One change an operator made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AuditRow {
    /// Grows.
    pub id: i64,
    /// Milliseconds since the epoch.
    pub time_ms: i64,
    /// Who: `admin@<address>`, `cli`.
    pub actor: String,
    /// What, e.g. `key.create`.
    pub action: String,
    /// On what, e.g. a key id.
    pub object: String,
    /// How it was, JSON.
    pub before: Option<String>,
    /// How it is, JSON.
    pub after: Option<String>,
}

/// Whose spending is asked for.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Payer {
    /// The key of this id.
    Key(String),
    /// The group of this kind and name. A set of tags counts from when it was made.
    Group(GroupKind, String),
}

impl std::fmt::Display for Payer {
    /// `key:<id>`, `project:<name>` or `tags:<name>`.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Key(id) => write!(f, "key:{id}"),
            Self::Group(kind, name) => write!(f, "{}:{name}", kind.as_str()),
        }
    }
}

impl Payer {
    /// What it is called where replicas share its budget: `key/<id>`, `project/<name>`, `tags/<name>`, anything but
    /// letters, digits and a few signs percent-encoded.
    pub fn shared_name(&self) -> String {
        let (kind, name) = match self {
            Self::Key(id) => ("key", id),
            Self::Group(kind, name) => (kind.as_str(), name),
        };
        let mut out = format!("{kind}/");
        for byte in name.bytes() {
            if byte.is_ascii_alphanumeric() || b"_-.=,".contains(&byte) {
                out.push(char::from(byte));
            } else {
                out.push_str(&format!("%{byte:02X}"));
            }
        }
        out
    }

    /// The reverse of [`Payer::shared_name`].
    pub fn of_shared_name(text: &str) -> Option<Self> {
        let (kind, rest) = text.split_once('/')?;
        let mut pieces = rest.split('%');
        let mut bytes = pieces.next()?.as_bytes().to_vec();
        for piece in pieces {
            let (code, plain) = piece.split_at_checked(2)?;
            bytes.push(u8::from_str_radix(code, 16).ok()?);
            bytes.extend_from_slice(plain.as_bytes());
        }
        let name = String::from_utf8(bytes).ok()?;
        match kind {
            "key" => Some(Self::Key(name)),
            _ => GroupKind::parse(kind).map(|kind| Self::Group(kind, name)),
        }
    }
}

/// A threshold of a budget that was passed in one of its periods.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Alert {
    /// Whose budget.
    pub payer: Payer,
    /// Start of the period, milliseconds since the epoch.
    pub window_start_ms: i64,
    /// Percentage of the limit.
    pub percent: u8,
}

/// A key that the configuration declares.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeclaredKey {
    /// Its name in the configuration; the key's id is made from it.
    pub id: String,
    /// SHA-256 of the key's text.
    pub digest: Digest,
    /// Its first 8 characters.
    pub prefix: String,
    /// What it may do.
    pub spec: KeySpec,
}

impl DeclaredKey {
    /// The id that the key has for good: its name makes it, so that it is the same on every replica.
    pub fn key_id(&self) -> String {
        format!("key_{}", self.id)
    }
}

/// Everything that the configuration declares: keys, and groups by kind and name.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Declared {
    /// Keys.
    pub keys: Vec<DeclaredKey>,
    /// Projects and sets of tags.
    pub groups: Vec<(GroupKind, String, GroupSpec)>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_payer_is_found_again_by_its_shared_name() {
        for payer in [
            Payer::Key("key_01J".into()),
            Payer::Group(GroupKind::Project, "a b{c}%/ü".into()),
            Payer::Group(GroupKind::Tags, "feature=x,team=search".into()),
        ] {
            let name = payer.shared_name();
            assert!(name.bytes().all(|byte| byte.is_ascii_graphic() && !b"{}".contains(&byte)), "{name}");
            assert_eq!(Payer::of_shared_name(&name), Some(payer));
        }
        for odd in ["", "key", "other/x", "key/%4", "key/%zz", "key/%FF"] {
            assert_eq!(Payer::of_shared_name(odd), None, "{odd}");
        }
    }
}
