//! A provider actor that panics harms nobody but itself.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use actix::prelude::*;
use bytes::Bytes;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, timeout};

use super::*;
use crate::actors::gauges::Unsettled;
use crate::actors::messages::{Assign, Assigned};
use crate::actors::outbox::Outbox;
use crate::actors::supervisor::Supervisor;
use crate::actors::testing::Recorder;
use crate::catalog::Catalog;
use crate::config::{self, Outside};
use crate::policy::route::{Ask, Router, Upstream};
use crate::store::testing::{by, named, store};
use crate::store::{KeyEntry, KeyTable, Store as _};
use crate::upstream::{Attempt, Call, CallFacts, ReplyEvent, tls_config};
use crate::wire::Envelope;

/// Makes the actor panic.
#[derive(Message)]
#[rtype(result = "()")]
struct Crash;

impl Handler<Crash> for Provider {
    type Result = ();

    fn handle(&mut self, _: Crash, _: &mut Context<Self>) {
        panic!("told to");
    }
}

const ANSWER: &str = r#"{"id":"c","object":"chat.completion","created":1,"model":"m","choices":[{"index":0,"message":{"role":"assistant","content":"hi"},"finish_reason":"stop"}],"usage":{"prompt_tokens":1,"completion_tokens":1,"total_tokens":2}}"#;

/// An upstream that answers each connection once the gate is open.
async fn upstream(gate: watch::Receiver<bool>) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::task::spawn_local(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let mut gate = gate.clone();
            tokio::task::spawn_local(async move {
                let mut request = vec![0; 4096];
                let read = stream.read(&mut request).await.unwrap_or(0);
                let waits = request[..read].windows(6).any(|window| window == b"\"slow\"");
                if waits {
                    let _ = gate.wait_for(|open| *open).await;
                }
                let head = format!(
                    "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n",
                    ANSWER.len()
                );
                let _ = stream.write_all(format!("{head}{ANSWER}").as_bytes()).await;
                let _ = stream.shutdown().await;
            });
        }
    });
    format!("http://{address}/v1")
}

/// A supervisor over one provider `up`.
fn supervisor(base_url: &str) -> Addr<Supervisor> {
    let file = format!("providers: {{ up: {{ base_url: '{base_url}' }} }}");
    let outside = Outside { env: &|_| None, file: &|_| Err(String::new()) };
    let loaded = config::assemble(Some(("test", &file)), [], &outside).unwrap();
    let row = Arc::clone(loaded.settings.providers.get("up").unwrap());
    let (billing, _) = Recorder::narrow();
    let outbox = Outbox::new(billing, Unsettled::default());
    let known = Upstream {
        id: Arc::clone(&row.id),
        catalog: Arc::clone(&row.catalog),
        credentialed: true,
        env: Vec::new(),
    };
    let catalog = Arc::new(Catalog::default());
    let router = Router::new(catalog, vec![known], BTreeMap::new(), None, BTreeMap::new(), false);
    let link = Link::new(row, &tls_config().unwrap()).unwrap();
    Supervisor::new(Arc::new(router), vec![link], outbox, || 0).start()
}

async fn assign(supervisor: &Addr<Supervisor>, key: &Arc<KeyEntry>) -> Assigned {
    let ask = Ask { model: "up/m".to_owned(), ..Ask::default() };
    supervisor.send(Assign { ask, key: Arc::clone(key) }).await.unwrap().unwrap()
}

/// Hands a provider one attempt with this body.
async fn execute(assigned: Assigned, key: &Arc<KeyEntry>, body: &'static str) -> mpsc::Receiver<ReplyEvent> {
    let (target, _, address) = assigned.targets.into_iter().next().unwrap();
    let facts = CallFacts {
        request_id: "req".into(),
        caller: key.caller.clone(),
        tags: Arc::from([]),
        requested_model: "up/m".into(),
        stream: false,
        include_usage: false,
        n: 1,
    };
    let permit = key.quota.admit(1, std::time::Instant::now()).unwrap();
    let (events, answer) = mpsc::channel(8);
    let attempt = Attempt {
        call: Call::new(facts, permit),
        target,
        number: 1,
        body: Bytes::from_static(body.as_bytes()),
        envelope: Box::new(Envelope::default()),
        deadline: Instant::now() + Duration::from_secs(20),
        events,
    };
    address.send(Execute(attempt)).await.unwrap().unwrap();
    answer
}

async fn answered(mut answer: mpsc::Receiver<ReplyEvent>) -> bool {
    let event = timeout(Duration::from_secs(10), answer.recv()).await.unwrap();
    matches!(event, Some(ReplyEvent::Whole(_)))
}

#[actix::test]
async fn after_a_panic_the_next_request_succeeds_and_those_in_flight_go_on() {
    let (_folder, store) = store().await;
    let (_, key) = store.create_key(named("k"), by(0)).await.unwrap();
    let table = KeyTable::new();
    table.refresh(&store).await.unwrap();
    let key = table.authenticate(key.expose(), 0).unwrap();
    let (open, gate) = watch::channel(false);
    let supervisor = supervisor(&upstream(gate).await);

    let in_flight = execute(assign(&supervisor, &key).await, &key, r#"{"model":"slow"}"#).await;
    let (_, _, address) = assign(&supervisor, &key).await.targets.into_iter().next().unwrap();
    assert!(address.send(Crash).await.is_err(), "the actor is gone");
    assert!(!address.connected());

    let next = execute(assign(&supervisor, &key).await, &key, r#"{"model":"fast"}"#).await;
    assert!(answered(next).await, "another actor took its place");
    open.send_replace(true);
    assert!(answered(in_flight).await, "its exchange did not notice");
}
