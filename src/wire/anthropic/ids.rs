//! Ids of tool calls, as the API takes them: letters, digits, `_` and `-`, and none twice.

use std::borrow::Cow;
use std::collections::HashMap;

/// The ids of one conversation.
///
/// A client may bring calls that another vendor made (`functions.f:0`), or the legacy kind that has no id but its
/// function's name and so repeats it. A result belongs to the last call of its id.
#[derive(Debug, Default)]
pub struct Ids<'a> {
    calls: HashMap<&'a str, u32>,
}

impl<'a> Ids<'a> {
    /// The id of one more call.
    pub fn call(&mut self, id: &'a str) -> Cow<'a, str> {
        let count = self.calls.entry(id).or_insert(0);
        *count += 1;
        numbered(id, *count)
    }

    /// The same for its result.
    pub fn result(&self, id: &'a str) -> Cow<'a, str> {
        numbered(id, self.calls.get(id).copied().unwrap_or(1))
    }
}

fn numbered(id: &str, count: u32) -> Cow<'_, str> {
    let plain = plain(id);
    if count > 1 { Cow::Owned(format!("{plain}_{count}")) } else { plain }
}

fn plain(id: &str) -> Cow<'_, str> {
    let taken = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-');
    if id.is_empty() {
        Cow::Borrowed("call")
    } else if id.chars().all(taken) {
        Cow::Borrowed(id)
    } else {
        Cow::Owned(id.chars().map(|c| if taken(c) { c } else { '_' }).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_taken_as_they_are_where_they_can_be() {
        let mut ids = Ids::default();
        for (id, sent) in [
            ("toolu_01", "toolu_01"),
            ("functions.f:0", "functions_f_0"),
            ("", "call"),
            ("function_f", "function_f"),
            ("function_f", "function_f_2"),
        ] {
            assert_eq!((ids.call(id), ids.result(id)), (sent.into(), sent.into()));
        }
        assert_eq!(ids.result("of no call"), "of_no_call");
    }
}
