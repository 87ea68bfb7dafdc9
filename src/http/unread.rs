//! Answers to requests whose body was not read to its end: they close the connection.
//!
//! A body in chunks that nobody holds any more is drained by the server for as long as the client cares to send
//! it, key or no key. One that is still held when the answer ends is not: the connection closes.

use std::pin::Pin;
use std::task::{Context, Poll};

use actix_web::HttpResponse;
use actix_web::body::{BodySize, BoxBody, MessageBody};
use actix_web::web::Payload;
use bytes::Bytes;

/// A response body that holds the request's.
struct Holding {
    body: BoxBody,
    _request: Payload,
}

impl MessageBody for Holding {
    type Error = Box<dyn std::error::Error>;

    fn size(&self) -> BodySize {
        self.body.size()
    }

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, Self::Error>>> {
        Pin::new(&mut self.body).poll_next(cx)
    }
}

/// `answer`, after which the connection closes unless `request` was read to its end.
pub fn holding(answer: HttpResponse, request: Payload) -> HttpResponse {
    answer.map_body(|_, body| BoxBody::new(Holding { body, _request: request }))
}
