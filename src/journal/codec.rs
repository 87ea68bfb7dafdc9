//! A receipt as bytes: the table of its fields, and the frame around them.
//!
//! A record is the payload's length (u32, little endian), a CRC-32 of that and the payload, and the payload: a version byte and the
//! fields. The check sum begins with a salt of the segment, so that bytes of a request, or of another segment, can never
//! pass for a record.
//!
//! Adding a field to a receipt: one line in the table below with a new number, or one in the list of what is not kept. A
//! number is never used again. Fields that are not there read as their type's missing value.

use crc32fast::Hasher;

use super::RECORD_MAX;
use super::fields::{Field, Fields, Raw, Record, put_nested};
use crate::chat::{Billed, Usage};
use crate::receipt::{Caller, Receipt, Unmetered};

/// The version of what is written; a change that older fields do not survive needs another.
const VERSION: u8 = 1;
/// Bytes before the payload.
pub(super) const HEADER: usize = 8;
/// What every payload begins with: the version, and the key and length of the call's id.
pub(super) const BEGINNING: [u8; 3] = [VERSION, 1 << 1 | 1, 16];

/// Numbers fields, and names those that are not written with what they read as.
macro_rules! record {
    ($type:ident { $($number:literal $field:ident $(if $when:path)?),* $(,)? } without { $($rest:ident: $value:expr),* $(,)? }) => {
        impl Record for $type {
            fn put_fields(&self, out: &mut Vec<u8>) {
                // Names every field: a new one does not compile until it has its line.
                let $type { $($field,)* $($rest: _,)* } = self;
                $(if !Field::is_missing($field) $(&& $when(self))? {
                    Field::put($field, $number, out);
                })*
            }

            fn take_fields(bytes: &[u8]) -> Option<Self> {
                $(let mut $field = None;)*
                for field in Fields(bytes) {
                    let (number, raw) = field?;
                    match number {
                        $($number => $field = Some(Field::take(raw)?),)*
                        _ => {}
                    }
                }
                Some($type { $($field: $field.unwrap_or_else(Field::missing),)* $($rest: $value,)* })
            }
        }
    };
}

/// Records that are fields of others.
macro_rules! nested {
    ($($type:ident: $missing:expr),*) => {$(
        impl Field for $type {
            fn missing() -> Self { $missing }
            fn is_missing(&self) -> bool { false }
            fn put(&self, number: u8, out: &mut Vec<u8>) {
                put_nested(number, out, |out| self.put_fields(out));
            }
            fn take(raw: Raw<'_>) -> Option<Self> {
                match raw { Raw::Bytes(bytes) => Self::take_fields(bytes), Raw::Number(_) => None }
            }
        }
    )*};
}

record!(Receipt {
    // First, always there, and what the search for a record goes by.
    1 call_id,
    2 attempt,
    3 request_id,
    4 time_ms,
    5 caller,
    6 tags,
    7 requested_model,
    8 provider,
    9 model,
    10 known_model,
    11 upstream_model,
    12 status,
    13 reached,
    14 outcome,
    15 error,
    16 stream,
    17 ttft_ms,
    18 duration_ms,
    19 usage,
    20 unmetered,
    21 estimated,
    22 cost,
    23 price if is_open,
    24 service_tier,
    25 charged,
    26 markup,
    27 tag_sets,
} without {
    place: None,
    span: None,
    held: None,
});

record!(Caller { 1 key_id, 2 project } without {});

record!(Usage {
    1 prompt,
    2 completion,
    3 total,
    4 cache_read,
    5 cache_write_5m,
    6 cache_write_1h,
    7 reasoning,
    8 audio_input,
    9 audio_output,
    10 image_input,
    11 image_output,
    12 web_searches,
    13 billed,
} without {});

record!(Billed { 1 prompt, 2 completion } without {});

record!(Unmetered { 1 request, 2 request_len, 3 delivered, 4 delivered_len, 5 told } without {});

nested!(
    Caller: Caller { key_id: Field::missing(), project: None },
    Usage: Usage::default(),
    Billed: Billed::default(),
    Unmetered: Unmetered::default()
);

/// The price is of use only while there is a cost to compute.
fn is_open(receipt: &Receipt) -> bool {
    receipt.cost.is_none()
}

/// Writes a receipt into `out`, with room for the header; false when it is too large for a record.
pub(super) fn encode(receipt: &Receipt, out: &mut Vec<u8>) -> bool {
    out.clear();
    out.extend_from_slice(&[0; HEADER]);
    out.push(VERSION);
    receipt.put_fields(out);
    out.len() <= RECORD_MAX
}

/// Fills in the header of what [`encode`] wrote.
pub(super) fn seal(record: &mut [u8], salt: u32) {
    let Some((header, payload)) = record.split_at_mut_checked(HEADER) else { return };
    let length = u32::try_from(payload.len()).unwrap_or(u32::MAX).to_le_bytes();
    let sum = checksum(length, payload, salt).to_le_bytes();
    for (place, byte) in header.iter_mut().zip(length.into_iter().chain(sum)) {
        *place = byte;
    }
}

fn checksum(length: [u8; 4], payload: &[u8], salt: u32) -> u32 {
    let mut hasher = Hasher::new_with_initial(salt);
    hasher.update(&length);
    hasher.update(payload);
    hasher.finalize()
}

/// What stands at the beginning of some bytes.
#[derive(Debug)]
pub(super) enum Parsed {
    /// A record, and how many bytes it takes.
    Record(Box<Receipt>, usize),
    /// The beginning of one that is longer than the bytes, as far as can be told.
    Cut,
    /// A whole record that this version cannot read, and how many bytes it takes.
    Unknown(usize),
    /// No record.
    Wrong,
}

/// Reads the record at the beginning of `bytes`.
pub(super) fn parse(bytes: &[u8], salt: u32) -> Parsed {
    let Some((header, rest)) = bytes.split_at_checked(HEADER) else { return Parsed::Cut };
    let ([l0, l1, l2, l3, sum @ ..], Ok(_)) = (header, <[u8; HEADER]>::try_from(header)) else {
        return Parsed::Wrong;
    };
    let length = [*l0, *l1, *l2, *l3];
    let size = u32::from_le_bytes(length) as usize;
    if size <= BEGINNING.len() || size > RECORD_MAX - HEADER {
        return Parsed::Wrong;
    }
    let Some(payload) = rest.get(..size) else { return Parsed::Cut };
    if checksum(length, payload, salt).to_le_bytes() != sum {
        return Parsed::Wrong;
    }
    let receipt = match payload.split_first() {
        Some((&VERSION, fields)) => Receipt::take_fields(fields).filter(|receipt| receipt.attempt > 0),
        _ => None,
    };
    match receipt {
        Some(receipt) => Parsed::Record(Box::new(receipt), HEADER + size),
        None => Parsed::Unknown(HEADER + size),
    }
}
