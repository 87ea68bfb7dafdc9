//! Images, documents and sounds: always inline, by the vendor's own names for their formats.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use super::Given;
use crate::chat::conversation::{File, Image, Part};
use crate::error::Error;
use crate::wire::encode::unsupported;

/// Characters of a document's name at most; the vendor takes 200, some are left for a number.
const NAME_CHARS_MAX: usize = 180;

/// An image, or a sound.
#[derive(Serialize)]
pub struct Medium<'a> {
    format: &'a str,
    source: Source<'a>,
}

/// A document.
#[derive(Serialize)]
pub struct Document<'a> {
    format: &'a str,
    name: String,
    source: Source<'a>,
    #[serde(skip_serializing_if = "Option::is_none")]
    context: Option<&'a RawValue>,
    #[serde(skip_serializing_if = "Option::is_none")]
    citations: Option<&'a RawValue>,
}

#[derive(Serialize)]
struct Source<'a> {
    bytes: &'a str,
}

/// Names of documents that were given; no two may be the same.
#[derive(Default)]
pub struct Names(BTreeSet<String>);

/// An image that is inline, or was fetched.
pub fn image<'a>(path: &str, image: &'a Image<'a>, given: Given<'a>) -> Result<Medium<'a>, Error> {
    let refuse = |advice| unsupported(&format!("{path}.image_url"), given.0.model, advice);
    let fetched = || given.0.media.get(&image.url);
    let (mime, bytes) = image
        .data_url()
        .or_else(fetched)
        .ok_or_else(|| refuse("send the image inline, as a data URL in base64"))?;
    let format = match mime.to_ascii_lowercase().as_str() {
        "image/png" => "png",
        "image/jpeg" | "image/jpg" => "jpeg",
        "image/gif" => "gif",
        "image/webp" => "webp",
        _ => return Err(refuse("send the image as PNG, JPEG, GIF or WebP")),
    };
    Ok(Medium { format, source: Source { bytes } })
}

/// A sound; its format is named as OpenAI names it.
pub fn audio<'a>(format: &'a str, bytes: &'a str) -> Medium<'a> {
    Medium { format, source: Source { bytes } }
}

/// A document that is inline.
pub fn document<'a>(
    path: &str,
    part: &'a Part<'a>,
    file: &'a File<'a>,
    given: Given<'a>,
    names: &mut Names,
) -> Result<Document<'a>, Error> {
    let refuse = |advice| unsupported(&format!("{path}.file"), given.0.model, advice);
    let (mime, bytes) = file
        .inline()
        .ok_or_else(|| refuse("send the document inline, in `file_data`, as a data URL in base64"))?;
    let filename = file.filename.as_deref().unwrap_or("");
    let (stem, extension) = filename.rsplit_once('.').unwrap_or((filename, ""));
    let format = format(mime)
        .or_else(|| format_of_extension(extension))
        .ok_or_else(|| refuse("send the document as PDF, CSV, Word, Excel, HTML, Markdown or plain text"))?;
    let own = own(part);
    Ok(Document {
        format,
        name: names.take(stem),
        source: Source { bytes },
        context: own.context,
        citations: own.citations,
    })
}

/// The vendor's own members of a document, where the client put them beside OpenAI's.
#[derive(Default, Deserialize)]
struct Own<'a> {
    #[serde(borrow)]
    context: Option<&'a RawValue>,
    #[serde(borrow)]
    citations: Option<&'a RawValue>,
}

fn own<'a>(part: &'a Part<'a>) -> Own<'a> {
    part.raw.and_then(|raw| serde_json::from_str(raw.get()).ok()).unwrap_or_default()
}

fn format(mime: &str) -> Option<&'static str> {
    Some(match mime.to_ascii_lowercase().as_str() {
        "application/pdf" => "pdf",
        "text/csv" => "csv",
        "application/msword" => "doc",
        "application/vnd.openxmlformats-officedocument.wordprocessingml.document" => "docx",
        "application/vnd.ms-excel" => "xls",
        "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet" => "xlsx",
        "text/html" => "html",
        "text/markdown" => "md",
        "text/plain" => "txt",
        _ => return None,
    })
}

fn format_of_extension(extension: &str) -> Option<&'static str> {
    const FORMATS: [&str; 9] = ["pdf", "csv", "doc", "docx", "xls", "xlsx", "html", "txt", "md"];
    FORMATS.into_iter().find(|format| extension.eq_ignore_ascii_case(format))
}

impl Names {
    /// A name of the allowed alphabet that no other document of the request has. The same documents in the same order
    /// get the same names, so that a prefix stays what it was.
    fn take(&mut self, wanted: &str) -> String {
        let mut name = String::new();
        for c in wanted.chars().take(NAME_CHARS_MAX) {
            let c = match c {
                c if c.is_ascii_alphanumeric() || "()[]".contains(c) => c,
                c if c.is_whitespace() => ' ',
                _ => '-',
            };
            // Runs of white space are refused, and runs of dashes say nothing.
            if !(matches!(c, ' ' | '-') && name.ends_with(c)) {
                name.push(c);
            }
        }
        let name = name.trim_matches([' ', '-']);
        let name = if name.is_empty() { "document" } else { name };
        let numbered = (2_u32..).map(|number| format!("{name}-{number}"));
        let free = std::iter::once(name.to_owned()).chain(numbered).find(|name| !self.0.contains(name));
        let free = free.unwrap_or_default();
        self.0.insert(free.clone());
        free
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_of_the_alphabet_and_unique() {
        let mut names = Names::default();
        for (wanted, expected) in [
            ("report", "report"),
            ("report", "report-2"),
            ("report-2", "report-2-2"),
            ("a_b  c..d", "a-b c-d"),
            ("Bericht für Müller (1) [x]", "Bericht f-r M-ller (1) [x]"),
            ("", "document"),
            ("日本", "document-2"),
            ("report", "report-3"),
        ] {
            assert_eq!(names.take(wanted), expected, "{wanted}");
        }
        assert!(names.take(&"x".repeat(1_000)).len() <= NAME_CHARS_MAX);
    }
}
