//! Requests byte for byte over TCP, for what no HTTP library would send: odd paths, unfinished bodies.

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::PATIENCE;

/// What came back.
#[derive(Clone, Debug)]
pub struct RawAnswer {
    /// HTTP status.
    pub status: u16,
    /// Status line and headers.
    pub head: String,
    /// The body, as far as its length was announced.
    pub body: String,
}

impl RawAnswer {
    /// `error.code` of the body, or the empty string.
    pub fn code(&self) -> String {
        let body: serde_json::Value = serde_json::from_str(&self.body).unwrap_or_default();
        body.pointer("/error/code").and_then(serde_json::Value::as_str).unwrap_or("").to_owned()
    }
}

/// Sends bytes to `http://host:port` and reads one answer; does not close its side meanwhile.
pub async fn raw(base: &str, bytes: &[u8]) -> RawAnswer {
    try_raw(base, bytes).await.expect("an answer")
}

/// As [`raw`]; `None` when the connection was closed without an answer.
pub async fn try_raw(base: &str, bytes: &[u8]) -> Option<RawAnswer> {
    let address = base.strip_prefix("http://").expect("plain http");
    let mut stream = TcpStream::connect(address).await.expect("the gateway listens");
    // The gateway may refuse before it has read everything: that is for the answer to tell.
    let _ = stream.write_all(bytes).await;
    let mut answer = Vec::new();
    let end = loop {
        if let Some(at) = answer.windows(4).position(|window| window == b"\r\n\r\n") {
            break at + 4;
        }
        if !more(&mut stream, &mut answer).await {
            return None;
        }
    };
    let head = String::from_utf8_lossy(&answer[..end]).into_owned();
    let length = head.lines().find_map(|line| {
        let (name, value) = line.split_once(':')?;
        name.eq_ignore_ascii_case("content-length").then(|| value.trim().parse::<usize>().ok())?
    });
    while answer.len() < end + length.unwrap_or(0) && more(&mut stream, &mut answer).await {}
    let status = head.split(' ').nth(1).and_then(|status| status.parse().ok()).expect("a status");
    Some(RawAnswer { status, head, body: String::from_utf8_lossy(&answer[end..]).into_owned() })
}

/// Reads a piece; false at the end.
async fn more(stream: &mut TcpStream, answer: &mut Vec<u8>) -> bool {
    let mut piece = [0; 4096];
    let read = timeout(PATIENCE, stream.read(&mut piece)).await.expect("an answer in time").unwrap_or(0);
    answer.extend_from_slice(&piece[..read]);
    read > 0
}
