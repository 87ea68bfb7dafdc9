//! The two listeners: the public one with a cell per worker, the ops one with a worker of its own.

use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, OnceLock};

use actix::Recipient;
use actix_web::dev::ServerHandle;
use actix_web::{App, HttpServer, web};

use super::StartError;
use super::acceptor;
use super::workers::{Making, Workers};
use crate::actors::metrics::Scrape;
use crate::cell::Shared;
use crate::config::Settings;
use crate::http::admin::{self, Admin};
use crate::http::cors::Cors;
use crate::http::readiness::Readiness;
use crate::http::{ops as ops_routes, routes, status};

/// Whoever still reads has this long.
const SHUTDOWN_S: u64 = 1;

/// The public listener, running.
pub struct Public {
    /// Where it listens.
    pub address: SocketAddr,
    /// What serves it.
    pub workers: Workers,
}

/// The ops listener, running.
pub struct Ops {
    /// Where it listens.
    pub address: SocketAddr,
    /// How to stop it.
    pub handle: ServerHandle,
}

/// One clear line for a listener that cannot open.
fn taken(key: &str, listen: &str, error: &io::Error) -> StartError {
    let advice = match error.kind() {
        io::ErrorKind::AddrInUse => "the port is taken; stop what uses it or choose another",
        io::ErrorKind::PermissionDenied => "this needs rights the process lacks; choose a port from 1024",
        _ => "choose another address",
    };
    StartError(format!("{key} {listen} cannot be opened: {error} ({advice})"))
}

/// The public listener; says in `at` where it is, for the status page.
pub async fn public(
    settings: &Settings,
    shared: Shared,
    ops: SocketAddr,
    at: &OnceLock<SocketAddr>,
) -> Result<Public, StartError> {
    let server = settings.server.clone();
    let listen = &server.listen;
    let opened = acceptor::bind(listen).and_then(|listeners| {
        let first = listeners.first().ok_or_else(|| io::Error::other("no address"))?;
        Ok((first.local_addr()?, listeners))
    });
    let (address, listeners) = opened.map_err(|error| taken("server.listen", listen, &error))?;
    let cors = Cors::new(&shared.live, ops);
    let connections_max = server.max_connections;
    let _ = at.set(address);
    let (workers, seats, stopped) = Workers::start(&Making { shared, cors, address, server }).await?;
    acceptor::start(listeners, seats, connections_max, stopped)?;
    Ok(Public { address, workers })
}

/// The ops listener.
pub fn ops(
    listen: &str,
    admin: Admin,
    metrics: Recipient<Scrape>,
    readiness: Arc<Readiness>,
) -> Result<Ops, StartError> {
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
    Ok(Ops { address, handle })
}
