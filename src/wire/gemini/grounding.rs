//! Sources of an answer, as `url_citation` annotations.
//!
//! Google counts places in bytes of the text, OpenAI in characters. Places are known once the text is, so
//! citations go out at the end.

use serde::Deserialize;
use serde_json::{Value, json};

use crate::chat::conversation::Str;

/// Citations of one candidate at most.
const CITATIONS_MAX: usize = 1024;

/// What a search found and where the text rests on it.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Metadata<'a> {
    #[serde(borrow)]
    grounding_chunks: Option<Vec<Chunk<'a>>>,
    grounding_supports: Option<Vec<Support>>,
    #[serde(borrow)]
    web_search_queries: Option<Vec<Str<'a>>>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Chunk<'a> {
    #[serde(borrow)]
    web: Option<Source<'a>>,
    #[serde(borrow)]
    retrieved_context: Option<Source<'a>>,
    #[serde(borrow)]
    maps: Option<Source<'a>>,
}

#[derive(Debug, Deserialize)]
struct Source<'a> {
    #[serde(borrow)]
    uri: Option<Str<'a>>,
    #[serde(borrow)]
    title: Option<Str<'a>>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Support {
    segment: Option<Place>,
    grounding_chunk_indices: Option<Vec<usize>>,
}

#[derive(Clone, Copy, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Place {
    start_index: Option<usize>,
    end_index: Option<usize>,
}

/// Where words were taken over from.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Recited<'a> {
    #[serde(borrow, alias = "citations")]
    citation_sources: Option<Vec<Origin<'a>>>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Origin<'a> {
    start_index: Option<usize>,
    end_index: Option<usize>,
    #[serde(borrow)]
    uri: Option<Str<'a>>,
    #[serde(borrow)]
    title: Option<Str<'a>>,
}

/// One citation; its place is in bytes, `None`: of the answer as a whole.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Citation {
    url: String,
    title: String,
    place: Option<(usize, usize)>,
}

impl Citation {
    /// As an annotation. `text`: what of the answer's text is known; `chars`: its length.
    pub fn annotation(&self, text: &str, chars: u64) -> Value {
        let (start, end) = match self.place {
            Some((start, end)) => (chars_before(text, start), chars_before(text, end)),
            None => (chars, chars),
        };
        json!({"type": "url_citation", "url_citation": {
            "url": self.url, "title": self.title, "start_index": start.min(chars), "end_index": end.min(chars),
        }})
    }
}

/// Characters before a byte of a text; beyond what is known of it, as if every byte were one.
fn chars_before(text: &str, byte: usize) -> u64 {
    let inside = text.char_indices().take_while(|(at, _)| *at < byte).count();
    (inside + byte.saturating_sub(text.len())) as u64
}

impl Metadata<'_> {
    /// How often Google searched.
    pub fn searches(&self) -> u64 {
        self.web_search_queries.as_ref().map_or(0, Vec::len) as u64
    }

    /// Every source at every place that rests on it; without places each source once.
    pub fn citations(&self) -> Vec<Citation> {
        let chunks = self.grounding_chunks.as_deref().unwrap_or_default();
        let of = |chunk: &Chunk<'_>, place| {
            let source = chunk.web.as_ref().or(chunk.retrieved_context.as_ref()).or(chunk.maps.as_ref())?;
            citation(source.uri.as_ref(), source.title.as_ref(), place)
        };
        let supports = self.grounding_supports.as_deref().unwrap_or_default();
        if supports.is_empty() {
            return chunks.iter().filter_map(|chunk| of(chunk, None)).take(CITATIONS_MAX).collect();
        }
        let mut citations = Vec::new();
        for support in supports {
            let Place { start_index, end_index } = support.segment.unwrap_or_default();
            let place = end_index.map(|end| (start_index.unwrap_or(0), end));
            let indices = support.grounding_chunk_indices.as_deref().unwrap_or_default();
            let sources = indices.iter().filter_map(|index| chunks.get(*index));
            citations.extend(sources.filter_map(|chunk| of(chunk, place)));
            citations.truncate(CITATIONS_MAX);
        }
        citations
    }
}

impl Recited<'_> {
    /// Every origin that has an address, added to those already known.
    pub fn add_to(&self, citations: &mut Vec<Citation>) {
        for origin in self.citation_sources.iter().flatten() {
            let place = origin.end_index.map(|end| (origin.start_index.unwrap_or(0), end));
            let Some(one) = citation(origin.uri.as_ref(), origin.title.as_ref(), place) else { continue };
            if citations.len() < CITATIONS_MAX && !citations.contains(&one) {
                citations.push(one);
            }
        }
    }
}

fn citation(
    uri: Option<&Str<'_>>,
    title: Option<&Str<'_>>,
    place: Option<(usize, usize)>,
) -> Option<Citation> {
    let url = uri.filter(|uri| !uri.is_empty())?.to_string();
    Some(Citation { url, title: title.map(Str::to_string).unwrap_or_default(), place })
}
