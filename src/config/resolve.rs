//! From a merged tree to the settings. Pure: the environment and secret files are parameters.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use serde_json::Value;

use super::fetch::{AllowedHost, FetchSettings};
use super::problem::Problem;
use super::reader::Reader;
use super::rows::Rows;
use super::secret::{self, Outside, Resolved, Secret};
use super::settings::{
    CatalogSettings, IdempotencySettings, JournalSettings, Log, OnFull, Provider, ReasoningSettings,
    RoutingSettings, Server, Settings,
};
use super::{aliases, database, effective, governance, provider, redis, request_log, telemetry, validate};
use crate::chat::Routing;

/// The shortest time that a client may take nothing for.
const WRITE_TIMEOUT_MIN: Duration = Duration::from_secs(1);

/// A configuration that holds.
#[derive(Clone, Debug)]
pub struct Loaded {
    /// What the gateway runs by.
    pub settings: Settings,
    /// Things that work but should be known, one line each; no secret in them.
    pub warnings: Vec<String>,
    /// Where a value that is not a default came from: dotted path -> `file` or the name of a variable.
    pub origins: BTreeMap<String, String>,
}

/// Resolves a merged `tree`.
///
/// With `exact_providers` the providers are those of the tree; else also every shipped row one of whose usual variables
/// is set. Errors: every problem at once, each with its path.
pub fn resolve(tree: &Value, exact_providers: bool, outside: &Outside<'_>) -> Result<Loaded, Vec<Problem>> {
    let mut problems = validate::check(tree);
    let mut warnings = Vec::new();
    let rows = match Rows::shipped() {
        Ok(rows) => rows,
        Err(problem) => return Err(vec![problem]),
    };
    let read = Reader::new(tree, "");
    let wanted = wanted_providers(tree, exact_providers, &rows, outside);
    let providers = providers(&wanted, outside, &mut problems, &mut warnings);
    let mut settings = Settings {
        server: server(&read),
        fetch: fetch(&read),
        ops_listen: read.text("ops.listen").unwrap_or_default(),
        admin_key: admin_key(&read, outside, &mut problems, &mut warnings),
        data_dir: PathBuf::from(read.text("data_dir").unwrap_or_default()),
        database: database::read(&read, outside, &mut problems, &mut warnings),
        strict: read.flag("strict"),
        redis: redis::read(&read, outside, &mut problems, &mut warnings),
        reasoning: ReasoningSettings {
            memory: read.count("reasoning.memory"),
            life: read.duration("reasoning.life"),
        },
        journal: journal(&read),
        idempotency: IdempotencySettings {
            memory: read.count("idempotency.memory"),
            keys: read.count("idempotency.keys"),
            answer_limit: read.count("idempotency.answer_limit"),
            life: read.duration("idempotency.life"),
            store_max: read.number("idempotency.store_max").unwrap_or_default(),
        },
        request_log: request_log::read(tree, &mut problems),
        routing: RoutingSettings {
            mode: read.text("routing.mode").as_deref().and_then(Routing::parse).unwrap_or_default(),
            exploration: read
                .number("routing.exploration")
                .and_then(|number| u32::try_from(number).ok())
                .unwrap_or(0),
        },
        catalog: CatalogSettings {
            file: read.text("catalog.file").map(PathBuf::from),
            strict: read.flag("catalog.strict"),
            auto: read.names("catalog.auto"),
        },
        log: Log {
            json: read.text("log.format").as_deref() == Some("json"),
            level: read.text("log.level").and_then(|word| word.parse().ok()).unwrap_or(tracing::Level::INFO),
        },
        telemetry: telemetry::read(&read, outside, &mut problems, &mut warnings),
        credential_hints: credential_hints(&rows, &providers),
        providers,
        aliases: aliases::read(read.given("models"), &mut problems),
        governance: governance::read(tree, outside, &mut problems, &mut warnings),
        effective: Value::Null,
    };
    cross_checks(&settings, &rows, &mut problems, &mut warnings);
    if !problems.is_empty() {
        return Err(problems);
    }
    settings.effective = effective::render(tree, &settings, &wanted);
    Ok(Loaded { settings, warnings, origins: BTreeMap::new() })
}

fn server(read: &Reader<'_>) -> Server {
    Server {
        listen: read.text("server.listen").unwrap_or_default(),
        workers: read.number("server.workers").and_then(|workers| usize::try_from(workers).ok()),
        body_limit: read.number("server.body_limit").unwrap_or_default(),
        body_memory: read.number("server.body_memory").unwrap_or_default(),
        keep_alive: read.duration("server.keep_alive"),
        head_timeout: read.duration("server.head_timeout"),
        body_timeout: read.duration("server.body_timeout"),
        request_timeout: read.duration("server.request_timeout"),
        ping_interval: read.duration("server.ping_interval"),
        first_event_grace: read.duration("server.first_event_grace"),
        drain_delay: read.duration("server.drain_delay"),
        drain_timeout: read.duration("server.drain_timeout"),
        max_connections: read.count("server.max_connections"),
        write_timeout: read.duration("server.write_timeout"),
        memory_limit: read.number("server.memory_limit"),
        cors_origins: read.names("server.cors_origins").unwrap_or_default(),
        config_watch: read.flag("server.config_watch"),
    }
}

fn journal(read: &Reader<'_>) -> JournalSettings {
    JournalSettings {
        fsync_interval: read.duration("journal.fsync_interval"),
        segment_bytes: read.number("journal.segment_bytes").unwrap_or_default(),
        max_bytes: read.number("journal.max_bytes").unwrap_or_default(),
        memory_receipts: read.count("journal.memory_receipts"),
        on_full: match read.text("journal.on_full").as_deref() {
            Some("continue_unjournalled") => OnFull::ContinueUnjournalled,
            _ => OnFull::Shed,
        },
    }
}

fn fetch(read: &Reader<'_>) -> FetchSettings {
    let allow = read.names("server.fetch_allow").unwrap_or_default();
    FetchSettings {
        images: read.flag("server.fetch_images"),
        allow: allow.iter().filter_map(|entry| AllowedHost::parse(entry).ok()).collect(),
        ca_file: read.text("server.fetch_ca_file").map(PathBuf::from),
        memory: read.number("server.fetch_memory").unwrap_or_default(),
    }
}

fn admin_key(
    read: &Reader<'_>,
    outside: &Outside<'_>,
    problems: &mut Vec<Problem>,
    warnings: &mut Vec<String>,
) -> Option<Secret> {
    /// Shorter keys can be guessed.
    const SAFE_LENGTH: usize = 16;
    match secret::resolve(&read.text("admin_key")?, outside) {
        Ok(Resolved::Value(key, warning)) => {
            warnings.extend(warning.map(|warning| format!("admin_key: {warning}")));
            if key.expose().len() < SAFE_LENGTH {
                warnings.push(format!(
                    "admin_key: is shorter than {SAFE_LENGTH} characters; choose a longer one"
                ));
            }
            Some(key)
        }
        Ok(Resolved::NotSet(variable)) => {
            warnings.push(format!(
                "admin_key: {variable} is not set; a random key is used, see <data_dir>/admin.key"
            ));
            None
        }
        Err(message) => {
            problems.push(Problem::new("admin_key", message));
            None
        }
    }
}

/// A provider to build: its row, and whether the environment alone asked for it.
pub struct Wanted {
    /// The row, inheritance done.
    pub row: Value,
    detected: bool,
}

fn wanted_providers(
    tree: &Value,
    exact: bool,
    rows: &Rows,
    outside: &Outside<'_>,
) -> BTreeMap<String, Wanted> {
    let mut wanted = BTreeMap::new();
    if !exact {
        for (id, row) in &rows.providers {
            if !provider::set_variables(row, outside).is_empty() {
                wanted.insert(id.clone(), Wanted { row: row.clone(), detected: true });
            }
        }
    }
    if let Some(Value::Object(table)) = tree.get("providers") {
        for (id, given) in table.iter().filter(|(_, given)| given.is_object() || given.is_null()) {
            wanted.insert(id.clone(), Wanted { row: rows.inherit(id, given), detected: false });
        }
    }
    wanted
}

fn providers(
    wanted: &BTreeMap<String, Wanted>,
    outside: &Outside<'_>,
    problems: &mut Vec<Problem>,
    warnings: &mut Vec<String>,
) -> BTreeMap<String, Arc<Provider>> {
    let mut providers = BTreeMap::new();
    for (id, Wanted { row, detected }) in wanted {
        let built = provider::build(id, row, outside);
        warnings.extend(built.warnings);
        match built.provider {
            Ok(provider) => {
                providers.insert(id.clone(), Arc::new(provider));
            }
            // Nobody asked for it by name: say so and go on without it.
            Err(why) if *detected => {
                warnings
                    .extend(why.iter().map(|problem| {
                        format!("{id} is left out although its credential is set: {problem}")
                    }));
            }
            Err(why) => problems.extend(why),
        }
    }
    providers
}

fn credential_hints(
    rows: &Rows,
    providers: &BTreeMap<String, Arc<Provider>>,
) -> BTreeMap<String, Vec<String>> {
    let mut hints = rows.credential_hints.clone();
    for (id, row) in &rows.providers {
        let read = Reader::new(row, "providers.*.");
        let names = read.names("env").unwrap_or_default();
        if !providers.contains_key(id) && !names.is_empty() {
            hints.insert(read.text("catalog").unwrap_or_else(|| id.clone()), names);
        }
    }
    for provider in
        providers.values().filter(|provider| !provider.has_credential() && !provider.env.is_empty())
    {
        hints.insert(provider.catalog.to_string(), provider.env.clone());
    }
    hints
}

fn cross_checks(settings: &Settings, rows: &Rows, problems: &mut Vec<Problem>, warnings: &mut Vec<String>) {
    if settings.server.listen == settings.ops_listen && !settings.ops_listen.ends_with(":0") {
        problems.push(Problem::new(
            "ops.listen",
            "is the address of `server.listen`; the two listeners need one each",
        ));
    }
    if settings.server.write_timeout < WRITE_TIMEOUT_MIN {
        problems.push(Problem::new(
            "server.write_timeout",
            "is at least 1s: a client needs some time to say that it took what was sent",
        ));
    }
    if settings.providers.is_empty() && problems.is_empty() {
        warnings.push("no provider is configured; set OPENAI_API_KEY or another provider's variable, or add `providers`".into());
    }
    let shipped: Vec<&str> =
        rows.providers.keys().chain(rows.credential_hints.keys()).map(String::as_str).collect();
    aliases::check_providers(settings, &shipped, problems, warnings);
}
