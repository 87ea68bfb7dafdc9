//! Calls from web pages: what a browser must read in an answer before a page of another origin may have it.
//!
//! Why our own: a request without an `Origin` must cost nothing, neither an allocation nor another type of body.
//! Invariants: an origin that is not allowed gets no header of these; cookies are never allowed, a page needs a key.

use std::future::{Ready, ready};
use std::net::SocketAddr;
use std::sync::Arc;
use std::task::{Context, Poll};

use actix_web::dev::{Service, ServiceRequest, ServiceResponse, Transform};
use actix_web::http::Method;
use actix_web::http::header::{
    ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS, ACCESS_CONTROL_ALLOW_ORIGIN,
    ACCESS_CONTROL_EXPOSE_HEADERS, ACCESS_CONTROL_MAX_AGE, ACCESS_CONTROL_REQUEST_HEADERS,
    ACCESS_CONTROL_REQUEST_METHOD, HeaderValue, ORIGIN, VARY,
};
use actix_web::{HttpMessage as _, HttpRequest, HttpResponse};
use futures_util::future::{Either, LocalBoxFuture};

use crate::actors::live::Live;

/// Headers of ours that a page may read.
const EXPOSED: &str = "x-request-id, x-gateway-provider, x-gateway-model, x-gateway-attempts, x-gateway-overhead-us, \
x-gateway-dropped-params, x-gateway-idempotent-replay, x-gateway-original-request-id, x-gateway-idempotency, \
x-ratelimit-limit-requests, x-ratelimit-remaining-requests, x-ratelimit-reset-requests, \
x-ratelimit-limit-tokens, x-ratelimit-remaining-tokens, x-ratelimit-reset-tokens, \
retry-after, retry-after-ms, x-should-retry";
/// How long a browser may remember a preflight, seconds.
const MAX_AGE_S: &str = "600";

/// Who may call from a page.
#[derive(Clone)]
pub struct Cors {
    live: Live,
    own: Arc<[String]>,
}

impl Cors {
    /// The configured origins, as they are at each request, and those of an ops listener that only this machine
    /// can reach.
    pub fn new(live: &Live, ops: SocketAddr) -> Self {
        Self { live: Arc::clone(live), own: own_origins(ops).into() }
    }

    fn allows(&self, origin: &[u8]) -> bool {
        let same = |allowed: &String| allowed.as_bytes() == origin;
        self.own.iter().any(same) || self.live.load().settings.server.cors_origins.iter().any(same)
    }
}

/// The origins under which a browser on this machine sees the ops listener.
fn own_origins(ops: SocketAddr) -> Vec<String> {
    if !ops.ip().is_loopback() {
        return Vec::new();
    }
    vec![format!("http://{ops}"), format!("http://localhost:{}", ops.port())]
}

/// Marks a request whose origin is allowed.
struct Allowed;

/// The answer to a browser that asks whether it may send a request of these methods; `None` when nobody asks, or
/// the origin is not allowed.
pub fn preflight(request: &HttpRequest, methods: &'static str) -> Option<HttpResponse> {
    let headers = request.headers();
    let asked = request.method() == Method::OPTIONS && headers.contains_key(ACCESS_CONTROL_REQUEST_METHOD);
    if !asked || !request.extensions().contains::<Allowed>() {
        return None;
    }
    let mut answer = HttpResponse::NoContent();
    answer
        .insert_header((ACCESS_CONTROL_ALLOW_METHODS, methods))
        .insert_header((ACCESS_CONTROL_MAX_AGE, MAX_AGE_S))
        .append_header((VARY, "Access-Control-Request-Method, Access-Control-Request-Headers"));
    // SDKs send headers of their own, and more with each version. None of them is trusted for its name.
    if let Some(wanted) = headers.get(ACCESS_CONTROL_REQUEST_HEADERS) {
        answer.insert_header((ACCESS_CONTROL_ALLOW_HEADERS, wanted.clone()));
    }
    Some(answer.finish())
}

impl<S, B> Transform<S, ServiceRequest> for Cors
where
    S: Service<ServiceRequest, Response = ServiceResponse<B>, Error = actix_web::Error>,
    S::Future: 'static,
    B: 'static,
{
    type Response = ServiceResponse<B>;
    type Error = actix_web::Error;
    type Transform = Answering<S>;
    type InitError = ();
    type Future = Ready<Result<Self::Transform, ()>>;

    fn new_transform(&self, next: S) -> Self::Future {
        ready(Ok(Answering { next, cors: self.clone() }))
    }
}

/// What answers, with the headers added.
pub struct Answering<S> {
    next: S,
    cors: Cors,
}

impl<S, B> Service<ServiceRequest> for Answering<S>
where
    S: Service<ServiceRequest, Response = ServiceResponse<B>, Error = actix_web::Error>,
    S::Future: 'static,
    B: 'static,
{
    type Response = ServiceResponse<B>;
    type Error = actix_web::Error;
    type Future = Either<S::Future, LocalBoxFuture<'static, Result<ServiceResponse<B>, actix_web::Error>>>;

    fn poll_ready(&self, cx: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.next.poll_ready(cx)
    }

    fn call(&self, request: ServiceRequest) -> Self::Future {
        let origin = request.headers().get(ORIGIN).filter(|origin| self.cors.allows(origin.as_bytes()));
        let Some(origin) = origin.cloned() else {
            return Either::Left(self.next.call(request));
        };
        request.extensions_mut().insert(Allowed);
        let answer = self.next.call(request);
        Either::Right(Box::pin(async move {
            let mut answer = answer.await?;
            let headers = answer.headers_mut();
            headers.insert(ACCESS_CONTROL_ALLOW_ORIGIN, origin);
            headers.insert(ACCESS_CONTROL_EXPOSE_HEADERS, HeaderValue::from_static(EXPOSED));
            headers.append(VARY, HeaderValue::from_static("Origin"));
            Ok(answer)
        }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_an_ops_listener_on_loopback_has_origins_of_its_own() {
        let own = |ops: &str| own_origins(ops.parse().unwrap());
        assert_eq!(own("127.0.0.1:9"), ["http://127.0.0.1:9", "http://localhost:9"]);
        assert_eq!(own("[::1]:9"), ["http://[::1]:9", "http://localhost:9"]);
        assert!(own("0.0.0.0:9").is_empty() && own("10.0.0.1:9").is_empty());
    }
}
