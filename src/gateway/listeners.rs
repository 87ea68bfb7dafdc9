//! The two listeners: the public one with a cell per worker, the ops one with a worker of its own.

use std::any::Any;
use std::net::SocketAddr;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use actix::Recipient;
use actix_web::dev::ServerHandle;
use actix_web::rt::net::TcpStream;
use actix_web::{App, HttpServer, web};

use super::StartError;
use crate::actors::metrics::Scrape;
use crate::cell::Shared;
use crate::config::Settings;
use crate::http::admin::{self, Admin};
use crate::http::cors::Cors;
use crate::http::readiness::Readiness;
use crate::http::{ops as ops_routes, routes, status};

/// Connections that wait for accept at most.
const BACKLOG: u32 = 4096;
/// After the drain a worker ends at once: what still runs has had its last event.
const SHUTDOWN_S: u64 = 1;
/// How long a finished connection may take to close.
const DISCONNECT: Duration = Duration::from_secs(1);

/// A listener that runs.
pub struct Listener {
    /// Where it listens.
    pub address: SocketAddr,
    /// How to stop it.
    pub handle: ServerHandle,
}

/// One clear line for a listener that cannot open.
fn taken(key: &str, listen: &str, error: &std::io::Error) -> StartError {
    let advice = match error.kind() {
        std::io::ErrorKind::AddrInUse => "the port is taken; stop what uses it or choose another",
        std::io::ErrorKind::PermissionDenied => {
            "this needs rights the process lacks; choose a port from 1024"
        }
        _ => "choose another address",
    };
    StartError(format!("{key} {listen} cannot be opened: {error} ({advice})"))
}

/// Nagle's algorithm would hold small events back; and whoever takes nothing for `write_timeout` is let go, which the
/// kernel sees to: it knows what a client has taken, and needs no timer of ours.
fn prepare(connection: &dyn Any, write_timeout: Duration) {
    if let Some(stream) = connection.downcast_ref::<TcpStream>() {
        let _ = stream.set_nodelay(true);
        let _ = socket2::SockRef::from(stream).set_tcp_user_timeout(Some(write_timeout));
    }
}

/// The public listener; says in `at` where it is, for the status page.
pub fn public(
    settings: &Settings,
    shared: Shared,
    ops: SocketAddr,
    at: &OnceLock<SocketAddr>,
) -> Result<Listener, StartError> {
    let server = &settings.server;
    let (readiness, live) = (Arc::clone(&shared.readiness), Arc::clone(&shared.live));
    let cors = Cors::new(&live, ops);
    let workers =
        server.workers.unwrap_or_else(|| std::thread::available_parallelism().map_or(1, usize::from));
    let bound = HttpServer::new(move || {
        let front = shared.start_cell();
        let readiness = Arc::clone(&readiness);
        App::new()
            .wrap(cors.clone())
            .app_data(front)
            .configure(move |config| ops_routes::configure_health(config, readiness))
            .configure(routes::public)
    })
    .workers(workers)
    .backlog(BACKLOG)
    .max_connections(server.max_connections)
    .keep_alive(server.keep_alive)
    .client_request_timeout(server.head_timeout)
    .client_disconnect_timeout(DISCONNECT)
    .h1_allow_half_closed(false)
    .shutdown_timeout(SHUTDOWN_S)
    .disable_signals()
    .on_connect(move |connection, _| prepare(connection, live.load().settings.server.write_timeout))
    .bind(&server.listen)
    .map_err(|error| taken("server.listen", &server.listen, &error))?;
    let address =
        *bound.addrs().first().ok_or_else(|| StartError("server.listen has no address".to_owned()))?;
    let _ = at.set(address);
    let running = bound.run();
    let handle = running.handle();
    actix_web::rt::spawn(running);
    Ok(Listener { address, handle })
}

/// The ops listener.
pub fn ops(
    listen: &str,
    admin: Admin,
    metrics: Recipient<Scrape>,
    readiness: Arc<Readiness>,
) -> Result<Listener, StartError> {
    let bound = HttpServer::new(move || {
        let (metrics, readiness) = (metrics.clone(), Arc::clone(&readiness));
        let public = Arc::clone(&admin.shown.overview.public);
        App::new()
            .configure(move |config| ops_routes::configure(config, metrics, readiness))
            .configure(|config| admin::configure(config, &admin))
            .configure(move |config| status::configure(config, &public))
            .default_service(web::to(routes::not_found))
    })
    .workers(1)
    .h1_allow_half_closed(false)
    .shutdown_timeout(SHUTDOWN_S)
    .disable_signals()
    .bind(listen)
    .map_err(|error| taken("ops.listen", listen, &error))?;
    let address = *bound.addrs().first().ok_or_else(|| StartError("ops.listen has no address".to_owned()))?;
    let running = bound.run();
    let handle = running.handle();
    actix_web::rt::spawn(running);
    Ok(Listener { address, handle })
}
