//! AWS event streams (`application/vnd.amazon.eventstream`), read from any split of the bytes.
//!
//! A frame has headers, a payload and two checksums; the headers say whether it is an event or a failure. Invariants:
//! the same events come out whatever the split; at most [`EVENT_BYTES_MAX`] bytes are held; nothing of a frame whose
//! checksum is wrong is believed.

use aws_smithy_eventstream::frame::read_message_from;
use aws_smithy_types::base64;
use aws_smithy_types::event_stream::Message;
use aws_smithy_types::str_bytes::StrBytes;
use bytes::{Buf, Bytes, BytesMut};
use serde::Deserialize;

use super::sse::EVENT_BYTES_MAX;
use super::{DecodeError, Fault};
use crate::chat::conversation::Str;

/// The content type of such streams.
pub const CONTENT_TYPE: &str = "application/vnd.amazon.eventstream";

/// Lengths of the frame and of its headers, and their checksum.
const PRELUDE_BYTES: usize = 12;
/// The least a frame can be: its prelude and the checksum at its end.
const FRAME_BYTES_MIN: usize = PRELUDE_BYTES + 4;
/// The event that wraps another API's events, as base64.
const WRAPPER: &str = "chunk";

/// One event.
#[derive(Debug)]
pub struct Event {
    name: Option<StrBytes>,
    data: Bytes,
}

impl Event {
    /// Its name; empty for an event of another API that was wrapped in a frame: that has its name in its data.
    pub fn name(&self) -> &str {
        self.name.as_ref().map_or("", StrBytes::as_str)
    }

    /// Its data, JSON.
    pub fn data(&self) -> &[u8] {
        &self.data
    }
}

/// Reads events from bytes as they come.
#[derive(Debug, Default)]
pub struct Reader {
    buffer: BytesMut,
}

impl Reader {
    /// Takes more bytes.
    ///
    /// # Errors
    /// More than one frame may hold is waiting.
    pub fn push(&mut self, bytes: &[u8]) -> Result<(), DecodeError> {
        if self.buffer.len() + bytes.len() > EVENT_BYTES_MAX {
            return Err(too_large());
        }
        self.buffer.extend_from_slice(bytes);
        Ok(())
    }

    /// True when nothing of a frame is waiting for its rest.
    pub fn is_empty(&self) -> bool {
        self.buffer.is_empty()
    }

    /// The next whole event, if there is one.
    ///
    /// # Errors
    /// The bytes are no frames, or the upstream says that it failed.
    pub fn next_event(&mut self) -> Result<Option<Event>, DecodeError> {
        let Some(length) = self.frame_length()?.filter(|length| *length <= self.buffer.len()) else {
            return Ok(None);
        };
        let frame = self.buffer.split_to(length).freeze();
        let message = read_message_from(frame).map_err(|_| broken())?;
        event(&message).map(Some)
    }

    /// Length of the frame that is being read, as soon as its prelude is there.
    fn frame_length(&self) -> Result<Option<usize>, DecodeError> {
        let Some(mut prelude) = self.buffer.get(..PRELUDE_BYTES) else { return Ok(None) };
        // Checked before the whole frame is there: what is no frame at all shall not be waited for.
        let lengths = prelude.get(..8).unwrap_or_default();
        let computed = crc32fast::hash(lengths);
        let length = usize::try_from(prelude.get_u32()).unwrap_or(usize::MAX);
        prelude.advance(4);
        if computed != prelude.get_u32() || length < FRAME_BYTES_MIN {
            return Err(broken());
        }
        if length > EVENT_BYTES_MAX {
            return Err(too_large());
        }
        Ok(Some(length))
    }
}

/// What a frame says.
fn event(message: &Message) -> Result<Event, DecodeError> {
    let header = |name: &str| {
        let found = message.headers().iter().find(|header| header.name().as_str() == name)?;
        found.value().as_string().ok()
    };
    let text = |name: &str| header(name).map_or("", StrBytes::as_str);
    match text(":message-type") {
        "exception" => Err(DecodeError::Fault(failure(text(":exception-type"), message.payload()))),
        "error" => {
            let code = text(":error-code");
            let fault = failure(code, message.payload());
            let message = Some(text(":error-message")).filter(|told| !told.is_empty());
            Err(DecodeError::Fault(Fault { message: message.map_or(fault.message, str::to_owned), ..fault }))
        }
        _ => match header(":event-type").cloned() {
            Some(name) if name.as_str() == WRAPPER => unwrapped(name, message.payload()),
            name => Ok(Event { name, data: message.payload().clone() }),
        },
    }
}

/// The event that a wrapper holds; one without bytes is an event of its own.
fn unwrapped(name: StrBytes, payload: &Bytes) -> Result<Event, DecodeError> {
    #[derive(Deserialize)]
    struct Wrapper<'a> {
        #[serde(borrow)]
        bytes: Option<Str<'a>>,
    }
    let wrapper: Wrapper<'_> = serde_json::from_slice(payload).map_err(|_| broken())?;
    match wrapper.bytes {
        None => Ok(Event { name: Some(name), data: payload.clone() }),
        Some(bytes) => {
            let data = base64::decode(bytes.as_ref()).map_err(|_| broken())?;
            Ok(Event { name: None, data: Bytes::from(data) })
        }
    }
}

/// A failure by its name and what it says of itself.
fn failure(name: &str, payload: &[u8]) -> Fault {
    #[derive(Default, Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Said<'a> {
        #[serde(borrow, alias = "Message")]
        message: Option<Str<'a>>,
        #[serde(borrow)]
        original_message: Option<Str<'a>>,
    }
    let said: Said<'_> = serde_json::from_slice(payload).unwrap_or_default();
    let told = |text: Option<Str<'_>>| text.map(|text| text.0.into_owned()).filter(|text| !text.is_empty());
    let message = match (told(said.message), told(said.original_message)) {
        (Some(message), Some(original)) if message != original => format!("{message} ({original})"),
        (Some(message), _) | (None, Some(message)) => message,
        (None, None) => name.to_owned(),
    };
    let code = Some(name.to_owned()).filter(|name| !name.is_empty());
    Fault { status: status_of(name).unwrap_or(0), message, code, ..Fault::default() }
}

/// The HTTP status that an AWS exception stands for, by its name in any case; `None` for an unknown one.
pub fn status_of(exception: &str) -> Option<u16> {
    const STATUSES: &[(&str, u16)] = &[
        ("throttling", 429),
        ("toomanyrequests", 429),
        ("servicequotaexceeded", 429),
        ("modelnotready", 429),
        ("validation", 400),
        ("resourcenotfound", 404),
        ("accessdenied", 403),
        ("expiredtoken", 403),
        ("unrecognizedclient", 403),
        ("invalidsignature", 403),
        ("modeltimeout", 408),
        ("modelstreamerror", 424),
        ("modelerror", 424),
        ("serviceunavailable", 503),
        ("internalserver", 500),
        ("internalfailure", 500),
    ];
    let name = exception.to_ascii_lowercase();
    STATUSES.iter().find(|(start, _)| name.starts_with(start)).map(|(_, status)| *status)
}

fn broken() -> DecodeError {
    DecodeError::invalid(
        "a frame of its stream is broken: its checksum, its lengths or its content are wrong",
    )
}

fn too_large() -> DecodeError {
    DecodeError::invalid(format!("a frame of its stream is larger than {EVENT_BYTES_MAX} bytes"))
}

#[cfg(test)]
pub(crate) mod tests;
