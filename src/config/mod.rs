//! Configuration: layers, validation with paths, secret references. The only module that reads the environment.
//!
//! `layers` (file under environment) -> `validate` against the table in `schema` -> `resolve` to `settings`; `load` is
//! the edge that touches files and the process environment.

mod aliases;
mod api_keys;
mod database;
mod effective;
mod fetch;
mod governance;
mod governance_keys;
mod identity;
mod layers;
mod load;
mod problem;
mod provider;
mod provider_keys;
mod reader;
mod redis;
pub mod reference;
mod reload;
mod request_log;
mod resolve;
mod route;
mod rows;
mod schema;
mod secret;
mod settings;
mod telemetry;
#[cfg(test)]
pub mod testing;
#[cfg(test)]
mod tests;
mod timeouts;
mod units;
mod validate;
mod value;

pub use aliases::check_aliases;
pub use api_keys::ApiKey;
pub use fetch::{AllowedHost, FetchSettings, host_name};
pub use governance::{BudgetRow, BudgetSettings, Governance, KeyRow, KeyText, RulesRow};
pub use identity::{AwsIdentity, EntraIdentity, EntraProof, GoogleIdentity, Identity};
pub use load::{DEFAULT_FILE, assemble, load};
pub use problem::Problem;
pub use redis::RedisSettings;
pub use reload::{START_ONLY, changes, keep};
pub use request_log::RequestLogSettings;
pub use resolve::{Loaded, resolve};
pub use rows::Rows;
pub use secret::{Outside, Secret, SecretFile};
pub use settings::{
    AdmissionRule, Alias, AliasTarget, AuthStyle, BreakerRule, CatalogSettings, DatabaseSettings,
    IdempotencySettings, JournalSettings, Log, ModelTimeouts, OnCancel, OnFull, ProbeRule, Provider,
    ReasoningSettings, Route, Server, Settings, Tending, Timeouts,
};
pub use telemetry::TelemetrySettings;
