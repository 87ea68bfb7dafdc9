//! The effective configuration: typed, validated, complete. How it comes to be is in `load`.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use super::api_keys::ApiKey;
use super::fetch::FetchSettings;
use super::governance::Governance;
use super::identity::Identity;
use super::redis::RedisSettings;
use super::request_log::RequestLogSettings;
use super::secret::Secret;
use super::telemetry::TelemetrySettings;
use crate::chat::{Facts, Routing, Trait};
use crate::wire::quirks::any_glob;
use crate::wire::{Quirks, WireFormat};

/// Everything the gateway was told.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The public listener and its limits.
    pub server: Server,
    /// What may be fetched for a request.
    pub fetch: FetchSettings,
    /// Address of the ops listener (/metrics, /admin, /health).
    pub ops_listen: String,
    /// The admin key, if one was given; else one is made and written to `data_dir/admin.key`.
    pub admin_key: Option<Secret>,
    /// Folder of the embedded store.
    pub data_dir: PathBuf,
    /// The store for several processes.
    pub database: DatabaseSettings,
    /// Refuse instead of dropping parameters that a target cannot take.
    pub strict: bool,
    /// What replicas share.
    pub redis: RedisSettings,
    /// Reasoning that is kept for clients that do not bring it back.
    pub reasoning: ReasoningSettings,
    /// How receipts are kept on disk until the store has them.
    pub journal: JournalSettings,
    /// Answers that are given again.
    pub idempotency: IdempotencySettings,
    /// Bodies that are stored.
    pub request_log: RequestLogSettings,
    /// How targets are chosen where nobody says.
    pub routing: RoutingSettings,
    /// The catalogue and how it is used.
    pub catalog: CatalogSettings,
    /// Logs.
    pub log: Log,
    /// Where traces and metrics are sent.
    pub telemetry: TelemetrySettings,
    /// Configured providers by id.
    pub providers: BTreeMap<String, Arc<Provider>>,
    /// Aliases by name.
    pub aliases: BTreeMap<String, Alias>,
    /// Who may spend what.
    pub governance: Governance,
    /// Environment variables that would give a shipped but unconfigured provider its credential, by catalogue
    /// provider id: what a `no_credentials` error names.
    pub credential_hints: BTreeMap<String, Vec<String>>,
    /// All of this in the shape of the file it came from, defaults included, secrets masked: for showing.
    pub effective: serde_json::Value,
}

/// The public listener and its limits.
#[derive(Clone, Debug)]
pub struct Server {
    /// `host:port`; port 0 asks the system for one.
    pub listen: String,
    /// Worker threads, one cell each; `None`: one per core.
    pub workers: Option<usize>,
    /// Largest request body, bytes.
    pub body_limit: u64,
    /// Large request bodies held at once, all together, bytes.
    pub body_memory: u64,
    /// How long an idle client connection is kept.
    pub keep_alive: Duration,
    /// How long a client may take to send its request head.
    pub head_timeout: Duration,
    /// How long a client may take to send its request body.
    pub body_timeout: Duration,
    /// Deadline of a whole call, all attempts together, unless `x-gateway-timeout-ms` is shorter.
    pub request_timeout: Duration,
    /// Silence in a stream after which a `: ping` comment goes out.
    pub ping_interval: Duration,
    /// How long a stream's response head is held back so that failover can still change the status.
    pub first_event_grace: Duration,
    /// How long running calls may go on after SIGTERM.
    pub drain_timeout: Duration,
    /// How long new calls are taken yet after SIGTERM.
    pub drain_delay: Duration,
    /// Client connections at most, per worker.
    pub max_connections: usize,
    /// How long a client may take nothing of what is sent to it.
    pub write_timeout: Duration,
    /// Resident memory from which on no new call is taken, bytes; `None`: by the limit of the cgroup.
    pub memory_limit: Option<u64>,
    /// Origins of pages that may call the API from a browser.
    pub cors_origins: Vec<String>,
    /// Take the configuration over when one of its files changes.
    pub config_watch: bool,
}

/// The store for several processes.
#[derive(Clone, Debug)]
pub struct DatabaseSettings {
    /// `postgres://..`; `None`: the embedded store is used.
    pub url: Option<Secret>,
    /// Connections at most.
    pub max_connections: u32,
    /// Bring the schema up to date at the start, of either store.
    pub migrate: bool,
}

/// How targets are chosen where neither a request nor an alias says so.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RoutingSettings {
    /// What counts most.
    pub mode: Routing,
    /// Percentage of calls that try another target first.
    pub exploration: u32,
}

/// Reasoning that is kept for clients that do not bring it back.
#[derive(Clone, Copy, Debug)]
pub struct ReasoningSettings {
    /// Bytes held at most.
    pub memory: usize,
    /// How long each block is held.
    pub life: Duration,
}

/// How receipts are kept on disk until the store has them.
#[derive(Clone, Copy, Debug)]
pub struct JournalSettings {
    /// How often what was written is synchronised; zero: never.
    pub fsync_interval: Duration,
    /// Bytes of one segment.
    pub segment_bytes: u64,
    /// Bytes of all of them.
    pub max_bytes: u64,
    /// Receipts that Billing holds in memory at most, those apart that are nowhere else.
    pub memory_receipts: usize,
    /// What happens while nothing can be written.
    pub on_full: OnFull,
}

/// What happens while receipts cannot be journalled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OnFull {
    /// No new calls.
    Shed,
    /// Calls go on, their receipts are in memory alone.
    ContinueUnjournalled,
}

/// Answers that are given again to the same request under the same `Idempotency-Key`.
#[derive(Clone, Copy, Debug)]
pub struct IdempotencySettings {
    /// Bytes of answers held in memory.
    pub memory: usize,
    /// Keys held in memory.
    pub keys: usize,
    /// Bytes of one answer at most.
    pub answer_limit: usize,
    /// How long an answer is kept.
    pub life: Duration,
    /// Bytes of answers held in the store; 0: none are.
    pub store_max: u64,
}

/// The catalogue and how it is used.
#[derive(Clone, Debug, Default)]
pub struct CatalogSettings {
    /// Replaces the shipped catalogue.
    pub file: Option<PathBuf>,
    /// Refuse names the catalogue does not know instead of sending them on.
    pub strict: bool,
    /// Replaces the catalogue's own auto pool: canonical names.
    pub auto: Option<Vec<String>>,
}

/// Logs.
#[derive(Clone, Debug)]
pub struct Log {
    /// One JSON object per line, or for human eyes.
    pub json: bool,
    /// `error`, `warn`, `info`, `debug` or `trace`.
    pub level: tracing::Level,
}

/// How a provider wants its credential.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AuthStyle {
    /// `Authorization: Bearer <key>`.
    Bearer,
    /// The key alone in a header of this name.
    Header(String),
    /// No credential at all.
    None,
    /// A signature over each request, or a bearer token of AWS's.
    Aws,
    /// A token of Google's.
    Google,
    /// A token of Microsoft Entra's.
    Entra,
}

/// A configured upstream account: one row of data.
#[derive(Clone, Debug, PartialEq)]
pub struct Provider {
    /// Id, as in `provider/model`.
    pub id: Arc<str>,
    /// Where its models are served; the first whose globs match. The last one is the row's own and matches all.
    pub routes: Vec<Route>,
    /// Models that are served by the Responses API alone are asked there.
    pub responses: bool,
    /// Values of the placeholders of `base_url`.
    pub vars: BTreeMap<String, String>,
    /// Without trailing slash, e.g. `https://api.openai.com/v1`.
    pub base_url: String,
    /// How the credential travels.
    pub auth: AuthStyle,
    /// The credential, resolved.
    pub api_key: Option<Secret>,
    /// Several credentials in its place.
    pub api_keys: Vec<ApiKey>,
    /// What tokens or signatures are made from, where there is more to it than a key.
    pub identity: Option<Identity>,
    /// Environment variables that usually hold the credential.
    pub env: Vec<String>,
    /// Provider id under which the catalogue lists its offers (usually its own).
    pub catalog: Arc<str>,
    /// Further headers sent with every request; their values may be credentials.
    pub headers: BTreeMap<String, Secret>,
    /// Dialect.
    pub quirks: Quirks,
    /// Deadlines.
    pub timeouts: Timeouts,
    /// Deadlines of some models; the first entry that matches counts.
    pub model_timeouts: Vec<ModelTimeouts>,
    /// How many attempts it gets at a time.
    pub admission: AdmissionRule,
    /// When it is not asked for a while.
    pub breaker: BreakerRule,
    /// What is done for it between calls.
    pub tending: Tending,
    /// What an attempt costs whose client leaves.
    pub on_cancel: OnCancel,
}

/// What an attempt costs whose client leaves before its answer is complete.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum OnCancel {
    /// What was delivered, counted with a tokenizer. The upstream connection is closed at once.
    #[default]
    Estimate,
    /// What the upstream says: its answer is read to the end, for so long at most.
    Drain(Duration),
    /// Nothing.
    Free,
}

impl OnCancel {
    /// The words of the configuration.
    pub const WORDS: [&'static str; 3] = ["estimate", "drain", "free"];

    /// The word of the configuration.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Estimate => "estimate",
            Self::Drain(_) => "drain",
            Self::Free => "free",
        }
    }
}

/// What is done for a provider between calls.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tending {
    /// Connections that each cell keeps open ahead of calls.
    pub warm_connections: usize,
    /// How it is asked whether it is well.
    pub probe: Option<ProbeRule>,
}

/// How a provider is asked whether it is well.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProbeRule {
    /// Path after `base_url`.
    pub path: String,
    /// How often.
    pub interval: Duration,
    /// How long it may take to answer.
    pub timeout: Duration,
}

/// Where some models of a provider are served.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Route {
    /// Globs over the model's name upstream.
    pub models: Vec<String>,
    /// Format spoken there.
    pub wire: WireFormat,
    /// Path after `base_url`, `{model}` for the model's name; `None`: the format's own.
    pub path: Option<String>,
    /// The same for streams.
    pub stream_path: Option<String>,
}

/// The route of models that only the Responses API serves.
static RESPONSES: Route =
    Route { models: Vec::new(), wire: WireFormat::Responses, path: None, stream_path: None };

impl Provider {
    /// Format of the row itself: that of models without a route of their own.
    pub fn wire(&self) -> WireFormat {
        self.routes.last().map(|route| route.wire).unwrap_or_default()
    }

    /// Where a model is served.
    pub fn route(&self, model: &str, facts: Facts) -> &Route {
        let Some((own, named)) = self.routes.split_last() else { return &RESPONSES };
        if let Some(route) = named.iter().find(|route| any_glob(&route.models, model)) {
            return route;
        }
        if self.responses && facts.traits.has(Trait::ResponsesOnly) { &RESPONSES } else { own }
    }

    /// True when requests to it can be authenticated.
    pub fn has_credential(&self) -> bool {
        self.auth == AuthStyle::None || self.key(0).is_some() || self.identity.is_some()
    }

    /// Deadlines of a model, by its name upstream.
    pub fn timeouts_of(&self, model: &str) -> Timeouts {
        let own = self.model_timeouts.iter().find(|own| any_glob(&own.models, model));
        own.map_or(self.timeouts, |own| own.timeouts)
    }

    /// The key in this place: one of several, or the only one.
    pub fn key(&self, at: usize) -> Option<&Secret> {
        self.api_keys.get(at).map(|key| &key.secret).or(self.api_key.as_ref())
    }

    /// Every key.
    pub fn keys(&self) -> impl Iterator<Item = &Secret> {
        self.api_keys.iter().map(|key| &key.secret).chain(&self.api_key)
    }
}

/// Deadlines of one attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timeouts {
    /// TCP connect and TLS handshake.
    pub connect: Duration,
    /// From sending the request to the response head.
    pub head: Duration,
    /// From the response head to the first content-bearing event of a stream.
    pub first_event: Duration,
    /// Between two reads of a body.
    pub idle: Duration,
    /// The whole attempt.
    pub total: Duration,
}

/// Deadlines of some models of a provider.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ModelTimeouts {
    /// Globs over the model's name upstream.
    pub models: Vec<String>,
    /// What holds for them; what an entry leaves out is the provider's.
    pub timeouts: Timeouts,
}

/// How many attempts a provider gets at a time, over all cells of the process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AdmissionRule {
    /// Attempts at a time at most.
    pub ceiling: usize,
    /// Adapt the limit between `floor` and `ceiling` to what the provider can take.
    pub adaptive: bool,
    /// Attempts at a time at least, whatever the provider says.
    pub floor: usize,
    /// Calls that wait at most.
    pub queue: usize,
    /// How long one may wait.
    pub queue_timeout: Duration,
}

/// When a target is not asked for a while.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BreakerRule {
    /// Failures in a row that open it.
    pub consecutive_failures: u32,
    /// Failures among all attempts that open it, percent; 0: never.
    pub failure_rate: u32,
    /// A first token that takes longer than this makes a slow call; zero: none is.
    pub slow_call: Duration,
    /// Slow calls among all attempts that open it, percent.
    pub slow_rate: u32,
    /// Attempts in the window before a rate counts.
    pub minimum_calls: u32,
    /// How long it stays open the first time; doubles each time a probe fails.
    pub cool_down: Duration,
    /// The longest it stays open.
    pub cool_down_max: Duration,
}

/// A name of the operator's own for a weighted list of targets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Alias {
    /// In order; the first ones are tried first, weights decide among those before any failed.
    pub targets: Vec<AliasTarget>,
    /// What counts most; `None`: as for all.
    pub routing: Option<Routing>,
    /// Ask a second target beside a slow first one.
    pub hedge: bool,
    /// After this long; zero: after the 95th percentile of its times.
    pub hedge_after: Duration,
}

/// One target of an alias.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AliasTarget {
    /// A model string (not an alias).
    pub model: String,
    /// Relative weight; default 1.
    pub weight: u32,
}
