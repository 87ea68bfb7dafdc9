//! `llm-gateway demo`: gateway, store and stub provider on this machine, with nothing to set up.
//!
//! It is the gateway of `serve` with settings of its own: neither a configuration file nor the environment is read,
//! so that it behaves the same everywhere. What it writes is in a temporary folder that goes with it.

mod banner;
mod catalog;
mod settings;

use std::sync::Arc;

use actix_rt::System;

use self::banner::Facts;
use self::settings::Address;
use super::out;
use super::serve::{EXIT_FAILED, Ended};
use crate::config::{Problem, Settings};
use crate::gateway::Gateway;
use crate::http::door::now_ms;
use crate::store::{self, By, KeySpec};
use crate::stub::Stub;
use crate::telemetry;
use crate::wire::WireFormat;

/// Where it listens.
#[derive(Clone, Debug, clap::Args)]
pub struct Arguments {
    /// Address of the API [default: 127.0.0.1:8080, or a free port when that is taken]
    #[arg(long, value_name = "HOST:PORT")]
    listen: Option<String>,
    /// Address of metrics and management [default: 127.0.0.1:9090, or a free port when that is taken]
    #[arg(long, value_name = "HOST:PORT")]
    ops_listen: Option<String>,
    /// Wire format that the gateway speaks with the stub provider: openai, anthropic, gemini, bedrock-converse, responses, cohere
    #[arg(long, value_name = "FORMAT", default_value = "openai", value_parser = wire)]
    wire: WireFormat,
}

/// Reads the word of a wire format.
fn wire(word: &str) -> Result<WireFormat, String> {
    WireFormat::ALL.into_iter().find(|format| format.name() == word).ok_or_else(|| {
        let names: Vec<&str> = WireFormat::ALL.into_iter().map(WireFormat::name).collect();
        format!("one of {}", names.join(", "))
    })
}

/// Runs until SIGINT or SIGTERM; gives the exit code.
pub fn run(arguments: &Arguments) -> u8 {
    match System::new().block_on(demo(arguments)) {
        Ok(0) => 0,
        Ok(_) => EXIT_FAILED,
        Err(error) => {
            out::err(&format!("error: {error}\n"));
            EXIT_FAILED
        }
    }
}

/// Starts, tells, waits, stops; gives the number of receipts that were not settled.
async fn demo(arguments: &Arguments) -> Result<u64, String> {
    let mut ended = Ended::new().map_err(|error| error.to_string())?;
    let api = Address::choose("--listen", arguments.listen.as_deref(), "127.0.0.1:8080")?;
    let ops = Address::choose("--ops-listen", arguments.ops_listen.as_deref(), "127.0.0.1:9090")?;
    let folder = tempfile::Builder::new().prefix("llm-gateway-demo-").tempdir();
    let folder = folder.map_err(|error| {
        format!("a temporary folder cannot be made: {error}; TMPDIR chooses another place")
    })?;
    let stub = Stub::start("127.0.0.1:0", 1).map_err(|error| format!("stub provider: {error}"))?;
    let settings =
        settings::settings(&api, &ops, folder.path(), stub.address(), arguments.wire).map_err(one_line)?;
    telemetry::init(&settings.log).map_err(|error| format!("logs: {error}"))?;
    let catalog = catalog::catalog().map_err(|problem| format!("demo catalogue: {problem}"))?;
    let key = make_key(&settings).await?;
    let gateway =
        Gateway::start(&settings, Arc::new(catalog), None).await.map_err(|error| error.to_string())?;
    let facts = Facts {
        api: gateway.public_addr(),
        ops: gateway.ops_addr(),
        notes: [api.note, ops.note].into_iter().flatten().collect(),
        key,
        admin_key: gateway.admin_key().expose().to_owned(),
        folder: folder.path().display().to_string(),
    };
    out::out(&banner::render(&facts));
    ended.wait().await;
    out::out("\nStopping: running calls are finished first; once more cuts them.\n");
    let again = async {
        ended.wait().await;
    };
    let unsettled = gateway.stop_in_a_hurry_when(std::time::Duration::ZERO, again).await;
    stub.stop().await;
    folder.close().map_err(|error| format!("the temporary folder cannot be removed: {error}"))?;
    Ok(unsettled)
}

/// Makes the demo's key before the gateway reads the keys: one made later would be known a little later.
async fn make_key(settings: &Settings) -> Result<String, String> {
    let store = store::open(settings).await.map_err(|error| error.to_string())?;
    let spec = KeySpec { name: "demo".to_owned(), ..KeySpec::default() };
    let made = store.create_key(spec, By { actor: "demo".to_owned(), now_ms: now_ms() }).await;
    store.close().await;
    made.map(|(_, key)| key.expose().to_owned()).map_err(|error| error.to_string())
}

fn one_line(problems: Vec<Problem>) -> String {
    problems.iter().map(Problem::to_string).collect::<Vec<_>>().join("; ")
}
