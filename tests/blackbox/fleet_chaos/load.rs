//! Clients that call until so many calls are made, and the upstream with a bill of its own.

use std::collections::{HashMap, HashSet};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures_util::StreamExt as _;
use serde_json::{Value, json};
use tokio::task::JoinHandle;

use crate::support::{
    Client, Request, Script, Upstream, chunk, completion, event, eventually, question, stream_head,
    text_event, whole,
};

/// What ends an answer early that did not ask for fewer tokens.
const CUT: &[u8] = br#""finish_reason":"length""#;
/// Clients of each key.
pub const CLIENTS: usize = 3;

/// Who pays for a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Payer {
    /// A key without a budget.
    Free,
    /// A key with far more than it needs.
    Ample,
    /// A key with far less than it needs.
    Short,
    /// A project of two keys with less than they need.
    Team,
}

/// What the upstream charged for a call.
#[derive(Clone, Copy, Debug)]
pub struct Charge {
    /// To whom.
    pub payer: Payer,
    /// Tokens of the answer; the prompt is one.
    pub completed: u64,
}

impl Charge {
    /// 1e-6 USD.
    pub fn micros(self) -> u64 {
        1 + 10 * self.completed
    }
}

/// A key that clients call with.
pub struct Key {
    /// Who pays.
    pub payer: Payer,
    /// The payer's limit, 1e-6 USD.
    pub limit: u64,
    /// The key.
    pub key: String,
    /// Its id.
    pub id: String,
}

/// What happened, as clients and the upstream saw it.
#[derive(Default)]
pub struct Facts {
    /// What was charged, by the number of the try.
    pub bill: HashMap<u64, Charge>,
    /// Its sums, 1e-6 USD.
    pub charged: [u64; 4],
    /// Tries whose whole answer came.
    pub answered: HashSet<u64>,
    /// Tries of which nobody can say what became: the answer broke off, or the balancer answered in its place.
    pub interrupted: HashSet<u64>,
    /// Refusals for want of money: who, and what had been charged to them by then, 1e-6 USD.
    pub refused: Vec<(Payer, u64)>,
    /// Tries that were told to come again.
    pub again: u64,
    /// What must not be; the first ones.
    pub wrong: Vec<String>,
}

/// The clients' side of it.
pub struct Load {
    /// What is called.
    pub upstream: Upstream,
    /// With what.
    pub keys: Vec<Key>,
    shared: Arc<Shared>,
}

struct Shared {
    total: u64,
    made: AtomicU64,
    tries: AtomicU64,
    facts: Mutex<Facts>,
}

impl Shared {
    fn facts<T>(&self, look: impl FnOnce(&mut Facts) -> T) -> T {
        look(&mut self.facts.lock().expect("no test panics while it holds the facts"))
    }
}

impl Load {
    /// So many calls are to be made.
    pub async fn new(total: u64) -> Self {
        let shared = Arc::new(Shared {
            total,
            made: AtomicU64::new(0),
            tries: AtomicU64::new(1),
            facts: Mutex::default(),
        });
        let charging = Arc::clone(&shared);
        let upstream = Upstream::start(move |request| answer(&charging, request)).await;
        Self { upstream, keys: Vec::new(), shared }
    }

    /// Adds a key.
    pub fn add(&mut self, payer: Payer, limit: u64, key: String, id: String) {
        self.keys.push(Key { payer, limit, key, id });
    }

    /// What happened.
    pub fn facts<T>(&self, look: impl FnOnce(&mut Facts) -> T) -> T {
        self.shared.facts(look)
    }

    /// What the upstream charged a payer, 1e-6 USD.
    pub fn charged(&self, payer: Payer) -> u64 {
        self.facts(|facts| facts.charged[payer as usize])
    }

    /// Waits until some more calls are made; false when all of them are.
    pub async fn goes_on(&self, calls: u64) -> bool {
        let made = || self.shared.made.load(Ordering::Relaxed);
        let until = made() + calls;
        eventually("calls go on", || {
            std::future::ready((made() >= until.min(self.shared.total)).then_some(()))
        })
        .await;
        made() < self.shared.total
    }

    /// Starts the clients.
    pub fn start(&self, url: &str) -> Vec<JoinHandle<()>> {
        let clients = (0..self.keys.len() * CLIENTS).map(|at| at % self.keys.len());
        let start = |at: usize| {
            let caller = self.caller(url, at);
            tokio::spawn(async move {
                while caller.shared.made.load(Ordering::Relaxed) < caller.shared.total {
                    caller.call().await;
                    caller.shared.made.fetch_add(1, Ordering::Relaxed);
                }
            })
        };
        clients.map(start).collect()
    }

    /// A client with the key at this place.
    pub fn caller(&self, url: &str, at: usize) -> Caller {
        let key = &self.keys[at];
        Caller { client: Client::new(url, &key.key), payer: key.payer, shared: Arc::clone(&self.shared) }
    }

    /// Numbers, for whoever reads them.
    pub fn summary(&self) -> String {
        self.facts(|facts| {
            format!(
                "{} charged, {} answered, {} interrupted, {} refused, {} told to come again",
                facts.bill.len(),
                facts.answered.len(),
                facts.interrupted.len(),
                facts.refused.len(),
                facts.again
            )
        })
    }
}

/// A client with a key.
pub struct Caller {
    client: Client,
    payer: Payer,
    shared: Arc<Shared>,
}

/// What came of a try.
enum Told {
    Answer,
    Spent,
    Again,
    Nothing,
}

impl Caller {
    /// Makes a call as an SDK does, which tries again what may be tried again; true when it was answered, false when
    /// the money is spent.
    pub async fn call(&self) -> bool {
        for _ in 0..300 {
            let number = self.shared.tries.fetch_add(1, Ordering::Relaxed);
            match self.attempt(number).await {
                Told::Answer => {
                    self.shared.facts(|facts| facts.answered.insert(number));
                    return true;
                }
                Told::Spent => {
                    self.shared
                        .facts(|facts| facts.refused.push((self.payer, facts.charged[self.payer as usize])));
                    tokio::time::sleep(Duration::from_millis(50)).await;
                    return false;
                }
                Told::Again => self.shared.facts(|facts| facts.again += 1),
                Told::Nothing => {
                    self.shared.facts(|facts| facts.interrupted.insert(number));
                }
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        self.shared.facts(|facts| facts.wrong.push(format!("{:?} is never answered", self.payer)));
        false
    }

    async fn attempt(&self, number: u64) -> Told {
        // What is cut for want of money is charged whole: whoever has a budget does not stream.
        let stream = matches!(self.payer, Payer::Free | Payer::Ample) && number.is_multiple_of(2);
        let more =
            json!({"stream": stream, "max_tokens": 100, "number": number, "payer": self.payer as usize});
        let request = self.client.request(&question("up/priced", more));
        let request =
            request.header("x-request-id", format!("call-{number}")).timeout(Duration::from_secs(30));
        let Ok(response) = request.send().await else { return Told::Nothing };
        let status = response.status().as_u16();
        let (mut text, mut pieces) = (Vec::new(), response.bytes_stream());
        while let Some(piece) = pieces.next().await {
            let Ok(piece) = piece else { return Told::Nothing };
            text.extend_from_slice(&piece);
        }
        let whole = if stream {
            text.ends_with(b"data: [DONE]\n\n")
        } else {
            serde_json::from_slice::<Value>(&text).is_ok()
        };
        match status {
            200 if text.windows(CUT.len()).any(|piece| piece == CUT) => {
                self.shared.facts(|facts| facts.wrong.push(format!("call-{number} was cut")));
                Told::Nothing
            }
            200 if whole => Told::Answer,
            200 => Told::Nothing,
            402 => Told::Spent,
            // Of the gateway, or of a balancer that found nobody.
            503 => Told::Again,
            // Of the balancer: who had the call is gone.
            502 => Told::Nothing,
            _ => {
                let text = String::from_utf8_lossy(&text).into_owned();
                self.shared.facts(|facts| facts.wrong.push(format!("call-{number}: {status} {text}")));
                Told::Nothing
            }
        }
    }
}

/// Charges each call by its number, in the bill first and then in the answer.
fn answer(shared: &Shared, request: &Request) -> Script {
    let body = request.json();
    let number = body["number"].as_u64().expect("a number");
    let payers = [Payer::Free, Payer::Ample, Payer::Short, Payer::Team];
    let payer = payers.into_iter().find(|payer| body["payer"] == *payer as usize).expect("a payer");
    let charge = Charge { payer, completed: 1 + number % 100 };
    shared.facts(|facts| {
        facts.charged[payer as usize] += charge.micros();
        if facts.bill.insert(number, charge).is_some() {
            facts.wrong.push(format!("call-{number} came to the upstream twice"));
        }
    });
    let tokens = charge.completed;
    let usage = json!({"prompt_tokens": 1, "completion_tokens": tokens, "total_tokens": tokens + 1});
    if body["stream"] != true {
        let mut reply = completion("hello there");
        reply["usage"] = usage;
        return Script::new().wait(Duration::from_millis(number % 7)).send(whole(200, &reply));
    }
    let told = json!({"id": "c", "object": "chat.completion.chunk", "created": 1, "model": "m", "choices": [], "usage": usage});
    let end = format!("{}data: {told}\n\ndata: [DONE]\n\n", event("{}", "\"stop\""));
    Script::new()
        .send(stream_head())
        .send(chunk(text_event("hello")))
        .wait(Duration::from_millis(number % 11))
        .send(chunk(text_event(" there")))
        .send(chunk(end))
        .send(chunk(""))
}
