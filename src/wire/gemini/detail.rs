//! Thought signatures on their way to a client and back.
//!
//! A signature sits on one part of a turn and is believed only there. As a detail it says which part that was: by
//! the id of the tool call beside it, by the text that it covers, or by standing alone.

use crate::chat::conversation::Detail;

/// The scheme of what is minted here.
pub const FORMAT: &str = "google-gemini-v1";
/// Before the number of an image, as the id of a detail that belongs to it.
const IMAGE: &str = "image_";

fn minted(kind: &'static str) -> Detail<'static> {
    Detail { kind: kind.into(), format: Some(FORMAT.into()), ..Detail::default() }
}

fn signed(signature: &str) -> Detail<'static> {
    Detail { data: Some(signature.to_owned().into()), ..minted(Detail::ENCRYPTED) }
}

/// Beside a call.
pub fn of_call(signature: &str, call_id: &str) -> Detail<'static> {
    Detail { id: Some(call_id.to_owned().into()), ..signed(signature) }
}

/// On a piece of text of so many characters; on a part of its own when there are none.
pub fn of_text(signature: &str, chars: u64) -> Detail<'static> {
    Detail { covers: Some(chars).filter(|chars| *chars > 0), ..signed(signature) }
}

/// On a thought, which has to go back with it.
pub fn of_thought(signature: &str, thought: &str) -> Detail<'static> {
    Detail {
        text: Some(thought.to_owned().into()),
        signature: Some(signature.to_owned().into()),
        ..minted(Detail::TEXT)
    }
}

/// On the image of this number.
pub fn of_image(signature: &str, number: usize) -> Detail<'static> {
    Detail { id: Some(format!("{IMAGE}{number}").into()), ..signed(signature) }
}

/// A part that only Google understands and that goes back as it is.
pub fn of_part(signature: Option<&str>, part: String) -> Detail<'static> {
    Detail {
        data: signature.map(|signature| signature.to_owned().into()),
        text: Some(part.into()),
        ..minted(Detail::ENCRYPTED)
    }
}

/// The number of the image that a detail belongs to.
pub fn image_number(detail: &Detail<'_>) -> Option<usize> {
    detail.id.as_deref()?.strip_prefix(IMAGE)?.parse().ok()
}
