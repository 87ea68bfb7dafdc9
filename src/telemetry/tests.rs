use std::sync::{Arc, Mutex};

use serde_json::{Value, json};
use tracing::{Level, debug, info, info_span, warn};

use super::*;

/// Lines that a subscriber writes while `log_something` runs.
fn lines(json: bool, level: Level, log_something: impl FnOnce()) -> Vec<String> {
    #[derive(Clone, Default)]
    struct Memory(Arc<Mutex<Vec<u8>>>);

    impl io::Write for Memory {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().write(bytes)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    let memory = Memory::default();
    let writer = memory.clone();
    let subscriber = subscriber(&Log { json, level }, move || writer.clone(), false);
    tracing::subscriber::with_default(subscriber, log_something);
    let text = String::from_utf8(memory.0.lock().unwrap().clone()).unwrap();
    text.lines().map(str::to_owned).collect()
}

/// JSON lines with the timestamp checked and taken off.
fn objects(log_something: impl FnOnce()) -> Vec<Value> {
    let object = |line: &String| {
        let mut object: Value = serde_json::from_str(line).unwrap();
        let timestamp = object.as_object_mut().unwrap().shift_remove("timestamp").unwrap();
        assert!(crate::rfc3339::parse_ms(timestamp.as_str().unwrap()).is_some(), "{line}");
        object
    };
    lines(true, Level::INFO, log_something).iter().map(object).collect()
}

#[test]
fn an_event_is_one_flat_object_in_a_fixed_order() {
    let addr = std::net::SocketAddr::from(([127, 0, 0, 1], 1234));
    let written = lines(true, Level::INFO, || info!(listen = %addr, ops = "x", "ready"));
    let rest = written.first().unwrap().split_once(',').unwrap().1;
    assert_eq!(rest, r#""level":"INFO","message":"ready","listen":"127.0.0.1:1234","ops":"x"}"#);
}

#[test]
fn fields_of_spans_are_on_every_line_of_a_request() {
    let objects = objects(|| {
        let _call = info_span!("call", request_id = "req-1", route = "/v1").entered();
        let attempt = info_span!("attempt", provider = "p", route = "inner", status = tracing::field::Empty);
        let _attempt = attempt.enter();
        attempt.record("status", 200);
        warn!(ms = 7, ok = true, "slow");
        info!(request_id = "mine");
    });
    let expected = [
        json!({"level": "WARN", "message": "slow", "ms": 7, "ok": true, "provider": "p", "route": "inner",
               "status": 200, "request_id": "req-1"}),
        json!({"level": "INFO", "message": "", "request_id": "mine", "provider": "p", "route": "inner",
               "status": 200}),
    ];
    assert_eq!(objects, expected);
}

#[test]
fn text_from_outside_can_neither_break_a_line_nor_take_a_name() {
    let objects = objects(|| info!(level = "forged", model = "a\nb\"}\u{1b}[0m", "one\nline"));
    let expected =
        json!({"level": "INFO", "message": "one\nline", "level_": "forged", "model": "a\nb\"}\u{1b}[0m"});
    assert_eq!(objects, [expected]);
}

#[test]
fn a_name_is_in_use_when_it_names_a_field_and_not_when_a_text_quotes_it() {
    let objects = objects(|| {
        let _call = info_span!("call", quoted = "from the span", route = "from the span").entered();
        info!(text = r#","quoted":1,"#, after = ",", quoted_ = 2, route = "mine", level = 3, "later");
        info!(
            message = "first",
            "message_" = "x",
            timestamp = 1,
            timestamp_ = 2,
            "odd \"name\"" = 3,
            "name\"" = 4
        );
    });
    let expected = [
        json!({"level": "INFO", "message": "later", "text": ",\"quoted\":1,", "after": ",", "quoted_": 2, "route": "mine",
               "level_": 3, "quoted": "from the span"}),
        json!({"level": "INFO", "message": "first", "message_": "x", "timestamp_": 1, "timestamp__": 2, "odd \"name\"": 3,
               "name\"": 4, "quoted": "from the span", "route": "from the span"}),
    ];
    assert_eq!(objects, expected);
}

#[test]
fn whatever_is_logged_is_json_that_says_the_same() {
    let every: String = (0..=0x2ff_u32).filter_map(char::from_u32).chain(['\u{2028}', '\u{1f600}']).collect();
    let written = objects(|| {
        let _span = info_span!("call", shown = ?every, n = 1.5, r#type = "t").entered();
        warn!(text = every, debug = ?every, display = %every, small = -3_i64, large = u64::MAX, float = 0.25, no = f64::NAN, "{every}");
    });
    let expected = json!({"level": "WARN", "message": every, "text": every, "debug": format!("{every:?}"), "display": every,
        "small": -3, "large": u64::MAX, "float": 0.25, "no": null, "shown": format!("{every:?}"), "n": 1.5, "type": "t"});
    assert_eq!(written, [expected]);
}

#[test]
fn libraries_are_not_heard_below_a_warning() {
    let written = lines(true, Level::TRACE, || {
        debug!("ours");
        debug!(target: "awc", "authorization: Bearer x");
        warn!(target: "sqlx", "slow statement");
    });
    assert_eq!(written.len(), 2, "{written:?}");
    assert!(written.iter().any(|line| line.contains(r#""target":"sqlx""#)));
}

#[test]
fn pretty_lines_are_for_human_eyes() {
    let written = lines(false, Level::INFO, || {
        info!(listen = "x", "ready");
        debug!("hidden");
    });
    assert_eq!(written.len(), 1);
    assert!(written.first().unwrap().contains("ready listen=\"x\""), "{written:?}");
    // A message that is given as a field is one.
    let written = lines(false, Level::INFO, || info!(message = "ready", listen = "x"));
    assert!(written.first().unwrap().contains("ready listen=\"x\""), "{written:?}");
}
