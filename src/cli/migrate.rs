//! `llm-gateway migrate`: brings the schema of the store up to date and says what it was.

use crate::config::Settings;
use crate::store::{self, Migrated};

/// Runs the command and gives back what to print.
///
/// # Errors
/// When the store cannot be reached or used; one line that says what to do.
pub async fn run(settings: Settings) -> Result<String, String> {
    let Migrated { from, to } = store::migrate(&settings).await.map_err(|error| error.to_string())?;
    Ok(match from {
        _ if from == to => format!("The schema is version {to} already.\n"),
        0 => format!("The schema was made: version {to}.\n"),
        _ => format!("The schema went from version {from} to {to}.\n"),
    })
}
