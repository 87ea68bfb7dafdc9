//! `llm-gateway models`: lists the catalogue, or makes one from LiteLLM's price file.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use clap::Subcommand;

use crate::catalog::import::{Overlay, Report, import};
use crate::catalog::{Capability, Catalog, Offer};

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

/// The catalogue as text: one line per offer, then the count.
///
/// # Errors
/// One line when nothing matches.
pub fn list(catalog: &Catalog, name: Option<&str>, provider: Option<&str>) -> Result<String, String> {
    let wanted = |id: &str| name.is_none_or(|name| id.contains(&name.to_lowercase()));
    let models = catalog.models().filter(|model| wanted(&model.id));
    let offers: Vec<&Offer> = models
        .flat_map(|model| &model.offers)
        .map(|offer| &**offer)
        .filter(|offer| provider.is_none_or(|id| *offer.provider == *id))
        .collect();
    if offers.is_empty() {
        let near = name.and_then(|name| catalog.nearest(name));
        let hint = near.map(|near| format!("; did you mean `{near}`?")).unwrap_or_default();
        return Err(format!("the catalogue has no such model{hint}"));
    }
    let name_of = |offer: &Offer| format!("{}/{}", offer.provider, offer.model);
    let width = offers.iter().map(|offer| name_of(offer).len()).max().unwrap_or(0);
    let mut text = String::new();
    for offer in &offers {
        let _ = writeln!(text, "{:width$}  {}", name_of(offer), facts(offer));
    }
    let _ = writeln!(text, "{} offers; prices in USD per million tokens, input / output", offers.len());
    Ok(text)
}

/// What an offer costs and can do, in one line.
fn facts(offer: &Offer) -> String {
    let rate = |rate: Option<crate::money::Usd>| {
        rate.map_or_else(|| "?".to_owned(), |rate| rate.times(1_000_000).to_string())
    };
    let price = offer.price.as_ref().map_or_else(
        || "price unknown".to_owned(),
        |price| format!("{} / {}", rate(price.rates.input), rate(price.rates.output)),
    );
    let context = offer.context_window.map_or_else(|| "?".to_owned(), |tokens| tokens.to_string());
    let capabilities: Vec<&str> = offer.capabilities.iter().map(Capability::name).collect();
    let retires = offer.retires.as_ref().map(|day| format!("  retires {day}")).unwrap_or_default();
    let able = if capabilities.is_empty() { "text only".to_owned() } else { capabilities.join(",") };
    format!("{price:16}  {context:>8} tokens  {able}  as {}{retires}", offer.upstream)
}

/// Imports a file and writes the catalogue; gives the report as text.
///
/// # Errors
/// One line: what could not be read or written. A catalogue that is there already is left as it was.
pub fn import_file(file: &Path, out: &Path, verbose: bool) -> Result<String, String> {
    let bytes = std::fs::read(file).map_err(|error| format!("{} cannot be read: {error}", file.display()))?;
    let overlay: Overlay = serde_json::from_str(OVERLAY).map_err(|error| format!("overlay: {error}"))?;
    let (document, report) =
        import(&bytes, &overlay).map_err(|error| format!("{}: {error}", file.display()))?;
    let rendered = document.render();
    if let Err(problems) = Catalog::parse(rendered.as_bytes())
        && let Some(first) = problems.first()
    {
        let count = problems.len();
        return Err(format!(
            "{count} problems in what was read, the first: {}: {}",
            first.path, first.message
        ));
    }
    // Whole or not at all: a gateway may read the file at any moment.
    let mut draft = out.as_os_str().to_owned();
    draft.push(".new");
    let draft = PathBuf::from(draft);
    std::fs::write(&draft, &rendered)
        .and_then(|()| std::fs::rename(&draft, out))
        .map_err(|error| format!("{} cannot be written: {error}", out.display()))?;
    Ok(summary(&report, document.models.len(), &out.display().to_string(), verbose))
}

/// What was taken and what was left.
fn summary(report: &Report, models: usize, out: &str, verbose: bool) -> String {
    let mut text = format!("{} offers of {models} models written to {out}\n", report.taken);
    let left: usize = report.left.values().map(Vec::len).sum();
    let _ = writeln!(text, "{left} entries left:");
    for (reason, names) in &report.left {
        let _ = writeln!(text, "{:>7}  {reason}", names.len());
        if verbose {
            let _ = writeln!(text, "         {}", names.join(", "));
        }
    }
    if !report.rounded.is_empty() {
        let count = report.rounded.len();
        let _ = writeln!(text, "{count} prices rounded to a whole 1e-12 USD per token");
        if verbose {
            let _ = writeln!(text, "         {}", report.rounded.join(", "));
        }
    }
    for name in &report.unused {
        let _ = writeln!(text, "the correction of {name} is about no model of this file");
    }
    if !verbose {
        text.push_str("`--verbose` names them\n");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    const EXCERPT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/catalog/litellm-excerpt.json");

    #[test]
    fn an_import_writes_a_catalogue_and_says_what_it_left() {
        let folder = tempfile::tempdir().unwrap();
        let out = folder.path().join("models.json");
        let told = import_file(Path::new(EXCERPT), &out, true).unwrap();
        assert!(told.contains("written to") && told.contains("1  mode embedding"), "{told}");
        assert!(told.contains("text-embedding-3-small"), "{told}");
        let catalog = Catalog::parse(&std::fs::read(&out).unwrap()).unwrap();
        let listed = list(&catalog, Some("GPT-OSS"), Some("groq")).unwrap();
        assert!(listed.starts_with("groq/gpt-oss-120b  0.15 / 0.6"), "{listed}");
        assert_eq!(listed.lines().count(), 2);
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
    }

    #[test]
    fn a_failed_import_is_one_line_and_leaves_the_old_catalogue() {
        let folder = tempfile::tempdir().unwrap();
        let (odd, out) = (folder.path().join("odd.json"), folder.path().join("models.json"));
        std::fs::write(&odd, "{}").unwrap();
        std::fs::write(&out, "old").unwrap();
        for file in [odd.as_path(), Path::new("/nowhere/at/all.json")] {
            let error = import_file(file, &out, false).unwrap_err();
            assert!(error.lines().count() == 1 && error.contains(&*file.to_string_lossy()), "{error}");
        }
        let error =
            import_file(Path::new(EXCERPT), &folder.path().join("no/folder.json"), false).unwrap_err();
        assert!(error.lines().count() == 1 && error.contains("cannot be written"), "{error}");
        assert_eq!(std::fs::read(&out).unwrap(), b"old");
    }

    #[test]
    fn a_list_of_nothing_is_an_error_with_a_near_miss() {
        let catalog = Catalog::embedded().unwrap();
        let error = list(&catalog, Some("gpt-5-minni"), None).unwrap_err();
        assert!(error.contains("`gpt-5-mini`"), "{error}");
    }
}
