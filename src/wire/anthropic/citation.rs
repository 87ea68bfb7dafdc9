//! Citations and what searches found, as annotations.

use serde::Deserialize;
use serde_json::value::RawValue;
use serde_json::{Value, json};

/// Sources kept of one answer at most.
const SOURCES_MAX: usize = 100;

/// A page that a search found.
#[derive(Debug, Deserialize)]
pub struct Source {
    url: String,
    #[serde(default)]
    title: Option<String>,
}

/// Adds what a search found, or the page that was fetched; what failed found nothing.
pub fn found(content: Option<&RawValue>, sources: &mut Vec<Source>) {
    let Some(content) = content else { return };
    let pages = serde_json::from_str::<Vec<&RawValue>>(content.get()).unwrap_or_else(|_| vec![content]);
    for page in pages {
        let Ok(page) = serde_json::from_str::<Source>(page.get()) else { continue };
        if sources.len() < SOURCES_MAX && !sources.iter().any(|known| known.url == page.url) {
            sources.push(page);
        }
    }
}

impl Source {
    /// A source of all that was said up to a character.
    pub fn annotation(self, at: u64) -> Value {
        url_citation(&self.url, self.title.as_deref(), at, at)
    }
}

/// A citation as an annotation of the text from one character to another.
pub fn annotation(citation: &Value, from: u64, until: u64) -> Value {
    let text = |name: &str| citation.get(name).and_then(Value::as_str);
    // A result that the client itself gave has its address, if any, as its source.
    let source = text("source").filter(|source| source.starts_with("http"));
    match text("url").or(source) {
        Some(url) => url_citation(url, text("title"), from, until),
        None => json!({
            "type": "document_citation", "document_citation": citation, "start_index": from, "end_index": until,
        }),
    }
}

fn url_citation(url: &str, title: Option<&str>, from: u64, until: u64) -> Value {
    json!({"type": "url_citation", "url_citation": {
        "url": url, "title": title.unwrap_or_default(), "start_index": from, "end_index": until,
    }})
}
