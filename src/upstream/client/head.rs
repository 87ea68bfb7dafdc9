//! Heads of requests, written once for all requests that share one.

use awc::http::header::{CONNECTION, CONTENT_LENGTH, HeaderMap, HeaderName, HeaderValue, TRANSFER_ENCODING};
use awc::http::{Method, Uri};

/// What requests to one path begin with.
pub struct Head {
    method: Method,
    uri: Uri,
    headers: HeaderMap,
    /// Request line and headers, without the empty line.
    lines: Vec<u8>,
}

impl Head {
    /// Writes one. How long a body is, and how it travels, is said for each request.
    pub fn new(method: Method, uri: Uri, mut headers: HeaderMap) -> Self {
        for framing in [CONTENT_LENGTH, TRANSFER_ENCODING, CONNECTION] {
            headers.remove(framing);
        }
        let mut head = Self { method, uri, headers, lines: Vec::new() };
        let mut lines = Vec::with_capacity(512);
        head.begin(&mut lines);
        for (name, value) in &head.headers {
            line(name, value, &mut lines);
        }
        head.lines = lines;
        head
    }

    /// How it asks.
    pub fn method(&self) -> &Method {
        &self.method
    }

    /// Where it goes.
    pub fn uri(&self) -> &Uri {
        &self.uri
    }

    /// Its headers.
    pub fn headers(&self) -> &HeaderMap {
        &self.headers
    }

    fn begin(&self, out: &mut Vec<u8>) {
        let path = self.uri.path_and_query().map_or("/", |path| path.as_str());
        for part in [self.method.as_str(), " ", path, " HTTP/1.1\r\n"] {
            out.extend_from_slice(part.as_bytes());
        }
    }

    /// Writes the whole head of a request with this body's length; a header of `extra` stands in place of one of the same
    /// name.
    pub fn write(&self, extra: Option<&HeaderMap>, length: Option<usize>, out: &mut Vec<u8>) {
        match extra {
            None => out.extend_from_slice(&self.lines),
            Some(extra) => {
                self.begin(out);
                let own = self.headers.iter().filter(|(name, _)| !extra.contains_key(*name));
                for (name, value) in own.chain(extra.iter()) {
                    line(name, value, out);
                }
            }
        }
        if let Some(length) = length {
            out.extend_from_slice(b"content-length: ");
            out.extend_from_slice(itoa::Buffer::new().format(length).as_bytes());
            out.extend_from_slice(b"\r\n");
        }
        out.extend_from_slice(b"\r\n");
    }
}

fn line(name: &HeaderName, value: &HeaderValue, out: &mut Vec<u8>) {
    for part in [name.as_str().as_bytes(), b": ", value.as_bytes(), b"\r\n"] {
        out.extend_from_slice(part);
    }
}
