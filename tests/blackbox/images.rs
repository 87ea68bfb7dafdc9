//! Images by address for formats that take bytes: fetched only where allowed, from where allowed, within bounds; and
//! nothing is told of what is inside.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::support::{
    Answer, Gateway, Pictures, Reply, Script, Setup, Upstream, certificate, completion, question, whole,
};

/// A gateway whose provider `up` speaks a format that takes images inline only.
fn setup(upstream: &Upstream, server: &str) -> Setup {
    setup_as("gemini", upstream, server)
}

fn setup_as(wire: &str, upstream: &Upstream, server: &str) -> Setup {
    let base = upstream.base_url();
    Setup::new(format!("server: {{ {server} }}\nproviders:\n  up: {{ base_url: '{base}', wire: {wire} }}\n"))
        .file("ca.pem", certificate())
}

/// The same, allowed to fetch, and from these pictures by name.
async fn fetching(upstream: &Upstream, pictures: &Pictures) -> Gateway {
    fetching_as("gemini", upstream, pictures).await
}

async fn fetching_as(wire: &str, upstream: &Upstream, pictures: &Pictures) -> Gateway {
    let allowed =
        format!("fetch_images: true, fetch_ca_file: ca.pem, fetch_allow: ['localhost:{}']", pictures.port);
    setup_as(wire, upstream, &allowed).start().await
}

/// One message with a text and these images.
fn showing(urls: &[String], stream: bool) -> Value {
    let mut parts = vec![json!({"type": "text", "text": "what is it?"})];
    parts.extend(urls.iter().map(|url| json!({"type": "image_url", "image_url": {"url": url}})));
    let messages = json!([{"role": "system", "content": "x"}, {"role": "user", "content": parts}]);
    question("up/m", json!({"messages": messages, "stream": stream}))
}

async fn ask(gateway: &Gateway, urls: &[String]) -> Answer {
    gateway.client().await.chat(&showing(urls, false)).await
}

fn silent() -> impl Future<Output = Upstream> {
    Upstream::always(Script::new().close())
}

/// Nothing was asked of the upstream, and nothing is booked.
async fn cost_nothing(gateway: &Gateway, upstream: &Upstream) {
    gateway.idle().await;
    assert_eq!(upstream.connections(), 0);
    let (_, page) = gateway.admin("GET", "/requests?limit=100", None).await;
    assert_eq!(page["data"], json!([]), "a ledger row without an attempt");
}

#[tokio::test]
async fn an_image_by_address_is_refused_unless_the_operator_allowed_fetching() {
    let upstream = silent().await;
    let pictures = Pictures::start(|_| Reply::png());
    let allowed = format!("fetch_ca_file: ca.pem, fetch_allow: ['localhost:{}']", pictures.port);
    let gateway = setup(&upstream, &allowed).start().await;
    let answer = ask(&gateway, &[pictures.url("/a.png")]).await;
    assert_eq!((answer.status, answer.code().as_str()), (400, "image_url_not_allowed"), "{}", answer.text());
    assert_eq!(answer.param(), "messages[1].content[1].image_url");
    assert!(answer.text().contains("data URL"), "{}", answer.text());
    assert_eq!(pictures.connections(), 0);
    cost_nothing(&gateway, &upstream).await;
}

#[tokio::test]
async fn what_cannot_be_fetched_is_a_400_that_tells_its_sender_what_to_mend() {
    let pictures = Pictures::start(|path| match path {
        "/html" => Reply::ok("text/html", b"<html>secret-of-the-page</html>"),
        "/lying" => Reply::ok("image/png", b"<html>secret-of-the-page</html>"),
        "/svg" => Reply::ok("image/svg+xml", b"<svg xmlns='http://www.w3.org/2000/svg'/>"),
        "/denying" => Reply::ok("text/plain", crate::support::PNG),
        "/empty" => Reply::ok("image/png", b""),
        "/gone" => Reply::Bytes(b"HTTP/1.1 404 X\r\ncontent-length: 18\r\n\r\nsecret-of-the-page".to_vec()),
        "/huge" => Reply::Bytes(
            b"HTTP/1.1 200 X\r\ncontent-type: image/png\r\ncontent-length: 20971521\r\n\r\n".to_vec(),
        ),
        "/short" => Reply::Bytes(
            b"HTTP/1.1 200 X\r\ncontent-type: image/png\r\ncontent-length: 99\r\n\r\n\x89PNG\r\n\x1a\n12345"
                .to_vec(),
        ),
        "/noise" => Reply::Bytes(b"220 mail.internal ESMTP\r\n".to_vec()),
        "/loop" => Reply::redirect("/loop"),
        "/nowhere" => Reply::Bytes(b"HTTP/1.1 302 X\r\ncontent-length: 0\r\n\r\n".to_vec()),
        "/plain" => Reply::redirect("http://localhost/a.png"),
        "/inside" => Reply::redirect("https://169.254.169.254/latest/meta-data"),
        _ => Reply::png(),
    });
    let upstream = silent().await;
    let gateway = fetching(&upstream, &pictures).await;
    for (path, why) in [
        ("/html", "is not a JPEG, PNG, GIF or WebP image"),
        ("/lying", "is not a JPEG, PNG, GIF or WebP image"),
        ("/svg", "is not a JPEG, PNG, GIF or WebP image"),
        ("/denying", "is not a JPEG, PNG, GIF or WebP image"),
        ("/empty", "is not a JPEG, PNG, GIF or WebP image"),
        ("/gone", "answered with status 404"),
        ("/huge", "larger than 20 MiB"),
        ("/short", "broke off"),
        ("/noise", "cannot be reached, or is not public"),
        ("/loop", "redirected too often"),
        ("/nowhere", "redirected too often, or to nowhere"),
        ("/plain", "only https addresses are fetched"),
        ("/inside", "cannot be reached, or is not public"),
    ] {
        let answer = ask(&gateway, &[pictures.url(path)]).await;
        assert_eq!(
            (answer.status, answer.code().as_str()),
            (400, "invalid_image_url"),
            "{path}: {}",
            answer.text()
        );
        assert_eq!(answer.json()["error"]["type"], "invalid_request_error", "{path}");
        assert_eq!(answer.param(), "messages[1].content[1].image_url", "{path}");
        assert!(answer.text().contains(why), "{path}: {}", answer.text());
        for hidden in ["127.0.0.1", "169.254", "localhost", "secret", "internal"] {
            assert!(!answer.text().contains(hidden), "{path}: {}", answer.text());
        }
    }
    assert_eq!(pictures.heads().iter().filter(|head| head.starts_with("GET /loop ")).count(), 4);
    cost_nothing(&gateway, &upstream).await;
}

#[tokio::test]
async fn no_address_inside_is_connected_to_by_whatever_name_or_spelling() {
    let upstream = silent().await;
    let pictures = Pictures::start(|path| match path.strip_prefix("/to/") {
        Some(place) => Reply::redirect(&format!("https://{place}")),
        None => Reply::png(),
    });
    let gateway = fetching(&upstream, &pictures).await;
    let port = pictures.port;
    // By name `localhost` the port is listed; the address itself is not.
    let inside = [
        format!("127.0.0.1:{port}/a.png"),
        format!("[::ffff:127.0.0.1]:{port}/a.png"),
        format!("[::1]:{port}/a.png"),
        format!("localhost.:{port}/a.png"),
        format!("127.1:{port}/a.png"),
        format!("0x7f000001:{port}/a.png"),
        format!("2130706433:{port}/a.png"),
        format!("0.0.0.0:{port}/a.png"),
        format!("user@localhost:{port}/a.png"),
        "localhost/a.png".to_owned(),
        "10.0.0.1/a.png".to_owned(),
        "metadata.google.internal/a.png".to_owned(),
        "no-such-host.invalid/a.png".to_owned(),
    ];
    for place in &inside {
        let answer = ask(&gateway, &[format!("https://{place}")]).await;
        assert_eq!(
            (answer.status, answer.code().as_str()),
            (400, "invalid_image_url"),
            "{place}: {}",
            answer.text()
        );
        assert_eq!(pictures.connections(), 0, "{place}");
    }
    for (at, place) in inside.iter().enumerate() {
        let answer = ask(&gateway, &[pictures.url(&format!("/to/{place}"))]).await;
        assert_eq!(
            (answer.status, answer.code().as_str()),
            (400, "invalid_image_url"),
            "{place}: {}",
            answer.text()
        );
        assert_eq!(pictures.connections(), at + 1, "{place}");
    }
    cost_nothing(&gateway, &upstream).await;
}

#[tokio::test]
async fn a_certificate_that_is_not_trusted_is_not_talked_to() {
    let upstream = silent().await;
    let pictures = Pictures::start(|_| Reply::png());
    let allowed = format!("fetch_images: true, fetch_allow: ['localhost:{}']", pictures.port);
    let gateway = setup(&upstream, &allowed).start().await;
    let answer = ask(&gateway, &[pictures.url("/a.png")]).await;
    assert_eq!((answer.status, answer.code().as_str()), (400, "invalid_image_url"), "{}", answer.text());
    assert_eq!(pictures.heads(), [""; 0]);
}

#[tokio::test]
async fn more_than_sixteen_images_by_address_are_refused_before_any_is_fetched() {
    let upstream = silent().await;
    let pictures = Pictures::start(|_| Reply::png());
    let gateway = fetching(&upstream, &pictures).await;
    let urls: Vec<String> = (0..17).map(|at| pictures.url(&format!("/{at}"))).collect();
    let answer = ask(&gateway, &urls).await;
    assert_eq!((answer.status, answer.code().as_str()), (400, "invalid_image_url"), "{}", answer.text());
    assert_eq!(answer.param(), "messages[1].content[17].image_url");
    assert_eq!(pictures.connections(), 0);
}

#[tokio::test]
async fn a_download_that_takes_longer_than_ten_seconds_is_given_up_while_a_stream_gets_its_pings() {
    let upstream = silent().await;
    let pictures = Pictures::start(|_| Reply::never_ending(Duration::from_millis(200)));
    let allowed = format!(
        "fetch_images: true, fetch_ca_file: ca.pem, fetch_allow: ['localhost:{}'], first_event_grace: 200ms, ping_interval: 1s",
        pictures.port
    );
    let gateway = setup(&upstream, &allowed).start().await;
    let client = gateway.client().await;
    let started = Instant::now();
    let (slow, slow_stream) = (showing(&[pictures.url("/a")], false), showing(&[pictures.url("/a")], true));
    let impatient = client.request(&slow).header("x-gateway-timeout-ms", "1000");
    let (whole, stream, impatient) =
        tokio::join!(client.chat(&slow), client.chat(&slow_stream), Answer::of(impatient));
    let took = started.elapsed();
    assert!(took >= Duration::from_millis(9_900) && took < Duration::from_secs(15), "{took:?}");
    assert_eq!((whole.status, whole.code().as_str()), (400, "invalid_image_url"), "{}", whole.text());
    assert!(whole.text().contains("longer than 10 seconds"), "{}", whole.text());
    assert_eq!((impatient.status, impatient.code().as_str()), (504, "timeout"), "{}", impatient.text());
    assert_eq!(stream.status, 200);
    assert!(stream.text().matches(": ping\n\n").count() >= 5, "{}", stream.text());
    assert_eq!(stream.stream_error().map(|error| error["code"].clone()), Some(json!("invalid_image_url")));
    assert!(!stream.done());
    pictures.all_closed().await;
    cost_nothing(&gateway, &upstream).await;
}

#[tokio::test]
async fn a_client_that_leaves_ends_the_fetch_of_its_images() {
    let upstream = silent().await;
    let pictures = Pictures::start(|_| Reply::never_ending(Duration::from_millis(5)));
    let gateway = fetching(&upstream, &pictures).await;
    let client = gateway.client().await;
    let mut closed_after = Vec::new();
    for call in 1..=5 {
        let request = client.request(&showing(&[pictures.url("/a")], false));
        let running = tokio::spawn(request.send());
        pictures.reached(call).await;
        running.abort();
        closed_after.push(pictures.all_closed().await);
    }
    assert!(
        closed_after.iter().min().is_some_and(|quickest| *quickest < Duration::from_millis(150)),
        "{closed_after:?}"
    );
    cost_nothing(&gateway, &upstream).await;
}

#[tokio::test]
async fn a_target_that_takes_addresses_answers_where_one_before_it_takes_bytes_only() {
    let upstream = Upstream::always(Script::new().send(whole(200, &completion("a cat")))).await;
    let base = upstream.base_url();
    let gateway = Setup::new(format!(
        "providers:\n  bytes: {{ base_url: '{base}', wire: gemini }}\n  plain: {{ base_url: '{base}' }}\n"
    ))
    .start()
    .await;
    let url = "https://pictures.example/a.png".to_owned();
    let mut body = showing(&[url], false);
    body["model"] = json!("bytes/m");
    body["fallbacks"] = json!(["plain/m"]);
    let answer = gateway.client().await.chat(&body).await;
    assert_eq!((answer.status, answer.content().as_str()), (200, "a cat"), "{}", answer.text());
    assert_eq!(answer.header("x-gateway-provider"), "plain");
    assert_eq!(upstream.last().json()["messages"], body["messages"]);
}

#[tokio::test]
async fn a_large_image_inline_is_translated_whole_and_what_is_refused_of_it_is_told() {
    let answer = json!({"id": "msg_1", "type": "message", "role": "assistant", "model": "m", "stop_reason": "end_turn",
        "content": [{"type": "text", "text": "a cat"}], "usage": {"input_tokens": 9, "output_tokens": 3}});
    let upstream = Upstream::always(Script::new().send(whole(200, &answer))).await;
    let base = upstream.base_url();
    let gateway =
        Setup::new(format!("providers:\n  up: {{ base_url: '{base}', wire: anthropic }}\n")).start().await;
    let client = gateway.client().await;
    let data = "QUJD".repeat(512 * 1024);
    let mut body = showing(&[format!("data:image/png;base64,{data}")], false);
    let answer = client.chat(&body).await;
    assert_eq!((answer.status, answer.content().as_str()), (200, "a cat"), "{}", answer.text());
    let sent = upstream.last().json();
    assert!(sent.pointer("/messages/0/content/1/source/data") == Some(&json!(data)), "not what was given");
    body["frequency_penalty"] = json!(1);
    let strict = Answer::of(client.request(&body).header("x-gateway-strict", "true")).await;
    assert_eq!((strict.status, strict.param().as_str()), (400, "frequency_penalty"), "{}", strict.text());
}

#[tokio::test]
async fn an_allowed_image_is_fetched_once_and_reaches_every_target_that_is_tried() {
    let pictures = Pictures::start(|path| match path {
        "/a.png" => Reply::redirect("/b.png"),
        "/b.png" => Reply::png(),
        _ => Reply::ok("image/png", b"\xff\xd8\xff\xe0 a photograph"),
    });
    let reply = json!({"output": {"message": {"role": "assistant", "content": [{"text": "a cat"}]}},
        "stopReason": "end_turn", "usage": {"inputTokens": 9, "outputTokens": 3, "totalTokens": 12}});
    let upstream = Upstream::start(move |request| match request.number {
        0 => Script::new().send(whole(500, &json!({"message": "x"}))),
        _ => Script::new().send(whole(200, &reply)),
    })
    .await;
    let gateway = fetching_as("bedrock-converse", &upstream, &pictures).await;
    let (first, second) = (pictures.url("/a.png"), pictures.url("/c"));
    let mut body = showing(&[first.clone(), second, first], false);
    body["fallbacks"] = json!(["up/n"]);
    let answer = gateway.client().await.chat(&body).await;
    assert_eq!((answer.status, answer.content().as_str()), (200, "a cat"), "{}", answer.text());
    let image = |format: &str, bytes: &str| json!({"image": {"format": format, "source": {"bytes": bytes}}});
    let png = image(
        "png",
        "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mP8z1APAASFAYCEqYwhAAAAAElFTkSuQmCC",
    );
    let jpeg = image("jpeg", "/9j/4CBhIHBob3RvZ3JhcGg=");
    let requests = upstream.requests();
    assert_eq!(requests.len(), 2);
    for request in requests {
        let parts = request.json()["messages"][0]["content"].clone();
        assert_eq!(parts, json!([{"text": "what is it?"}, png, jpeg, png]));
    }
    let mut asked: Vec<String> =
        pictures.heads().iter().filter_map(|head| head.split(' ').nth(1).map(str::to_owned)).collect();
    asked.sort();
    assert_eq!(asked, ["/a.png", "/b.png", "/c"]);
}

#[tokio::test]
async fn an_address_that_the_vendor_reads_itself_is_passed_on_and_not_fetched() {
    let content = json!({"role": "model", "parts": [{"text": "a film"}]});
    let reply = json!({"candidates": [{"content": content, "finishReason": "STOP"}]});
    let upstream = Upstream::always(Script::new().send(whole(200, &reply))).await;
    let gateway = setup_as("gemini", &upstream, "").start().await;
    let film = "https://www.youtube.com/watch?v=abc";
    let answer = ask(&gateway, &[film.to_owned()]).await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    let sent = upstream.requests()[0].json();
    assert!(sent["contents"].to_string().contains(film), "{sent}");
}
