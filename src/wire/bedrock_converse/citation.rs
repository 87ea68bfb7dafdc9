//! Citations: pieces of the answer and what they rest on, as annotations.

use serde_json::{Map, Value, json};

use crate::wire::translate::Answer;

/// Tells an answer one citation. `start` and `end`: the characters of the text that rest on it.
pub fn tell(citation: &Value, start: u64, end: u64, answer: &mut Answer) {
    let mut inner = Map::new();
    inner.insert("start_index".to_owned(), json!(start));
    inner.insert("end_index".to_owned(), json!(end));
    let title = citation.get("title").and_then(Value::as_str);
    let source = citation.get("source").and_then(Value::as_str);
    // `{"web": {"url": ..}}`, or a place in a document: `{"documentPage": {"documentIndex": 0, ..}}`.
    let url = ["web", "searchResultLocation"]
        .iter()
        .filter_map(|kind| citation.get("location")?.get(*kind)?.get("url")?.as_str())
        .chain(source)
        .find(|url| url.starts_with("https://") || url.starts_with("http://"));
    let name = match url {
        Some(url) => {
            inner.insert("url".to_owned(), json!(url));
            inner.insert("title".to_owned(), json!(title.unwrap_or(url)));
            "url_citation"
        }
        None => {
            if let Some(title) = title.or(source) {
                inner.insert("filename".to_owned(), json!(title));
            }
            "file_citation"
        }
    };
    let mut annotation = Map::new();
    annotation.insert("type".to_owned(), json!(name));
    annotation.insert(name.to_owned(), Value::Object(inner));
    for (ours, theirs) in [("location", "location"), ("source", "sourceContent")] {
        if let Some(value) = citation.get(theirs) {
            annotation.insert(ours.to_owned(), value.clone());
        }
    }
    answer.annotation(0, Value::Object(annotation));
}
