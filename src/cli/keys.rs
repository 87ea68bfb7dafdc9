//! `llm-gateway keys`: makes, lists and revokes keys in the store itself, by the same code as the API.
//!
//! A gateway that is running meanwhile takes changes over with its next poll, within
//! [`POLL_INTERVAL`](crate::store::POLL_INTERVAL).

use std::num::NonZeroU32;

use clap::{Args, Subcommand};

use crate::chat::Routing;
use crate::error::Error;
use crate::money::{Markup, Usd};
use crate::policy::admission::Priority;
use crate::policy::budget::{Budget, Period};
use crate::policy::quota::Limits;
use crate::rfc3339::{format_ms, parse_ms};
use crate::store::key::FreshKey;
use crate::store::{By, Handling, KeyRecord, KeySpec, ModelRules, PAGE_DEFAULT, Page, Store, StoreError};

/// What to do with keys.
#[derive(Clone, Debug, PartialEq, Eq, Subcommand)]
pub enum Command {
    /// Make a key and print it, this once
    Create(Create),
    /// List keys, newest first
    List(List),
    /// Revoke a key for good
    Revoke(Revoke),
}

/// What a new key may do.
#[derive(Clone, Debug, Default, PartialEq, Eq, Args)]
pub struct Create {
    /// What people call it
    pub name: String,
    /// Project it belongs to
    #[arg(long)]
    pub project: Option<String>,
    /// When it ends, e.g. 2030-01-31T00:00:00Z
    #[arg(long, value_name = "TIME", value_parser = time)]
    pub expires_at: Option<i64>,
    /// Glob over models it may use, as `gpt-5*` or `openai/*`; may be repeated [default: all]
    #[arg(long, value_name = "GLOB")]
    pub allow: Vec<String>,
    /// Glob over models it may not use; may be repeated
    #[arg(long, value_name = "GLOB")]
    pub deny: Vec<String>,
    /// Requests per minute
    #[arg(long, value_name = "COUNT")]
    pub rpm: Option<NonZeroU32>,
    /// Tokens per minute
    #[arg(long, value_name = "COUNT")]
    pub tpm: Option<NonZeroU32>,
    /// Calls at a time
    #[arg(long, value_name = "COUNT")]
    pub concurrency: Option<NonZeroU32>,
    /// What it may spend, as `25/month` or `0.5/day`: USD per day, week, month or in total
    #[arg(long, value_name = "USD/PERIOD", value_parser = budget)]
    pub budget: Option<Budget>,
    /// Percentage that it is charged on top of the provider's price [default: as its project says]
    #[arg(long, value_name = "PERCENT", value_parser = markup, allow_hyphen_values = true)]
    pub markup: Option<Markup>,
    /// Weight among the keys that wait for the same provider, 1 to 100
    #[arg(long, value_name = "WEIGHT", default_value_t = 1)]
    pub share: u32,
    /// Highest priority of its calls: low, normal, high
    #[arg(long, value_name = "PRIORITY", default_value = "normal", value_parser = priority)]
    pub max_priority: Priority,
    /// What counts most in routing its calls: balanced, price, latency, throughput
    #[arg(long, value_name = "MODE", value_parser = routing)]
    pub routing: Option<Routing>,
    /// It may ask how a request would be routed (x-gateway-explain)
    #[arg(long)]
    pub explain: bool,
    /// Tag for every call of it, as `team=search`; may be repeated
    #[arg(long = "tag", value_name = "NAME=VALUE", value_parser = tag)]
    pub tags: Vec<(String, String)>,
}

/// Which keys to list.
#[derive(Clone, Debug, PartialEq, Eq, Args)]
pub struct List {
    /// Keys at most, up to 1000
    #[arg(long, default_value_t = PAGE_DEFAULT)]
    pub limit: u32,
    /// Where the page before ended
    #[arg(long)]
    pub cursor: Option<String>,
}

/// Which key to revoke.
#[derive(Clone, Debug, PartialEq, Eq, Args)]
pub struct Revoke {
    /// The key's id, as `list` shows it
    pub id: String,
}

/// Runs the command and gives back what to print.
///
/// # Errors
/// When the store refuses or does not answer; the error says what to do.
pub async fn run(command: Command, store: &dyn Store, now_ms: i64) -> Result<String, StoreError> {
    let by = By { actor: "cli".to_owned(), now_ms };
    match command {
        Command::Create(create) => {
            let (record, key) = store.create_key(spec(create, now_ms)?, by).await?;
            Ok(created_text(&record, &key))
        }
        Command::List(List { limit, cursor }) => {
            let page = store.keys(cursor.as_deref(), limit).await?;
            Ok(list_text(&page, now_ms))
        }
        Command::Revoke(Revoke { id }) => {
            let record = store.revoke_key(&id, by).await?;
            Ok(revoked_text(&record))
        }
    }
}

fn spec(create: Create, now_ms: i64) -> Result<KeySpec, Error> {
    if create.expires_at.is_some_and(|end| end <= now_ms) {
        return Err(Error::invalid("--expires-at lies in the past.", "expires_at"));
    }
    Ok(KeySpec {
        name: create.name,
        project: create.project,
        expires_ms: create.expires_at,
        models: ModelRules { allow: create.allow, deny: create.deny },
        budget: create.budget,
        markup: create.markup,
        limits: Limits { rpm: create.rpm, tpm: create.tpm, concurrency: create.concurrency },
        handling: Handling {
            share: create.share,
            max_priority: create.max_priority,
            routing: create.routing,
            explain: create.explain,
        },
        tags: create.tags,
    })
}

fn budget(text: &str) -> Result<Budget, String> {
    let form = || "not of the form USD/PERIOD, such as 25/month".to_owned();
    let (limit, period) = text.split_once('/').ok_or_else(form)?;
    let limit = limit.parse::<Usd>().map_err(|error| format!("{limit} is {error}"))?;
    let words = || format!("the period is one of {}", Period::WORDS.join(", "));
    Ok(Budget::new(limit, Period::parse(period).ok_or_else(words)?))
}

fn markup(text: &str) -> Result<Markup, String> {
    Markup::parse(text)
        .ok_or_else(|| "a percentage from -100 to 1000, with up to two digits after the point".to_owned())
}

fn time(text: &str) -> Result<i64, String> {
    parse_ms(text).ok_or_else(|| "not an RFC 3339 time such as 2030-01-31T00:00:00Z".to_owned())
}

fn priority(text: &str) -> Result<Priority, String> {
    Priority::parse(text).ok_or_else(|| format!("one of {}", Priority::WORDS.join(", ")))
}

fn routing(text: &str) -> Result<Routing, String> {
    Routing::parse(text).ok_or_else(|| format!("one of {}", Routing::WORDS.join(", ")))
}

fn tag(text: &str) -> Result<(String, String), String> {
    let (name, value) = text.split_once('=').ok_or("not of the form name=value")?;
    Ok((name.to_owned(), value.to_owned()))
}

fn created_text(record: &KeyRecord, key: &FreshKey) -> String {
    format!(
        "key   {}\nid    {}\nname  {}\n\nKeep the key now: only its digest is stored, so it is never shown again.\n",
        key.expose(),
        record.id,
        record.spec.name
    )
}

fn revoked_text(record: &KeyRecord) -> String {
    format!(
        "Revoked {} ({}). A gateway that is running refuses it within 5 seconds.\n",
        record.id, record.spec.name
    )
}

/// One line per key in aligned columns.
fn list_text(page: &Page<KeyRecord>, now_ms: i64) -> String {
    if page.data.is_empty() {
        return "No keys. Make one with: llm-gateway keys create NAME\n".to_owned();
    }
    let head = ["ID", "PREFIX", "STATE", "CREATED", "PROJECT", "NAME"].map(str::to_owned);
    let mut lines = vec![head];
    lines.extend(page.data.iter().map(|record| {
        [
            record.id.clone(),
            record.prefix.clone(),
            state(record, now_ms).to_owned(),
            format_ms(record.created_ms),
            record.spec.project.clone().unwrap_or_else(|| "-".to_owned()),
            record.spec.name.clone(),
        ]
    }));
    let mut text = aligned(&lines);
    if let Some(cursor) = &page.next_cursor {
        text.push_str(&format!("\nMore with: llm-gateway keys list --cursor {cursor}\n"));
    }
    text
}

fn state(record: &KeyRecord, now_ms: i64) -> &'static str {
    match (record.revoked_ms, record.spec.expires_ms) {
        (Some(_), _) => "revoked",
        (None, Some(end)) if end <= now_ms => "expired",
        _ => "live",
    }
}

/// Columns as wide as their widest cell, two blanks between.
fn aligned<const N: usize>(lines: &[[String; N]]) -> String {
    let mut widths = [0; N];
    for line in lines {
        for (width, cell) in widths.iter_mut().zip(line) {
            *width = (*width).max(cell.chars().count());
        }
    }
    let render = |line: &[String; N]| {
        let cells: Vec<String> =
            line.iter().zip(widths).map(|(cell, width)| format!("{cell:<width$}")).collect();
        format!("{}\n", cells.join("  ").trim_end())
    };
    lines.iter().map(render).collect()
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;
    use crate::store::testing::store;
    use crate::store::{KeyTable, SqliteStore};

    #[derive(Parser)]
    struct Line {
        #[command(subcommand)]
        command: Command,
    }

    fn parse(line: &str) -> Command {
        Line::try_parse_from(std::iter::once("keys").chain(line.split(' '))).unwrap().command
    }

    /// The text after `name` at the start of a line.
    fn field(text: &str, name: &str) -> String {
        text.lines().find_map(|line| line.strip_prefix(name)).unwrap().trim().to_owned()
    }

    #[tokio::test]
    async fn a_key_of_the_command_line_works_in_a_running_gateway_until_it_is_revoked() {
        let (folder, gateway) = store().await;
        let table = KeyTable::new(std::sync::Arc::default());
        let cli = SqliteStore::open(folder.path()).await.unwrap();
        let line = "create search --project p --allow gpt-* --rpm 5 --tag team=x --expires-at 2030-01-01T00:00:00Z \
             --budget 2.5/week --markup -10";
        let text = run(parse(line), &cli, 10).await.unwrap();
        let (key, id) = (field(&text, "key "), field(&text, "id "));
        table.refresh(&gateway).await.unwrap();
        let entry = table.authenticate(&key, 11).unwrap();
        assert_eq!((entry.name.as_str(), entry.caller.project.as_deref()), ("search", Some("p")));
        assert_eq!(*entry.tags, [("team".to_owned(), "x".to_owned())]);
        assert_eq!(entry.markup.unwrap().to_string(), "-10");
        assert_eq!(entry.purse.standing(11).unwrap().budget, budget("2.5/week").unwrap());
        run(parse(&format!("revoke {id}")), &cli, 12).await.unwrap();
        table.refresh(&gateway).await.unwrap();
        table.authenticate(&key, 13).unwrap_err();
        let text = run(parse("list --limit 5"), &cli, 14).await.unwrap();
        assert!(text.contains("revoked") && text.contains(&key[..8]) && !text.contains(&key[..9]), "{text}");
        assert_eq!(cli.audit(None, 9).await.unwrap().data[0].actor, "cli");
    }

    #[tokio::test]
    async fn lists_are_aligned_and_say_how_to_go_on() {
        let (_folder, store) = store().await;
        let list = |limit| Command::List(List { limit, cursor: None });
        assert!(run(list(9), &store, 0).await.unwrap().starts_with("No keys."));
        for name in ["a", "b"] {
            run(parse(&format!("create {name}")), &store, 10).await.unwrap();
        }
        let text = run(list(1), &store, 20).await.unwrap();
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines[0].find("STATE"), lines[1].find("live"));
        assert!(lines[3].starts_with("More with: llm-gateway keys list --cursor key_"), "{text}");
    }

    #[tokio::test]
    async fn what_cannot_be_done_is_said_in_one_line() {
        let (_folder, store) = store().await;
        for line in [
            "revoke key_0",
            "create a --expires-at 1970-01-01T00:00:00Z",
            "create a --tag =",
            "list --cursor x",
        ] {
            let error = run(parse(line), &store, 10).await.unwrap_err().to_string();
            assert!(!error.is_empty() && !error.contains('\n'), "{line}: {error}");
        }
        for line in [
            "create",
            "create a --budget 5",
            "create a --budget 5/year",
            "create a --markup 1001",
            "create a --rpm 0",
            "create a --expires-at soon",
            "create a --tag x",
        ] {
            assert!(Line::try_parse_from(std::iter::once("keys").chain(line.split(' '))).is_err(), "{line}");
        }
    }
}
