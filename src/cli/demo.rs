//! `llm-gateway demo`: gateway, store, stub provider and a key on one machine, with nothing to set up.
//!
//! Everything it writes is in a temporary folder that goes with it.

use std::net::{SocketAddr, TcpListener};
use std::path::Path;
use std::sync::Arc;

use actix_rt::System;
use tempfile::TempDir;

use super::serve::{EXIT_FAILED, Ended};
use super::{check, out};
use crate::catalog::Catalog;
use crate::config::{self, Loaded, Outside};
use crate::gateway::Gateway;
use crate::http::door::now_ms;
use crate::store::{By, KeySpec, SqliteStore, Store as _};
use crate::stub::{EXAMPLES, Stub};
use crate::telemetry;

/// The stub's behaviours as models, with prices.
const CATALOG: &str = include_str!("../../config/demo.json");
/// Where the demo listens if it can.
const LISTEN: &str = "127.0.0.1:8080";
/// Where its operator's side listens if it can.
const OPS_LISTEN: &str = "127.0.0.1:9090";
/// How long running answers may go on after Ctrl-C.
const DRAIN: &str = "5s";

/// Addresses to listen on.
#[derive(Clone, Debug, Default, clap::Args)]
pub struct Listen {
    /// Public address [default: 127.0.0.1:8080, or a free port when that is taken]
    #[arg(long, value_name = "HOST:PORT")]
    listen: Option<String>,
    /// Address of metrics and management [default: 127.0.0.1:9090, or a free port when that is taken]
    #[arg(long, value_name = "HOST:PORT")]
    ops_listen: Option<String>,
}

/// Runs until SIGINT or SIGTERM; gives the exit code.
pub fn run(listen: &Listen) -> u8 {
    match System::new().block_on(demo(listen)) {
        Ok(()) => 0,
        Err(error) => {
            out::err(&format!("error: {error}\n"));
            EXIT_FAILED
        }
    }
}

async fn demo(listen: &Listen) -> Result<(), String> {
    let mut ended = Ended::new().map_err(|error| error.to_string())?;
    let folder = tempfile::Builder::new().prefix("llm-gateway-demo-").tempdir();
    let folder = folder.map_err(|error| format!("a temporary folder cannot be made: {error}"))?;
    let stub = Stub::start("127.0.0.1:0", 1).map_err(|error| error.to_string())?;
    let settings = settings(listen, &stub, folder.path())?.settings;
    telemetry::init(&settings.log)?;
    let catalog = Catalog::parse(CATALOG.as_bytes()).map_err(|problems| {
        problems
            .first()
            .map_or_else(String::new, |one| format!("demo catalogue: {}: {}", one.path, one.message))
    })?;
    let key = make_key(&folder).await?;
    let gateway = Gateway::start(&settings, Arc::new(catalog)).await.map_err(|error| error.to_string())?;
    out::out(&welcome(&gateway, &key));
    ended.wait().await;
    out::out("\nstopping: running answers are finished first\n");
    let again = async {
        ended.wait().await;
    };
    gateway.stop_in_a_hurry_when(again).await;
    stub.stop().await;
    folder.close().map_err(|error| format!("the temporary folder cannot be removed: {error}"))?;
    out::out("stopped; nothing was left behind\n");
    Ok(())
}

/// The demo's configuration, by the way that every configuration goes.
fn settings(listen: &Listen, stub: &Stub, folder: &Path) -> Result<Loaded, String> {
    let public = listen.listen.clone().unwrap_or_else(|| free_or_any(LISTEN));
    let ops = listen.ops_listen.clone().unwrap_or_else(|| free_or_any(OPS_LISTEN));
    let file = serde_json::json!({
        "server": {"listen": public, "drain_timeout": DRAIN, "workers": 2},
        "ops": {"listen": ops},
        "data_dir": folder,
        "log": {"level": "warn", "format": "pretty"},
        "providers": {"stub": {
            "base_url": format!("http://{}/v1", stub.address()),
            "quirks": {"think_tags_models": ["think*"]},
        }},
        "models": {"fast": {"targets": [{"model": "stub/echo"}]}},
    });
    let outside = Outside { env: &|_| None, file: &|_| Err("the demo reads no secrets".to_owned()) };
    config::assemble(Some(("demo", &file.to_string())), [], &outside)
        .map_err(|problems| check::problems(&problems).trim_end().replace("error: ", ""))
}

/// The address if nobody has it, else a free port of the same host.
fn free_or_any(wanted: &str) -> String {
    match TcpListener::bind(wanted) {
        Ok(_) => wanted.to_owned(),
        Err(_) => "127.0.0.1:0".to_owned(),
    }
}

/// A key, made before the gateway starts, so that it is there at once.
async fn make_key(folder: &TempDir) -> Result<String, String> {
    let store = SqliteStore::open(folder.path()).await.map_err(|error| error.to_string())?;
    let spec = KeySpec { name: "demo".to_owned(), ..KeySpec::default() };
    let by = By { actor: "demo".to_owned(), now_ms: now_ms() };
    let made = store.create_key(spec, by).await.map_err(|error| error.to_string());
    store.close().await;
    made.map(|(_, key)| key.expose().to_owned())
}

/// What a new user reads first: lines to paste.
fn welcome(gateway: &Gateway, key: &str) -> String {
    let (public, ops) = (gateway.public_addr(), gateway.ops_addr());
    let admin = gateway.admin_key().expose();
    let curl = |body: &str, more: &str| {
        format!(
            "  curl {more}http://{public}/v1/chat/completions -H 'Authorization: Bearer {key}' -H 'Content-Type: application/json' -d '{body}'\n"
        )
    };
    let said = r#""messages":[{"role":"user","content":"Hello, gateway!"}]"#;
    let plain = curl(&format!(r#"{{"model":"auto",{said}}}"#), "-s ");
    let stream = curl(&format!(r#"{{"model":"stub/drip:events=10,ms=200","stream":true,{said}}}"#), "-sN ");
    let mut text = format!(
        "llm-gateway {} demo: a gateway, its store, and a stub provider. Press Ctrl-C to stop.\n\n\
         Ask something:\n{plain}\nAs a stream:\n{stream}\n\
         base URL   http://{public}/v1\nAPI key    {key}\nmetrics    http://{ops}/metrics\n\
         admin key  {admin}\n\n\
         What it cost, by model:\n  curl -s 'http://{ops}/admin/v1/usage?group_by=model' -H 'Authorization: Bearer {admin}'\n\n\
         Models: auto, fast (an alias), echo, free, and stub/<behaviour>:\n",
        env!("CARGO_PKG_VERSION")
    );
    for (name, shows) in EXAMPLES {
        text.push_str(&format!("  stub/{name:<30} {shows}\n"));
    }
    for (flag, wanted, got) in [("--listen", LISTEN, public), ("--ops-listen", OPS_LISTEN, ops)] {
        if wanted.parse::<SocketAddr>().is_ok_and(|wanted| wanted.port() != got.port()) {
            text.push_str(&format!("\nnote: {wanted} is not used; {got} is ({flag} chooses another)\n"));
        }
    }
    text
}
