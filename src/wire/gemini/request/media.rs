//! Images, sounds, documents and films.

use serde::Deserialize;

use super::part::Part;
use crate::chat::conversation::{Body, File, Image, Part as Given, data_url};
use crate::error::Error;
use crate::wire::encode::{Job, unsupported};

/// How addresses begin that Google itself can read: a bucket, an uploaded file, a film.
pub const READABLE: [&str; 5] = [
    "gs://",
    "https://generativelanguage.googleapis.com/",
    "https://www.youtube.com/",
    "https://youtube.com/",
    "https://youtu.be/",
];
/// Kinds of files by the end of their name.
const KINDS: [(&str, &str); 20] = [
    ("png", "image/png"),
    ("jpg", "image/jpeg"),
    ("jpeg", "image/jpeg"),
    ("webp", "image/webp"),
    ("gif", "image/gif"),
    ("heic", "image/heic"),
    ("pdf", "application/pdf"),
    ("txt", "text/plain"),
    ("md", "text/markdown"),
    ("html", "text/html"),
    ("csv", "text/csv"),
    ("json", "application/json"),
    ("mp4", "video/mp4"),
    ("mov", "video/quicktime"),
    ("webm", "video/webm"),
    ("mpeg", "video/mpeg"),
    ("mp3", "audio/mp3"),
    ("wav", "audio/wav"),
    ("flac", "audio/flac"),
    ("ogg", "audio/ogg"),
];

/// A part of a message.
///
/// # Errors
/// 400 for what cannot be sent.
pub fn part<'a>(path: &str, given: &'a Given<'a>, job: &Job<'a>) -> Result<Part<'a>, Error> {
    match &given.body {
        Body::Text(text) | Body::Refusal(text) => Ok(Part::text(text.as_ref())),
        Body::Image(image) => picture(&format!("{path}.image_url"), image, job),
        Body::Audio { data, format } => Ok(Part::inline(sound(format), data)),
        Body::File(file) => document(&format!("{path}.file"), file, job),
        Body::Other { kind } => other(path, kind, given, job),
    }
}

/// An image.
///
/// # Errors
/// 400 when it is neither inline nor somewhere Google can read.
pub fn picture<'a>(path: &str, image: &'a Image<'a>, job: &Job<'a>) -> Result<Part<'a>, Error> {
    let fetched = || job.media.get(&image.url);
    if let Some((mime, data)) = image.data_url().or_else(fetched) {
        return Ok(Part::inline(mime, data));
    }
    stored(&image.url, None).ok_or_else(|| unreadable(path, job))
}

fn sound(format: &str) -> &'static str {
    match format {
        "mp3" => "audio/mp3",
        "flac" => "audio/flac",
        "aac" => "audio/aac",
        "ogg" => "audio/ogg",
        "opus" => "audio/opus",
        "aiff" => "audio/aiff",
        "m4a" => "audio/m4a",
        "webm" => "audio/webm",
        "pcm" | "pcm16" => "audio/pcm",
        _ => "audio/wav",
    }
}

fn document<'a>(path: &str, file: &'a File<'a>, job: &Job<'a>) -> Result<Part<'a>, Error> {
    let address = |text: &&str| text.contains("://");
    let data = file.file_data.as_deref();
    if let Some(uri) = data.filter(address).or(file.file_id.as_deref()) {
        let named = file.filename.as_deref();
        return stored(uri, named)
            .or_else(|| (!address(&uri)).then(|| Part::stored(named.and_then(kind), uri)))
            .ok_or_else(|| unreadable(path, job));
    }
    let (mime, data) = file.inline().ok_or_else(|| unreadable(path, job))?;
    Ok(Part::inline(mime, data))
}

/// Parts that OpenAI does not have: a film, inline or by address.
fn other<'a>(path: &str, kind: &str, given: &'a Given<'a>, job: &Job<'a>) -> Result<Part<'a>, Error> {
    #[derive(Deserialize)]
    struct Film<'a> {
        #[serde(borrow)]
        video_url: Image<'a>,
    }
    if kind == "video_url"
        && let Some(Film { video_url }) = given.raw.and_then(|raw| serde_json::from_str(raw.get()).ok())
        // An address with escapes in it is nobody's.
        && let std::borrow::Cow::Borrowed(url) = video_url.url.0
    {
        let inline = data_url(url).map(|(mime, data)| Part::inline(mime, data));
        return inline
            .or_else(|| stored(url, None))
            .ok_or_else(|| unreadable(&format!("{path}.video_url"), job));
    }
    let message = format!("leave out the part of type `{kind}`");
    Err(unsupported(path, job.model, &message))
}

/// A file at an address that Google can read.
fn stored<'a>(uri: &'a str, filename: Option<&str>) -> Option<Part<'a>> {
    let readable = READABLE.iter().any(|start| uri.starts_with(start));
    readable.then(|| Part::stored(filename.and_then(kind).or_else(|| kind(uri)), uri))
}

/// The kind of a file by the end of its name.
fn kind(name: &str) -> Option<&'static str> {
    let path = name.split(['?', '#']).next()?;
    let (_, ending) = path.rsplit_once('.')?;
    KINDS.iter().find(|(known, _)| ending.eq_ignore_ascii_case(known)).map(|(_, kind)| *kind)
}

fn unreadable(path: &str, job: &Job<'_>) -> Error {
    let advice = "send it inline as a base64 data URL, or by a gs:// or Files API address";
    unsupported(path, job.model, advice)
}
