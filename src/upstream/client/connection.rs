//! One connection: a request goes out, the head of its answer comes back.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Waker};

use actix_http::body::BodySize;
use actix_http::h1::{ClientCodec, Message};
use actix_http::{RequestHead, RequestHeadType, ResponseHead, ServiceConfig};
use actix_rt::time::Instant;
use awc::error::{ConnectError, SendRequestError};
use awc::http::header::HeaderMap;
use awc::http::{Method, StatusCode};
use bytes::{Bytes, BytesMut};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _, ReadBuf};
use tokio_util::codec::{Decoder as _, Encoder as _};

use super::head::Head;
use super::pool::Pool;
use super::response::Response;

/// Room for what is read next, bytes: so much is made where there is less than the first.
pub const READ_MIN: usize = 1024;
pub const READ: usize = 8 * 1024;
/// Bodies up to this are copied behind their heads: one piece costs less than two.
const COPY_MAX: usize = 16 * 1024;

thread_local! {
    /// What codecs ask for the time and whether connections are kept: one clock for all of a thread.
    static CONFIG: ServiceConfig = ServiceConfig::default();
}

/// What connections are made of.
pub trait Socket: AsyncRead + AsyncWrite + Unpin {}

impl<T: AsyncRead + AsyncWrite + Unpin> Socket for T {}

/// A connection without its codec, which is elsewhere while an answer is read.
pub struct Line {
    pub(super) socket: Box<dyn Socket>,
    made: Instant,
    /// What was asked last.
    method: Method,
}

impl Line {
    /// True when an answer with this status has no body, whatever its head says.
    pub fn is_without_body(&self, status: StatusCode) -> bool {
        let is_empty = matches!(status, StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED);
        is_empty || status.is_informational() || self.method == Method::HEAD
    }

    /// The connection again.
    pub fn with(self, codec: ClientCodec) -> Connection {
        Connection { line: self, codec }
    }
}

/// A connection that is open, and has no request on it.
pub struct Connection {
    line: Line,
    /// Knows whether the connection is kept after the last answer.
    codec: ClientCodec,
}

/// A connection whose next bytes are the body of an answer.
pub struct Answered {
    /// Itself.
    pub line: Line,
    /// Knows what the head said of the body.
    pub codec: ClientCodec,
    /// It may carry another request afterwards.
    pub reusable: bool,
}

impl Connection {
    /// Of a socket that was just opened.
    pub fn new(socket: Box<dyn Socket>) -> Self {
        let codec = ClientCodec::new(CONFIG.with(ServiceConfig::clone));
        // Nothing was asked yet: the first request tells the codec.
        Self { line: Line { socket, made: Instant::now(), method: Method::CONNECT }, codec }
    }

    /// When it was opened.
    pub fn made(&self) -> Instant {
        self.line.made
    }

    /// True while its other end neither closes it nor says anything unasked.
    pub fn is_quiet(&mut self) -> bool {
        let mut bytes = [0; 1];
        let mut unasked = ReadBuf::new(&mut bytes);
        // Who uses it next is woken in place of nobody.
        let mut context = Context::from_waker(Waker::noop());
        Pin::new(&mut self.line.socket).poll_read(&mut context, &mut unasked).is_pending()
    }

    /// Tells the codec what is asked: whether an answer has a body depends on it.
    fn asks(&mut self, method: &Method) -> io::Result<()> {
        if self.line.method == *method {
            return Ok(());
        }
        let mut head = RequestHead::default();
        head.method = method.clone();
        let asked = Message::Item((RequestHeadType::Owned(head), BodySize::None));
        // Heads are written by `Head`; what is written here is for the codec's memory alone.
        self.codec.encode(asked, &mut BytesMut::new())?;
        self.line.method = method.clone();
        Ok(())
    }

    /// Writes a request.
    async fn write(
        &mut self,
        head: &Head,
        extra: Option<&HeaderMap>,
        body: Option<&Bytes>,
    ) -> io::Result<()> {
        self.asks(head.method())?;
        let copied = body.filter(|body| body.len() <= COPY_MAX);
        let mut first = Vec::with_capacity(1024 + copied.map_or(0, Bytes::len));
        head.write(extra, body.map(Bytes::len), &mut first);
        let second = match (copied, body) {
            (Some(copied), _) => {
                first.extend_from_slice(copied);
                &[]
            }
            (None, body) => body.map_or(&[][..], |body| body),
        };
        let mut slices = [IoSlice::new(&first), IoSlice::new(second)];
        let mut left = &mut slices[..];
        IoSlice::advance_slices(&mut left, 0);
        while !left.is_empty() {
            let written = self.line.socket.write_vectored(left).await?;
            if written == 0 {
                return Err(io::ErrorKind::WriteZero.into());
            }
            IoSlice::advance_slices(&mut left, written);
        }
        self.line.socket.flush().await
    }

    /// Reads the head of the answer.
    async fn head(&mut self, read: &mut BytesMut) -> Result<ResponseHead, SendRequestError> {
        loop {
            read.reserve(READ);
            match self.line.socket.read_buf(read).await {
                Ok(0) => return Err(SendRequestError::Connect(ConnectError::Disconnected)),
                Ok(_) => {}
                Err(error) => return Err(SendRequestError::Response(error.into())),
            }
            while let Some(head) = self.codec.decode(read).map_err(SendRequestError::Response)? {
                // What comes before the answer (early hints, a word to go on) is nothing that was asked for.
                if !head.status.is_informational() || head.status == StatusCode::SWITCHING_PROTOCOLS {
                    return Ok(head);
                }
            }
        }
    }
}

/// A connection for the next request.
pub struct Ready {
    connection: Connection,
    pool: Rc<Pool>,
}

impl Ready {
    /// One that goes back to this pool.
    pub fn new(connection: Connection, pool: &Rc<Pool>) -> Self {
        Self { connection, pool: Rc::clone(pool) }
    }

    /// Sends a request and waits for the head of its answer.
    ///
    /// # Errors
    /// The connection breaks, or what comes is not HTTP.
    pub async fn send(
        mut self,
        head: &Head,
        extra: Option<&HeaderMap>,
        body: Option<&Bytes>,
    ) -> Result<Response, SendRequestError> {
        let mut read = BytesMut::new();
        let written = self.connection.write(head, extra, body).await;
        // Who refuses a request may answer and close before all of it was sent.
        let answer = self.connection.head(&mut read).await;
        let reusable = written.is_ok();
        let answer = answer.map_err(|error| written.err().map_or(error, SendRequestError::Send))?;
        let Connection { line, codec } = self.connection;
        Ok(Response::new(answer, Answered { line, codec, reusable }, read, self.pool))
    }
}
