//! `llm-gateway serve`: the real thing, until a signal ends it.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use actix_rt::System;
use tokio::signal::unix::{SignalKind, signal};

use super::{check, out};
use crate::catalog::Catalog;
use crate::config::{self, Loaded, Problem, Settings};
use crate::gateway::{self, Gateway, Sources, StartError};
use crate::telemetry;

/// Exit code when the gateway could not start, or could not settle everything at its end.
pub(super) const EXIT_FAILED: u8 = 1;

/// Loads configuration and catalogue.
///
/// # Errors
/// Every problem, with its path.
pub fn load(file: Option<&Path>) -> Result<(Loaded, Arc<Catalog>), Vec<Problem>> {
    load_noting(file, &mut Vec::new())
}

/// As [`load`]; adds to `files` what was read for it, also where it fails.
fn load_noting(
    file: Option<&Path>,
    files: &mut Vec<PathBuf>,
) -> Result<(Loaded, Arc<Catalog>), Vec<Problem>> {
    let loaded = config::load(file, files)?;
    files.extend(loaded.settings.catalog.file.clone());
    let catalog = load_catalog(&loaded.settings)?;
    let mut problems = config::check_aliases(&loaded.settings, &|name| catalog.model(name).is_some());
    problems.extend(gateway::declared(&loaded.settings.governance).err().into_iter().flatten());
    if problems.is_empty() { Ok((loaded, Arc::new(catalog))) } else { Err(problems) }
}

/// The configured catalogue, or the shipped one.
fn load_catalog(settings: &Settings) -> Result<Catalog, Vec<Problem>> {
    let at = |path: String, message: String| Problem { path: format!("catalog.file{path}"), message };
    let Some(file) = &settings.catalog.file else {
        return Catalog::embedded().map_err(|problems| {
            problems.into_iter().map(|problem| at(format!(":{}", problem.path), problem.message)).collect()
        });
    };
    let bytes = std::fs::read(file)
        .map_err(|error| vec![at(String::new(), format!("{} cannot be read: {error}", file.display()))])?;
    Catalog::parse(&bytes)
        .map_err(|problems| problems.into_iter().map(|p| at(format!(":{}", p.path), p.message)).collect())
}

/// A file would grow beyond what the process may write (Linux on all but MIPS and Alpha).
const SIGXFSZ: i32 = 25;
/// Name of the signal by which an orchestrator ends a process.
const SIGTERM: &str = "SIGTERM";

/// Runs until SIGINT or SIGTERM; gives the exit code.
pub fn run(file: Option<&Path>) -> u8 {
    let mut files = Vec::new();
    let (loaded, catalog) = match load_noting(file, &mut files) {
        Ok(loaded) => loaded,
        Err(problems) => {
            out::err(&check::problems(&problems));
            return check::EXIT_PROBLEMS;
        }
    };
    if let Err(error) = telemetry::init(&loaded.settings.log) {
        out::err(&format!("error: logs: {error}\n"));
        return EXIT_FAILED;
    }
    for warning in &loaded.warnings {
        tracing::warn!("{warning}");
    }
    let again = file.map(Path::to_owned);
    let sources = Sources::new(Arc::new(move |files| load_noting(again.as_deref(), files)), files);
    match System::new().block_on(serve(&loaded.settings, catalog, sources)) {
        Ok(0) => 0,
        Ok(unsettled) => {
            tracing::error!(unsettled, "receipts could not be settled");
            EXIT_FAILED
        }
        Err(error) => {
            out::err(&format!("error: {error}\n"));
            EXIT_FAILED
        }
    }
}

/// Starts, waits, stops; gives the number of receipts that were not settled.
async fn serve(settings: &Settings, catalog: Arc<Catalog>, sources: Sources) -> Result<u64, StartError> {
    let mut ended = Ended::new()?;
    let listen = |kind| signal(kind).map_err(|error| StartError(format!("signals: {error}")));
    let mut hangup = listen(SignalKind::hangup())?;
    // Where files may not grow, writing fails as on a full disk; by default the system would end the process.
    let _file_too_large = listen(SignalKind::from_raw(SIGXFSZ))?;
    let gateway = tokio::select! {
        started = Gateway::start(settings, catalog, Some(sources)) => started?,
        // It may be waiting for its store.
        _ = ended.wait() => return Ok(0),
    };
    if let Some(path) = gateway.admin_key_file() {
        tracing::info!(path = %path.display(), "the admin key is in this file");
    }
    let page = format!("http://{}/", gateway.ops_addr());
    tracing::info!(listen = %gateway.public_addr(), ops = %gateway.ops_addr(), page, "ready");
    let signal = loop {
        tokio::select! {
            signal = ended.wait() => break signal,
            Some(()) = hangup.recv() => {
                tracing::info!("SIGHUP: reading the configuration again");
                // Not waited for: a signal to end must be heard meanwhile. How it went is in the log.
                let reloads = gateway.reloads().clone();
                actix_rt::spawn(async move { drop(reloads.reload().await) });
            }
        }
    };
    let settings = gateway.settings();
    // Nobody balances calls over a process that a person stops at a terminal.
    let delay = if signal == SIGTERM { settings.server.drain_delay } else { Duration::ZERO };
    tracing::info!(signal, delay_ms = delay.as_millis(), "stopping: running calls are finished first");
    let again = async {
        let signal = ended.wait().await;
        tracing::warn!(signal, "stopping at once: running calls are cut");
    };
    let unsettled = gateway.stop_in_a_hurry_when(delay, again).await;
    tracing::info!("stopped");
    Ok(unsettled)
}

/// The signals that end a process.
pub struct Ended {
    interrupt: tokio::signal::unix::Signal,
    terminate: tokio::signal::unix::Signal,
}

impl Ended {
    /// Listens from now on.
    ///
    /// # Errors
    /// When the system gives no signal handlers.
    pub fn new() -> Result<Self, StartError> {
        let listen = |kind| signal(kind).map_err(|error| StartError(format!("signals: {error}")));
        Ok(Self { interrupt: listen(SignalKind::interrupt())?, terminate: listen(SignalKind::terminate())? })
    }

    /// Waits for one; gives its name.
    pub async fn wait(&mut self) -> &'static str {
        tokio::select! {
            _ = self.interrupt.recv() => "SIGINT",
            _ = self.terminate.recv() => SIGTERM,
        }
    }
}
