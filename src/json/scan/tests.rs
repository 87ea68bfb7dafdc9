use proptest::prelude::*;
use serde_json::value::RawValue;

use super::super::testing::fixtures;
use super::super::{Members, ObjectError};
use super::*;

/// A string with all that may stand in one, and some that serde takes only where it does not look.
fn string() -> impl Strategy<Value = String> {
    let piece = prop_oneof![
        4 => "[ -!#-\\[\\]-~é€\u{7f}\u{10ffff}]{0,12}",
        1 => "[a-z]{60,150}",
        1 => prop::sample::select(vec![
            "\\n", "\\\"", "\\\\", "\\/", "\\b\\f\\r\\t", "\\u0041", "\\u00e9", "\\u20AC", "\\ud83d\\ude00", "\\ud83d", "\\ude00",
        ]).prop_map(str::to_owned),
    ];
    prop::collection::vec(piece, 0..4).prop_map(|pieces| format!("\"{}\"", pieces.concat()))
}

fn value() -> impl Strategy<Value = String> {
    let number = "-?(0|[1-9][0-9]{0,3})(\\.[0-9]{1,3})?([eE][+-]?[0-9]{1,3})?";
    let leaf = prop_oneof![
        prop::sample::select(vec!["null", "true", "false", "[]", "{ }"]).prop_map(str::to_owned),
        number,
        string(),
    ];
    leaf.prop_recursive(5, 40, 5, |inner| {
        let gap = "[ \n\t\r]{0,2}";
        let list = prop::collection::vec((gap, inner.clone(), gap), 0..5).prop_map(|items| {
            items.iter().map(|(a, item, b)| format!("{a}{item}{b}")).collect::<Vec<_>>().join(",")
        });
        let members = prop::collection::vec((gap, string(), gap, inner, gap), 0..5).prop_map(|members| {
            let members = members.iter().map(|(a, name, b, value, c)| format!("{a}{name}{b}:{b}{value}{c}"));
            members.collect::<Vec<_>>().join(",")
        });
        prop_oneof![list.prop_map(|list| format!("[{list}]")), members.prop_map(|list| format!("{{{list}}}"))]
    })
}

/// The text with some characters taken out, put in or exchanged.
fn mutated(text: &str, changes: &[(prop::sample::Index, u8, char)]) -> String {
    let mut chars: Vec<char> = text.chars().collect();
    for (at, how, new) in changes {
        let at = at.index(chars.len() + 1);
        match how {
            0 if at < chars.len() => drop(chars.remove(at)),
            1 if at < chars.len() => chars[at] = *new,
            2 => chars.truncate(at),
            _ => chars.insert(at, *new),
        }
    }
    chars.into_iter().collect()
}

fn change() -> impl Strategy<Value = (prop::sample::Index, u8, char)> {
    let new = prop::sample::select(
        "{}[]:,\"\\u0019aDe+-. \n\t\u{1}\u{1f}\u{7f}é\u{feff}ntf".chars().collect::<Vec<_>>(),
    );
    (any::<prop::sample::Index>(), prop::sample::select(vec![0_u8, 0, 1, 1, 1, 2, 3, 3, 3]), new)
}

/// Both ways say the same of a text, as an object and as a value.
fn agree(text: &str) {
    let (fast, slow) = (Members::scan(text), Members::read(text));
    match (fast, slow) {
        (Some(fast), slow) => assert_eq!(Some(fast), slow.ok(), "{text:?}"),
        (None, slow) => assert!(slow.is_err(), "not taken: {text:?}"),
    }
    let mut cursor = Cursor::new(text);
    let fast = cursor.peek().and_then(|_| {
        let start = cursor.at();
        cursor.skip()?;
        let range = start..cursor.at();
        cursor.end()?;
        text.get(range)
    });
    assert_eq!(fast, serde_json::from_str::<&RawValue>(text).ok().map(RawValue::get), "{text:?}");
    if text.starts_with('"') {
        let decoded = serde_json::from_str::<String>(text).ok();
        let mut cursor = Cursor::new(text);
        let written = cursor.string().filter(|_| cursor.end().is_some());
        assert_eq!(written.and_then(|written| written.decode()).as_deref(), decoded.as_deref(), "{text:?}");
        assert_eq!(written.and_then(|written| written.length()), decoded.map(|text| text.len()), "{text:?}");
    }
    let mut cursor = Cursor::new(text);
    let whole = cursor.whole().filter(|_| cursor.end().is_some());
    assert_eq!(whole, serde_json::from_str::<u64>(text).ok(), "{text:?}");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(600))]

    #[test]
    fn the_scanner_takes_what_serde_takes(
        text in value(),
        name in string(),
        changes in prop::collection::vec(change(), 0..4),
    ) {
        agree(&text);
        agree(&mutated(&text, &changes));
        let object = format!("{{{name}:{text},\"b\":1 ,{name}:{text}}}");
        agree(&object);
        agree(&object.replacen(&name, "\"a\"", 1));
        agree(&mutated(&object, &changes));
    }

    #[test]
    fn the_scanner_takes_of_any_text_what_serde_takes(text in "[\\[\\]{}:,\"\\\\ \nu0-9eE+.a-dD\u{1}-]{0,24}") {
        agree(&text);
        agree(&format!("{{\"a\":{text}}}"));
        agree(&format!("\"{text}\""));
    }
}

#[test]
fn the_scanner_takes_what_vendors_sent() {
    let mut taken = 0;
    for (_, text) in fixtures() {
        agree(&text);
        let events = text.lines().filter_map(|line| line.strip_prefix("data: "));
        for event in events.filter(|event| *event != "[DONE]") {
            agree(event);
            taken += usize::from(Members::scan(event).is_some());
        }
        taken += usize::from(Members::scan(&text).is_some());
    }
    assert!(taken > 1000, "{taken}");
}

#[test]
fn what_is_nested_deeper_than_the_scanner_follows_serde_reads() {
    for depth in [1, 127, 128, 129, 1000] {
        for (open, close) in [("[", "]"), ("{\"a\":", "}")] {
            let inner = if open == "[" { "" } else { "1" };
            let text = format!("{{\"a\":{}{inner}{}}}", open.repeat(depth), close.repeat(depth));
            // An empty array is not entered.
            let entered = if open == "[" { depth - 1 } else { depth };
            assert_eq!(Members::scan(&text).is_some(), entered <= 128, "{depth} {open}");
            assert!(Members::parse(&text).is_ok());
            assert!(matches!(Members::parse(&text[..text.len() - 2]), Err(ObjectError::Syntax(_))));
        }
    }
}
