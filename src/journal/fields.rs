//! How a value of a receipt is written: a key byte (the field's number and its kind), then a number or counted bytes.
//!
//! Invariants: what is not known is skipped, what is missing has a value of its own, nothing here panics or allocates by
//! a length that was only read.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use ulid::Ulid;

use crate::catalog::Price;
use crate::money::{Markup, Usd};
use crate::receipt::Outcome;

/// Labels of errors that this build does not have, kept for good at most: another version's.
const LABELS_MAX: usize = 64;
/// Longest such label, bytes.
const LABEL_LEN_MAX: usize = 64;
/// Bytes that the length of something nested takes, so that it can be filled in afterwards.
const NESTED_LEN: usize = 5;

/// A value as it was read.
#[derive(Clone, Copy, Debug)]
pub(super) enum Raw<'a> {
    Number(u64),
    Bytes(&'a [u8]),
}

/// A value that a record can hold.
pub(super) trait Field: Sized {
    /// The value of a field that is not there: the one that an older version meant.
    fn missing() -> Self;
    /// True when it need not be written.
    fn is_missing(&self) -> bool;
    /// Writes it as the field of this number.
    fn put(&self, number: u8, out: &mut Vec<u8>);
    /// Reads it; `None` when that is no such value.
    fn take(raw: Raw<'_>) -> Option<Self>;
}

/// Something with numbered fields.
pub(super) trait Record: Sized {
    /// Writes every field.
    fn put_fields(&self, out: &mut Vec<u8>);
    /// Reads them all; fields that are not known are passed over.
    fn take_fields(bytes: &[u8]) -> Option<Self>;
}

/// Writes a number in groups of seven bits, low ones first.
fn put_varint(mut number: u64, out: &mut Vec<u8>) {
    while number >= 0x80 {
        out.push(number as u8 | 0x80);
        number >>= 7;
    }
    out.push(number as u8);
}

/// Reads such a number and gives what follows.
fn take_varint(bytes: &[u8]) -> Option<(u64, &[u8])> {
    let mut number = 0_u64;
    for (at, byte) in bytes.iter().enumerate().take(10) {
        let shifted = u64::from(byte & 0x7f).checked_shl(7 * at as u32)?;
        number |= shifted;
        if byte & 0x80 == 0 {
            return Some((number, bytes.get(at + 1..)?));
        }
    }
    None
}

fn put_number(value: u64, number: u8, out: &mut Vec<u8>) {
    out.push(number << 1);
    put_varint(value, out);
}

fn put_bytes(value: &[u8], number: u8, out: &mut Vec<u8>) {
    out.push(number << 1 | 1);
    put_varint(value.len() as u64, out);
    out.extend_from_slice(value);
}

/// Writes what `fill` writes, behind its length.
pub(super) fn put_nested(number: u8, out: &mut Vec<u8>, fill: impl FnOnce(&mut Vec<u8>)) {
    out.push(number << 1 | 1);
    let start = out.len();
    out.extend_from_slice(&[0; NESTED_LEN]);
    fill(out);
    let mut length = out.len() - start - NESTED_LEN;
    if let Some(place) = out.get_mut(start..start + NESTED_LEN) {
        for byte in place.iter_mut() {
            *byte = length as u8 | 0x80;
            length >>= 7;
        }
        if let Some(last) = place.last_mut() {
            *last &= 0x7f;
        }
    }
}

/// The fields of a record, in the order in which they were written.
pub(super) struct Fields<'a>(pub &'a [u8]);

impl<'a> Iterator for Fields<'a> {
    /// Number and value; `None` inside for what cannot be read, after which there is nothing more.
    type Item = Option<(u8, Raw<'a>)>;

    fn next(&mut self) -> Option<Self::Item> {
        let (key, rest) = self.0.split_first()?;
        self.0 = &[];
        let Some((value, rest)) = take_varint(rest) else { return Some(None) };
        if key & 1 == 0 {
            self.0 = rest;
            return Some(Some((key >> 1, Raw::Number(value))));
        }
        let split = usize::try_from(value).ok().and_then(|length| rest.split_at_checked(length));
        let Some((bytes, rest)) = split else { return Some(None) };
        self.0 = rest;
        Some(Some((key >> 1, Raw::Bytes(bytes))))
    }
}

/// The bytes of a value that has some.
fn bytes_of(raw: Raw<'_>) -> Option<&[u8]> {
    match raw {
        Raw::Bytes(bytes) => Some(bytes),
        Raw::Number(_) => None,
    }
}

fn text_of(raw: Raw<'_>) -> Option<&str> {
    std::str::from_utf8(bytes_of(raw)?).ok()
}

macro_rules! numbers {
    ($($type:ty),*) => {$(
        impl Field for $type {
            fn missing() -> Self { 0 }
            fn is_missing(&self) -> bool { *self == 0 }
            fn put(&self, number: u8, out: &mut Vec<u8>) { put_number(*self as u64, number, out); }
            fn take(raw: Raw<'_>) -> Option<Self> {
                match raw { Raw::Number(value) => value.try_into().ok(), Raw::Bytes(_) => None }
            }
        }
    )*};
}
numbers!(u16, u32, u64, usize);

impl Field for i64 {
    fn missing() -> Self {
        0
    }
    fn is_missing(&self) -> bool {
        *self == 0
    }
    fn put(&self, number: u8, out: &mut Vec<u8>) {
        // Zigzag: small negative numbers stay short.
        put_number(((self << 1) ^ (self >> 63)) as u64, number, out);
    }
    fn take(raw: Raw<'_>) -> Option<Self> {
        let value = u64::take(raw)?;
        Some((value >> 1) as i64 ^ -((value & 1) as i64))
    }
}

impl Field for bool {
    fn missing() -> Self {
        false
    }
    fn is_missing(&self) -> bool {
        !self
    }
    fn put(&self, number: u8, out: &mut Vec<u8>) {
        put_number(u64::from(*self), number, out);
    }
    fn take(raw: Raw<'_>) -> Option<Self> {
        Some(u64::take(raw)? != 0)
    }
}

macro_rules! texts {
    ($($type:ty),*) => {$(
        impl Field for $type {
            fn missing() -> Self { Self::from("") }
            fn is_missing(&self) -> bool { self.is_empty() }
            fn put(&self, number: u8, out: &mut Vec<u8>) { put_bytes(self.as_bytes(), number, out); }
            fn take(raw: Raw<'_>) -> Option<Self> { text_of(raw).map(Self::from) }
        }
    )*};
}
texts!(String, Arc<str>);

impl Field for Bytes {
    fn missing() -> Self {
        Self::new()
    }
    fn is_missing(&self) -> bool {
        self.is_empty()
    }
    fn put(&self, number: u8, out: &mut Vec<u8>) {
        put_bytes(self, number, out);
    }
    fn take(raw: Raw<'_>) -> Option<Self> {
        bytes_of(raw).map(Self::copy_from_slice)
    }
}

impl<T: Field> Field for Option<T> {
    fn missing() -> Self {
        None
    }
    fn is_missing(&self) -> bool {
        self.is_none()
    }
    fn put(&self, number: u8, out: &mut Vec<u8>) {
        if let Some(value) = self {
            value.put(number, out);
        }
    }
    fn take(raw: Raw<'_>) -> Option<Self> {
        T::take(raw).map(Some)
    }
}

/// Two values as one.
impl<A: Field, B: Field> Field for (A, B) {
    fn missing() -> Self {
        (A::missing(), B::missing())
    }
    fn is_missing(&self) -> bool {
        false
    }
    fn put(&self, number: u8, out: &mut Vec<u8>) {
        put_nested(number, out, |out| {
            self.0.put(1, out);
            self.1.put(2, out);
        });
    }
    fn take(raw: Raw<'_>) -> Option<Self> {
        let mut fields = Fields(bytes_of(raw)?);
        Some((A::take(fields.next()??.1)?, B::take(fields.next()??.1)?))
    }
}

/// A list: its elements one after the other.
impl<T: Field> Field for Arc<[T]> {
    fn missing() -> Self {
        Self::from([])
    }
    fn is_missing(&self) -> bool {
        self.is_empty()
    }
    fn put(&self, number: u8, out: &mut Vec<u8>) {
        put_nested(number, out, |out| self.iter().for_each(|element| element.put(1, out)));
    }
    fn take(raw: Raw<'_>) -> Option<Self> {
        Fields(bytes_of(raw)?).map(|field| T::take(field?.1)).collect()
    }
}

impl Field for Usd {
    fn missing() -> Self {
        Self::ZERO
    }
    fn is_missing(&self) -> bool {
        self.is_zero()
    }
    fn put(&self, number: u8, out: &mut Vec<u8>) {
        self.units().put(number, out);
    }
    fn take(raw: Raw<'_>) -> Option<Self> {
        i64::take(raw).map(Self::from_units)
    }
}

impl Field for Markup {
    fn missing() -> Self {
        Self::default()
    }
    fn is_missing(&self) -> bool {
        *self == Self::default()
    }
    fn put(&self, number: u8, out: &mut Vec<u8>) {
        i64::from(self.basis_points()).put(number, out);
    }
    fn take(raw: Raw<'_>) -> Option<Self> {
        i64::take(raw)?.try_into().ok().and_then(Self::from_basis_points)
    }
}

impl Field for Ulid {
    fn missing() -> Self {
        Self::default()
    }
    fn is_missing(&self) -> bool {
        false
    }
    fn put(&self, number: u8, out: &mut Vec<u8>) {
        put_bytes(&self.to_bytes(), number, out);
    }
    fn take(raw: Raw<'_>) -> Option<Self> {
        bytes_of(raw)?.try_into().ok().map(Self::from_bytes)
    }
}

impl Field for Outcome {
    fn missing() -> Self {
        Self::Failed
    }
    fn is_missing(&self) -> bool {
        false
    }
    fn put(&self, number: u8, out: &mut Vec<u8>) {
        let word = match self {
            Self::Completed => 1,
            Self::Failed => 2,
            Self::Cancelled => 3,
        };
        put_number(word, number, out);
    }
    fn take(raw: Raw<'_>) -> Option<Self> {
        Some(match u64::take(raw)? {
            1 => Self::Completed,
            2 => Self::Failed,
            3 => Self::Cancelled,
            _ => return None,
        })
    }
}

/// A price is written for the few receipts that are not complete, and as the catalogue writes it.
impl Field for Arc<Price> {
    fn missing() -> Self {
        Self::default()
    }
    fn is_missing(&self) -> bool {
        false
    }
    fn put(&self, number: u8, out: &mut Vec<u8>) {
        put_nested(number, out, |out| {
            let start = out.len();
            if serde_json::to_writer(&mut *out, &**self).is_err() {
                out.truncate(start);
            }
        });
    }
    fn take(raw: Raw<'_>) -> Option<Self> {
        serde_json::from_slice(bytes_of(raw)?).ok().map(Self::new)
    }
}

/// A label of the table of errors.
impl Field for &'static str {
    fn missing() -> Self {
        "unknown"
    }
    fn is_missing(&self) -> bool {
        false
    }
    fn put(&self, number: u8, out: &mut Vec<u8>) {
        put_bytes(self.as_bytes(), number, out);
    }
    fn take(raw: Raw<'_>) -> Option<Self> {
        text_of(raw).map(label)
    }
}

/// A label with the life of the process. There are a few dozens of them; what is more than that is not ours.
fn label(text: &str) -> &'static str {
    static KNOWN: Mutex<BTreeSet<&'static str>> = Mutex::new(BTreeSet::new());
    let mut known = KNOWN.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(label) = known.get(text) {
        return label;
    }
    if known.len() >= LABELS_MAX || text.len() > LABEL_LEN_MAX {
        return Field::missing();
    }
    let label: &'static str = Box::leak(text.into());
    known.insert(label);
    label
}
