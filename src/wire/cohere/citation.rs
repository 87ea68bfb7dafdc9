//! Citations: pieces of the answer and the documents or tool results that they rest on, as annotations.

use serde_json::{Map, Value, json};

use crate::wire::translate::Answer;
use crate::wire::usage::count;

/// Text blocks of one answer whose place is kept. Real answers have one.
const BLOCKS_MAX: usize = 256;

/// Where each text block begins in the text of the whole answer, in characters: citations count from their block.
#[derive(Debug, Default)]
pub struct Blocks(Vec<(u64, u64)>);

impl Blocks {
    /// A text block begins after what was told so far.
    pub fn begin(&mut self, index: u64, answer: &Answer) {
        if self.0.len() < BLOCKS_MAX && self.0.iter().all(|(known, _)| *known != index) {
            self.0.push((index, answer.text_chars(0)));
        }
    }

    fn start(&self, index: Option<u64>) -> u64 {
        let found = self.0.iter().find(|(known, _)| Some(*known) == index);
        found.map_or(0, |(_, chars)| *chars)
    }
}

/// Tells an answer one citation, or a list of them: one annotation per source.
pub fn tell(citations: &Value, blocks: &Blocks, answer: &mut Answer) {
    match citations {
        Value::Array(list) => list.iter().for_each(|one| tell_one(one, blocks, answer)),
        Value::Object(_) => tell_one(citations, blocks, answer),
        _ => {}
    }
}

fn tell_one(citation: &Value, blocks: &Blocks, answer: &mut Answer) {
    let none = [Value::Null];
    let sources = match citation.get("sources").and_then(Value::as_array) {
        Some(sources) if !sources.is_empty() => sources.as_slice(),
        _ => &none,
    };
    for source in sources {
        answer.annotation(0, annotation(citation, source, blocks));
    }
}

/// One annotation: `url_citation` in OpenAI's shape where the source has an address, else `file_citation`. The
/// source itself stays beside it.
fn annotation(citation: &Value, source: &Value, blocks: &Blocks) -> Value {
    let mut inner = Map::new();
    let kind = citation.get("type").and_then(Value::as_str).unwrap_or("TEXT_CONTENT");
    let start = blocks.start(count(citation.get("content_index")));
    let in_text = kind == "TEXT_CONTENT";
    for (ours, theirs) in [("start_index", "start"), ("end_index", "end")] {
        if let Some(place) = count(citation.get(theirs)).filter(|_| in_text) {
            inner.insert(ours.to_owned(), json!(start.saturating_add(place)));
        }
    }
    let told = |name: &str| {
        let held = ["document", "tool_output"].iter().filter_map(|holder| source.get(*holder));
        held.filter_map(|document| document.get(name)).find_map(Value::as_str)
    };
    let url = told("url").filter(|url| url.starts_with("https://") || url.starts_with("http://"));
    let name = match url {
        Some(url) => {
            inner.insert("url".to_owned(), json!(url));
            inner.insert("title".to_owned(), json!(told("title").unwrap_or(url)));
            "url_citation"
        }
        None => {
            if let Some(id) = source.get("id").and_then(Value::as_str) {
                inner.insert("file_id".to_owned(), json!(id));
            }
            if let Some(title) = told("title") {
                inner.insert("filename".to_owned(), json!(title));
            }
            "file_citation"
        }
    };
    let mut annotation = Map::new();
    annotation.insert("type".to_owned(), json!(name));
    annotation.insert(name.to_owned(), Value::Object(inner));
    if let Some(text) = citation.get("text") {
        annotation.insert("text".to_owned(), text.clone());
    }
    if !in_text {
        // Of the plan or of thinking: its places are none of the text's.
        let place = |name: &str| citation.get(name).cloned().unwrap_or_default();
        let within = json!({"type": kind, "start": place("start"), "end": place("end")});
        annotation.insert("within".to_owned(), within);
    }
    if !source.is_null() {
        annotation.insert("source".to_owned(), source.clone());
    }
    Value::Object(annotation)
}
