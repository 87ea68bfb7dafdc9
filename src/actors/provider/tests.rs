//! What a cell does when one of its provider actors panics: it is replaced, and nobody else notices.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio::time::{Instant, timeout};

use super::*;
use crate::actors::gauges::Unsettled;
use crate::actors::messages::{Assign, Assigned};
use crate::actors::outbox::Outbox;
use crate::actors::supervisor::Supervisor;
use crate::actors::testing::Recorder;
use crate::policy::account::Accounts;
use crate::policy::quota::{KeyQuota, Limits};
use crate::policy::route::{Ask, Router, Target, Upstream};
use crate::receipt::{Caller, Outcome};
use crate::store::{Groups, KeyEntry, KeyTable, Member};
use crate::upstream::{Attempt, Call, CallFacts, Keyring, Outgoing, ReplyEvent};
use crate::wire::{Envelope, WireFormat};

const PATIENCE: Duration = Duration::from_secs(10);

/// Makes the actor that gets it panic. Exists in this test and nowhere else.
#[derive(Message)]
#[rtype(result = "()")]
struct Crash;

impl Handler<Crash> for Provider {
    type Result = ();

    fn handle(&mut self, _: Crash, _: &mut Context<Self>) {
        panic!("injected");
    }
}

/// A supervisor of one provider at this port.
fn supervisor(port: u16, outbox: &Rc<Outbox>) -> Addr<Supervisor> {
    let row = Arc::new(crate::config::testing::row("up", port));
    let accounts = Arc::<Accounts>::default();
    let (account, rule) = (accounts.of(&row, std::time::Instant::now()), row.admission);
    let link = Link::new(row, &crate::upstream::tls_config().unwrap(), &Keyring::default()).unwrap();
    let up = Upstream {
        id: Arc::from("up"),
        catalog: Arc::from("up"),
        credentialed: true,
        env: Vec::new(),
        account,
        rule,
    };
    let router = Router::new(Arc::default(), vec![up], BTreeMap::new(), None, BTreeMap::new(), false);
    Supervisor::new(Arc::new(router), accounts, vec![link], Rc::clone(outbox), || 1).start()
}

/// A key that may use everything.
async fn key() -> Arc<KeyEntry> {
    let (_folder, store) = crate::store::testing::store().await;
    let (_, fresh) = crate::store::Store::create_key(
        &store,
        crate::store::testing::named("test"),
        crate::store::testing::by(1),
    )
    .await
    .unwrap();
    let keys = KeyTable::new(Arc::default());
    keys.refresh(&store).await.unwrap();
    keys.authenticate(fresh.expose(), 1).unwrap()
}

/// The address that the supervisor hands out now.
async fn assigned(supervisor: &Addr<Supervisor>, key: &Arc<KeyEntry>) -> (Target, Addr<Provider>) {
    let ask = Ask { model: "up/m".to_owned(), ..Ask::default() };
    let Assigned { targets, .. } = supervisor
        .send(Assign { ask, key: Member { key: Arc::clone(key), groups: Groups::default() } })
        .await
        .unwrap()
        .unwrap();
    let first = targets.into_iter().next().unwrap();
    (first.target, first.address)
}

/// Hands an attempt to a provider actor.
async fn execute(target: Target, address: &Addr<Provider>, quota: &KeyQuota) -> mpsc::Receiver<ReplyEvent> {
    let (events, receiver) = mpsc::channel(8);
    let facts = CallFacts {
        request_id: Arc::from("req"),
        caller: Caller { key_id: Arc::from("key"), project: None },
        tags: Arc::from([]),
        requested_model: Arc::from("up/m"),
        stream: false,
        include_usage: false,
        n: 1,
        paying: crate::upstream::Paying::default(),
        vault: Arc::new(crate::policy::vault::Vault::new(0, std::time::Duration::ZERO)),
        traced: None,
    };
    let call = Call::new(facts, vec![quota.admit(1, std::time::Instant::now()).unwrap()]);
    let out = Outgoing {
        wire: WireFormat::Openai,
        stream: false,
        path: "/chat/completions".to_owned(),
        credential: 0,
        headers: Vec::new(),
        body: Bytes::from_static(b"{}"),
    };
    let (envelope, deadline) = (Arc::<Envelope>::default(), Instant::now() + PATIENCE);
    let attempt = Box::new(Attempt {
        call,
        target,
        number: 1,
        out,
        envelope,
        deadline,
        content_deadline: deadline,
        timeouts: crate::config::testing::row("up", 1).timeouts,
        session: None,
        tokens: 1,
        asked: crate::policy::budget::Size { prompt: 1, max_output: None, n: 1, tier: None },
        money: None,
        lender: None,
        events,
    });
    let verdict = address.send(Execute { attempt, permit: None }).await.unwrap();
    assert!(matches!(verdict, Ok(Verdict::Running)));
    receiver
}

/// Takes a connection and the request on it.
async fn accept(listener: &TcpListener) -> TcpStream {
    let (mut stream, _) = timeout(PATIENCE, listener.accept()).await.unwrap().unwrap();
    let mut request = Vec::new();
    while !request.ends_with(b"\r\n\r\n{}") {
        let mut piece = [0; 1024];
        let read = timeout(PATIENCE, stream.read(&mut piece)).await.unwrap().unwrap();
        assert!(read > 0);
        request.extend_from_slice(&piece[..read]);
    }
    stream
}

async fn answer(stream: &mut TcpStream) {
    let body = r#"{"choices":[{"index":0,"message":{"role":"assistant","content":"hi"},"finish_reason":"stop"}],"usage":{"prompt_tokens":1,"completion_tokens":1,"total_tokens":2}}"#;
    let head = format!(
        "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n",
        body.len()
    );
    stream.write_all((head + body).as_bytes()).await.unwrap();
}

async fn whole(events: &mut mpsc::Receiver<ReplyEvent>) -> String {
    match timeout(PATIENCE, events.recv()).await.unwrap() {
        Some(ReplyEvent::Whole(body)) => String::from_utf8(body.to_vec()).unwrap(),
        other => panic!("not an answer: {other:?}"),
    }
}

#[actix::test]
async fn after_a_panic_the_next_request_succeeds_and_those_in_flight_are_untouched() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let (billing, mut batches) = Recorder::narrow();
    let outbox = Outbox::new(billing, Unsettled::default());
    let supervisor = supervisor(listener.local_addr().unwrap().port(), &outbox);
    let (key, quota) = (key().await, KeyQuota::new(Limits::default(), std::time::Instant::now()));

    let (target, first) = assigned(&supervisor, &key).await;
    let mut before = execute(target, &first, &quota).await;
    let mut waiting = accept(&listener).await;
    assert!(first.send(Crash).await.is_err(), "the sender is told that the actor is gone");
    assert!(!first.connected());

    let (target, second) = assigned(&supervisor, &key).await;
    assert!(second.connected() && second != first);
    let mut after = execute(target, &second, &quota).await;
    answer(&mut accept(&listener).await).await;
    assert!(whole(&mut after).await.contains("hi"));

    // The exchange of the actor that is gone runs on, is answered and booked.
    answer(&mut waiting).await;
    assert!(whole(&mut before).await.contains("hi"));
    let mut outcomes = Vec::new();
    while outcomes.len() < 2 {
        let batch = timeout(PATIENCE, batches.recv()).await.unwrap().unwrap();
        outcomes.extend(batch.receipts.iter().map(|receipt| receipt.outcome));
    }
    assert_eq!(outcomes, [Outcome::Completed, Outcome::Completed]);
    drop((before, after));
    assert_eq!(quota.in_flight(), 0, "every permit is back");
    // The survivor counts on: it is the same actor that is handed out from now on.
    assert!(assigned(&supervisor, &key).await.1 == second);
}
