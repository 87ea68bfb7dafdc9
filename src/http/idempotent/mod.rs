//! `Idempotency-Key`: the same request again is not run again. It joins the one that runs, or gets its answer.
//!
//! The answer of a request with a key is written by a task of its thread, into a log that its client reads as every other
//! one does who sends the same request. So the first client may leave while others read on; with nobody left the task
//! ends, and with it the call, as it does without a key. The store is asked before a request leads, so that replicas
//! and a process that starts again know it, and told afterwards; when it does not answer in time, this process goes on
//! alone and says so.
//!
//! Invariants: a request without the header costs one look-up in it; no request fails because of the store; what a
//! replay gives was sent before, byte for byte, and costs nothing but a request of the key's limit.

mod following;
mod keeper;
mod leading;
mod records;

use std::sync::Arc;

use actix_web::http::header::{HeaderMap, HeaderName};
use tokio::time::Instant;

pub use self::following::{Following, Own};
pub use self::keeper::Keeper;
pub use self::leading::{Leading, lead};
use self::records::{Claimed, Records};
use super::chat::ROUTE;
use super::front::Front;
use super::{door, names, stream};
use crate::actors::gauges::{IdempotencyCounts, Idempotent};
use crate::config::IdempotencySettings;
use crate::error::{Error, Shed};
use crate::policy::idempotency::{self, Digest, Reader, Rules, Table};
use crate::policy::quota::{QuotaPermit, Snapshot};
use crate::store::{KeyEntry, Store};

/// Longest key, characters.
const KEY_MAX: usize = 255;
/// Headers of ours that change an answer.
static ASKED_BY_HEADER: [&HeaderName; 5] =
    [&names::NO_FALLBACK, &names::PROVIDER_ORDER, &names::ROUTING, &names::STRICT, &names::TAGS];

/// What the cells share of it.
pub struct Idempotency {
    table: Arc<Table>,
    records: Option<Records>,
    counts: IdempotencyCounts,
}

impl Idempotency {
    /// Nothing known yet, and who keeps the store in step; `None` where the store has no part in it.
    pub fn new(
        settings: &IdempotencySettings,
        store: &Arc<dyn Store>,
        counts: IdempotencyCounts,
    ) -> (Arc<Self>, Option<Keeper>) {
        let table = Table::new(Rules {
            bytes_max: settings.memory,
            keys_max: settings.keys,
            answer_max: settings.answer_limit.min(settings.memory),
            life: settings.life,
        });
        let (records, keeper) = if settings.store_max > 0 {
            let (records, keeper) = keeper::start(Arc::clone(store), &table, settings.store_max);
            (Some(records), Some(keeper))
        } else {
            (None, None)
        };
        (Arc::new(Self { table, records, counts }), keeper)
    }

    /// Waits until every answer so far is in the store, `patience` at most.
    pub async fn flush(&self, patience: std::time::Duration) {
        if let Some(records) = &self.records {
            let _ = tokio::time::timeout(patience, records.flush()).await;
        }
    }
}

/// A request that may carry a key.
pub struct Asked<'a> {
    /// Its headers.
    pub headers: &'a HeaderMap,
    /// Whose it is.
    pub key: &'a KeyEntry,
    /// Its body.
    pub body: &'a [u8],
    /// When it must be over.
    pub deadline: Instant,
    /// It asks only how it would be: its key counts for nothing.
    pub explains: bool,
}

/// What becomes of it.
pub enum Begun {
    /// It carries no key: as ever.
    Plain,
    /// It is the first with its key.
    Lead(Box<Leading>),
    /// It gets the answer of another.
    Follow(Box<Following>),
}

/// Which request it is.
#[derive(Clone, Copy)]
struct Named {
    name: Digest,
    fingerprint: Digest,
}

/// Decides what becomes of a request. Who follows is admitted as a request without tokens; `quota` says what that left.
///
/// # Errors
/// 400 for a header that is no key, 409 for a key that was used for another request or whose answer is not kept, 429, 503
/// when too many run, 504 when another one's answer does not begin in time.
pub async fn begin(front: &Front, asked: &Asked<'_>, quota: &mut Snapshot) -> Result<Begun, Error> {
    let Some(text) = key_of(asked.headers)?.filter(|_| !asked.explains) else { return Ok(Begun::Plain) };
    let named = named(asked, text);
    let mut cut = front.cut.clone();
    let begun = tokio::select! {
        biased;
        begun = Box::pin(found(front, asked, named, quota)) => begun,
        _ = cut.wait_for(|cut| *cut) => Err(stream::shutting_down()),
    };
    let counts = &front.idempotency.counts;
    match &begun {
        Ok(Begun::Lead(leading)) if leading.local => counts.count(Idempotent::Local),
        Ok(Begun::Lead(_)) => counts.count(Idempotent::Started),
        Ok(Begun::Follow(following)) if following.is_live() => counts.count(Idempotent::Joined),
        Ok(Begun::Follow(_)) => counts.count(Idempotent::Replayed),
        Err(Error::IdempotencyKeyReused | Error::IdempotencyAnswerTooLarge) => {
            counts.count(Idempotent::Conflict);
        }
        Ok(Begun::Plain) | Err(_) => {}
    }
    begun
}

/// The key, if one was sent.
fn key_of(headers: &HeaderMap) -> Result<Option<&str>, Error> {
    if !headers.contains_key(&names::IDEMPOTENCY_KEY) {
        return Ok(None);
    }
    let key = door::ours(headers, &names::IDEMPOTENCY_KEY)?.unwrap_or("");
    if key.is_empty() || key.len() > KEY_MAX || key.contains('\t') {
        return Err(door::wrong_header(&names::IDEMPOTENCY_KEY, "use 1 to 255 printable ASCII characters"));
    }
    Ok(Some(key))
}

fn named(asked: &Asked<'_>, key: &str) -> Named {
    let tenant = &asked.key.caller.key_id;
    let by_header = ASKED_BY_HEADER.map(|name| door::text(asked.headers, name).unwrap_or("").as_bytes());
    let mut parts = vec![ROUTE.as_bytes(), asked.body];
    parts.extend(by_header);
    Named { name: idempotency::name(tenant, key), fingerprint: idempotency::fingerprint(&parts) }
}

/// Looks until it is clear: whoever joins one that comes to nothing is the next to lead.
async fn found(front: &Front, asked: &Asked<'_>, named: Named, quota: &mut Snapshot) -> Result<Begun, Error> {
    let Named { name, fingerprint } = named;
    let table = &front.idempotency.table;
    let mut permit = None;
    loop {
        let (reader, lead) = match table.begin(name, fingerprint, std::time::Instant::now()) {
            idempotency::Begun::Reused => return Err(Error::IdempotencyKeyReused),
            idempotency::Begun::TooLarge => return Err(Error::IdempotencyAnswerTooLarge),
            idempotency::Begun::Full => return Err(full()),
            idempotency::Begun::Replay(answer) => {
                let permit = admitted(&mut permit, asked.key, quota)?;
                return Ok(Begun::Follow(Box::new(Following::replay(answer, permit, asked.deadline))));
            }
            idempotency::Begun::Join(reader) => (reader, None),
            idempotency::Begun::Lead(lead, reader) => (reader, Some(lead)),
        };
        let Some(lead) = lead else {
            let admitted = admitted(&mut permit, asked.key, quota)?;
            match following::begun(reader, asked.deadline).await? {
                Some((reader, head)) => {
                    let following = Following::join(reader, head, admitted, asked.deadline);
                    return Ok(Begun::Follow(Box::new(following)));
                }
                None => {
                    permit = Some(admitted);
                    continue;
                }
            }
        };
        return Ok(match claimed(front, asked, named).await? {
            Led::Run(record) => {
                let local = record.is_none() && front.idempotency.records.is_some();
                Begun::Lead(Box::new(Leading { lead, reader, record, local, deadline: asked.deadline }))
            }
            Led::Answered(answer, life) => {
                // No longer than its life, and no longer than memory keeps any.
                let life = life.min(table.rules().life);
                lead.adopt(&answer, std::time::Instant::now() + life);
                let permit = admitted(&mut permit, asked.key, quota)?;
                Begun::Follow(Box::new(Following::replay(answer, permit, asked.deadline)))
            }
        });
    }
}

/// What the store says to one who leads here.
enum Led {
    /// It runs; with a record, if the store knows.
    Run(Option<records::Record>),
    /// Another replica, or this one before it was started, has answered.
    Answered(Arc<idempotency::Answer>, std::time::Duration),
}

async fn claimed(front: &Front, asked: &Asked<'_>, named: Named) -> Result<Led, Error> {
    let Some(records) = &front.idempotency.records else { return Ok(Led::Run(None)) };
    let claimed = records.claim(named, &asked.key.caller.key_id, asked.deadline).await;
    match claimed {
        Claimed::Mine(record) => Ok(Led::Run(Some(record))),
        Claimed::Local => Ok(Led::Run(None)),
        Claimed::Done(answer, life) => Ok(Led::Answered(answer, life)),
        Claimed::NotKept => Err(Error::IdempotencyAnswerTooLarge),
        Claimed::Other => Err(Error::IdempotencyKeyReused),
        Claimed::TooLate => Err(too_late()),
    }
}

/// The right of one who follows: a request of its key's limit, and a call at a time, but no tokens.
fn admitted(
    permit: &mut Option<QuotaPermit>,
    key: &KeyEntry,
    quota: &mut Snapshot,
) -> Result<QuotaPermit, Error> {
    if let Some(permit) = permit.take() {
        return Ok(permit);
    }
    let admitted = key.quota.admit(0, std::time::Instant::now());
    *quota = key.quota.snapshot(std::time::Instant::now());
    Ok(admitted?)
}

fn full() -> Error {
    let message =
        "The gateway has as many requests with an Idempotency-Key as it can keep apart; try again shortly.";
    Error::Shed {
        why: Shed::Idempotency,
        message: message.to_owned(),
        retry_after: std::time::Duration::from_secs(1),
    }
}

/// What one who waited for another's answer in vain is told.
fn too_late() -> Error {
    let message = "The same request runs, and its answer did not begin in time; send it again to join it.";
    Error::Timeout(message.to_owned())
}

/// Waits until there is something new in a log; false when `until` comes first.
async fn changed(reader: &mut Reader, until: Instant) -> bool {
    tokio::time::timeout_at(until, reader.changed()).await.is_ok()
}
