//! The fetcher of images by itself: what it gets, what it sends along, how much of it at once.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use llm_gateway::config::{AllowedHost, FetchSettings};
use llm_gateway::error::Error;
use llm_gateway::upstream::{Fetched, Fetcher, Fetching};
use tokio::time::Instant;

use crate::support::{PNG, Pictures, Reply, certificate, chunk};

const MIB: usize = 1 << 20;

/// Runs on a thread as a cell has it.
fn on_a_cell<T>(work: impl Future<Output = T>) -> T {
    actix_rt::System::new().block_on(work)
}

/// What is allowed to fetch from these pictures, and may hold so much.
fn fetching(pictures: &Pictures, memory: usize) -> Fetching {
    let folder = tempfile::TempDir::new().unwrap();
    let file = folder.path().join("ca.pem");
    std::fs::write(&file, certificate()).unwrap();
    let settings = FetchSettings {
        images: true,
        allow: vec![AllowedHost::parse(&format!("localhost:{}", pictures.port)).unwrap()],
        ca_file: Some(file),
        memory: memory as u64,
    };
    Fetching::of(&settings).unwrap().unwrap()
}

async fn fetch(fetching: &Fetching, urls: &[String]) -> Result<Fetched, Error> {
    let wanted = urls.iter().enumerate().map(|(at, url)| (format!("images[{at}]"), url.clone())).collect();
    let deadline = Instant::now() + Duration::from_secs(60);
    Fetcher::new(fetching.clone()).fetch(wanted, deadline, Arc::from("req_test")).await
}

fn picture(size: usize) -> Vec<u8> {
    let mut picture = PNG.to_vec();
    picture.resize(size, 0x5a);
    picture
}

#[test]
fn images_of_every_kind_come_as_what_they_are_whatever_their_heads_say() {
    let pictures = Pictures::start(|path| match path {
        "/a?b=c%20d" => Reply::png(),
        "/jpeg" => Reply::ok("image/png", b"\xff\xd8\xff\xe0 a photograph"),
        "/gif" => Reply::ok("application/octet-stream", b"GIF89a moving"),
        "/webp" => Reply::ok("image/webp", b"RIFF\x04\0\0\0WEBP small"),
        "/bare" => Reply::Bytes([b"HTTP/1.1 200 OK\r\ncontent-length: 12\r\n\r\n", &PNG[..12]].concat()),
        _ => Reply::Bytes(b"HTTP/1.1 404 X\r\ncontent-length: 0\r\n\r\n".to_vec()),
    });
    let urls: Vec<String> =
        ["/a?b=c d#e", "/jpeg", "/gif", "/webp", "/bare"].map(|path| pictures.url(path)).to_vec();
    let fetched = on_a_cell(fetch(&fetching(&pictures, 64 * MIB), &urls)).unwrap();
    let got: Vec<_> = urls.iter().map(|url| fetched.media.get(url).unwrap()).collect();
    assert_eq!(
        got[0],
        (
            "image/png",
            "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mP8z1APAASFAYCEqYwhAAAAAElFTkSuQmCC"
        )
    );
    assert_eq!(got[1], ("image/jpeg", "/9j/4CBhIHBob3RvZ3JhcGg="));
    assert_eq!(got[2], ("image/gif", "R0lGODlhIG1vdmluZw=="));
    assert_eq!(got[3], ("image/webp", "UklGRgQAAABXRUJQIHNtYWxs"));
    assert_eq!(got[4], ("image/png", "iVBORw0KGgoAAAAN"));
}

#[test]
fn three_redirects_are_followed_and_nothing_goes_along() {
    let pictures = Pictures::start(|path| match path {
        "/1" => Reply::Bytes(
            b"HTTP/1.1 301 X\r\nlocation: /x/2\r\nset-cookie: a=b; Path=/\r\ncontent-length: 0\r\n\r\n"
                .to_vec(),
        ),
        "/x/2" => Reply::redirect("3"),
        "/x/3" => Reply::redirect("../4?last"),
        _ => Reply::png(),
    });
    let urls = [pictures.url("/1")];
    let fetched = on_a_cell(fetch(&fetching(&pictures, 64 * MIB), &urls)).unwrap();
    assert_eq!(fetched.media.get(&urls[0]).map(|(kind, _)| kind), Some("image/png"));
    let heads = pictures.heads();
    let lines: Vec<&str> = heads.iter().filter_map(|head| head.lines().next()).collect();
    assert_eq!(
        lines,
        ["GET /1 HTTP/1.1", "GET /x/2 HTTP/1.1", "GET /x/3 HTTP/1.1", "GET /x/../4?last HTTP/1.1"]
    );
    for head in &heads {
        let mut names: Vec<String> = head
            .lines()
            .skip(1)
            .filter_map(|line| line.split_once(':'))
            .map(|(name, _)| name.to_lowercase())
            .collect();
        // The client's library adds the time when it knows it.
        names.retain(|name| name != "date");
        names.sort();
        assert_eq!(
            names,
            ["accept", "accept-encoding", "connection", "content-length", "host", "user-agent"],
            "{head}"
        );
        assert!(head.to_lowercase().contains(&format!("host: localhost:{}\r\n", pictures.port)), "{head}");
        assert!(head.to_lowercase().contains("connection: close"), "{head}");
    }
}

#[test]
fn sixteen_images_come_four_at_a_time_at_most() {
    static NOW: AtomicUsize = AtomicUsize::new(0);
    static MOST: AtomicUsize = AtomicUsize::new(0);
    let pictures = Pictures::start(|_| {
        MOST.fetch_max(NOW.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
        std::thread::park_timeout(Duration::from_millis(60));
        NOW.fetch_sub(1, Ordering::SeqCst);
        Reply::png()
    });
    let urls: Vec<String> = (0..16).map(|at| pictures.url(&format!("/{at}"))).collect();
    let fetched = on_a_cell(fetch(&fetching(&pictures, 64 * MIB), &urls)).unwrap();
    assert!(urls.iter().all(|url| fetched.media.get(url).is_some()));
    assert_eq!((pictures.heads().len(), pictures.connections()), (16, 16));
    let most = MOST.load(Ordering::SeqCst);
    assert!((2..=4).contains(&most), "{most}");
}

#[test]
fn an_image_without_a_length_comes_whole() {
    let size = 3 * MIB / 2;
    let pictures = Pictures::start(move |_| {
        let head = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n".to_vec();
        Reply::Bytes([head, chunk(picture(size)), chunk("")].concat())
    });
    let urls = [pictures.url("/pieces")];
    let fetched = on_a_cell(fetch(&fetching(&pictures, 64 * MIB), &urls)).unwrap();
    let (_, data) = fetched.media.get(&urls[0]).unwrap();
    assert!(data.len() == size.div_ceil(3) * 4 && data.ends_with("WlpaWlpa"), "{}", data.len());
}

#[test]
fn the_images_of_all_requests_are_bounded_together_and_room_comes_back_with_them() {
    let pictures = Pictures::start(|_| Reply::ok("image/png", &picture(MIB)));
    let urls: Vec<String> = (0..2).map(|at| pictures.url(&format!("/{at}"))).collect();
    on_a_cell(async {
        // Room for one and a half of them.
        let shared = fetching(&pictures, 2 * MIB);
        let first = fetch(&shared, &urls[..1]).await.unwrap();
        let error = fetch(&shared, &urls[1..]).await.map(|_| ()).unwrap_err();
        assert_eq!((error.class().status, error.code()), (503, Some("overloaded")), "{error}");
        assert!(error.retry_after().is_some());
        drop(first);
        assert!(fetch(&shared, &urls[1..]).await.is_ok(), "room is given back with the images");
    });
}
