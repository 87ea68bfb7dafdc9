//! An answer: its head, and its body as it comes.

use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use actix_http::ResponseHead;
use actix_http::h1::{ClientPayloadCodec, MessageType};
use awc::ClientResponse;
use awc::error::PayloadError;
use awc::http::StatusCode;
use awc::http::header::{CONTENT_LENGTH, HeaderMap, TRANSFER_ENCODING};
use bytes::{Bytes, BytesMut};
use futures_util::Stream;
use tokio_util::codec::Decoder as _;
use tokio_util::io::poll_read_buf;

use super::connection::{Answered, Line, READ, READ_MIN};
use super::pool::Pool;

/// An answer that is read piece by piece.
pub trait Answer: Stream<Item = Result<Bytes, PayloadError>> + Unpin {
    /// Its headers.
    fn head(&self) -> &HeaderMap;

    /// The length of its body, as far as that was said.
    fn announced(&self) -> Option<usize> {
        self.head().get(CONTENT_LENGTH)?.to_str().ok()?.parse().ok()
    }
}

impl Answer for ClientResponse {
    fn head(&self) -> &HeaderMap {
        self.headers()
    }
}

/// An answer. Read to its end it gives its connection back; dropped before, it closes it.
pub struct Response {
    status: StatusCode,
    headers: HeaderMap,
    body: Option<Body>,
}

/// A body that is not read to its end.
struct Body {
    line: Line,
    read: BytesMut,
    framing: Framing,
    /// The connection may be used again.
    reusable: bool,
    pool: Rc<Pool>,
}

/// What ends a body.
enum Framing {
    /// Its length, or its last chunk; the end of the connection alone where that was not announced.
    Codec { codec: ClientPayloadCodec, announced: bool },
    /// The end of the connection.
    Close,
}

impl Response {
    /// The answer with this head; what was read behind it is in `read`.
    pub fn new(head: ResponseHead, answered: Answered, read: BytesMut, pool: Rc<Pool>) -> Self {
        let Answered { line, codec, reusable } = answered;
        let announced =
            [CONTENT_LENGTH, TRANSFER_ENCODING].iter().any(|name| head.headers.contains_key(name));
        let body = match codec.message_type() {
            MessageType::None if announced || line.is_without_body(head.status) => {
                if reusable && read.is_empty() && codec.keep_alive() {
                    pool.put(line.with(codec));
                }
                None
            }
            MessageType::None => Some((line, Framing::Close)),
            _ => Some((line, Framing::Codec { codec: codec.into_payload_codec(), announced })),
        };
        let body = body.map(|(line, framing)| Body { line, read, framing, reusable, pool });
        Self { status: head.status, headers: head.headers, body }
    }

    /// Its status.
    pub fn status(&self) -> StatusCode {
        self.status
    }

    /// Its headers.
    pub fn headers(&self) -> &HeaderMap {
        &self.headers
    }
}

impl Answer for Response {
    fn head(&self) -> &HeaderMap {
        &self.headers
    }
}

/// What of a body is there.
enum Found {
    Piece(Bytes),
    /// All of it was found before.
    End,
    Nothing,
}

impl Body {
    /// What of it was read and not given yet.
    fn found(&mut self) -> Result<Found, PayloadError> {
        match &mut self.framing {
            Framing::Close if self.read.is_empty() => Ok(Found::Nothing),
            Framing::Close => Ok(Found::Piece(self.read.split().freeze())),
            Framing::Codec { codec, .. } => Ok(match codec.decode(&mut self.read)? {
                Some(Some(piece)) => Found::Piece(piece),
                Some(None) => Found::End,
                None => Found::Nothing,
            }),
        }
    }

    /// Reads more; zero at the end of the connection.
    fn poll_more(&mut self, context: &mut Context<'_>) -> Poll<io::Result<usize>> {
        if self.read.capacity() - self.read.len() < READ_MIN {
            self.read.reserve(READ);
        }
        poll_read_buf(Pin::new(&mut self.line.socket), context, &mut self.read)
    }

    /// The connection has ended: whether the body has, too.
    fn closed(&self) -> Option<Result<Bytes, PayloadError>> {
        match self.framing {
            Framing::Codec { announced: true, .. } => Some(Err(PayloadError::Incomplete(None))),
            _ => None,
        }
    }

    /// All was read: the connection goes back.
    fn done(self) {
        if let Framing::Codec { codec, .. } = self.framing
            && self.reusable
            && self.read.is_empty()
            && codec.keep_alive()
        {
            self.pool.put(self.line.with(codec.into_message_codec()));
        }
    }
}

impl Stream for Response {
    type Item = Result<Bytes, PayloadError>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        loop {
            let Some(body) = &mut self.body else { return Poll::Ready(None) };
            let last = match body.found() {
                Ok(Found::Piece(piece)) => return Poll::Ready(Some(Ok(piece))),
                Err(error) => Some(Err(error)),
                Ok(Found::End) => {
                    if let Some(body) = self.body.take() {
                        body.done();
                    }
                    return Poll::Ready(None);
                }
                Ok(Found::Nothing) => match ready!(body.poll_more(context)) {
                    Ok(0) => body.closed(),
                    Ok(_) => continue,
                    Err(error) => Some(Err(PayloadError::Io(error))),
                },
            };
            self.body = None;
            return Poll::Ready(last);
        }
    }
}
