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
    let declared = header(&response, CONTENT_LENGTH).and_then(|text| text.parse().ok());
    let mut image = Image::new(declared, header(&response, CONTENT_TYPE))?;
    while let Some(piece) = response.next().await {
        let piece = piece.map_err(|_| Trouble::BrokenOff)?;
        budget.take(piece.len())?;
        image.push(&piece)?;
    }
    image.finish()
}

/// An image as it arrives.
struct Image {
    declared: Option<usize>,
    length: usize,
    mark: Vec<u8>,
    encoder: Encoder,
}

impl Image {
    fn new(declared: Option<usize>, content_type: Option<&str>) -> Result<Self, Trouble> {
        if declared.is_some_and(|length| length > IMAGE_BYTES_MAX) {
            return Err(Trouble::TooLarge);
        }
        if !content_type.is_none_or(may_be_image) {
            return Err(Trouble::NotAnImage);
        }
        let mut encoder = Encoder::default();
        encoder.reserve(declared.unwrap_or(GROWN_BYTES));
        Ok(Self { declared, length: 0, mark: Vec::with_capacity(MARK_BYTES), encoder })
    }

    fn push(&mut self, piece: &[u8]) -> Result<(), Trouble> {
        self.length += piece.len();
        if self.length > IMAGE_BYTES_MAX {
            return Err(Trouble::TooLarge);
        }
        if self.mark.len() < MARK_BYTES {
            self.mark.extend(piece.iter().take(MARK_BYTES - self.mark.len()));
            // Told as soon as can be: what is no image is not read to its end.
            if self.mark.len() == MARK_BYTES && kind(&self.mark).is_none() {
                return Err(Trouble::NotAnImage);
            }
        }
        if !self.encoder.has_room(piece.len()) {
            self.encoder.reserve(IMAGE_BYTES_MAX);
        }
        self.encoder.push(piece);
        Ok(())
    }

    fn finish(self) -> Result<(String, String), Trouble> {
        // A body that was cut short looks like a clean end: its length must be proven.
        if self.declared.is_some_and(|declared| self.length < declared) {
            return Err(Trouble::BrokenOff);
        }
        let kind = kind(&self.mark).ok_or(Trouble::NotAnImage)?;
        Ok((kind.to_owned(), self.encoder.finish()))
    }
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

    /// What becomes of pieces of this size that begin like a picture, `length` bytes in all.
    fn taken(declared: Option<usize>, length: usize, piece: usize) -> Result<usize, Trouble> {
        let mut bytes = b"GIF89a".to_vec();
        bytes.resize(length, 0);
        let mut image = Image::new(declared, None)?;
        bytes.chunks(piece).try_for_each(|piece| image.push(piece))?;
        image.finish().map(|(_, data)| data.len())
    }

    #[test]
    fn an_image_of_the_largest_size_is_taken_whole_declared_or_not_and_nothing_larger() {
        const MAX: usize = IMAGE_BYTES_MAX;
        for (declared, length, piece, expected) in [
            (Some(MAX), MAX, 16 * 1024, Ok(MAX.div_ceil(3) * 4)),
            (None, MAX, 16 * 1024, Ok(MAX.div_ceil(3) * 4)),
            (Some(MAX + 1), 0, 1, Err(Trouble::TooLarge)),
            (None, MAX + 1, MAX, Err(Trouble::TooLarge)),
            // Whatever was declared.
            (Some(20), MAX + 1, MAX, Err(Trouble::TooLarge)),
            (Some(100), 99, 7, Err(Trouble::BrokenOff)),
            (Some(100), 100, 7, Ok(136)),
            (None, 20, 1, Ok(28)),
        ] {
            assert_eq!(taken(declared, length, piece), expected, "{declared:?} {length}");
        }
    }

    #[test]
    fn the_text_of_an_image_is_moved_once_at_most_as_it_grows() {
        let mut image = Image::new(None, None).unwrap();
        let mut rooms = vec![image.encoder.room()];
        image.push(b"GIF89a").unwrap();
        for _ in 0..80 {
            image.push(&[0; 16 * 1024]).unwrap();
            rooms.push(image.encoder.room());
        }
        rooms.dedup();
        assert_eq!(rooms.len(), 2, "{rooms:?}");
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
