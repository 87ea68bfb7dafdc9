//! Parts of messages and of results, in this API's words.

use std::borrow::Cow;

use serde::Serialize;
use serde_json::value::RawValue;

use crate::chat::conversation::{Body, File, Part};
use crate::error::Error;
use crate::wire::encode::unsupported;

/// What a message or a result says.
#[derive(Debug, Serialize)]
#[serde(untagged)]
pub enum Content<'a> {
    /// A text.
    Text(Cow<'a, str>),
    /// Parts.
    Parts(Vec<PartOut<'a>>),
}

/// A part.
#[derive(Debug, Serialize)]
#[serde(untagged)]
pub enum PartOut<'a> {
    /// One that is known here.
    Known(Known<'a>),
    /// One that the client wrote in this API's own words.
    AsWritten(&'a RawValue),
}

/// The API's kinds of parts.
#[derive(Debug, Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum Known<'a> {
    /// Words to the model.
    InputText {
        /// The words.
        text: &'a str,
    },
    /// An image, inline or by address.
    InputImage {
        /// Address or data URL.
        image_url: &'a str,
        /// `low`, `high`, `auto`.
        #[serde(skip_serializing_if = "Option::is_none")]
        detail: Option<&'a str>,
    },
    /// Sound.
    InputAudio {
        /// The sound.
        input_audio: Audio<'a>,
    },
    /// A document.
    InputFile {
        /// An uploaded one.
        #[serde(skip_serializing_if = "Option::is_none")]
        file_id: Option<&'a str>,
        /// One at an address.
        #[serde(skip_serializing_if = "Option::is_none")]
        file_url: Option<&'a str>,
        /// Its name, wherever it is inline.
        #[serde(skip_serializing_if = "Option::is_none")]
        filename: Option<&'a str>,
        /// One that is inline, as a data URL.
        #[serde(skip_serializing_if = "Option::is_none")]
        file_data: Option<Cow<'a, str>>,
    },
    /// The model's own words of refusal.
    Refusal {
        /// The words.
        refusal: &'a str,
    },
}

/// Sound, base64.
#[derive(Debug, Serialize)]
pub struct Audio<'a> {
    data: &'a str,
    format: &'a str,
}

/// The parts of a message or result of the client's; `path` is where they are in the request. A text alone stays a
/// text: every server that speaks this API takes that.
///
/// # Errors
/// 400 naming a part that the API has no word for.
pub fn input<'a>(parts: &'a [Part<'a>], path: &str, model: &str) -> Result<Content<'a>, Error> {
    match parts {
        [] => return Ok(Content::Text(Cow::Borrowed(""))),
        [Part { body: Body::Text(text), .. }] => return Ok(Content::Text(Cow::Borrowed(text))),
        _ => {}
    }
    let one = |(at, part): (usize, &'a Part<'a>)| known(part, &format!("{path}.content[{at}]"), model);
    parts.iter().enumerate().map(one).collect::<Result<_, _>>().map(Content::Parts)
}

fn known<'a>(part: &'a Part<'a>, path: &str, model: &str) -> Result<PartOut<'a>, Error> {
    Ok(PartOut::Known(match &part.body {
        Body::Text(text) | Body::Refusal(text) => Known::InputText { text },
        Body::Image(image) => Known::InputImage { image_url: &image.url, detail: image.detail.as_deref() },
        Body::Audio { data, format } => Known::InputAudio { input_audio: Audio { data, format } },
        Body::File(file) => document(file),
        Body::Other { kind } => match part.raw {
            Some(raw) if kind.starts_with("input_") => return Ok(PartOut::AsWritten(raw)),
            _ => return Err(unsupported(path, model, "leave it out or choose another model")),
        },
    }))
}

/// A document. One that is inline travels as a data URL and under a name: both are asked for.
fn document<'a>(file: &'a File<'a>) -> Known<'a> {
    let (mut file_url, mut filename, mut file_data) = (None, file.filename.as_deref(), None);
    match (file.file_data.as_deref(), file.inline()) {
        (Some(address), _) if address.starts_with("https://") => {
            file_url = Some(address);
            filename = None;
        }
        (Some(written), Some((mime, data))) => {
            filename = filename.or(Some(if mime == "application/pdf" { "document.pdf" } else { "document" }));
            file_data = Some(match written.get(..5) {
                Some(scheme) if scheme.eq_ignore_ascii_case("data:") => Cow::Borrowed(written),
                _ => Cow::Owned(format!("data:{mime};base64,{data}")),
            });
        }
        (Some(written), None) => file_data = Some(Cow::Borrowed(written)),
        (None, _) => {}
    }
    Known::InputFile { file_id: file.file_id.as_deref(), file_url, filename, file_data }
}
