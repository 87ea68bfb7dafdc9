//! Byte-exact edits of a JSON object: find its top-level members, change some, leave every other byte alone.
//!
//! A client's request is passed on with only the touched fields replaced, so that the order, the spacing and the
//! number formatting of everything else survive. [`Members`] holds offsets, not references: it is cheap to keep
//! beside the bytes it was made from.
//!
//! Invariants: `Members` are only ever used with the text they were parsed from; member names are unique.

use std::ops::Range;

use serde::de::{Deserializer, MapAccess, Visitor};
use serde_json::value::RawValue;

use scan::Cursor;

mod run;
pub mod scan;
#[cfg(test)]
pub mod testing;

/// Top-level members at most: far above any real request, low enough that lookups stay linear and cheap.
pub const MEMBERS_MAX: usize = 256;

/// The top-level members of one JSON object, as offsets into its text.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Members {
    list: Vec<Member>,
}

/// One `"name": value` of an object.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Member {
    /// The name with its quotes.
    key: Range<usize>,
    /// The decoded name, when the written one has escapes.
    decoded: Option<Box<str>>,
    /// The value, without surrounding white space.
    value: Range<usize>,
}

/// Why a text is not an object that can be edited.
#[derive(Debug)]
pub enum ObjectError {
    /// Not JSON at all.
    Syntax(serde_json::Error),
    /// Valid JSON, but not an object.
    NotAnObject,
    /// The same name twice: which one counts would depend on the reader.
    Duplicate(String),
    /// More than [`MEMBERS_MAX`] members.
    TooMany,
}

/// One change to an object.
#[derive(Debug)]
pub enum Edit<'a> {
    /// Replaces the value of a member, or appends the member.
    Set(&'a str, std::borrow::Cow<'a, [u8]>),
    /// Takes a member out.
    Remove(&'a str),
    /// Gives a member another name.
    Rename(&'a str, &'a str),
}

/// Collects members while serde walks the object; nothing is decoded but escaped names.
struct Collect<'t> {
    text: &'t str,
}

/// What the visitor found, before it is turned into an [`ObjectError`].
enum Found {
    Members(Vec<Member>),
    Duplicate(String),
    TooMany,
}

impl<'de> Visitor<'de> for Collect<'de> {
    type Value = Found;

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("a JSON object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Found, A::Error> {
        let mut list: Vec<Member> = Vec::with_capacity(16);
        let mut problem = None;
        while let Some((key, value)) = map.next_entry::<&RawValue, &RawValue>()? {
            if problem.is_some() {
                continue; // Read on: broken JSON further down is the better answer.
            }
            let member = Member {
                key: range_of(self.text, key.get()),
                decoded: decode_name(key.get()),
                value: range_of(self.text, value.get()),
            };
            let name = member.name(self.text);
            if list.iter().any(|other| other.is(self.text.as_bytes(), name)) {
                problem = Some(Found::Duplicate(name.to_owned()));
            } else if list.len() == MEMBERS_MAX {
                problem = Some(Found::TooMany);
            } else {
                list.push(member);
            }
        }
        Ok(problem.unwrap_or(Found::Members(list)))
    }
}

/// Offsets of `part` within `whole`, which it borrows from.
fn range_of(whole: &str, part: &str) -> Range<usize> {
    let start = (part.as_ptr() as usize).wrapping_sub(whole.as_ptr() as usize);
    start..start + part.len()
}

/// The decoded name, if the written one (with quotes) holds escapes.
fn decode_name(written: &str) -> Option<Box<str>> {
    memchr::memchr(b'\\', written.as_bytes())?;
    serde_json::from_str::<String>(written).ok().map(String::into_boxed_str)
}

impl Member {
    /// The decoded name.
    fn name<'a>(&'a self, text: &'a str) -> &'a str {
        match &self.decoded {
            Some(decoded) => decoded,
            None => text.get(self.key.start + 1..self.key.end - 1).unwrap_or(""),
        }
    }

    /// True when this is its decoded name. Lengths are told apart first: most names differ in them.
    #[inline]
    fn is(&self, text: &[u8], name: &str) -> bool {
        match &self.decoded {
            Some(decoded) => **decoded == *name,
            None if self.key.end - self.key.start != name.len() + 2 => false,
            // Compared as bytes: of a str it would be asked again whether characters begin there.
            None => text.get(self.key.start + 1..self.key.end - 1) == Some(name.as_bytes()),
        }
    }
}

impl Members {
    /// Finds the members of the object that is the whole of `text` (surrounding white space aside).
    ///
    /// # Errors
    /// See [`ObjectError`]. The members' values are checked to be JSON, not looked into.
    pub fn parse(text: &str) -> Result<Self, ObjectError> {
        match Self::scan(text) {
            Some(members) => Ok(members),
            None => Self::read(text),
        }
    }

    /// The members of an object that is as almost all are; what is wrong with any other one [`Members::read`] says.
    fn scan(text: &str) -> Option<Self> {
        let mut list: Vec<Member> = Vec::with_capacity(16);
        let mut cursor = Cursor::new(text);
        cursor.object(|cursor, name| {
            cursor.peek()?;
            let key = range_of(text, name.text);
            let key = key.start - 1..key.end + 1;
            let start = cursor.at();
            cursor.skip()?;
            let decoded = match name.plain() {
                Some(_) => None,
                None => decode_name(text.get(key.clone())?),
            };
            let member = Member { key, decoded, value: start..cursor.at() };
            let name = member.name(text);
            if list.iter().any(|other| other.is(text.as_bytes(), name)) || list.len() == MEMBERS_MAX {
                return None;
            }
            list.push(member);
            Some(())
        })?;
        cursor.end()?;
        Some(Self { list })
    }

    /// As serde reads them, slowly and with a place for every error.
    fn read(text: &str) -> Result<Self, ObjectError> {
        if !text.trim_start_matches([' ', '\t', '\r', '\n']).starts_with('{') {
            return match serde_json::from_str::<&RawValue>(text) {
                Ok(_) => Err(ObjectError::NotAnObject),
                Err(error) => Err(ObjectError::Syntax(error)),
            };
        }
        let mut reader = serde_json::Deserializer::from_str(text);
        let found = reader.deserialize_map(Collect { text }).map_err(ObjectError::Syntax)?;
        reader.end().map_err(ObjectError::Syntax)?;
        match found {
            Found::Members(list) => Ok(Self { list }),
            Found::Duplicate(name) => Err(ObjectError::Duplicate(name)),
            Found::TooMany => Err(ObjectError::TooMany),
        }
    }

    /// The written value of a member.
    pub fn get<'t>(&self, text: &'t str, name: &str) -> Option<&'t str> {
        self.range(text, name).and_then(|range| text.get(range))
    }

    /// Offsets of a member's value.
    pub fn range(&self, text: &str, name: &str) -> Option<Range<usize>> {
        self.named(text.as_bytes(), name).map(|member| member.value.clone())
    }

    /// The written value of a member, of a text that is held as bytes: for one member a body is not checked again to be UTF-8.
    pub fn bytes<'t>(&self, text: &'t [u8], name: &str) -> Option<&'t [u8]> {
        self.named(text, name).and_then(|member| text.get(member.value.clone()))
    }

    fn named(&self, text: &[u8], name: &str) -> Option<&Member> {
        self.list.iter().find(|member| member.is(text, name))
    }

    /// True when there is a member of this name, whatever its value.
    pub fn has(&self, text: &str, name: &str) -> bool {
        self.range(text, name).is_some()
    }

    /// Names and written values, in order.
    pub fn iter<'a>(&'a self, text: &'a str) -> impl Iterator<Item = (&'a str, &'a str)> {
        self.list.iter().map(|member| (member.name(text), text.get(member.value.clone()).unwrap_or("null")))
    }

    /// Writes the object with the edits applied; later edits of the same member win, renames come before sets
    /// of the old name are looked up. Every untouched byte is copied.
    pub fn splice(&self, text: &str, edits: &[Edit<'_>], out: &mut Vec<u8>) {
        out.reserve(text.len() + 64);
        let bytes = text.as_bytes();
        let open = bytes.iter().position(|byte| *byte == b'{').map_or(0, |at| at + 1);
        let copy = |range: Range<usize>, out: &mut Vec<u8>| {
            out.extend_from_slice(bytes.get(range).unwrap_or_default());
        };
        // What is untouched lies side by side: it is copied up to the next change, in one piece.
        let (mut copied, mut previous_end) = (0, open);
        let mut written = 0_usize;
        for member in &self.list {
            let gap = previous_end..member.key.start;
            previous_end = member.value.end;
            let change = Change::of(member, bytes, edits);
            if change.removed {
                copy(copied..gap.start, out);
                copied = previous_end;
                continue;
            }
            // The first that stays begins where the first of all did.
            if written == 0 && gap.start != open {
                copy(copied..gap.start, out);
                copy(open..self.list.first().map_or(open, |first| first.key.start), out);
                copied = gap.end;
            }
            written += 1;
            if let Some(name) = change.name {
                copy(copied..member.key.start, out);
                write_string(name, out);
                copied = member.key.end;
            }
            if let Some(value) = change.value {
                copy(copied..member.value.start, out);
                out.extend_from_slice(value);
                copied = member.value.end;
            }
        }
        copy(copied..previous_end, out);
        for edit in edits {
            let Edit::Set(name, value) = edit else { continue };
            if self.has(text, name) {
                continue;
            }
            if written > 0 {
                out.push(b',');
            }
            written += 1;
            write_string(name, out);
            out.push(b':');
            out.extend_from_slice(value);
        }
        copy(previous_end..bytes.len(), out);
    }
}

/// What the edits do to one member.
#[derive(Default)]
struct Change<'e> {
    removed: bool,
    name: Option<&'e str>,
    value: Option<&'e [u8]>,
}

impl<'e> Change<'e> {
    fn of(member: &Member, text: &[u8], edits: &'e [Edit<'_>]) -> Self {
        let mut change = Self::default();
        for edit in edits {
            match edit {
                Edit::Set(target, value) if member.is(text, target) => change.value = Some(value),
                Edit::Remove(target) if member.is(text, target) => change.removed = true,
                Edit::Rename(target, to) if member.is(text, target) => change.name = Some(to),
                _ => {}
            }
        }
        change
    }
}

/// Appends `text` as a JSON string.
pub fn write_string(text: &str, out: &mut Vec<u8>) {
    if run::end(text.as_bytes(), 0) == text.len() {
        out.reserve(text.len() + 2);
        out.push(b'"');
        out.extend_from_slice(text.as_bytes());
        out.push(b'"');
        return;
    }
    // Writing to a Vec cannot fail, and a str always has a JSON form.
    let _ = serde_json::to_writer(out, text);
}

/// `text` as a JSON string.
pub fn string(text: &str) -> Vec<u8> {
    let mut out = Vec::with_capacity(text.len() + 2);
    write_string(text, &mut out);
    out
}

#[cfg(test)]
mod tests;
