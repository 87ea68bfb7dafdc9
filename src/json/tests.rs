use std::borrow::Cow;

use proptest::prelude::*;

use super::*;

fn splice(text: &str, edits: &[Edit<'_>]) -> String {
    let mut out = Vec::new();
    Members::parse(text).unwrap().splice(text, edits, &mut out);
    String::from_utf8(out).unwrap()
}

fn set<'a>(name: &'a str, value: &'a str) -> Edit<'a> {
    Edit::Set(name, Cow::Borrowed(value.as_bytes()))
}

#[test]
fn only_the_touched_bytes_change() {
    let text = "{ \"b\" : 1.50e+3,\n \"a\":[1, 2 ] , \"c\":null }";
    for (edits, expected) in [
        (vec![], text),
        (vec![set("a", "0")], "{ \"b\" : 1.50e+3,\n \"a\":0 , \"c\":null }"),
        (vec![Edit::Remove("b")], "{ \"a\":[1, 2 ] , \"c\":null }"),
        (vec![Edit::Remove("c")], "{ \"b\" : 1.50e+3,\n \"a\":[1, 2 ] }"),
        (vec![Edit::Remove("a"), set("d", "true")], "{ \"b\" : 1.50e+3 , \"c\":null,\"d\":true }"),
        (vec![Edit::Rename("c", "x")], "{ \"b\" : 1.50e+3,\n \"a\":[1, 2 ] , \"x\":null }"),
        (vec![Edit::Remove("a"), Edit::Remove("b"), Edit::Remove("c")], "{ }"),
    ] {
        assert_eq!(splice(text, &edits), expected, "{edits:?}");
    }
    assert_eq!(splice("{}", &[set("a", "1")]), "{\"a\":1}");
}

#[test]
fn an_escaped_name_is_the_name_it_decodes_to() {
    let text = r#"{"mod\u0065l":"x"}"#;
    let members = Members::parse(text).unwrap();
    assert_eq!(members.get(text, "model"), Some("\"x\""));
    assert!(
        matches!(Members::parse(r#"{"model":1,"mod\u0065l":2}"#), Err(ObjectError::Duplicate(name)) if name == "model")
    );
}

#[test]
fn what_is_not_one_object_is_refused() {
    for text in ["[]", "1", "null", "\"{}\"", " [1] "] {
        assert!(matches!(Members::parse(text), Err(ObjectError::NotAnObject)), "{text}");
    }
    for text in ["", "{", "{}x", "{}{}", "{\"a\"}", "{\"a\":}", "{a:1}", "\u{feff}{}", "[", "{\"a\":1,}"] {
        assert!(matches!(Members::parse(text), Err(ObjectError::Syntax(_))), "{text:?}");
    }
    let many: String = (0..=MEMBERS_MAX).map(|n| format!(",\"k{n}\":0")).collect();
    assert!(matches!(Members::parse(&format!("{{\"a\":0{many}}}")), Err(ObjectError::TooMany)));
}

proptest! {
    #[test]
    fn splicing_agrees_with_editing_the_parsed_value(
        names in proptest::collection::btree_set("[a-e\"\\\\é]{1,2}", 0..6),
        target in "[a-e]{1,2}",
        gap in "[ \t\n]{0,2}",
        remove in any::<bool>(),
    ) {
        let members: Vec<String> = names.iter().enumerate()
            .map(|(n, name)| format!("{gap}{}{gap}:{gap}{n}{gap}", serde_json::to_string(name).unwrap()))
            .collect();
        let text = format!("{{{}}}", members.join(","));
        let mut expected: serde_json::Map<String, serde_json::Value> = serde_json::from_str(&text).unwrap();
        let edit = if remove {
            expected.shift_remove(&target);
            Edit::Remove(&target)
        } else {
            expected.insert(target.clone(), serde_json::json!([true]));
            set(&target, "[true]")
        };
        let spliced: serde_json::Map<String, serde_json::Value> = serde_json::from_str(&splice(&text, &[edit])).unwrap();
        prop_assert_eq!(spliced, expected);
    }

    #[test]
    fn parsing_never_panics(text in "\\PC{0,40}") {
        let _ = Members::parse(&text);
    }
}
