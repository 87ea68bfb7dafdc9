//! The HTTP client behind AWS's credential chain: our own, so that there is one client and one TLS in the process.
//!
//! The chain wants a client that may cross threads, ours may not: the chain's requests cross a channel to [`serve`],
//! which runs beside it in the same task.

use std::sync::Arc;
use std::time::Duration;

use awc::http::header::{CONTENT_LENGTH, HOST, HeaderName, HeaderValue};
use awc::http::{Method, Uri};
use aws_smithy_runtime_api::client::http::{
    HttpClient, HttpConnector, HttpConnectorFuture, HttpConnectorSettings, SharedHttpConnector,
};
use aws_smithy_runtime_api::client::orchestrator::{HttpRequest, HttpResponse};
use aws_smithy_runtime_api::client::result::ConnectorError;
use aws_smithy_runtime_api::client::runtime_components::RuntimeComponents;
use aws_smithy_types::body::SdkBody;
use bytes::Bytes;
use tokio::sync::{mpsc, oneshot};
use tokio::time::timeout;

use super::http::{PATIENCE, client};
use crate::timer::Timer;
use crate::upstream::drain;

/// Largest answer that is read, bytes.
const ANSWER_MAX: usize = 256 * 1024;
/// Requests that wait at most: the chain sends one after the other.
const QUEUE: usize = 4;

type Answer = Result<HttpResponse, ConnectorError>;

/// One request of the chain's.
pub struct Job {
    request: HttpRequest,
    limit: Duration,
    answer: oneshot::Sender<Answer>,
}

/// The end that the chain holds.
#[derive(Clone, Debug)]
pub struct Connector {
    jobs: mpsc::Sender<Job>,
    limit: Duration,
}

/// A client for the chain, and what [`serve`] reads its requests from.
pub fn channel() -> (Connector, mpsc::Receiver<Job>) {
    let (jobs, queue) = mpsc::channel(QUEUE);
    (Connector { jobs, limit: PATIENCE }, queue)
}

impl HttpClient for Connector {
    fn http_connector(&self, settings: &HttpConnectorSettings, _: &RuntimeComponents) -> SharedHttpConnector {
        let limit =
            settings.connect_timeout().unwrap_or_default() + settings.read_timeout().unwrap_or_default();
        let limit = if limit.is_zero() { PATIENCE } else { limit.min(PATIENCE) };
        SharedHttpConnector::new(Self { jobs: self.jobs.clone(), limit })
    }
}

impl HttpConnector for Connector {
    fn call(&self, request: HttpRequest) -> HttpConnectorFuture {
        let Self { jobs, limit } = self.clone();
        HttpConnectorFuture::new(async move {
            let (answer, answered) = oneshot::channel();
            jobs.send(Job { request, limit, answer }).await.map_err(|_| gone())?;
            answered.await.map_err(|_| gone())?
        })
    }
}

fn gone() -> ConnectorError {
    ConnectorError::io("the client has gone".into())
}

/// Sends the chain's requests, for as long as it asks.
pub async fn serve(tls: &Arc<rustls::ClientConfig>, mut queue: mpsc::Receiver<Job>) {
    while let Some(Job { request, limit, mut answer }) = queue.recv().await {
        tokio::select! {
            // The chain has its own patience, too.
            () = answer.closed() => {}
            answered = timeout(limit, exchange(tls, request)) => {
                let answered = answered.unwrap_or_else(|_| Err(ConnectorError::timeout("no answer in time".into())));
                let _ = answer.send(answered);
            }
        }
    }
}

async fn exchange(tls: &Arc<rustls::ClientConfig>, request: HttpRequest) -> Answer {
    let wrong = |what: &'static str| ConnectorError::user(what.into());
    let url: Uri = request.uri().parse().map_err(|_| wrong("not a URL"))?;
    let method = Method::from_bytes(request.method().as_bytes()).map_err(|_| wrong("not a method"))?;
    let mut sending = client(tls).request(method, url).no_decompress();
    for (name, value) in request.headers() {
        let name = HeaderName::try_from(name).map_err(|_| wrong("not a header"))?;
        if name != CONTENT_LENGTH && name != HOST {
            let value = HeaderValue::from_str(value).map_err(|_| wrong("not a header"))?;
            sending = sending.append_header((name, value));
        }
    }
    let body = Bytes::copy_from_slice(request.body().bytes().unwrap_or_default());
    let broken = |_| ConnectorError::io("the connection failed".into());
    let mut response = sending.send_body(body).await.map_err(broken)?;
    let body = drain::whole(&mut response, &mut Timer::default(), (PATIENCE, ANSWER_MAX), "it").await;
    let body = body.map_err(|_| ConnectorError::io("the answer broke off".into()))?;
    let status = response.status().as_u16().try_into().map_err(|_| wrong("not a status"))?;
    let mut answer = HttpResponse::new(status, SdkBody::from(body));
    for (name, value) in response.headers() {
        if let Ok(value) = value.to_str() {
            let _ = answer.headers_mut().try_append(name.as_str().to_owned(), value.to_owned());
        }
    }
    Ok(answer)
}
