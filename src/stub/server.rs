//! The stub's HTTP server.

use std::any::Any;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, ready};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use actix_web::body::SizedStream;
use actix_web::dev::{Extensions, ServerHandle};
use actix_web::http::StatusCode;
use actix_web::rt::net::TcpStream;
use actix_web::web::{self, Data, Payload};
use actix_web::{App, HttpRequest, HttpResponse, HttpServer};
use bytes::Bytes;
use futures_util::Stream;
use serde_json::json;
use tokio::time::{Sleep, sleep, timeout};

use super::behaviour::BEHAVIOURS;
use super::dialect::{Asked, Dialect};
use super::events::Step;
use super::fault::Fault;
use super::respond::{Reply, respond};
use super::seen::{Seen, Slot};

/// Largest request body, bytes.
const BODY_MAX: usize = 64 << 20;
/// How long a client may take to send its head, and then its body.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(30);
/// How long an idle connection is kept; longer than any client pools one.
const KEEP_ALIVE: Duration = Duration::from_secs(180);
/// Connections at most, per worker.
const CONNECTIONS_MAX: usize = 25_000;
/// Connections that wait for accept at most.
const BACKLOG: u32 = 4096;

/// A stub provider that runs.
pub struct Stub {
    address: SocketAddr,
    handle: ServerHandle,
}

/// What one worker thread holds.
struct Worker {
    seen: Arc<Seen>,
    slot: Arc<Mutex<Slot>>,
    flaky: Arc<AtomicU64>,
}

impl Stub {
    /// Starts on `listen`; port 0 asks the system for one. Must run inside an actix system.
    ///
    /// # Errors
    /// When the address cannot be opened.
    pub fn start(listen: &str, workers: usize) -> io::Result<Self> {
        let (seen, flaky) = (Arc::new(Seen::default()), Arc::new(AtomicU64::new(0)));
        let server = HttpServer::new(move || {
            let (seen, flaky) = (Arc::clone(&seen), Arc::clone(&flaky));
            let worker = Worker { slot: seen.slot(), seen, flaky };
            App::new()
                .app_data(Data::new(worker))
                .route("/v1/chat/completions", web::post().to(completions))
                .route("/v1/messages", web::post().to(completions))
                .route("/v1/responses", web::post().to(completions))
                .route("/v2/chat", web::post().to(completions))
                .route("/v1beta/models/{call}", web::post().to(completions))
                .route("/model/{model}/{call}", web::post().to(completions))
                .route("/v1/models", web::get().to(models))
                .route("/stub/requests", web::get().to(requests))
                .default_service(web::to(not_found))
        })
        .workers(workers)
        .backlog(BACKLOG)
        .max_connections(CONNECTIONS_MAX)
        .keep_alive(KEEP_ALIVE)
        .client_request_timeout(REQUEST_TIMEOUT)
        .h1_allow_half_closed(false)
        .shutdown_timeout(1)
        .disable_signals()
        .on_connect(no_delay)
        .bind(listen)?;
        let address = *server.addrs().first().ok_or_else(|| io::Error::other("no address"))?;
        let server = server.run();
        let handle = server.handle();
        actix_web::rt::spawn(server);
        Ok(Self { address, handle })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Stops it; what it still sends is cut.
    pub async fn stop(self) {
        self.handle.stop(false).await;
    }
}

/// Nagle's algorithm would hold small events back.
fn no_delay(connection: &dyn Any, _: &mut Extensions) {
    if let Some(stream) = connection.downcast_ref::<TcpStream>() {
        let _ = stream.set_nodelay(true);
    }
}

async fn completions(request: HttpRequest, payload: Payload, worker: Data<Worker>) -> HttpResponse {
    let Some(asked) = Asked::of(request.path()) else { return not_found(request).await };
    let dialect = asked.dialect;
    let body = match read(payload).await {
        Ok(body) => body,
        Err(fault) => return refuse_in(dialect, &fault),
    };
    let number = worker.seen.note(&worker.slot, &request, &body);
    let created = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
    match respond(&asked, &body, number, created, &worker.flaky) {
        Ok(reply) => send(dialect, reply).await,
        Err(fault) => refuse_in(dialect, &fault),
    }
}

async fn read(payload: Payload) -> Result<Bytes, Fault> {
    match timeout(REQUEST_TIMEOUT, payload.to_bytes_limited(BODY_MAX)).await {
        Ok(Ok(Ok(body))) => Ok(body),
        Ok(Ok(Err(error))) => Err(Fault::invalid(format!("The body cannot be read: {error}."))),
        Ok(Err(_)) => Err(Fault::told(413, format!("The body is larger than {BODY_MAX} bytes."))),
        Err(_) => Err(Fault::told(408, "The body did not come in time.")),
    }
}

async fn send(dialect: Dialect, reply: Reply) -> HttpResponse {
    let mut response = HttpResponse::Ok();
    response.content_type("application/json");
    match reply {
        Reply::Whole(wait, body) => {
            rest(wait).await;
            response.body(body)
        }
        Reply::Sized(length, steps) => {
            response.body(SizedStream::new(length, Delivery::of(steps.into_iter())))
        }
        Reply::Chunked(steps) => response.streaming(Delivery::of(steps.into_iter())),
        Reply::Events(wait, events) => {
            rest(wait).await;
            response.content_type(dialect.stream_type()).insert_header(("cache-control", "no-cache"));
            response.streaming(Delivery::of(events))
        }
    }
}

/// Sets no timer when there is nothing to wait for.
async fn rest(wait: Duration) {
    if !wait.is_zero() {
        sleep(wait).await;
    }
}

fn refuse(fault: &Fault) -> HttpResponse {
    refuse_in(Dialect::Openai, fault)
}

fn refuse_in(dialect: Dialect, fault: &Fault) -> HttpResponse {
    let status = StatusCode::from_u16(fault.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let mut response = HttpResponse::build(status);
    if let Some(seconds) = fault.retry_after {
        response.insert_header(("retry-after", seconds.to_string()));
    }
    response.content_type("application/json").body(dialect.fault(fault))
}

async fn models() -> HttpResponse {
    let model =
        |row: &super::Row| json!({"id": row.name, "object": "model", "created": 0, "owned_by": "stub"});
    let data: Vec<_> = BEHAVIOURS.iter().map(model).collect();
    HttpResponse::Ok().json(json!({"object": "list", "data": data}))
}

async fn requests(worker: Data<Worker>) -> HttpResponse {
    HttpResponse::Ok().json(worker.seen.report())
}

async fn not_found(request: HttpRequest) -> HttpResponse {
    refuse(&Fault::told(404, format!("Unknown request URL: {} {}.", request.method(), request.path())))
}

/// A body that follows its steps.
struct Delivery<I> {
    steps: I,
    wait: Option<Pin<Box<Sleep>>>,
}

impl<I: Iterator<Item = Step> + Unpin> Delivery<I> {
    fn of(steps: I) -> Self {
        Self { steps, wait: None }
    }
}

impl<I: Iterator<Item = Step> + Unpin> Stream for Delivery<I> {
    type Item = io::Result<Bytes>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        loop {
            if let Some(wait) = &mut self.wait {
                ready!(wait.as_mut().poll(context));
                self.wait = None;
            }
            match self.steps.next() {
                Some(Step::Send(bytes)) => return Poll::Ready(Some(Ok(bytes))),
                Some(Step::Wait(time)) => self.wait = Some(Box::pin(sleep(time))),
                Some(Step::Break) => {
                    return Poll::Ready(Some(Err(io::Error::other("the stub was told to break off"))));
                }
                None => return Poll::Ready(None),
            }
        }
    }
}
