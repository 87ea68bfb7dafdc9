//! The stub's HTTP side.

use std::convert::Infallible;
use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use actix_web::body::SizedStream;
use actix_web::dev::ServerHandle;
use actix_web::http::StatusCode;
use actix_web::rt::net::TcpStream;
use actix_web::web::{self, Bytes, Data};
use actix_web::{App, HttpResponse, HttpServer};
use futures_util::stream::{self, Stream, StreamExt as _};
use serde_json::json;

use super::answer::Answer;
use super::behaviour::{Behaviour, EXAMPLES, Unknown};
use super::render::{self, Events};
use super::request::Request;

/// Largest request body, bytes.
const BODY_MAX: usize = 64 * 1024 * 1024;
/// Connections that wait for accept at most.
const BACKLOG: u32 = 4096;

/// The stub cannot start: one clear line.
#[derive(Debug)]
pub struct StubError(String);

impl fmt::Display for StubError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for StubError {}

/// A running stub.
pub struct Stub {
    address: SocketAddr,
    handle: ServerHandle,
}

/// Requests so far.
#[derive(Default)]
struct Counter(AtomicU64);

impl Stub {
    /// Starts a stub. Must run inside an actix system.
    ///
    /// # Errors
    /// The address cannot be opened.
    pub fn start(listen: &str, workers: usize) -> Result<Self, StubError> {
        let counter = Data::new(Counter::default());
        let failed = |error: io::Error| StubError(format!("{listen} cannot be opened: {error}"));
        let bound = HttpServer::new(move || {
            App::new()
                .app_data(web::PayloadConfig::new(BODY_MAX))
                .app_data(counter.clone())
                .route("/v1/chat/completions", web::post().to(chat))
                .route("/v1/models", web::get().to(models))
                .route("/stub/requests", web::get().to(requests))
        })
        .workers(workers)
        .backlog(BACKLOG)
        .max_connections(100_000)
        .keep_alive(Duration::from_secs(120))
        .h1_allow_half_closed(false)
        .shutdown_timeout(1)
        .disable_signals()
        .on_connect(|connection, _| {
            if let Some(stream) = connection.downcast_ref::<TcpStream>() {
                let _ = stream.set_nodelay(true);
            }
        })
        .bind(listen)
        .map_err(failed)?;
        let address = bound.addrs().first().copied();
        let address = address.ok_or_else(|| StubError(format!("{listen} is no address")))?;
        let running = bound.run();
        let handle = running.handle();
        actix_web::rt::spawn(running);
        Ok(Self { address, handle })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Stops it; running answers get a second.
    pub async fn stop(&self) {
        self.handle.stop(true).await;
    }
}

/// GET /stub/requests: how many there were.
async fn requests(counter: Data<Counter>) -> HttpResponse {
    HttpResponse::Ok().json(json!({"count": counter.0.load(Ordering::Relaxed)}))
}

/// GET /v1/models: the behaviours worth trying.
async fn models() -> HttpResponse {
    let model =
        |(name, _): &(&str, &str)| json!({"id": name, "object": "model", "created": 0, "owned_by": "stub"});
    HttpResponse::Ok().json(json!({"object": "list", "data": EXAMPLES.iter().map(model).collect::<Vec<_>>()}))
}

/// POST /v1/chat/completions.
async fn chat(body: Bytes, counter: Data<Counter>) -> HttpResponse {
    let number = counter.0.fetch_add(1, Ordering::Relaxed) + 1;
    let request: Request = match serde_json::from_slice(&body) {
        Ok(request) => request,
        Err(error) => return failure(400, &format!("The stub cannot read this: {error}."), None),
    };
    match Behaviour::parse(&request.command()) {
        Ok(behaviour) => respond(request, behaviour, number).await,
        Err(Unknown::Name(name)) => {
            failure(404, &format!("The model `{name}` does not exist; try `echo`."), None)
        }
        Err(Unknown::Parameter(what)) => failure(400, &format!("The stub does not know `{what}`."), None),
    }
}

async fn respond(request: Request, behaviour: Behaviour, number: u64) -> HttpResponse {
    match behaviour {
        Behaviour::Error { status, retry_after } => {
            return failure(status, "The stub was told to fail.", retry_after);
        }
        Behaviour::Flaky(every) if number.is_multiple_of(every) => {
            return failure(500, "The stub fails now and then.", None);
        }
        Behaviour::Slow(pause) => actix_web::rt::time::sleep(pause).await,
        _ => {}
    }
    let answer = Answer::to(&request, &behaviour);
    let with_usage = behaviour != Behaviour::NoUsage;
    if request.stream == Some(true) {
        let events = render::events(&request, &answer, with_usage);
        return streamed(events, &behaviour);
    }
    let body = render::whole(&request, &answer, with_usage);
    match behaviour {
        Behaviour::Truncate(_) => cut_short(&body),
        Behaviour::Silent(pause) => {
            let length = body.len() as u64;
            let late = stream::once(async move {
                actix_web::rt::time::sleep(pause).await;
                Ok::<_, Infallible>(body)
            });
            HttpResponse::Ok().content_type("application/json").body(SizedStream::new(length, Box::pin(late)))
        }
        Behaviour::Drip { events, pause, .. } if !pause.is_zero() => {
            let all = u32::try_from(events).unwrap_or(u32::MAX);
            actix_web::rt::time::sleep(pause.saturating_mul(all).min(Duration::from_secs(600))).await;
            HttpResponse::Ok().content_type("application/json").body(body)
        }
        _ => HttpResponse::Ok().content_type("application/json").body(body),
    }
}

/// A whole answer that ends before its announced length.
fn cut_short(body: &Bytes) -> HttpResponse {
    let half = body.slice(..body.len() / 2);
    let broken = stream::iter([Ok(half), Err(io::Error::from(io::ErrorKind::ConnectionAborted))]);
    let body = SizedStream::new(body.len() as u64, broken);
    HttpResponse::Ok().content_type("application/json").body(body)
}

fn failure(status: u16, message: &str, retry_after: Option<u64>) -> HttpResponse {
    let status_code = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let mut response = HttpResponse::build(status_code);
    if let Some(seconds) = retry_after {
        response.insert_header(("retry-after", seconds.to_string()));
    }
    response.content_type("application/json").body(render::error(status, message))
}

/// One thing a stream does.
enum Step {
    Send(Bytes),
    Pause(Duration),
    BreakOff,
}

fn streamed(events: Events, behaviour: &Behaviour) -> HttpResponse {
    let Events { opening, content, closing } = events;
    let mut steps: Vec<Step> = opening.into_iter().map(Step::Send).collect();
    let pause = match behaviour {
        Behaviour::Drip { pause, .. } => *pause,
        _ => Duration::ZERO,
    };
    let content = content.into_iter().map(Step::Send);
    match behaviour {
        Behaviour::Truncate(after) => {
            steps.extend(content.take(*after));
            steps.push(Step::BreakOff);
        }
        Behaviour::ErrorEvent(after) => {
            steps.extend(content.take(*after));
            let error = render::error(500, "The stub was told to fail in the middle.");
            let mut event = b"data: ".to_vec();
            event.extend_from_slice(&error);
            event.extend_from_slice(b"\n\n");
            steps.push(Step::Send(Bytes::from(event)));
        }
        Behaviour::Silent(pause) => {
            steps.clear();
            steps.push(Step::Pause(*pause));
        }
        _ if pause.is_zero() => {
            steps.extend(content);
            steps.extend(closing.into_iter().map(Step::Send));
        }
        _ => {
            for event in content {
                steps.extend([Step::Pause(pause), event]);
            }
            steps.extend(closing.into_iter().map(Step::Send));
        }
    }
    HttpResponse::Ok().content_type("text/event-stream").streaming(play(steps))
}

/// The steps as a body.
fn play(steps: Vec<Step>) -> impl Stream<Item = io::Result<Bytes>> {
    stream::iter(steps).filter_map(|step| async move {
        match step {
            Step::Send(bytes) => Some(Ok(bytes)),
            Step::Pause(pause) => {
                actix_web::rt::time::sleep(pause).await;
                None
            }
            Step::BreakOff => Some(Err(io::Error::from(io::ErrorKind::ConnectionAborted))),
        }
    })
}
