//! Exports: every row of a filter as CSV or JSON lines, in the columns that the JSON answer has.
//!
//! Invariants: one page of rows is in memory, whatever the export's length, and the next is read only once the client
//! took the one before. An export that fails breaks off its connection, so that a part never looks like the whole;
//! HTTP/1.0 cannot tell the two apart and gets none.

use std::sync::Arc;

use actix_web::http::Version;
use actix_web::http::header::{ACCEPT, CONTENT_DISPOSITION, HeaderMap};
use actix_web::{HttpResponse, HttpResponseBuilder};
use bytes::Bytes;
use futures_util::stream;
use serde_json::{Map, Value};

use super::super::reply::Fault;
use super::query::Params;
use super::{store_fault, views};
use crate::csv::Row;
use crate::error::Error;
use crate::rfc3339::format_ms;
use crate::store::{GroupBy, LedgerRow, PAGE_MAX, Page, RequestFilter, Store, StoreError, UsageRow};

/// How rows are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Format {
    /// `{"data": [...]}`, page by page.
    Json,
    /// A header row, then a row each.
    Csv,
    /// An object a line.
    JsonLines,
}

/// Columns of an exported ledger: the members of [`views::request`].
const LEDGER: [&str; 26] = [
    "request_id",
    "call_id",
    "attempt",
    "time",
    "key_id",
    "project",
    "requested_model",
    "provider",
    "model",
    "upstream_model",
    "status",
    "outcome",
    "error",
    "stream",
    "ttft_ms",
    "duration_ms",
    "prompt_tokens",
    "cached_tokens",
    "cache_write_tokens",
    "completion_tokens",
    "reasoning_tokens",
    "cost_usd",
    "charged_usd",
    "unpriced",
    "estimated",
    "tags",
];

/// Members that are written here from first to last: what else holds a text may hold anybody's.
const OWN: [&str; 5] = ["time", "hour", "day", "cost_usd", "charged_usd"];

impl Format {
    /// What `format` says, else what the client accepts, else JSON.
    pub(super) fn asked(params: &mut Params, headers: &HeaderMap) -> Result<Self, Error> {
        let named = params.word("format", &["json", "csv", "jsonl"])?;
        Ok(match named.as_deref() {
            Some("csv") => Self::Csv,
            Some("jsonl") => Self::JsonLines,
            Some(_) => Self::Json,
            None => Self::accepted(headers.get_all(ACCEPT).filter_map(|value| value.to_str().ok())),
        })
    }

    /// The first of the types that are accepted most. Of what is not ours nothing is said: JSON is for everyone.
    fn accepted<'a>(headers: impl Iterator<Item = &'a str>) -> Self {
        let mut best = (0, Self::Json);
        for range in headers.flat_map(|header| header.split(',')) {
            let mut parts = range.split(';').map(|part| part.trim().to_ascii_lowercase());
            let format = match parts.next().as_deref() {
                Some("text/csv") => Self::Csv,
                Some("application/jsonl" | "application/x-ndjson") => Self::JsonLines,
                Some("application/json" | "application/*" | "*/*") => Self::Json,
                _ => continue,
            };
            let weight = parts.find_map(|part| thousandths(part.strip_prefix("q=")?)).unwrap_or(1000);
            if weight > best.0 {
                best = (weight, format);
            }
        }
        best.1
    }

    fn content_type(self) -> &'static str {
        match self {
            Self::Json => "application/json",
            Self::Csv => "text/csv; charset=utf-8; header=present",
            Self::JsonLines => "application/jsonl",
        }
    }

    fn extension(self) -> &'static str {
        match self {
            Self::Json => "json",
            Self::Csv => "csv",
            Self::JsonLines => "jsonl",
        }
    }

    /// Adds the first row, where there is one.
    fn head<'a>(self, text: &mut String, columns: impl Iterator<Item = &'a str>) {
        if self == Self::Csv {
            let row = Row::after(std::mem::take(text));
            *text = columns.fold(row, Row::plain).end();
        }
    }

    /// Adds a row: the members of an object, in their order.
    fn row(self, text: &mut String, view: &Value) {
        if self == Self::Csv {
            let row = Row::after(std::mem::take(text));
            let members = view.as_object().into_iter().flatten();
            *text = members.fold(row, |row, (name, value)| cell(row, name, value)).end();
        } else {
            text.push_str(&view.to_string());
            text.push('\n');
        }
    }
}

/// Quality values of RFC 9110: up to three digits after the point.
fn thousandths(text: &str) -> Option<u32> {
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    let fraction = format!("{fraction:0<3}");
    let value = whole.parse::<u32>().ok()?.checked_mul(1000)?.checked_add(fraction.parse().ok()?)?;
    (value <= 1000).then_some(value)
}

fn cell(row: Row, name: &str, value: &Value) -> Row {
    match value {
        Value::Null => row.plain(""),
        Value::String(text) if OWN.contains(&name) => row.plain(text),
        Value::String(text) => row.text(text),
        Value::Object(members) if members.is_empty() => row.plain(""),
        // Begins with a bracket or a digit, or is a negative number: no formula.
        other => row.plain(&other.to_string()),
    }
}

/// The head of an export.
fn head(format: Format, name: &str) -> HttpResponseBuilder {
    let mut reply = HttpResponse::Ok();
    let file = format!("attachment; filename=\"{name}.{}\"", format.extension());
    reply.content_type(format.content_type()).insert_header((CONTENT_DISPOSITION, file));
    reply
}

/// Totals, as a file.
pub(super) fn usage(
    rows: &[UsageRow],
    groups: &[GroupBy],
    format: Format,
    from_ms: i64,
    to_ms: i64,
) -> HttpResponse {
    let mut text = String::new();
    let sums = views::usage(&UsageRow::default(), &[]);
    let sums = sums.as_object().into_iter().flat_map(Map::keys).map(String::as_str);
    format.head(&mut text, groups.iter().map(|group| group.as_str()).chain(sums));
    for row in rows {
        format.row(&mut text, &views::usage(row, groups));
    }
    let time = |ms: i64| format_ms(ms).replace(['-', ':'], "");
    head(format, &format!("usage-{}-{}", time(from_ms), time(to_ms))).body(text)
}

/// Every row of the ledger that the filter lets through, as a file.
pub(super) async fn requests(
    version: Version,
    store: Arc<dyn Store>,
    filter: RequestFilter,
    format: Format,
) -> Result<HttpResponse, Fault> {
    if version < Version::HTTP_11 {
        return Err(Error::invalid(
            "An export needs HTTP/1.1: over HTTP/1.0 a part could not be told from the whole.",
            "format",
        )
        .into());
    }
    // The first page comes before the head, so that a failure of it has a status.
    let first = store.requests(&filter, None, PAGE_MAX).await.map_err(store_fault)?;
    let rest = Rest { store, filter, format, next: Next::Write(first, true) };
    Ok(head(format, "requests").streaming(stream::try_unfold(rest, Rest::advance)))
}

/// An export that is under way.
struct Rest {
    store: Arc<dyn Store>,
    filter: RequestFilter,
    format: Format,
    next: Next,
}

/// What comes next.
enum Next {
    /// A page that was read; true for the first.
    Write(Page<LedgerRow>, bool),
    /// The page that begins here.
    Read(String),
    Nothing,
}

impl Rest {
    /// The text of one page, and what is left then.
    ///
    /// # Errors
    /// The store's, which breaks off the answer: its status is sent.
    async fn advance(mut self) -> Result<Option<(Bytes, Self)>, StoreError> {
        let (page, first) = match std::mem::replace(&mut self.next, Next::Nothing) {
            Next::Write(page, first) => (page, first),
            Next::Read(cursor) => {
                let page = self.store.requests(&self.filter, Some(&cursor), PAGE_MAX).await;
                let logged = page.inspect_err(|error| tracing::error!(%error, "an export was broken off"));
                (logged?, false)
            }
            Next::Nothing => return Ok(None),
        };
        let mut text = String::new();
        if first {
            self.format.head(&mut text, LEDGER.into_iter());
        }
        for row in &page.data {
            self.format.row(&mut text, &views::request(row));
        }
        if let Some(cursor) = page.next_cursor {
            self.next = Next::Read(cursor);
        }
        Ok(Some((Bytes::from(text), self)))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_type_that_is_accepted_most_is_taken() {
        for (accept, format) in [
            ("", Format::Json),
            ("*/*", Format::Json),
            ("text/html, image/png", Format::Json),
            ("text/csv", Format::Csv),
            ("Text/CSV; charset=utf-8", Format::Csv),
            ("application/json, text/csv", Format::Json),
            ("text/csv, application/json", Format::Csv),
            ("application/json;q=0.5, text/csv;q=0.9", Format::Csv),
            ("text/csv;q=0.5, */*", Format::Json),
            ("text/csv;q=0", Format::Json),
            ("text/csv;q=x", Format::Csv),
            ("application/x-ndjson", Format::JsonLines),
            ("application/jsonl, */*;q=0.1", Format::JsonLines),
        ] {
            assert_eq!(Format::accepted([accept].into_iter()), format, "{accept}");
        }
    }

    #[test]
    fn the_columns_are_the_members_of_the_json_answer() {
        let row = LedgerRow {
            call_id: ulid::Ulid::nil(),
            attempt: 1,
            request_id: "=cmd".to_owned(),
            time_ms: 0,
            key_id: "key_a".to_owned(),
            project: None,
            requested_model: "+a,\"b\"".to_owned(),
            provider: "up".to_owned(),
            model: "m".to_owned(),
            upstream_model: "m".to_owned(),
            status: 0,
            outcome: "completed".to_owned(),
            error: None,
            stream: true,
            ttft_ms: None,
            duration_ms: 7,
            tokens: None,
            estimated: false,
            cost: None,
            charged: Some(crate::money::Usd::from_units(-5)),
            tags: vec![("team".to_owned(), "=x".to_owned())],
        };
        let view = views::request(&row);
        let members: Vec<&str> = view.as_object().unwrap().keys().map(String::as_str).collect();
        assert_eq!(members, LEDGER);
        let mut text = String::new();
        Format::Csv.row(&mut text, &view);
        assert_eq!(
            text,
            "'=cmd,00000000000000000000000000,1,1970-01-01T00:00:00.000Z,key_a,,\"'+a,\"\"b\"\"\",up,m,m,,completed,,\
             true,,7,,,,,,,-0.000000000005,true,false,\"{\"\"team\"\":\"\"=x\"\"}\"\r\n"
        );
        let mut lines = String::new();
        Format::JsonLines.row(&mut lines, &json!({"a": 1}));
        assert_eq!(lines, "{\"a\":1}\n");
    }
}
