//! Where the bytes of images and documents are.

use std::borrow::Cow;

use super::block::Source;
use crate::chat::conversation;
use crate::chat::conversation::Image;
use crate::error::Error;
use crate::wire::encode::{Media, Notes};

/// A file, by what it holds.
pub enum File<'a> {
    Document(Source<'a>),
    Image(Source<'a>),
}

fn has_scheme(url: &str, scheme: &str) -> bool {
    url.get(..scheme.len()).is_some_and(|start| start.eq_ignore_ascii_case(scheme))
}

/// An image: inline, fetched, or by its address.
pub fn image<'a>(
    image: &'a Image<'a>,
    media: &'a Media,
    path: &std::fmt::Arguments<'_>,
    notes: &mut Notes,
) -> Result<Source<'a>, Error> {
    if image.detail.as_deref().is_some_and(|detail| detail != "auto") {
        notes.drop_param("image_url.detail");
    }
    if let Some((mime, data)) = image.data_url().or_else(|| media.get(&image.url)) {
        return Ok(Source::Base64 { media_type: image_type(mime), data });
    }
    if has_scheme(&image.url, "data:") {
        let param = format!("{path}.image_url");
        return Err(Error::invalid(format!("`{param}.url` must be a data URL in base64."), param));
    }
    Ok(Source::Url { url: &image.url })
}

/// The one name that the API has for a type.
fn image_type(mime: &str) -> &str {
    if mime.eq_ignore_ascii_case("image/jpg") { "image/jpeg" } else { mime }
}

/// A file that the API takes: PDF, text, an image, an address, or one uploaded before.
pub fn file<'a>(file: &'a conversation::File<'a>) -> Option<File<'a>> {
    if let Some(url) = file.file_data.as_deref().filter(|data| has_scheme(data, "https://")) {
        return Some(File::Document(Source::Url { url }));
    }
    match (file.inline(), file.file_id.as_deref()) {
        (Some((media_type @ "application/pdf", data)), _) => {
            Some(File::Document(Source::Base64 { media_type, data }))
        }
        (Some((mime, data)), _) if mime.starts_with("image/") => {
            Some(File::Image(Source::Base64 { media_type: image_type(mime), data }))
        }
        (Some((mime, data)), _) if is_text(mime) => {
            let text = String::from_utf8(crate::wire::base64::decode(data)?).ok()?;
            Some(File::Document(Source::Text { media_type: "text/plain", data: Cow::Owned(text) }))
        }
        (Some(_), _) => None,
        (None, Some(file_id)) => Some(File::Document(Source::File { file_id })),
        (None, None) => None,
    }
}

fn is_text(mime: &str) -> bool {
    mime.starts_with("text/")
        || matches!(mime, "application/json" | "application/xml" | "application/yaml" | "application/x-yaml")
}
