//! Every behaviour of the trait `Store`, on both stores: what holds for the one holds for the other.
//!
//! A behaviour is an `async fn(Place)`; `on_both!` makes a test of it for each store.

mod groups;
mod idempotency;
mod keys;
mod ledger;
mod on_postgres_alone;
mod opening;
mod request_log;

use std::sync::Arc;

use llm_gateway::config::{Outside, Settings, assemble};
use llm_gateway::error::Error;
use llm_gateway::store::{self, By, KeySpec, Store, StoreError};
use serde_json::json;
use tempfile::TempDir;

use crate::support::postgres::Cluster;

/// Makes a test of each behaviour for each store.
macro_rules! on_both {
    ($($behaviour:ident,)*) => {
        mod on_sqlite {
            $(#[tokio::test]
            async fn $behaviour() {
                super::$behaviour(crate::stores::Place::sqlite()).await;
            })*
        }
        mod on_postgres {
            $(#[tokio::test]
            async fn $behaviour() {
                super::$behaviour(crate::stores::Place::postgres().await).await;
            })*
        }
    };
}
use on_both;

/// Where a store is, for as many handles as a test wants: each is what another process would have.
pub struct Place {
    folder: TempDir,
    url: Option<String>,
}

impl Place {
    fn sqlite() -> Self {
        Self { folder: TempDir::new().unwrap(), url: None }
    }

    async fn postgres() -> Self {
        let url = Cluster::shared().database().await;
        Self { folder: TempDir::new().unwrap(), url: Some(format!("{url}?sslmode=disable")) }
    }

    fn settings(&self) -> Settings {
        settings(self.folder.path(), json!({"url": self.url, "max_connections": 4}))
    }

    async fn open(&self) -> Arc<dyn Store> {
        store::open(&self.settings()).await.unwrap()
    }
}

fn settings(folder: &std::path::Path, database: serde_json::Value) -> Settings {
    let config = json!({"data_dir": folder.join("data"), "database": database}).to_string();
    let outside = Outside { env: &|_| None, file: &|_| Err("no files here".to_owned()) };
    assemble(Some(("test", &config)), [], &outside).unwrap().settings
}

fn by(now_ms: i64) -> By {
    By { actor: "test".to_owned(), now_ms }
}

fn named(name: &str) -> KeySpec {
    KeySpec { name: name.to_owned(), ..KeySpec::default() }
}

/// The status that a client gets for it.
fn status(error: StoreError) -> u16 {
    Error::from(error).class().status
}
