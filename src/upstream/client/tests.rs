use std::net::SocketAddr;

use awc::error::{PayloadError, SendRequestError};
use awc::http::header::{AUTHORIZATION, HOST, HeaderMap, HeaderName, HeaderValue, USER_AGENT};
use awc::http::{Method, Uri};
use bytes::Bytes;
use futures_util::StreamExt as _;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

use super::*;

/// What an upstream does with one connection: reads up to here, says this, again and again.
type Turns = &'static [(&'static str, &'static str)];

/// An upstream that serves connections one after the other, and gives what it read of each.
async fn upstream(connections: &'static [Turns]) -> (Client, JoinHandle<Vec<String>>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let served = tokio::spawn(async move {
        let mut all = Vec::new();
        for turns in connections {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut read = String::new();
            for (until, say) in *turns {
                while !read.ends_with(until) {
                    read.push(char::from(stream.read_u8().await.unwrap()));
                }
                stream.write_all(say.as_bytes()).await.unwrap();
            }
            all.push(read);
        }
        all
    });
    (client(address), served)
}

fn client(address: SocketAddr) -> Client {
    Client::new(move || {
        Box::pin(async move { Ok(Box::new(TcpStream::connect(address).await?) as Box<dyn Socket>) })
    })
}

fn head(method: Method) -> Head {
    let mut headers = HeaderMap::new();
    headers.insert(HOST, HeaderValue::from_static("up"));
    Head::new(method, Uri::from_static("http://up/v1/x?y=z"), headers)
}

async fn ask(client: &Client, body: &'static str) -> Result<Response, SendRequestError> {
    let ready = client.ready().await.map_err(SendRequestError::Connect)?;
    ready.send(&head(Method::POST), None, Some(&Bytes::from_static(body.as_bytes()))).await
}

async fn whole(response: Response) -> Result<String, PayloadError> {
    let pieces: Vec<_> = response.collect().await;
    let pieces: Result<Vec<Bytes>, _> = pieces.into_iter().collect();
    Ok(String::from_utf8(pieces?.concat()).unwrap())
}

#[test]
fn a_head_is_what_it_was_made_of_and_what_one_request_adds_or_replaces() {
    let mut headers = HeaderMap::new();
    for (name, value) in
        [("host", "up"), ("user-agent", "us"), ("content-length", "7"), ("connection", "close")]
    {
        headers.insert(HeaderName::from_static(name), HeaderValue::from_static(value));
    }
    let head = Head::new(Method::POST, Uri::from_static("https://up:8443/v1/x?y=z"), headers);
    let written = |extra: Option<&HeaderMap>, length| {
        let mut out = Vec::new();
        head.write(extra, length, &mut out);
        String::from_utf8(out).unwrap()
    };
    let lines = |text: &str| {
        let mut lines: Vec<_> = text.split("\r\n").skip(1).map(str::to_owned).collect();
        lines.sort();
        lines
    };
    let plain = written(None, Some(12));
    assert!(plain.starts_with("POST /v1/x?y=z HTTP/1.1\r\n") && plain.ends_with("\r\n\r\n"), "{plain}");
    assert_eq!(lines(&plain), ["", "", "content-length: 12", "host: up", "user-agent: us"]);
    let mut extra = HeaderMap::new();
    extra.insert(USER_AGENT, HeaderValue::from_static("them"));
    extra.insert(AUTHORIZATION, HeaderValue::from_static("Bearer x"));
    let with = written(Some(&extra), None);
    assert!(with.starts_with("POST /v1/x?y=z HTTP/1.1\r\n") && with.ends_with("\r\n\r\n"), "{with}");
    assert_eq!(lines(&with), ["", "", "authorization: Bearer x", "host: up", "user-agent: them"]);
    let root = Head::new(Method::HEAD, Uri::from_static("http://up"), HeaderMap::new());
    let mut out = Vec::new();
    root.write(None, None, &mut out);
    assert_eq!(out, b"HEAD / HTTP/1.1\r\n\r\n");
}

#[actix::test]
async fn a_connection_is_used_again_after_a_whole_answer_and_not_when_that_closes_it() {
    let (client, served) = upstream(&[
        &[
            ("\r\n\r\nab", "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nhi"),
            (
                "\r\n\r\ncd",
                "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nhe\r\n1\r\ny\r\n0\r\n\r\n",
            ),
            ("\r\n\r\nef", "HTTP/1.1 200 OK\r\ncontent-length: 1\r\nconnection: close\r\n\r\n!"),
        ],
        &[
            ("\r\n\r\ngh", "HTTP/1.1 204 No Content\r\n\r\n"),
            ("\r\n\r\nij", "HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n"),
        ],
    ])
    .await;
    for (body, said) in [("ab", "hi"), ("cd", "hey"), ("ef", "!"), ("gh", ""), ("ij", "")] {
        assert_eq!(whole(ask(&client, body).await.unwrap()).await.unwrap(), said);
    }
    let asked: Vec<_> =
        served.await.unwrap().iter().map(|read| read.matches("POST /v1/x?y=z HTTP/1.1").count()).collect();
    assert_eq!(asked, [3, 2]);
}

#[actix::test]
async fn an_answer_that_is_dropped_or_followed_by_more_closes_its_connection() {
    let (client, served) = upstream(&[
        &[("ab", "HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nhi")],
        &[("ab", "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nhiHTTP/1.1 200 OK\r\n\r\n")],
        &[("ab", "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nhi")],
    ])
    .await;
    let mut first = ask(&client, "ab").await.unwrap();
    assert_eq!(first.next().await.unwrap().unwrap(), "hi");
    drop(first);
    for _ in 0..2 {
        assert!(client.kept().is_none());
        assert_eq!(whole(ask(&client, "ab").await.unwrap()).await.unwrap(), "hi");
    }
    assert_eq!(served.await.unwrap().len(), 3);
}

#[actix::test]
async fn a_body_that_ends_too_early_is_an_error_and_one_without_a_length_ends_with_its_connection() {
    let (client, served) = upstream(&[
        &[("ab", "HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nhi")],
        &[("ab", "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nhi\r\n")],
        &[("ab", "HTTP/1.1 200 OK\r\n\r\nall of it")],
        &[("ab", "HTTP/1.0 200 OK\r\n\r\nall of it")],
        &[("ab", "HTTP/1.1 200 OK\r\ncontent-le")],
        &[("ab", "nonsense\r\n\r\n")],
    ])
    .await;
    for _ in 0..2 {
        let cut = whole(ask(&client, "ab").await.unwrap()).await;
        assert!(matches!(cut, Err(PayloadError::Incomplete(None))), "{cut:?}");
    }
    for _ in 0..2 {
        assert_eq!(whole(ask(&client, "ab").await.unwrap()).await.unwrap(), "all of it");
        assert!(client.kept().is_none());
    }
    let gone = ask(&client, "ab").await.err().unwrap();
    assert!(matches!(gone, SendRequestError::Connect(ConnectError::Disconnected)), "{gone:?}");
    let nonsense = ask(&client, "ab").await.err().unwrap();
    assert!(matches!(nonsense, SendRequestError::Response(_)), "{nonsense:?}");
    served.await.unwrap();
}

#[actix::test]
async fn what_comes_before_an_answer_is_passed_over_and_a_head_alone_has_no_body() {
    let (client, served) = upstream(&[&[
        (
            "\r\n\r\nab",
            "HTTP/1.1 103 Early Hints\r\nlink: </x>\r\n\r\nHTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nhi",
        ),
        ("\r\n\r\n", "HTTP/1.1 200 OK\r\ncontent-length: 7\r\n\r\n"),
        ("\r\n\r\ncd", "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nhi"),
    ]])
    .await;
    assert_eq!(whole(ask(&client, "ab").await.unwrap()).await.unwrap(), "hi");
    let ready = client.kept().unwrap();
    let alone = ready.send(&head(Method::HEAD), None, None).await.unwrap();
    assert_eq!((alone.announced(), whole(alone).await.unwrap().as_str()), (Some(7), ""));
    assert_eq!(whole(ask(&client, "cd").await.unwrap()).await.unwrap(), "hi");
    assert_eq!(served.await.unwrap().len(), 1);
}

#[actix::test]
async fn a_refusal_of_a_long_body_is_heard_although_not_all_of_it_was_sent() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let client = client(listener.local_addr().unwrap());
    let refusing = tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        stream.read_u8().await.unwrap();
        stream.write_all(b"HTTP/1.1 413 Too Large\r\ncontent-length: 2\r\n\r\nno").await.unwrap();
        stream.shutdown().await.unwrap();
        // It reads no more than a piece, and then resets the connection.
        let mut piece = vec![0; 1 << 16];
        stream.read_exact(&mut piece).await.unwrap();
    });
    let long = Bytes::from(vec![b'a'; 64 << 20]);
    let ready = client.connect().await.unwrap();
    // A reset may overtake what was said before it: then it is an error of sending, and nothing else.
    match ready.send(&head(Method::POST), None, Some(&long)).await {
        Ok(response) => {
            assert_eq!(response.status(), 413);
            let _ = whole(response).await;
        }
        Err(error) => assert!(matches!(error, SendRequestError::Send(_)), "{error:?}"),
    }
    assert!(client.kept().is_none());
    refusing.await.unwrap();
}
