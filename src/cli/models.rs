//! `llm-gateway models`: lists the catalogue, or makes one from LiteLLM's price file.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use clap::Subcommand;

use crate::catalog::import::{Overlay, Report, import};
use crate::catalog::{Capability, Catalog};

/// Corrections that ship with the gateway.
const OVERLAY: &str = include_str!("../../config/models.overlay.json");

/// What to do with the catalogue.
#[derive(Clone, Debug, PartialEq, Eq, Subcommand)]
pub enum Command {
    /// List models and their providers
    List {
        /// Only models whose name holds this
        name: Option<String>,
        /// Only this provider's
        #[arg(long)]
        provider: Option<String>,
    },
    /// Make a catalogue from LiteLLM's model_prices_and_context_window.json
    Import {
        /// LiteLLM's file
        file: PathBuf,
        /// Where the catalogue goes
        #[arg(long, default_value = "config/models.json")]
        out: PathBuf,
        /// Name every entry that was left
        #[arg(long, short)]
        verbose: bool,
    },
}

/// The catalogue as text: one line per offer.
pub fn list(catalog: &Catalog, name: Option<&str>, provider: Option<&str>) -> String {
    let mut text = String::new();
    let wanted = |id: &str| name.is_none_or(|name| id.contains(name));
    for model in catalog.models().filter(|model| wanted(&model.id)) {
        for offer in model.offers.iter().filter(|offer| provider.is_none_or(|id| *offer.provider == *id)) {
            let capabilities: Vec<&str> = offer.capabilities.iter().map(Capability::name).collect();
            let rate = |rate: Option<crate::money::Usd>| {
                rate.map_or_else(|| "?".to_owned(), |rate| rate.times(1_000_000).to_string())
            };
            let price = offer.price.as_ref().map_or_else(
                || "price unknown".to_owned(),
                |price| format!("{} / {} USD per million", rate(price.rates.input), rate(price.rates.output)),
            );
            let _ = writeln!(
                text,
                "{}/{}  {}  {price}  {}",
                offer.provider,
                model.id,
                offer.upstream,
                capabilities.join(",")
            );
        }
    }
    text
}

/// Imports a file and writes the catalogue; gives the report as text.
///
/// # Errors
/// One line: what could not be read or written.
pub fn import_file(file: &Path, out: &Path, verbose: bool) -> Result<String, String> {
    let bytes = std::fs::read(file).map_err(|error| format!("{}: {error}", file.display()))?;
    let overlay: Overlay = serde_json::from_str(OVERLAY).map_err(|error| format!("overlay: {error}"))?;
    let (document, report) = import(&bytes, &overlay)?;
    let rendered = document.render();
    Catalog::parse(rendered.as_bytes()).map_err(|problems| {
        problems
            .iter()
            .map(|problem| format!("{}: {}", problem.path, problem.message))
            .collect::<Vec<_>>()
            .join("\n")
    })?;
    std::fs::write(out, &rendered).map_err(|error| format!("{}: {error}", out.display()))?;
    let models = document.models.len();
    Ok(summary(&report, models, &out.display().to_string(), verbose))
}

/// What was taken and what was left.
fn summary(report: &Report, models: usize, out: &str, verbose: bool) -> String {
    let mut text = format!("{} offers of {models} models written to {out}\n", report.taken);
    for (reason, names) in &report.left {
        let _ = writeln!(text, "left {:>5}: {reason}", names.len());
        if verbose {
            let _ = writeln!(text, "            {}", names.join(", "));
        }
    }
    for rounded in &report.rounded {
        let _ = writeln!(text, "rounded: {rounded}");
    }
    text
}
