//! Every metric there is: name, help, labels, type, buckets. `docs/metrics.md` is generated from this table.
//!
//! Invariant: no label takes a value from a client's request unless the catalogue knows it.

/// A metric of the gateway.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Metric {
    /// Calls, as clients saw them.
    Requests,
    /// Attempts at upstreams.
    Attempts,
    /// Calls being served.
    InFlight,
    /// Duration of calls.
    RequestDuration,
    /// Time to the first content of an upstream.
    TimeToFirstToken,
    /// Duration of attempts.
    UpstreamDuration,
    /// The gateway's own time.
    Overhead,
    /// Tokens.
    Tokens,
    /// Cost.
    Cost,
    /// Attempts without a price.
    Unpriced,
    /// Receipts on their way to the store.
    Unsettled,
    /// State of the store.
    StoreUp,
    /// Whether Redis answers.
    RedisUp,
    /// Replicas that live.
    FleetReplicas,
    /// Times Redis was asked.
    RedisRoundTrips,
    /// Of them without an answer.
    RedisLost,
    /// Money granted and not spent.
    BudgetLeased,
    /// Money taken without Redis.
    BudgetTaken,
    /// Whether new calls are refused for want of memory.
    MemoryTight,
    /// See the table.
    JournalBytes,
    /// See the table.
    JournalLag,
    /// See the table.
    JournalState,
    /// See the table.
    JournalFailures,
    /// See the table.
    Unjournalled,
    /// See the table.
    ReceiptsInMemory,
    /// Attempts a provider has.
    ProviderInFlight,
    /// Attempts it may have.
    ProviderLimit,
    /// Calls that wait for it.
    ProviderQueued,
    /// Whether a credential can be had.
    CredentialUp,
    /// Where a target's breaker stands.
    BreakerState,
    /// How the last reload went.
    ConfigReloaded,
    /// When the last good one was.
    ConfigReloadedAt,
    /// Requests with an idempotency key.
    Idempotent,
    /// Thresholds of budgets passed.
    BudgetAlerts,
    /// Messages about them that were not delivered.
    WebhookFailures,
    /// Calls whose bodies were stored.
    Logged,
    /// Calls whose bodies were not.
    NotLogged,
    /// Version.
    BuildInfo,
    /// CPU time of the process.
    ProcessCpu,
    /// Memory of the process.
    ProcessMemory,
    /// Open files of the process.
    ProcessFds,
    /// Files the process may open.
    ProcessFdsMax,
    /// When the process started.
    ProcessStart,
}

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

impl Metric {
    /// All of them, in the order of the reference.
    pub const ALL: [Self; 43] = [
        Self::Requests,
        Self::RequestDuration,
        Self::Overhead,
        Self::InFlight,
        Self::Attempts,
        Self::UpstreamDuration,
        Self::TimeToFirstToken,
        Self::Tokens,
        Self::Cost,
        Self::Unpriced,
        Self::Unsettled,
        Self::StoreUp,
        Self::RedisUp,
        Self::FleetReplicas,
        Self::RedisRoundTrips,
        Self::RedisLost,
        Self::BudgetLeased,
        Self::BudgetTaken,
        Self::MemoryTight,
        Self::JournalBytes,
        Self::JournalLag,
        Self::JournalState,
        Self::JournalFailures,
        Self::Unjournalled,
        Self::ReceiptsInMemory,
        Self::ProviderInFlight,
        Self::ProviderLimit,
        Self::ProviderQueued,
        Self::CredentialUp,
        Self::BreakerState,
        Self::ConfigReloaded,
        Self::ConfigReloadedAt,
        Self::Idempotent,
        Self::BudgetAlerts,
        Self::WebhookFailures,
        Self::Logged,
        Self::NotLogged,
        Self::BuildInfo,
        Self::ProcessCpu,
        Self::ProcessMemory,
        Self::ProcessFds,
        Self::ProcessFdsMax,
        Self::ProcessStart,
    ];

    /// Those of the fleet.
    #[rustfmt::skip]
    const fn shared_spec(self) -> Spec {
        match self {
            Self::RedisUp => gauge("llm_gateway_redis_up", &[],
                "1 while Redis answers; 0 while it does not, and where `redis.url` is not set."),
            Self::FleetReplicas => gauge("llm_gateway_fleet_replicas", &[],
                "Replicas that share over Redis, this one among them, as last known."),
            Self::RedisRoundTrips => counter("llm_gateway_redis_round_trips_total", &[],
                "Calls and batches sent to Redis."),
            Self::RedisLost => counter("llm_gateway_redis_lost_calls_total", &[],
                "Calls and batches to Redis without a usable answer in time."),
            Self::BudgetLeased => gauge("llm_gateway_budget_leased_usd", &[],
                "Granted to this replica and not spent, all budgets together: what it could spend beyond a budget at most, were Redis to forget it while it is cut off."),
            _ => gauge("llm_gateway_budget_shared_usd", &[],
                "Taken by this replica while Redis is gone (`on_loss: local_share`), all budgets together."),
        }
    }

    /// The part of the table that is about receipts and budgets.
    #[rustfmt::skip]
    const fn money_spec(self) -> Spec {
        match self {
            Self::Idempotent => counter("llm_gateway_idempotent_requests_total", &["result"],
                "Requests with an Idempotency-Key: started (ran), local (ran while the store did not answer), joined one that ran, replayed, or conflict (refused)."),
            Self::BudgetAlerts => counter("llm_gateway_budget_alerts_total", &[],
                "Thresholds of budgets that were passed and that this process told of; each once over all replicas."),
            Self::WebhookFailures => counter("llm_gateway_webhook_failures_total", &[],
                "Messages about budgets that the webhook did not take, all tries together."),
            Self::JournalBytes => gauge("llm_gateway_journal_bytes", &[],
                "Bytes of receipts in the journal, those that are settled and not deleted yet included."),
            Self::JournalLag => gauge("llm_gateway_journal_lag_seconds", &[],
                "Age of the oldest receipt in the journal that the store has not booked yet."),
            Self::JournalState => gauge("llm_gateway_journal_state", &[],
                "0 while receipts are journalled, 1 while the disk takes nothing, 2 while the journal is at its bound."),
            Self::JournalFailures => counter("llm_gateway_journal_failures_total", &[],
                "Writes and synchronisations of the journal that failed."),
            _ => counter("llm_gateway_unjournalled_receipts_total", &[],
                "Receipts that could not be journalled and were in memory alone until they were settled."),
        }
    }

    /// The table.
    #[rustfmt::skip]
    pub const fn spec(self) -> Spec {
        match self {
            Self::Requests => counter("llm_gateway_requests_total", &["route", "status", "error"],
                "Client calls that ended, by the status sent; error is none for success."),
            Self::RequestDuration => histogram("llm_gateway_request_duration_seconds", &["route", "stream"], DURATION,
                "From a call's arrival to the end of its answer."),
            Self::Overhead => histogram("llm_gateway_overhead_seconds", &["route"], OVERHEAD,
                "Time spent in the gateway itself before the request went upstream."),
            Self::InFlight => gauge("llm_gateway_in_flight_requests", &[],
                "Client calls being served now."),
            Self::Attempts => counter("llm_gateway_attempts_total", &["provider", "model", "outcome", "error"],
                "Attempts at an upstream, also where no connection was made; outcome is completed, failed or cancelled."),
            Self::UpstreamDuration => histogram("llm_gateway_upstream_duration_seconds", &["provider", "outcome"], DURATION,
                "From sending to the end of an attempt."),
            Self::TimeToFirstToken => histogram("llm_gateway_time_to_first_token_seconds", &["provider"], FIRST_TOKEN,
                "From sending to the first content of an upstream's answer."),
            Self::Tokens => counter("llm_gateway_tokens_total", &["provider", "model", "kind"],
                "Tokens by kind; cached and cache_write are parts of prompt, reasoning is a part of completion."),
            Self::Cost => counter("llm_gateway_cost_usd_total", &["provider", "model"],
                "Cost in USD, rounded to a float for display; the ledger has the exact amounts."),
            Self::Unpriced => counter("llm_gateway_unpriced_attempts_total", &["provider"],
                "Attempts that may have cost money, at a price or usage that is not known."),
            Self::Unsettled => gauge("llm_gateway_unsettled_receipts", &[],
                "Receipts that the store has not booked yet, in the journal or in memory alone."),
            Self::StoreUp => gauge("llm_gateway_store_up", &[],
                "1 while the store takes receipts, 0 after a settlement failed."),
            Self::RedisUp | Self::FleetReplicas | Self::RedisRoundTrips | Self::RedisLost | Self::BudgetLeased
            | Self::BudgetTaken => self.shared_spec(),
            Self::Idempotent | Self::BudgetAlerts | Self::WebhookFailures | Self::JournalBytes | Self::JournalLag
            | Self::JournalState | Self::JournalFailures | Self::Unjournalled => self.money_spec(),
            Self::MemoryTight => gauge("llm_gateway_memory_tight", &[],
                "1 while new calls are refused because the process has as much memory as it may have."),
            Self::ReceiptsInMemory => gauge("llm_gateway_receipts_in_memory", &[],
                "Receipts that Billing holds in memory until the store has booked them."),
            Self::ProviderInFlight => gauge("llm_gateway_provider_in_flight_attempts", &["provider"],
                "Attempts that a provider is working on."),
            Self::ProviderLimit => gauge("llm_gateway_provider_in_flight_limit", &["provider"],
                "Attempts that a provider may have at a time; it moves with what the provider can take."),
            Self::ProviderQueued => gauge("llm_gateway_provider_queued_calls", &["provider"],
                "Calls that wait for a provider which is full."),
            Self::CredentialUp => gauge("llm_gateway_credential_up", &["provider", "credential"],
                "1 for a credential that can be used, 0 while the provider refuses it."),
            Self::BreakerState => gauge("llm_gateway_breaker_state", &["provider", "model"],
                "0 for a target that is asked as usual, 1 for one that is not asked, 2 while a probe decides; known models asked lately."),
            Self::ConfigReloaded => gauge("llm_gateway_config_last_reload_successful", &[],
                "1 when the last reading of the configuration was taken over, 0 when it was wrong and the old one stayed."),
            Self::ConfigReloadedAt => gauge("llm_gateway_config_last_reload_success_timestamp_seconds", &[],
                "When a configuration was last taken over; the start counts."),
            Self::Logged => counter("llm_gateway_request_log_stored_total", &[],
                "Calls whose bodies were stored in the request log."),
            Self::NotLogged => counter("llm_gateway_request_log_dropped_total", &["reason"],
                "Calls whose bodies were to be stored and are lost: too many waited (queue), or the store did not take them (store)."),
            Self::BuildInfo => gauge("llm_gateway_build_info", &["version"],
                "Always 1; the label tells the version."),
            Self::ProcessCpu => counter("process_cpu_seconds_total", &[],
                "User and system CPU time of the process."),
            Self::ProcessMemory => gauge("process_resident_memory_bytes", &[],
                "Resident memory of the process."),
            Self::ProcessFds => gauge("process_open_fds", &[],
                "Open file descriptors of the process."),
            Self::ProcessFdsMax => gauge("process_max_fds", &[],
                "File descriptors the process may open."),
            Self::ProcessStart => gauge("process_start_time_seconds", &[],
                "When the process started, seconds since the Unix epoch."),
        }
    }
}
