//! Logs: how the process tells its operator what happens.
//!
//! Why stderr: stdout belongs to the commands. Lines go there through the `sink`, so that nobody waits for who reads them; a
//! process that is killed loses those of calls of its last 20 ms, which the ledger has.
//!
//! Invariants: no line holds a secret. Secrets are values of [`Secret`](crate::config::Secret), which prints a
//! mask; headers and bodies are never logged by this crate, and the libraries that might log them are kept at
//! `warn`, whatever the level asked for.

mod json;
pub mod otlp;
mod sink;
#[cfg(test)]
mod tests;

use std::io::{self, IsTerminal};
use std::panic;
use std::sync::OnceLock;
use std::time::Duration;

use tracing::level_filters::LevelFilter;
use tracing::{Subscriber, error};
use tracing_subscriber::filter::Targets;
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::fmt::format::JsonFields;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{Layer, Registry, fmt};

use crate::config::Log;
use json::JsonLine;
use sink::Sink;
pub use sink::dropped;

/// How long the end of the process, or of a thread that panics, waits for its last lines to be taken.
const LAST_LINES: Duration = Duration::from_millis(500);

/// Where this process's lines go.
static SINK: OnceLock<Sink> = OnceLock::new();

/// Starts logging to stderr, panics included. To be called once, before anything is logged.
///
/// # Errors
/// Logging was already started in this process, or the system gives no thread for it.
pub fn init(log: &Log) -> Result<(), String> {
    let sink = Sink::start(io::stderr()).map_err(|error| error.to_string())?;
    subscriber(log, sink.clone(), io::stderr().is_terminal())
        .try_init()
        .map_err(|_| "logging was already started in this process".to_owned())?;
    let _ = SINK.set(sink);
    panic::set_hook(Box::new(|info| {
        let place = info.location().map(ToString::to_string).unwrap_or_default();
        let payload = info.payload();
        let text = payload.downcast_ref::<&str>().copied();
        let text =
            text.or_else(|| payload.downcast_ref::<String>().map(String::as_str)).unwrap_or("no message");
        error!(place, "panic: {text}");
        flush();
    }));
    Ok(())
}

/// Waits until the lines so far are written, but not for long: before the process ends, and before something else is said.
pub fn flush() {
    if let Some(sink) = SINK.get() {
        sink.flush(LAST_LINES);
    }
}

/// What [`init`] installs, towards any writer.
fn subscriber<W>(log: &Log, writer: W, colours: bool) -> Box<dyn Subscriber + Send + Sync>
where
    W: for<'w> MakeWriter<'w> + Send + Sync + 'static,
{
    let level = LevelFilter::from_level(log.level);
    let libraries = level.min(LevelFilter::WARN);
    let filter = Targets::new()
        .with_target("llm_gateway", level)
        // It would quote files and answers that hold credentials; what failed is said by `upstream::auth`.
        .with_target("aws_config", LevelFilter::OFF)
        .with_default(libraries);
    let layer = fmt::layer().with_writer(writer);
    if log.json {
        let layer = layer.fmt_fields(JsonFields::new()).event_format(JsonLine);
        Box::new(Registry::default().with(layer.with_filter(filter)))
    } else {
        Box::new(Registry::default().with(layer.with_ansi(colours).with_filter(filter)))
    }
}
