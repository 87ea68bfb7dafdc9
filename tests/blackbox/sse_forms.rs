//! The many ways to write and to cut the same stream: what comes out is the same.

use serde_json::json;

use crate::support::{Answer, Gateway, Script, Upstream, chunk, ending, stream_head, text_event};

const SAID: &str = "Grüße, 世界 👋\u{1f3fd} done";

/// A stream that says [`SAID`], one word per event, with letters escaped and not.
fn written() -> String {
    let words = SAID.split_inclusive(' ').map(text_event).collect::<String>();
    words + &ending()
}

/// What a client is told of each of these.
async fn answers_to(scripts: Vec<Script>) -> Vec<Answer> {
    let count = scripts.len();
    let upstream = Upstream::of(scripts).await;
    let gateway = Gateway::before(&upstream).await;
    let client = gateway.client().await;
    let ask = |number| {
        let client = client.clone();
        async move { client.ask(&format!("up/{number}"), json!({"stream": true})).await }
    };
    let answers = futures_util::future::join_all((0..count).map(ask)).await;
    gateway.idle().await;
    answers
}

/// The whole stream in one write.
fn plain(text: &str) -> Script {
    Script::new().send(framed(text))
}

fn framed(text: &str) -> Vec<u8> {
    let mut bytes = stream_head();
    bytes.extend(chunk(text));
    bytes.extend(chunk(""));
    bytes
}

fn check(answer: &Answer, how: &str) {
    let facts = (answer.status, answer.content(), answer.done(), answer.broken);
    assert_eq!(facts, (200, SAID.to_owned(), true, false), "{how}: {}", answer.text());
}

#[tokio::test]
async fn any_split_of_the_bytes_gives_the_same_stream() {
    let text = written();
    // One byte of payload per chunk of the transfer encoding, and those bytes cut anywhere.
    let mut chopped = stream_head();
    text.bytes().for_each(|byte| chopped.extend(chunk([byte])));
    chopped.extend(chunk(""));
    let mut scripts = vec![plain(&text), Script::new().send_in_pieces(&framed(&text), 1)];
    scripts.extend([8_400, 43, 19].map(|size| Script::new().send_in_pieces(&chopped, size)));
    let answers = answers_to(scripts).await;
    for (number, answer) in answers.iter().enumerate() {
        check(answer, &format!("split {number}"));
        assert_eq!(answer.chunks().len(), answers[0].chunks().len());
    }
}

#[tokio::test]
async fn any_way_to_write_events_gives_the_same_stream() {
    let text = written();
    let forms = [
        ("CRLF", text.replace('\n', "\r\n")),
        ("CR", text.replace('\n', "\r")),
        ("a byte order mark", format!("\u{feff}{text}")),
        ("comments", format!(": hello\n\n{}", text.replace("data:", ": note\ndata:"))),
        ("names, ids and retry", text.replace("data:", "event: message\nid: 7\nretry: 10\nunknown\ndata:")),
        ("no space after the colon", text.replace("data: ", "data:")),
        ("several data lines", text.replace(",\"object\"", ",\ndata: \"object\"")),
        ("empty events", text.replace("data:", "data:\n\n\n\ndata:")),
    ];
    let both = |form: &String| [plain(form), Script::new().send_in_pieces(&framed(form), 11)];
    let answers = answers_to(forms.iter().flat_map(|(_, form)| both(form)).collect()).await;
    for (answer, at) in answers.iter().zip(0..) {
        check(answer, forms[at / 2].0);
    }
}

#[tokio::test]
async fn a_stream_may_end_without_done_or_without_its_last_blank_line() {
    let text = written();
    let ends = [text.replace("data: [DONE]\n\n", ""), text.trim_end().to_owned()];
    for answer in answers_to(ends.iter().map(|end| plain(end)).collect()).await {
        check(&answer, "ended");
    }
}

#[tokio::test]
async fn what_follows_the_end_is_not_passed_on() {
    let after = written() + &text_event("more") + "data: nonsense\n\n";
    check(&answers_to(vec![plain(&after)]).await[0], "after");
}

#[tokio::test]
async fn an_event_without_end_is_cut_off() {
    let line = format!("data: {{\"choices\":\"{}", "x".repeat(10 * 1024 * 1024));
    let mut endless = stream_head();
    endless.extend(chunk(&line));
    let upstream = Upstream::always(Script::new().send(endless).until_closed()).await;
    let gateway = Gateway::before(&upstream).await;
    let client = gateway.client().await;
    let answer = client.ask("up/m", json!({"stream": true})).await;
    assert_eq!(
        (answer.status, answer.code().as_str()),
        (502, "upstream_invalid_response"),
        "{}",
        answer.text()
    );
    upstream.all_closed().await;
    // A large event within the bound is an answer: images come this way.
    let image = "y".repeat(4 * 1024 * 1024);
    let answer = answers_to(vec![plain(&(text_event(&image) + &ending()))]).await.remove(0);
    assert_eq!((answer.status, answer.content().len(), answer.done()), (200, image.len(), true));
}
