//! The one table of configuration keys: path, kind, default, meaning.
//!
//! Validation, near-miss suggestions, defaults and the reference `docs/configuration.md` are all read from it, so that
//! none can disagree. In a path `*` stands for a name of the operator's choice and `#` for a place in a list.

use super::governance_keys::GOVERNANCE_KEYS;
use super::provider_keys::PROVIDER_KEYS;
use crate::chat::Routing;
use crate::request_log::{BUILT_IN, Logged};

/// What values a key takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Any text that is not empty.
    Text,
    /// `true` or `false`.
    Bool,
    /// A file or folder.
    Path,
    /// A whole number, bounds included.
    Count(u64, u64),
    /// `auto`, or a whole number, bounds included.
    AutoCount(u64, u64),
    /// A duration with its unit.
    Duration,
    /// A duration with its unit, or `0s`: never.
    DurationOrNever,
    /// How long something is kept, with its unit, days among them.
    Life,
    /// A size with its unit; bounds in bytes, included.
    Size(u64, u64),
    /// `host:port`; port 0 asks the system for one.
    Listen,
    /// An http or https address without credentials, query or fragment.
    Url,
    /// `env:NAME`, `file:PATH` or a literal.
    Secret,
    /// A value of an HTTP header, masked like a secret: literal, `env:NAME` or `file:PATH`.
    Header,
    /// A value that fills a placeholder: literal or `env:NAME`.
    Var,
    /// How a credential travels: `bearer`, `none`, `header:NAME`, or made anew by `aws`, `google` or `entra`.
    Auth,
    /// Where an identity comes from: `file:PATH`, `profile:NAME` or `instance`.
    Credentials,
    /// A wire format this build speaks.
    Wire,
    /// One of these words.
    Choice(&'static [&'static str]),
    /// A list of texts; from the environment separated by commas.
    Names,
    /// A list of some of these words.
    Words(&'static [&'static str]),
    /// A regular expression.
    Pattern,
    /// A list of hosts, addresses and networks, each with a port where it is not 443.
    Hosts,
    /// A list of web origins: scheme, host and port, nothing more.
    Origins,
    /// An amount of money in USD, exact.
    Amount,
    /// A number from 0 to 1.
    Ratio,
    /// A percentage on top of a price.
    Markup,
    /// A list of percentages.
    Percentages,
    /// A time as in RFC 3339.
    Time,
}

/// One key.
#[derive(Clone, Copy, Debug)]
pub struct Key {
    /// Dotted path, `*` for a free name, `#` for a list index.
    pub path: &'static str,
    /// What values it takes.
    pub kind: Kind,
    /// The value when none is given, as it would be written; `None`: left out.
    pub default: Option<&'static str>,
    /// What it means, for the reference.
    pub doc: &'static str,
}

/// A row of the table.
pub(super) const fn key(
    path: &'static str,
    kind: Kind,
    default: Option<&'static str>,
    doc: &'static str,
) -> Key {
    Key { path, kind, default, doc }
}

const KIB: u64 = 1 << 10;
const MIB: u64 = 1 << 20;
const GIB: u64 = 1 << 30;

#[rustfmt::skip]
const GENERAL_KEYS: [Key; 71] = [
    key("admin_key", Kind::Secret, None, "Key of the management API. Left out: a random one is written to `<data_dir>/admin.key`, mode 0600, and its path is printed."),
    key("data_dir", Kind::Path, Some("./data"), "Folder of the embedded store: keys, ledger, audit trail, and `admin.key`."),
    key("strict", Kind::Bool, Some("false"), "Refuse a parameter that the chosen provider cannot take (400), instead of dropping it and naming it in `x-gateway-dropped-params`."),
    key("redis.url", Kind::Secret, None, "Where replicas share limits, budgets and word of changed keys: `redis://user:password@host:6379/0`, `rediss://` with TLS, `redis+sentinel://user:password@host:26379,host2/master-name/0`, `redis+cluster://user:password@host:6379,host2`, `rediss+sentinel`, `rediss+cluster`. Left out: every process counts alone."),
    key("redis.ca_file", Kind::Path, None, "Certificates (PEM) to trust in Redis's, and its sentinels', instead of the built-in ones; for addresses with TLS."),
    key("redis.timeout", Kind::Duration, Some("50ms"), "The longest that a request waits for Redis."),
    key("redis.on_loss", Kind::Choice(&["local_share", "deny"]), Some("local_share"), "While Redis cannot be reached and what is in hand is used up: `local_share` lets each replica use its part of what was left, `deny` refuses."),
    key("redis.prefix", Kind::Text, Some("llmgw"), "What every key and channel in Redis begins with: replicas with the same one share."),
    key("database.url", Kind::Secret, None, "PostgreSQL for keys, ledger and audit trail, shared by all replicas: `postgres://user:password@host:5432/name`, best as `env:NAME` or `file:PATH`. `sslmode` (`disable`, `prefer`, `require`, `verify-ca`, `verify-full`) and `sslrootcert` are understood. Left out: an embedded SQLite store in `data_dir`."),
    key("database.max_connections", Kind::Count(2, 1000), Some("10"), "Connections to PostgreSQL at most, per process."),
    key("database.migrate", Kind::Bool, Some("true"), "Bring the schema of the store, of either kind, up to date at the start. `false`: an old schema is refused until `llm-gateway migrate` was run."),
    key("server.listen", Kind::Listen, Some("127.0.0.1:8080"), "Address of the public listener (/v1, /health). Port 0 asks the system for a free one."),
    key("server.workers", Kind::AutoCount(1, 1024), Some("auto"), "Worker threads, one cell each. `auto`: one per core."),
    key("server.body_limit", Kind::Size(KIB, GIB), Some("32MiB"), "Largest request body; a larger one is answered with 413."),
    key("server.body_memory", Kind::Size(KIB, 1024 * GIB), Some("512MiB"), "Request bodies held at once, all together, counting what each has beyond 64 KiB; the next large one is answered with 503. At least `server.body_limit`."),
    key("server.keep_alive", Kind::Duration, Some("75s"), "How long an idle client connection is kept."),
    key("server.head_timeout", Kind::Duration, Some("10s"), "How long a client may take to send its request head."),
    key("server.body_timeout", Kind::Duration, Some("30s"), "How long a client may take to send its request body."),
    key("server.request_timeout", Kind::Duration, Some("600s"), "Deadline of a whole call, all attempts together. `x-gateway-timeout-ms` can only shorten it."),
    key("server.ping_interval", Kind::Duration, Some("15s"), "Silence in a stream after which a `: ping` comment goes out."),
    key("server.first_event_grace", Kind::Duration, Some("10s"), "How long a stream's response head is held back so that failover can still change the status."),
    key("server.drain_delay", Kind::Duration, Some("3s"), "How long new calls are taken yet after SIGTERM, while `/health/ready` is 503 already and answers close their connections: until balancers have heard of it. SIGINT skips it."),
    key("server.drain_timeout", Kind::Duration, Some("30s"), "How long running calls may go on after SIGTERM."),
    key("server.max_connections", Kind::Count(1, 1_000_000), Some("25000"), "Client connections at most, per worker thread."),
    key("server.write_timeout", Kind::Duration, Some("60s"), "How long a client may take nothing of what is sent to it before its connection is closed and its upstream let go; at least 1s, and for connections made from then on. Linux from 5.11 on keeps the time."),
    key("server.memory_limit", Kind::Size(64 * MIB, 1024 * GIB), None, "Resident memory of the process from which on new calls are answered with 503 until it is 5 % below. Left out: 85 % of the memory limit of its cgroup, if there is one."),
    key("server.config_watch", Kind::Bool, Some("true"), "Look at the configuration file, the catalogue and the files of secrets every second; what they hold is taken over once it was the same twice. `false`: only SIGHUP and POST /admin/v1/config/reload do that."),
    key("server.cors_origins", Kind::Origins, None, "Origins of web pages that may call /v1 from a browser (`https://app.example.com`). Where the ops listener is on loopback, its status page may in any case."),
    key("server.fetch_images", Kind::Bool, Some("false"), "Fetch images that a request gives by https address, for formats that take images inline only. `false`: such a request is answered with 400 and asks for a data URL. Addresses that are not public are never fetched from."),
    key("server.fetch_allow", Kind::Hosts, None, "Exceptions for closed networks: hosts, addresses and networks (`images.internal`, `10.2.0.0/16`, `[fd00::1]:8443`) that images may be fetched from although they are not public, or on another port than 443."),
    key("server.fetch_ca_file", Kind::Path, None, "Certificates (PEM) to trust in fetching, besides the built-in ones."),
    key("server.fetch_memory", Kind::Size(64 * MIB, 1024 * GIB), Some("256MiB"), "Fetched images held at once, all together, as base64; the next call that needs more is answered with 503."),
    key("ops.listen", Kind::Listen, Some("127.0.0.1:9090"), "Address of the ops listener (/metrics, /admin, /health)."),
    key("reasoning.memory", Kind::Size(0, 64 * GIB), Some("64MiB"), "Reasoning blocks (signatures, encrypted items) kept in memory for clients that do not send `reasoning_details` back; the oldest go first. `0B` keeps none."),
    key("reasoning.life", Kind::Duration, Some("1h"), "How long a reasoning block is kept for the next turn."),
    key("journal.fsync_interval", Kind::DurationOrNever, Some("200ms"), "How often receipts in the journal are made to outlast a loss of power; a process that is killed loses none anyway. `0s`: left to the system."),
    key("journal.segment_bytes", Kind::Size(4 * KIB, GIB), Some("8MiB"), "Size from which on a worker begins another file in `<data_dir>/journal`."),
    key("journal.max_bytes", Kind::Size(64 * KIB, 1024 * GIB), Some("4GiB"), "Bytes of the whole journal: what may wait while the store takes nothing."),
    key("journal.memory_receipts", Kind::Count(100, 1_000_000), Some("20000"), "Receipts held in memory at most while the store is behind; the others wait in the journal alone and are read back from it."),
    key("journal.on_full", Kind::Choice(&["shed", "continue_unjournalled"]), Some("shed"), "What happens while receipts cannot be journalled: new calls are answered with 503, or go on with their receipts in memory alone."),
    key("idempotency.life", Kind::Duration, Some("24h"), "How long the answer to a request with an `Idempotency-Key` is given again."),
    key("idempotency.memory", Kind::Size(MIB, 64 * GIB), Some("64MiB"), "Such answers held in memory, all together; the oldest go first."),
    key("idempotency.keys", Kind::Count(1, 10_000_000), Some("100000"), "Keys held in memory; the oldest answered ones go first."),
    key("idempotency.answer_limit", Kind::Size(KIB, 64 * MIB), Some("4MiB"), "Largest answer that is given again, `idempotency.memory` at most; the key of a larger one is refused with 409 afterwards."),
    key("idempotency.store_max", Kind::Size(0, 1024 * GIB), Some("1GiB"), "Such answers held in the store, all together, as they were sent: for a restart and for other replicas. The oldest go first. `0B`: in memory only."),
    key("request_log.default", Kind::Choice(&Logged::WORDS), Some("off"), "Bodies that are stored of calls whose key has no project. A project says it for itself (`request_log`), and one that says nothing is `off`."),
    key("request_log.max_body", Kind::Size(KIB, 4 * MIB), Some("64KiB"), "Bytes stored of one body at most; a longer one is cut and marked `truncated`."),
    key("request_log.max_bytes", Kind::Size(MIB, 1024 * GIB), Some("1GiB"), "Bytes of all stored bodies; the oldest go first."),
    key("request_log.retention", Kind::Life, Some("7d"), "How long bodies are stored."),
    key("request_log.redact", Kind::Words(&BUILT_IN), Some("email,card,api_key,gateway_key,bearer,data_url,base64"), "What is masked in bodies before they are stored. An empty list masks nothing but your own `patterns`."),
    key("request_log.patterns.*", Kind::Pattern, None, "A regular expression of your own (Rust's `regex`, up to 1000 characters, up to 32 of them) that is masked, too: it sees one string of the JSON at a time, escapes undone, without its quotes. What it finds becomes `[redacted:<name>]`."),
    key("catalog.file", Kind::Path, None, "A catalogue file that replaces the shipped one."),
    key("catalog.strict", Kind::Bool, Some("false"), "Refuse model names that the catalogue does not know, instead of sending them on unpriced."),
    key("catalog.auto", Kind::Names, None, "Canonical names that replace the catalogue's own pool for `model: auto`."),
    key("log.format", Kind::Choice(&["json", "pretty"]), Some("json"), "One JSON object per line, or lines for human eyes."),
    key("log.level", Kind::Choice(&["error", "warn", "info", "debug", "trace"]), Some("info"), "The least severe level that is logged."),
    key("telemetry.otlp.endpoint", Kind::Url, None, "Base address of a collector that takes OTLP over HTTP as JSON, e.g. `http://localhost:4318`: traces go to `/v1/traces` below it, metrics to `/v1/metrics`. Left out: `OTEL_EXPORTER_OTLP_ENDPOINT`; without that nothing is recorded or sent, and a caller's `traceparent` goes on to providers as it came."),
    key("telemetry.otlp.headers.*", Kind::Header, None, "Headers of every request to the collector; a literal, `env:NAME` or `file:PATH`. Never printed. They are added to those of `OTEL_EXPORTER_OTLP_HEADERS`."),
    key("telemetry.otlp.timeout", Kind::Duration, Some("10s"), "The longest that one request to the collector may take, 60s at most."),
    key("telemetry.traces.sample_ratio", Kind::Ratio, Some("0.1"), "Share of the calls without a `traceparent` of their own that are traced, 0 to 1. With one its flag decides."),
    key("telemetry.traces.content", Kind::Bool, Some("false"), "Spans of calls show prompts and answers, too. It takes two consents: this one, and that of the project (`projects.*.request_log`, else `request_log.default`), which says whether requests, responses or both may be kept. They are masked as `request_log.redact` and `request_log.patterns` say and cut at `request_log.max_body`, as those are that are stored."),
    key("telemetry.service_name", Kind::Text, None, "`service.name` of traces and metrics. Left out: `OTEL_SERVICE_NAME`, else `llm-gateway`."),
    key("telemetry.resource.*", Kind::Text, None, "Further attributes of the process, by name; over those of `OTEL_RESOURCE_ATTRIBUTES`."),
    key("telemetry.metrics.interval", Kind::DurationOrNever, Some("15s"), "How often metrics are sent to the collector. `0s`: never; /metrics has its own."),
    key("routing.mode", Kind::Choice(&Routing::WORDS), Some("balanced"), "What counts most among the providers of a model, unless a request (`routing`, `x-gateway-routing`) or an alias says so. `balanced`: the price, weighed by success, time to the first token and load."),
    key("routing.exploration", Kind::Count(0, 100), Some("1"), "Percentage of calls that try another provider first, at most a quarter dearer than the cheapest, so that its numbers stay current. Never with mode `price`, of a session, or of a pinned model."),
    key("models.*.routing", Kind::Choice(&Routing::WORDS), None, "What counts most for this alias. Left out: `routing.mode`."),
    key("models.*.hedge", Kind::Bool, Some("false"), "Ask a second target beside the first when that takes longer to begin than 95 of 100 of its streams did lately; whichever begins first is passed on, the other is cancelled and booked. It costs money."),
    key("models.*.hedge_after", Kind::Duration, None, "The same after this long, for answers that do not stream, too. Not with `hedge: false`."),
    key("models.*.targets.#.model", Kind::Text, None, "An alias: a name of your own for targets, tried in order and by weight. `model` is `<provider>/<model>` or a canonical name."),
    key("models.*.targets.#.weight", Kind::Count(1, 1000), Some("1"), "Share of the calls relative to the other targets."),
];

/// Every key, in the order of the reference.
pub fn keys() -> impl Iterator<Item = &'static Key> {
    GENERAL_KEYS.iter().chain(GOVERNANCE_KEYS.iter()).chain(PROVIDER_KEYS.iter())
}

/// What a path means to the table.
#[derive(Clone, Copy, Debug)]
pub enum Node {
    /// A key with a value.
    Leaf(&'static Key),
    /// A table with further keys below.
    Section,
    /// A list with further keys below each element.
    List,
    /// Nothing that is known.
    Unknown,
}

/// Looks a concrete path up, e.g. `["providers", "my-vllm", "base_url"]`.
pub fn node(path: &[String]) -> Node {
    let mut found = Node::Unknown;
    for key in keys() {
        let mut pattern = key.path.split('.');
        if !path.iter().all(|segment| pattern.next().is_some_and(|p| fits(p, segment))) {
            continue;
        }
        match pattern.next() {
            None => return Node::Leaf(key),
            Some("#") => found = Node::List,
            Some(_) => found = Node::Section,
        }
    }
    found
}

/// The key of this exact pattern, e.g. `providers.*.base_url`.
pub fn find(pattern: &str) -> Option<&'static Key> {
    keys().find(|key| key.path == pattern)
}

/// The fixed names that may stand below a concrete path.
pub fn names_below(path: &[String]) -> Vec<&'static str> {
    let mut names: Vec<&'static str> = Vec::new();
    for key in keys() {
        let mut pattern = key.path.split('.');
        if path.iter().all(|segment| pattern.next().is_some_and(|p| fits(p, segment)))
            && let Some(next) = pattern.next()
            && !matches!(next, "*" | "#")
            && !names.contains(&next)
        {
            names.push(next);
        }
    }
    names
}

fn fits(pattern: &str, segment: &str) -> bool {
    match pattern {
        "*" => true,
        "#" => segment.bytes().all(|b| b.is_ascii_digit()),
        _ => pattern == segment,
    }
}
