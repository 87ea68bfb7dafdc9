//! Every metric there is: name, help, labels, type, buckets. `docs/metrics.md` is generated from this table.
//!
//! Invariant: no label takes a value from a client's request unless the catalogue knows it.

use crate::policy::tally::QUEUE_WAIT_BOUNDS_S as QUEUE_WAIT;

/// Type of a metric, with the upper bounds of a histogram's buckets.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Kind {
    /// Only ever grows.
    Counter,
    /// Goes up and down.
    Gauge,
    /// A distribution.
    Histogram(&'static [f64]),
}

/// One row of the table.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Spec {
    /// Name in the exposition.
    pub name: &'static str,
    /// Its `# HELP`.
    pub help: &'static str,
    /// Label names, in the order in which values are given.
    pub labels: &'static [&'static str],
    /// Type and buckets.
    pub kind: Kind,
}

/// Whole calls and attempts: 10 ms to 10 minutes.
const DURATION: &[f64] =
    &[0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 20.0, 30.0, 60.0, 120.0, 300.0, 600.0];
/// First tokens: 50 ms to a minute.
const FIRST_TOKEN: &[f64] =
    &[0.05, 0.1, 0.2, 0.3, 0.5, 0.75, 1.0, 1.5, 2.0, 3.0, 5.0, 10.0, 20.0, 30.0, 60.0];
/// One token after the other: 2 ms (500 tokens a second) to a second.
const PER_TOKEN: &[f64] = &[0.002, 0.005, 0.01, 0.015, 0.02, 0.03, 0.05, 0.075, 0.1, 0.2, 0.5, 1.0];
/// The gateway's own time: 25 us to 100 ms, fine where it is expected to lie.
const OVERHEAD: &[f64] = &[
    0.000_025, 0.000_05, 0.000_075, 0.000_1, 0.000_15, 0.000_2, 0.000_3, 0.000_5, 0.001, 0.002_5, 0.005,
    0.01, 0.025, 0.1,
];

const fn counter(name: &'static str, labels: &'static [&'static str], help: &'static str) -> Spec {
    Spec { name, help, labels, kind: Kind::Counter }
}

const fn gauge(name: &'static str, labels: &'static [&'static str], help: &'static str) -> Spec {
    Spec { name, help, labels, kind: Kind::Gauge }
}

const fn histogram(
    name: &'static str,
    labels: &'static [&'static str],
    buckets: &'static [f64],
    help: &'static str,
) -> Spec {
    Spec { name, help, labels, kind: Kind::Histogram(buckets) }
}

/// Makes the enum, the list and the table of one row per metric: `Name = kind(name, labels, [buckets,] help)`.
macro_rules! table {
    ($($metric:ident = $kind:ident($name:literal, $($rest:expr),+);)*) => {
        /// A metric of the gateway.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum Metric {
            $(#[doc = concat!("`", $name, "`: see the table.")] $metric,)*
        }

        impl Metric {
            /// All of them, in the order of the reference.
            pub const ALL: [Self; [$($name),*].len()] = [$(Self::$metric),*];

            /// The row.
            pub const fn spec(self) -> Spec {
                match self { $(Self::$metric => $kind($name, $($rest),+),)* }
            }
        }
    };
}

#[rustfmt::skip]
table! {
    Requests = counter("llm_gateway_requests_total", &["route", "status", "error"], "Client calls that ended, by the status sent; error is none for success.");
    RequestDuration = histogram("llm_gateway_request_duration_seconds", &["route", "stream"], DURATION, "From a call's arrival to the end of its answer.");
    Overhead = histogram("llm_gateway_overhead_seconds", &["route"], OVERHEAD, "Time spent in the gateway itself before the request went upstream.");
    InFlight = gauge("llm_gateway_in_flight_requests", &[], "Client calls being served now.");
    Cells = gauge("llm_gateway_cells", &[], "Worker threads that serve calls.");
    CellInFlight = gauge("llm_gateway_cell_in_flight_requests", &["cell"], "Client calls being served now by one worker thread; cells are numbered from 0 as they start.");
    CellConnections = gauge("llm_gateway_cell_connections", &["cell"], "Connections of clients that one worker thread has open, idle ones too; a new one goes to the thread with the least to do.");
    Mailbox = gauge("llm_gateway_mailbox_messages", &["actor"], "Messages that wait for an actor; those to supervisors and providers are summed over the cells.");
    MailboxFull = counter("llm_gateway_mailbox_full_total", &["actor"], "Messages that found an actor's mailbox full: they waited, or came again later; a batch for the metrics actor was left out.");
    Sheds = counter("llm_gateway_sheds_total", &["reason"], "Calls refused to protect the gateway: for want of memory (memory, body_memory, image_memory) or of room for receipts (journal, billing) or for requests with an Idempotency-Key (idempotency), while it drains (draining), or because a provider's queue was full or the time in it over (queue_full, queue_timeout).");
    Draining = gauge("llm_gateway_draining_seconds", &[], "Seconds since the process was told to end, 0 before.");
    LogDropped = counter("llm_gateway_log_dropped_lines_total", &[], "Lines of the log that found no room because standard error took nothing for a while.");
    Attempts = counter("llm_gateway_attempts_total", &["provider", "model", "outcome", "error"], "Attempts at an upstream, also where no connection was made; outcome is completed, failed or cancelled.");
    UpstreamDuration = histogram("llm_gateway_upstream_duration_seconds", &["provider", "model", "outcome"], DURATION, "From sending to the end of an attempt.");
    TimeToFirstToken = histogram("llm_gateway_time_to_first_token_seconds", &["provider", "model"], FIRST_TOKEN, "From sending to the first content of an upstream's answer.");
    TimePerOutputToken = histogram("llm_gateway_time_per_output_token_seconds", &["provider", "model"], PER_TOKEN, "Mean time between the tokens of a stream that was completed: its duration without the time to the first token, over its completion tokens less one.");
    Tokens = counter("llm_gateway_tokens_total", &["provider", "model", "kind"], "Tokens by kind; cached and cache_write are parts of prompt, reasoning is a part of completion.");
    Cost = counter("llm_gateway_cost_usd_total", &["provider", "model"], "Cost in USD, rounded to a float for display; the ledger has the exact amounts.");
    Unpriced = counter("llm_gateway_unpriced_attempts_total", &["provider"], "Attempts that may have cost money, at a price or usage that is not known.");
    Failovers = counter("llm_gateway_failovers_total", &["from", "to", "reason"], "Calls that went from one provider to the next; reason is the error of the attempt that failed, or refused where nothing was sent (breaker, credential, no room). The first 1,000 combinations, then other.");
    Retries = counter("llm_gateway_retries_total", &["provider", "reason"], "Attempts repeated at the same target: on a fresh connection (stale_connection), or with another credential (upstream_rate_limited, upstream_auth).");
    RetryBudget = counter("llm_gateway_retry_budget_exhausted_total", &["provider"], "Further attempts at a provider that were not made because the retry budget was spent.");
    Hedges = counter("llm_gateway_hedges_total", &["provider", "result"], "Attempts beside a slow one: started, and how each ended: won (its answer was used) or lost.");
    Ejections = counter("llm_gateway_ejections_total", &["provider", "reason"], "Targets that were ejected: their breaker opened (consecutive_failures, failure_rate, slow_rate, probe_failed), their provider said to wait (told), or its health probes failed (health_probe).");
    Unsettled = gauge("llm_gateway_unsettled_receipts", &[], "Receipts that the store has not booked yet, in the journal or in memory alone.");
    StoreUp = gauge("llm_gateway_store_up", &[], "1 while the store takes receipts, 0 after a settlement failed.");
    RedisUp = gauge("llm_gateway_redis_up", &[], "1 while Redis answers; 0 while it does not, and where `redis.url` is not set.");
    FleetReplicas = gauge("llm_gateway_fleet_replicas", &[], "Replicas that share over Redis, this one among them, as last known.");
    RedisRoundTrips = counter("llm_gateway_redis_round_trips_total", &[], "Calls and batches sent to Redis.");
    RedisLost = counter("llm_gateway_redis_lost_calls_total", &[], "Calls and batches to Redis without a usable answer in time.");
    BudgetLeased = gauge("llm_gateway_budget_leased_usd", &[], "Granted to this replica and not spent, all budgets together: what it could spend beyond a budget at most, were Redis to forget it while it is cut off.");
    BudgetTaken = gauge("llm_gateway_budget_shared_usd", &[], "Taken by this replica while Redis is gone (`on_loss: local_share`), all budgets together.");
    MemoryTight = gauge("llm_gateway_memory_tight", &[], "1 while new calls are refused because the process has as much memory as it may have.");
    JournalBytes = gauge("llm_gateway_journal_bytes", &[], "Bytes of receipts in the journal, those that are settled and not deleted yet included.");
    JournalLag = gauge("llm_gateway_journal_lag_seconds", &[], "Age of the oldest receipt in the journal that the store has not booked yet.");
    JournalState = gauge("llm_gateway_journal_state", &[], "0 while receipts are journalled, 1 while the disk takes nothing, 2 while the journal is at its bound.");
    JournalFailures = counter("llm_gateway_journal_failures_total", &[], "Writes and synchronisations of the journal that failed.");
    Unjournalled = counter("llm_gateway_unjournalled_receipts_total", &[], "Receipts that could not be journalled and were in memory alone until they were settled.");
    ReceiptsInMemory = gauge("llm_gateway_receipts_in_memory", &[], "Receipts that Billing holds in memory until the store has booked them.");
    ProviderInFlight = gauge("llm_gateway_provider_in_flight_attempts", &["provider"], "Attempts that a provider is working on.");
    ProviderLimit = gauge("llm_gateway_provider_in_flight_limit", &["provider"], "Attempts that a provider may have at a time; it moves with what the provider can take.");
    ProviderQueued = gauge("llm_gateway_provider_queued_calls", &["provider"], "Calls that wait for a provider which is full.");
    QueueWait = histogram("llm_gateway_queue_wait_seconds", &["provider"], QUEUE_WAIT, "Time in a provider's queue of the calls that were let in.");
    QueueTimeouts = counter("llm_gateway_queue_timeouts_total", &["provider"], "Calls that left a provider's queue without being let in: their time was over, or others with a better claim took their place.");
    CredentialUp = gauge("llm_gateway_credential_up", &["provider", "credential"], "1 for a credential that can be used, 0 while the provider refuses it.");
    BreakerState = gauge("llm_gateway_breaker_state", &["provider", "model"], "0 for a target that is asked as usual, 1 for one that is not asked, 2 while a probe decides; known models asked lately.");
    ConfigReloaded = gauge("llm_gateway_config_last_reload_successful", &[], "1 when the last reading of the configuration was taken over, 0 when it was wrong and the old one stayed.");
    ConfigReloadedAt = gauge("llm_gateway_config_last_reload_success_timestamp_seconds", &[], "When a configuration was last taken over; the start counts.");
    Idempotent = counter("llm_gateway_idempotent_requests_total", &["result"], "Requests with an Idempotency-Key: started (ran), local (ran while the store did not answer), joined one that ran, replayed, or conflict (refused).");
    KeyRequests = counter("llm_gateway_key_requests_total", &["key", "outcome"], "Client calls with a known key that ended, by its id and how they ended.");
    KeyTokens = counter("llm_gateway_key_tokens_total", &["key", "kind"], "Tokens by key; kind is prompt, cached (a part of prompt) or completion.");
    KeyCost = counter("llm_gateway_key_cost_usd_total", &["key"], "Charged to a key in USD, markup included, rounded to a float for display; the ledger has the exact amounts.");
    KeyInfo = gauge("llm_gateway_key_info", &["key", "name", "project"], "Always 1; tells the name and project of the keys above.");
    BudgetLimit = gauge("llm_gateway_budget_limit_usd", &["scope", "id", "name", "period"], "Limits of the 100 budgets with the greatest share spent; scope is key, project or tag_set.");
    BudgetSpent = gauge("llm_gateway_budget_spent_usd", &["scope", "id", "name", "period"], "Spent of these budgets in the period that runs, as far as this process knows.");
    BudgetReserved = gauge("llm_gateway_budget_reserved_usd", &["scope", "id", "name", "period"], "Set aside of these budgets by attempts under way here.");
    QuotaUsed = gauge("llm_gateway_quota_used_ratio", &["scope", "id", "name", "limit"], "Used share of the 100 most used limits, 0 to 1; limit is rpm, tpm or concurrency.");
    Reserved = gauge("llm_gateway_reserved_usd", &[], "Set aside by all attempts under way here, each counted once; 0 when nothing runs.");
    BudgetAlerts = counter("llm_gateway_budget_alerts_total", &[], "Thresholds of budgets that were passed and that this process told of; each once over all replicas.");
    WebhookFailures = counter("llm_gateway_webhook_failures_total", &[], "Messages about budgets that the webhook did not take, all tries together.");
    Logged = counter("llm_gateway_request_log_stored_total", &[], "Calls whose bodies were stored in the request log.");
    NotLogged = counter("llm_gateway_request_log_dropped_total", &["reason"], "Calls whose bodies were to be stored and are lost: too many waited (queue), or the store did not take them (store).");
    Exported = counter("llm_gateway_telemetry_exported_total", &["signal"], "Spans (traces) and points (metrics) that the collector took.");
    ExportDropped = counter("llm_gateway_telemetry_dropped_total", &["signal", "reason"], "Spans and points that the collector did not take: too much waited (queue), it does not want them (refused), or it could not be reached, however often it was tried (unreachable).");
    BuildInfo = gauge("llm_gateway_build_info", &["version"], "Always 1; the label tells the version.");
    ScrapeDuration = gauge("llm_gateway_scrape_duration_seconds", &[], "What the scrape before this one took to render.");
    ProcessCpu = counter("process_cpu_seconds_total", &[], "User and system CPU time of the process.");
    ProcessMemory = gauge("process_resident_memory_bytes", &[], "Resident memory of the process.");
    ProcessThreads = gauge("process_threads", &[], "Threads of the process.");
    ProcessFds = gauge("process_open_fds", &[], "Open file descriptors of the process.");
    ProcessFdsMax = gauge("process_max_fds", &[], "File descriptors the process may open.");
    ProcessStart = gauge("process_start_time_seconds", &[], "When the process started, seconds since the Unix epoch.");
}
