//! What a running process takes over from a new configuration: everything but what it was started with. Pure.

use serde_json::Value;

use super::settings::{Server, Settings};

/// Keys and sections that are read at the start only.
pub const START_ONLY: [&str; 22] = [
    "admin_key",
    "budgets.time_zone",
    "data_dir",
    "database",
    "journal",
    "idempotency",
    "log",
    "ops.listen",
    "reasoning",
    "redis",
    "server.body_limit",
    "server.body_memory",
    "server.fetch_allow",
    "server.fetch_ca_file",
    "server.fetch_images",
    "server.fetch_memory",
    "server.head_timeout",
    "server.keep_alive",
    "server.listen",
    "server.max_connections",
    "server.workers",
    "telemetry",
];

/// Keeps in `new` what a process was started with; gives the paths whose new values wait for the next start.
pub fn keep(old: &Settings, new: &mut Settings) -> Vec<String> {
    let mut waiting = differences(&old.effective, &new.effective);
    waiting.retain(|path| is_start_only(path));
    // Both are masked where they are shown.
    for (path, differ) in [
        ("admin_key", old.admin_key != new.admin_key),
        ("database.url", old.database.url != new.database.url),
    ] {
        if differ && !waiting.iter().any(|told| told == path) {
            waiting.push(path.to_owned());
        }
    }
    for path in START_ONLY {
        let old = path.split('.').try_fold(&old.effective, |at, name| at.get(name)).cloned();
        put(&mut new.effective, path, old);
    }
    let Settings {
        server,
        fetch,
        ops_listen,
        admin_key,
        data_dir,
        database,
        reasoning,
        redis,
        journal,
        log,
        idempotency,
        telemetry,
        ..
    } = old.clone();
    let Server {
        listen, workers, body_limit, body_memory, keep_alive, head_timeout, max_connections, ..
    } = server;
    new.server = Server {
        listen,
        workers,
        body_limit,
        body_memory,
        keep_alive,
        head_timeout,
        max_connections,
        ..new.server.clone()
    };
    new.governance.budgets.time_zone.clone_from(&old.governance.budgets.time_zone);
    (new.fetch, new.ops_listen, new.admin_key) = (fetch, ops_listen, admin_key);
    if old.redis.url != new.redis.url && !waiting.iter().any(|path| path == "redis.url") {
        waiting.push("redis.url".to_owned());
    }
    (new.data_dir, new.database, new.reasoning, new.redis) = (data_dir, database, reasoning, redis);
    (new.journal, new.log) = (journal, log);
    (new.idempotency, new.telemetry) = (idempotency, telemetry);
    waiting
}

/// Paths whose values differ; a provider or key of which only a secret differs is named whole.
pub fn changes(old: &Settings, new: &Settings) -> Vec<String> {
    let mut paths = differences(&old.effective, &new.effective);
    for (id, provider) in &new.providers {
        let path = format!("providers.{id}");
        let told = paths.iter().any(|other| other.strip_prefix(&path).is_some_and(is_end));
        if !told && old.providers.get(id).is_some_and(|old| old != provider) {
            paths.push(path);
        }
    }
    for (name, key) in &new.governance.keys {
        let path = format!("keys.{name}");
        let told = paths.iter().any(|other| other.strip_prefix(&path).is_some_and(is_end));
        if !told && old.governance.keys.get(name).is_some_and(|old| old != key) {
            paths.push(path);
        }
    }
    paths
}

/// True when a path, or a section that it is in, is read at the start only.
fn is_start_only(path: &str) -> bool {
    START_ONLY.iter().any(|key| path.strip_prefix(key).is_some_and(is_end))
}

/// The rest of a path after a whole name.
fn is_end(rest: &str) -> bool {
    rest.is_empty() || rest.starts_with('.')
}

/// Puts a value where a path of at most two names leads, or takes it away.
fn put(tree: &mut Value, path: &str, value: Option<Value>) {
    let (section, name) = path.rsplit_once('.').map_or((None, path), |(section, name)| (Some(section), name));
    let table = match section {
        None => Some(tree),
        Some(section) => tree.get_mut(section),
    };
    if let Some(Value::Object(table)) = table {
        match value {
            Some(value) => table.insert(name.to_owned(), value),
            None => table.remove(name),
        };
    }
}

/// Dotted paths of the leaves that differ.
fn differences(old: &Value, new: &Value) -> Vec<String> {
    let mut paths = Vec::new();
    compare("", Some(old), Some(new), &mut paths);
    paths
}

fn compare(path: &str, old: Option<&Value>, new: Option<&Value>, paths: &mut Vec<String>) {
    if old == new {
        return;
    }
    let below = |name: &str| if path.is_empty() { name.to_owned() } else { format!("{path}.{name}") };
    match (old, new) {
        (Some(Value::Object(old)), Some(Value::Object(new))) => {
            let added = new.keys().filter(|name| !old.contains_key(*name));
            for name in old.keys().chain(added) {
                compare(&below(name), old.get(name), new.get(name), paths);
            }
        }
        _ => paths.push(path.to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Outside, assemble};
    use super::*;

    fn settings(text: &str) -> Settings {
        let outside = Outside { env: &|_| None, file: &|_| Err("no files here".to_owned()) };
        assemble(Some(("f", text)), [], &outside).unwrap().settings
    }

    #[test]
    fn what_a_process_was_started_with_stays_and_is_named() {
        let old =
            settings("{server: {listen: '127.0.0.1:1', ping_interval: 5s}, admin_key: a-long-key-of-old}");
        let mut new = settings(
            "{server: {listen: '127.0.0.1:2', workers: 3, ping_interval: 6s, max_connections: 7}, \
             admin_key: a-long-key-of-new, data_dir: /elsewhere, log: {level: debug}}",
        );
        let mut waiting = keep(&old, &mut new);
        waiting.sort();
        let named = [
            "admin_key",
            "data_dir",
            "log.level",
            "server.listen",
            "server.max_connections",
            "server.workers",
        ];
        assert_eq!(waiting, named);
        assert_eq!((new.server.listen.as_str(), new.server.workers), ("127.0.0.1:1", None));
        assert_eq!(new.server.ping_interval.as_secs(), 6);
        assert_eq!((new.data_dir.clone(), new.log.level), (old.data_dir.clone(), old.log.level));
        assert!(new.admin_key == old.admin_key);
        // What is shown is what is in force.
        assert_eq!(changes(&old, &new), ["server.ping_interval"]);
    }

    #[test]
    fn changes_are_named_by_their_paths_and_secrets_by_their_provider() {
        let text = |key: &str, url: &str| {
            format!(
                "{{providers: {{one: {{base_url: '{url}', api_key: '{key}'}}}}, models: {{fast: {{targets: [{{model: one/m}}]}}}}}}"
            )
        };
        let old = settings(&text("a-key-of-some-length", "http://one.invalid/v1"));
        assert_eq!(changes(&old, &old), Vec::<String>::new());
        let other_url = settings(&text("a-key-of-some-length", "http://two.invalid/v1"));
        assert_eq!(changes(&old, &other_url), ["providers.one.base_url"]);
        let other_key = settings(&text("another-key-of-length", "http://one.invalid/v1"));
        assert_eq!(changes(&old, &other_key), ["providers.one"]);
        assert_eq!(changes(&old, &settings("{providers: {}}")), ["providers.one", "models.fast"]);
    }

    #[test]
    fn every_start_only_key_is_a_key_or_a_section() {
        for path in START_ONLY {
            let names: Vec<String> = path.split('.').map(str::to_owned).collect();
            assert!(
                !matches!(super::super::schema::node(&names), super::super::schema::Node::Unknown),
                "{path}"
            );
        }
    }
}
