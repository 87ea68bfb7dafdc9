//! The rows of the table of keys about who may spend what: keys of callers, projects, sets of tags, budgets.

use super::schema::{Key, Kind, key};
use crate::chat::Routing;
use crate::request_log::Logged;

/// The periods of a budget.
const PERIODS: &[&str] = &["day", "week", "month", "total"];
const LIMIT: Kind = Kind::Count(1, u32::MAX as u64);

const EXPIRES: &str = "When it ends, e.g. `2030-01-31T00:00:00Z`.";
const ALLOW: &str = "Models (globs over `model` and `provider/model`) that may be used. Left out: all.";
const DENY: &str = "Models that may not be used, whatever `allow` says.";
const RPM: &str = "Requests per minute.";
const TPM: &str = "Tokens per minute.";
const CONCURRENCY: &str = "Calls at a time.";
const AMOUNT: &str =
    "What may be spent in a period, USD, such as \"25.00\": up to 12 digits after the point.";
const PERIOD: &str =
    "When the budget begins anew: at midnight in `budgets.time_zone`, weeks on Mondays; `total`: never.";
const SOFT: &str = "Only tell when the budget is spent; refuse nothing.";
const ALERTS: &str = "Percentages of the budget at which somebody is told, ascending.";
const MARKUP: &str =
    "Percentage charged on top of the provider's price, or below it; two digits after the point.";

#[rustfmt::skip]
pub const GOVERNANCE_KEYS: [Key; 46] = [
    key("keys.*.secret", Kind::Secret, None, "A caller's key that the configuration declares: its text, as `llm-gateway keys create` makes one (`lgw_...`). Declared keys are read-only in the API, and end when they are taken out."),
    key("keys.*.sha256", Kind::Text, None, "In place of `secret`: SHA-256 of the text, hexadecimal. Needs `prefix`."),
    key("keys.*.prefix", Kind::Text, None, "The first 8 characters of the text, for showing."),
    key("keys.*.project", Kind::Text, None, "Project that it belongs to."),
    key("keys.*.expires_at", Kind::Time, None, EXPIRES),
    key("keys.*.models.allow", Kind::Names, None, ALLOW),
    key("keys.*.models.deny", Kind::Names, None, DENY),
    key("keys.*.rpm", LIMIT, None, RPM),
    key("keys.*.tpm", LIMIT, None, TPM),
    key("keys.*.concurrency", LIMIT, None, CONCURRENCY),
    key("keys.*.budget.limit_usd", Kind::Amount, None, AMOUNT),
    key("keys.*.budget.period", Kind::Choice(PERIODS), None, PERIOD),
    key("keys.*.budget.soft", Kind::Bool, Some("false"), SOFT),
    key("keys.*.budget.alerts", Kind::Percentages, Some("80,100"), ALERTS),
    key("keys.*.markup_percent", Kind::Markup, None, MARKUP),
    key("keys.*.share", Kind::Count(1, 100), Some("1"), "Weight among the keys that wait for the same provider."),
    key("keys.*.max_priority", Kind::Choice(&["low", "normal", "high"]), Some("normal"), "Highest priority of its calls."),
    key("keys.*.routing", Kind::Choice(&Routing::WORDS), None, "What counts most in routing its calls."),
    key("keys.*.explain", Kind::Bool, Some("false"), "It may ask how a request would be routed (`x-gateway-explain`)."),
    key("keys.*.tags.*", Kind::Text, None, "A tag for every call of it."),
    key("projects.*.expires_at", Kind::Time, None, EXPIRES),
    key("projects.*.models.allow", Kind::Names, None, ALLOW),
    key("projects.*.models.deny", Kind::Names, None, DENY),
    key("projects.*.rpm", LIMIT, None, RPM),
    key("projects.*.tpm", LIMIT, None, TPM),
    key("projects.*.concurrency", LIMIT, None, CONCURRENCY),
    key("projects.*.budget.limit_usd", Kind::Amount, None, AMOUNT),
    key("projects.*.budget.period", Kind::Choice(PERIODS), None, PERIOD),
    key("projects.*.budget.soft", Kind::Bool, Some("false"), SOFT),
    key("projects.*.budget.alerts", Kind::Percentages, Some("80,100"), ALERTS),
    key("projects.*.markup_percent", Kind::Markup, None, MARKUP),
    key("projects.*.request_log", Kind::Choice(&Logged::WORDS), Some("off"), "Bodies of its calls that are stored, masked as `request_log.redact` says: requests, responses, or both (`full`)."),
    key("tag_sets.#.tags.*", Kind::Text, None, "A tag of a set: limits for all calls that carry every tag of it, from their header or their key."),
    key("tag_sets.#.expires_at", Kind::Time, None, EXPIRES),
    key("tag_sets.#.models.allow", Kind::Names, None, ALLOW),
    key("tag_sets.#.models.deny", Kind::Names, None, DENY),
    key("tag_sets.#.rpm", LIMIT, None, RPM),
    key("tag_sets.#.tpm", LIMIT, None, TPM),
    key("tag_sets.#.concurrency", LIMIT, None, CONCURRENCY),
    key("tag_sets.#.budget.limit_usd", Kind::Amount, None, AMOUNT),
    key("tag_sets.#.budget.period", Kind::Choice(PERIODS), None, PERIOD),
    key("tag_sets.#.budget.soft", Kind::Bool, Some("false"), SOFT),
    key("tag_sets.#.budget.alerts", Kind::Percentages, Some("80,100"), ALERTS),
    key("budgets.time_zone", Kind::Text, Some("UTC"), "IANA name of the time zone in which days, weeks and months of budgets begin, e.g. `Europe/Berlin`. The same on every replica."),
    key("budgets.webhook", Kind::Secret, None, "Address that is told (POST, JSON) when a percentage of `budget.alerts` is passed: once for each budget, period and percentage over all replicas. Masked, because such addresses often hold a secret."),
    key("budgets.webhook_secret", Kind::Secret, None, "Signs what is sent there: `x-gateway-signature: t=<seconds>,v1=<hex of HMAC-SHA256 over \"<t>.<body>\">`."),
];
