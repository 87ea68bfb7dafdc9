//! Reading an image: within its bounds, and believed by its first bytes alone.

use awc::ClientResponse;
use awc::http::header::{CONTENT_LENGTH, CONTENT_TYPE, HeaderName};
use futures_util::StreamExt;

use super::base64::Encoder;
use super::budget::Budget;
use super::trouble::Trouble;

/// Bytes of one image.
const IMAGE_BYTES_MAX: usize = 20 << 20;
/// First bytes that tell what kind of image it is.
const MARK_BYTES: usize = 12;
/// An image without a declared length that grows beyond this is given room for the largest at once: moving what is
/// there is work for the cell's thread, room that is not used is not.
const GROWN_BYTES: usize = 512 * 1024;

/// Media type and base64 of a response's body.
///
/// # Errors
/// Too large, not an image, broken off.
pub async fn read(mut response: ClientResponse, budget: &Budget) -> Result<(String, String), Trouble> {
    let declared: Option<usize> = header(&response, CONTENT_LENGTH).and_then(|text| text.parse().ok());
    if declared.is_some_and(|length| length > IMAGE_BYTES_MAX) {
        return Err(Trouble::TooLarge);
    }
    if !header(&response, CONTENT_TYPE).is_none_or(may_be_image) {
        return Err(Trouble::NotAnImage);
    }
    let mut encoder = Encoder::default();
    encoder.reserve(declared.unwrap_or(GROWN_BYTES));
    let mut mark = Vec::with_capacity(MARK_BYTES);
    let mut length = 0;
    while let Some(piece) = response.next().await {
        let piece = piece.map_err(|_| Trouble::BrokenOff)?;
        length += piece.len();
        if length > IMAGE_BYTES_MAX {
            return Err(Trouble::TooLarge);
        }
        budget.take(piece.len())?;
        if mark.len() < MARK_BYTES {
            mark.extend(piece.iter().take(MARK_BYTES - mark.len()));
            // Told as soon as can be: what is no image is not read to its end.
            if mark.len() == MARK_BYTES && kind(&mark).is_none() {
                return Err(Trouble::NotAnImage);
            }
        }
        if !encoder.has_room(piece.len()) {
            encoder.reserve(IMAGE_BYTES_MAX);
        }
        encoder.push(&piece);
    }
    // A body that was cut short looks like a clean end: its length must be proven.
    if declared.is_some_and(|declared| length < declared) {
        return Err(Trouble::BrokenOff);
    }
    let kind = kind(&mark).ok_or(Trouble::NotAnImage)?;
    Ok((kind.to_owned(), encoder.finish()))
}

fn header(response: &ClientResponse, name: HeaderName) -> Option<&str> {
    response.headers().get(name)?.to_str().ok()
}

/// False when a content type says that it is something else. Stores that were told nothing say `octet-stream`.
fn may_be_image(content_type: &str) -> bool {
    let kind = content_type.split(';').next().unwrap_or("").trim().to_ascii_lowercase();
    kind.starts_with("image/") || matches!(kind.as_str(), "application/octet-stream" | "binary/octet-stream")
}

/// Media type by the first bytes; `None` for what models do not take.
fn kind(mark: &[u8]) -> Option<&'static str> {
    match mark {
        [0xff, 0xd8, 0xff, ..] => Some("image/jpeg"),
        [0x89, b'P', b'N', b'G', b'\r', b'\n', 0x1a, b'\n', ..] => Some("image/png"),
        [b'G', b'I', b'F', b'8', b'7' | b'9', b'a', ..] => Some("image/gif"),
        [b'R', b'I', b'F', b'F', _, _, _, _, b'W', b'E', b'B', b'P', ..] => Some("image/webp"),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_bytes_say_what_an_image_is() {
        for (mark, expected) in [
            (&b"\xff\xd8\xff\xe0\0\x10JFIF\0\x01"[..], Some("image/jpeg")),
            (b"\x89PNG\r\n\x1a\n\0\0\0\r", Some("image/png")),
            (b"GIF89a\x01\0\x01\0\0\0", Some("image/gif")),
            (b"GIF87a\x01\0\x01\0\0\0", Some("image/gif")),
            (b"GIF88a\x01\0\x01\0\0\0", None),
            (b"RIFF\x10\0\0\0WEBP", Some("image/webp")),
            (b"RIFF\x10\0\0\0WAVE", None),
            (b"<svg xmlns=\"", None),
            (b"<html><head>", None),
            (b"\0\0\0\x1cftypavif", None),
            (b"BM\x36\0\0\0\0\0\0\0\x36\0", None),
            (b"\x89PNG", None),
            (b"", None),
        ] {
            assert_eq!(kind(mark), expected, "{mark:?}");
        }
    }

    #[test]
    fn a_content_type_can_deny_an_image_but_not_make_one() {
        for (content_type, expected) in [
            ("image/png", true),
            ("IMAGE/JPEG; q=1", true),
            ("image/svg+xml", true),
            ("binary/octet-stream", true),
            ("application/octet-stream", true),
            ("text/html; charset=utf-8", false),
            ("application/json", false),
            ("text/plain", false),
            ("", false),
        ] {
            assert_eq!(may_be_image(content_type), expected, "{content_type}");
        }
    }
}
