//! The workers of the public listener: a thread each, with a cell and the connections that the acceptor gives it.
//!
//! Why not actix's arbiters: they run tasks in a `LocalSet` inside a runtime, which is told by a system call whenever a
//! socket wakes a task of the set, in seven of ten requests. Here tasks are the runtime's own.

use std::io;
use std::net::SocketAddr;
use std::rc::Rc;
use std::thread;
use std::time::Duration;

use actix_http::HttpService;
use actix_rt::net::TcpStream;
use actix_service::{IntoServiceFactory, Service, ServiceFactory, map_config};
use actix_web::App;
use actix_web::dev::AppConfig;
use actix_web::web::Data;
use futures_util::future::{join_all, try_join_all};
use tokio::runtime::{Builder, LocalOptions, LocalRuntime};
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::{Instant, sleep, timeout};

use super::StartError;
use super::acceptor::{Connection, Seat};
use crate::actors::cells::CellLoad;
use crate::cell::Shared;
use crate::config::Server;
use crate::http::cors::Cors;
use crate::http::front::Front;
use crate::http::{ops, routes};

/// How long all workers may take to start.
const START_DEADLINE: Duration = Duration::from_secs(30);
/// How long a finished connection may take to close.
const DISCONNECT: Duration = Duration::from_secs(1);
/// How long connections may take to close at the end: after the drain, what still runs has had its last event.
const STOP_DEADLINE: Duration = Duration::from_secs(1);

/// Threads of a worker that may block, at most: they look names up.
const BLOCKING_MAX: usize = 64;

/// What a worker is made from.
#[derive(Clone)]
pub struct Making {
    /// What its cell is made from.
    pub shared: Shared,
    /// Answers browsers of other sites.
    pub cors: Cors,
    /// Where it listens.
    pub address: SocketAddr,
    /// How it listens.
    pub server: Server,
}

/// The running workers of a listener, and its acceptor.
pub struct Workers {
    stop: watch::Sender<bool>,
    /// Each is told when a worker has ended.
    ended: Vec<watch::Receiver<()>>,
}

impl Workers {
    /// Starts workers, and waits until each has its cell. The seats are the acceptor's, which ends with the receiver.
    ///
    /// # Errors
    /// The system gives no thread, or one does not start in time.
    pub async fn start(making: &Making) -> Result<(Self, Vec<Seat>, watch::Receiver<bool>), StartError> {
        let count =
            making.server.workers.unwrap_or_else(|| thread::available_parallelism().map_or(1, usize::from));
        let (stop, stopped) = watch::channel(false);
        let (mut starting, mut ended) = (Vec::new(), Vec::new());
        for number in 0..count {
            let (ready, seat) = oneshot::channel();
            let (end, told) = watch::channel(());
            hire(number, making.clone(), ready, stopped.clone(), end)
                .map_err(|error| StartError(format!("a worker cannot start: {error}")))?;
            starting.push(seat);
            ended.push(told);
        }
        let Ok(Ok(seats)) = timeout(START_DEADLINE, try_join_all(starting)).await else {
            return Err(StartError("a worker did not start".to_owned()));
        };
        Ok((Self { stop, ended }, seats, stopped))
    }

    /// Closes what is idle, lets what still runs have a second, and waits for the threads' end.
    pub async fn stop(&self) {
        self.stop.send_replace(true);
        let ended = self.ended.iter().cloned().map(|mut ended| async move { ended.changed().await });
        let _ = timeout(STOP_DEADLINE * 2, join_all(ended)).await;
    }
}

/// Starts a worker's thread; it says when it has its cell, and drops `end` when it has ended.
fn hire(
    number: usize,
    making: Making,
    ready: oneshot::Sender<Seat>,
    stopped: watch::Receiver<bool>,
    end: watch::Sender<()>,
) -> io::Result<()> {
    let runtime = || -> io::Result<LocalRuntime> {
        Builder::new_current_thread()
            .enable_all()
            .max_blocking_threads(BLOCKING_MAX)
            .build_local(LocalOptions::default())
    };
    let work = move || {
        let _end = end;
        let runtime = match runtime() {
            Ok(runtime) => runtime,
            // Its seat is never told of, and the start fails.
            Err(error) => return tracing::error!(%error, "a worker cannot start"),
        };
        runtime.block_on(async {
            let (connections, given) = mpsc::channel(making.server.max_connections);
            let front = making.shared.start_cell();
            let load = front.load.clone();
            if ready.send(Seat { load: load.clone(), connections }).is_ok() {
                serve(making, front, given, stopped).await;
                closed(&load).await;
            }
        });
        // A name that is still being looked up is not waited for.
        runtime.shutdown_background();
    };
    thread::Builder::new().name(format!("worker {number}")).spawn(work).map(|_| ())
}

/// Waits until a worker's connections are closed, but not for long.
async fn closed(load: &CellLoad) {
    let deadline = Instant::now() + STOP_DEADLINE;
    while load.connections.get() > 0 && Instant::now() < deadline {
        sleep(Duration::from_millis(5)).await;
    }
}

/// Serves the connections that come until it is stopped.
async fn serve(
    making: Making,
    front: Data<Front>,
    mut given: mpsc::Receiver<Connection>,
    stopped: watch::Receiver<bool>,
) {
    let Making { shared, cors, address, server } = making;
    let (readiness, live) = (shared.readiness, shared.live);
    let app = App::new()
        .wrap(cors)
        .app_data(front)
        .configure(move |config| ops::configure_health(config, readiness))
        .configure(routes::public);
    let closing = stopped.clone();
    let http = HttpService::build()
        .graceful_shutdown_signal(move || stop(closing.clone()))
        .keep_alive(server.keep_alive)
        .client_request_timeout(server.head_timeout)
        .client_disconnect_timeout(DISCONNECT)
        .h1_allow_half_closed(false)
        .local_addr(address)
        .h1(map_config(app.into_factory(), |()| AppConfig::default()))
        .tcp();
    let Ok(service) = http.new_service(()).await else {
        return tracing::error!("a worker cannot serve");
    };
    let service = Rc::new(service);
    let mut stopped = std::pin::pin!(stop(stopped));
    loop {
        let Connection { stream, open } = tokio::select! {
            biased;
            () = &mut stopped => return,
            given = given.recv() => match given {
                Some(connection) => connection,
                None => return,
            },
        };
        let stream = match prepared(stream, live.load().settings.server.write_timeout) {
            Ok(stream) => stream,
            Err(error) => {
                tracing::error!(%error, "a connection cannot be served");
                continue;
            }
        };
        let service = Rc::clone(&service);
        actix_rt::spawn(async move {
            let _open = open;
            // How a connection ends concerns its call, which has seen it.
            let _ = service.call(stream).await;
        });
    }
}

/// Ready when the listener is to close.
async fn stop(mut stopped: watch::Receiver<bool>) {
    // One whose sender is gone was stopped, too.
    let _ = stopped.wait_for(|stopped| *stopped).await;
}

/// Nagle's algorithm would hold small events back; and whoever takes nothing for `write_timeout` is let go, which the
/// kernel sees to: it knows what a client has taken, and needs no timer of ours.
fn prepared(stream: std::net::TcpStream, write_timeout: Duration) -> io::Result<TcpStream> {
    let _ = stream.set_nodelay(true);
    let _ = socket2::SockRef::from(&stream).set_tcp_user_timeout(Some(write_timeout));
    TcpStream::from_std(stream)
}
