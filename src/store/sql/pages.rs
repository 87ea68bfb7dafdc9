//! Pages of a list, newest first, and lists and ids as they are stored in one column.

use ulid::Ulid;

use super::super::PAGE_MAX;
use super::super::error::StoreError;
use super::super::rows::Page;
use super::query::Row;
use crate::error::Error;

/// Rows of a page to read: one more than asked for, which tells whether another page follows.
pub fn page_size(limit: u32) -> (usize, i64) {
    let limit = limit.clamp(1, PAGE_MAX);
    (limit as usize, i64::from(limit) + 1)
}

/// Cuts the extra row off and makes the cursor of the last one that stays.
pub fn page<T>(mut data: Vec<T>, size: usize, cursor_of: impl Fn(&T) -> String) -> Page<T> {
    let more = data.len() > size;
    data.truncate(size);
    let next_cursor = if more { data.last().map(cursor_of) } else { None };
    Page { data, next_cursor }
}

/// A 400 for a cursor that this list never gave out.
pub fn bad_cursor() -> StoreError {
    Error::invalid("This cursor is not one that this list gave out. Leave it out to begin anew.", "cursor")
        .into()
}

/// A list of strings as JSON.
pub fn list_json(list: &[String]) -> String {
    serde_json::Value::from(list.to_vec()).to_string()
}

/// A list of strings from JSON.
pub fn json_list(text: &str) -> Result<Vec<String>, StoreError> {
    serde_json::from_str(text)
        .map_err(|_| StoreError::Unavailable("the store holds a list that cannot be read".to_owned()))
}

/// A column that holds a ULID.
pub fn bytes_ulid(row: &Row, name: &str) -> Result<Ulid, StoreError> {
    let bytes: Vec<u8> = row.get(name)?;
    let broken = |_| StoreError::Unavailable("the store holds a broken call id".to_owned());
    bytes.try_into().map(Ulid::from_bytes).map_err(broken)
}

/// Tags as a JSON list of `name=value`; no name holds a `=`.
pub fn tags_json(tags: &[(String, String)]) -> String {
    let list: Vec<String> = tags.iter().map(|(name, value)| format!("{name}={value}")).collect();
    list_json(&list)
}

/// The reverse of [`tags_json`].
pub fn json_tags(text: &str) -> Result<Vec<(String, String)>, StoreError> {
    let split = |tag: String| {
        let (name, value) = tag.split_once('=').unwrap_or((&tag, ""));
        (name.to_owned(), value.to_owned())
    };
    Ok(json_list(text)?.into_iter().map(split).collect())
}
