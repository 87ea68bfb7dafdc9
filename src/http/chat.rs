//! POST /v1/chat/completions: from the door to the first bytes of the answer.

use std::sync::Arc;
use std::time::Duration;

use actix_web::http::header::HeaderMap;
use actix_web::http::{ConnectionType, StatusCode};
use actix_web::web::{Data, Payload};
use actix_web::{HttpRequest, HttpResponse};
use bytes::Bytes;
use futures_util::future::LocalBoxFuture;
use serde_json::Value;
use tokio::time::Instant;
use ulid::Ulid;

use super::call_meter::CallMeter;
use super::door::Wishes;
use super::explain::render;
use super::front::{Front, Limits};
use super::idempotent::{self, Asked, Begun, Following, Leading, Own};
use super::reply::{Builder, error_body, error_with_metadata};
use super::unread::holding;
use super::{door, names, stream};
use crate::chat::{ChatRequest, Routing, request};
use crate::dispatch::{self, Dispatch, Order, Question, Step, explain};
use crate::error::{Error, Shed};
use crate::fleet::Fleet;
use crate::policy::admission::Share;
use crate::policy::quota::{Denied, QuotaPermit, Snapshot};
use crate::policy::route::{Ask, session_hash};
use crate::request_log::Logged;
use crate::store::{KeyEntry, Member};
use crate::timer::Timer;
use crate::upstream::{Call, CallFacts, Paying};

/// Route pattern.
pub const ROUTE: &str = "/v1/chat/completions";
/// Tokens that the answer is expected to take when nobody says, for the caller's token quota.
const COMPLETION_ESTIMATE: u64 = 256;

/// What does not stream has no head to hold back: it waits for as long as the call may take, which others bound.
const LONG: Duration = Duration::from_secs(3_600);

/// What is known of a request before it is dispatched.
struct Context {
    request_id: Arc<str>,
    quota: Snapshot,
    limits: Limits,
}

/// The handler. Boxed before anything else is made of it: what is around it moves it several times.
pub fn completions(
    request: HttpRequest,
    payload: Payload,
    front: Data<Front>,
) -> LocalBoxFuture<'static, HttpResponse> {
    Box::pin(complete(request, payload, front))
}

async fn complete(request: HttpRequest, mut payload: Payload, front: Data<Front>) -> HttpResponse {
    let mut context = Context {
        request_id: door::request_id(request.headers()),
        quota: Snapshot::default(),
        limits: front.limits(),
    };
    let request_id = Arc::clone(&context.request_id);
    let mut meter = CallMeter::start(&front.outbox, &front.load.in_flight, ROUTE, request_id);
    meter.traced(&request, front.sampler);
    let entered = enter(&request, &mut payload, &front, &mut context, &mut meter).await;
    let mut response = match entered {
        Ok(Entered::Dispatched(dispatch, None)) => answer(dispatch, meter, context, &front).await,
        Ok(Entered::Dispatched(dispatch, Some(leading))) => {
            let (guard, shared) = (meter.hand_over(), front.clone());
            let (request_id, quota) = (Arc::clone(&context.request_id), context.quota);
            let ping_interval = context.limits.ping_interval;
            let answering = async move { answer(dispatch, meter, context, &shared).await };
            let own = Own { request_id: &request_id, quota, ping_interval };
            Box::pin(idempotent::lead(leading, guard, answering, &own)).await
        }
        Ok(Entered::Follows(following)) => {
            let ping_interval = context.limits.ping_interval;
            let own = Own { request_id: &context.request_id, quota: context.quota, ping_interval };
            following.answer(meter, &own)
        }
        Ok(Entered::Explained(explanation)) => {
            meter.completed();
            let explanation = explanation.to_string();
            meter.said(explanation.as_bytes());
            let builder = Builder::new(StatusCode::OK).header(&names::REQUEST_ID, &context.request_id);
            builder.finish_with(explanation)
        }
        Err(error) => {
            meter.failed(&error);
            holding(refuse(&error, &mut meter, &context), payload)
        }
    };
    if front.readiness.is_leaving() {
        // The client's next request goes to another process.
        response.head_mut().set_connection_type(ConnectionType::Close);
    }
    response
}

/// What became of a request at the door.
enum Entered {
    /// It is under way; perhaps others will get its answer, too.
    Dispatched(Box<Dispatch>, Option<Box<Leading>>),
    /// It gets the answer of another.
    Follows(Box<Following>),
    /// It asked how it would be.
    Explained(Value),
}

/// Key, body, shape, readiness, quota, targets.
async fn enter(
    request: &HttpRequest,
    payload: &mut Payload,
    front: &Front,
    context: &mut Context,
    meter: &mut CallMeter,
) -> Result<Entered, Error> {
    let (headers, limits) = (request.headers(), context.limits);
    let key = door::authenticate(headers, &front.keys, door::now_ms())?;
    meter.caller(&key.caller);
    has_memory(front)?;
    let mut timer = Timer::default();
    let body = body_of(headers, payload, front, &limits, &mut timer).await?;
    let logged = front.keys.logged(&key, limits.logged);
    if logged != Logged::Off {
        meter.log(&front.recorder, logged, limits.logged_body, &key.caller, &body);
    }
    let parsed = request::parse(&body)?;
    let model = meter.asks(&parsed.model, parsed.stream);
    takes_calls(front)?;
    let wishes = Wishes::of(headers);
    let tags = door::tags(wishes, &key.tags)?;
    let groups = front.keys.belongs(&key, &tags);
    let member = Member { key: Arc::clone(&key), groups };
    member.check_time(door::now_ms())?;
    let deadline = door::deadline(wishes, limits.request_timeout)?;
    let share = share_of(wishes, &key)?;
    let ask = ask_of(&parsed, wishes, &key.caller.key_id, key.handling.routing)?;
    let strict = door::flag(wishes, &names::STRICT)? || limits.strict;
    let facts = facts_of(&parsed, &member, (model, tags), meter, front);
    let explains = wants_explanation(wishes, &key)?;
    let asked = Asked { headers, key: &key, body: &body, deadline, explains };
    let leading = match idempotent::begin(front, &asked, &mut context.quota).await? {
        Begun::Follow(following) => return Ok(Entered::Follows(following)),
        Begun::Lead(leading) => Some(leading),
        Begun::Plain => None,
    };
    let asked = dispatch::asked(&parsed, &body);
    let estimate = parsed.prompt_estimate + parsed.max_output.unwrap_or(COMPLETION_ESTIMATE);
    let call = Call::new(facts, admitted(front, &member, estimate, context).await?);
    meter.call(&call);
    if explains {
        let request = Arc::new(parsed);
        let question = Question { key: Some(member), ask, call, body, request, strict, deadline };
        return Box::pin(explained(front, &question)).await;
    }
    let fleet = front.fleet.clone().map(|fleet| (fleet, member.payers()));
    let (created_s, fetcher, session) = (door::now_ms() / 1000, front.fetcher.clone(), ask.session);
    let timing = (deadline, timer);
    let dispatch = Dispatch::assign(&front.supervisor, &front.load, (member, ask), timing, move || {
        let request = Arc::new(parsed);
        Ok(Order {
            fallback_id: fallback_id(call.call_id),
            call,
            body,
            request,
            strict,
            deadline,
            share,
            session,
            tokens: estimate,
            asked,
            now_ms: door::now_ms,
            fleet,
            created_s,
            fetcher,
        })
    });
    dispatch.await.map(|dispatch| Entered::Dispatched(dispatch, leading))
}

/// The id of an answer whose provider gives it none: as long as those that clients know.
fn fallback_id(call_id: Ulid) -> String {
    const MARK: &str = "chatcmpl-000";
    let mut digits = [0; ulid::ULID_LEN];
    let digits = call_id.array_to_str(&mut digits);
    digits.make_ascii_lowercase();
    let mut id = String::with_capacity(MARK.len() + digits.len());
    id.push_str(MARK);
    id.push_str(digits);
    id
}

/// The body, if it is one that is taken.
async fn body_of(
    headers: &HeaderMap,
    payload: &mut Payload,
    front: &Front,
    limits: &Limits,
    timer: &mut Timer,
) -> Result<Bytes, Error> {
    let announced = door::check_head(headers, limits.body)?;
    door::read_body(payload, (announced, limits.body), limits.body_timeout, &front.body_room, timer).await
}

/// What all attempts of a call share.
fn facts_of(
    parsed: &ChatRequest,
    member: &Member,
    (requested_model, tags): (Arc<str>, Arc<[(String, String)]>),
    meter: &CallMeter,
    front: &Front,
) -> CallFacts {
    CallFacts {
        request_id: Arc::clone(meter.request_id()),
        caller: member.key.caller.clone(),
        tags,
        paying: paying(member),
        requested_model,
        stream: parsed.stream,
        include_usage: parsed.include_usage,
        n: parsed.n,
        vault: Arc::clone(&front.vault),
        traced: meter.trace().cloned(),
    }
}

/// Whose turn it is in a provider's queue.
fn share_of(wishes: Wishes<'_>, key: &KeyEntry) -> Result<Share, Error> {
    let priority = door::priority(wishes, key.handling.max_priority)?;
    Ok(Share { key: Arc::clone(&key.caller.key_id), weight: key.handling.share, priority })
}

/// How the request would be.
async fn explained(front: &Front, question: &Question) -> Result<Entered, Error> {
    let explained = explain(&front.supervisor, question).await?;
    Ok(Entered::Explained(render(&question.request.model, &explained)))
}

/// Who pays for a call.
fn paying(member: &Member) -> Paying {
    Paying { markup: member.markup(), tag_sets: member.tag_sets(), purses: member.purses() }
}

/// Admits a call under the quotas of its key and groups, the fleet's where there is one; tells the headers how the key's
/// stands.
async fn admitted(
    front: &Front,
    member: &Member,
    estimate: u64,
    context: &mut Context,
) -> Result<Vec<QuotaPermit>, Error> {
    let (now, key) = (std::time::Instant::now(), &member.key);
    let permits = match &front.fleet {
        None => member.admit(estimate, now),
        Some(fleet) => Box::pin(admitted_by(fleet, member, estimate)).await,
    };
    let shared = front.fleet.as_ref().and_then(|_| key.quota.fleet_snapshot());
    context.quota = shared.unwrap_or_else(|| key.quota.snapshot(now));
    permits.map_err(Error::from)
}

/// Admits a call under quotas that a fleet shares.
async fn admitted_by(fleet: &Fleet, member: &Member, estimate: u64) -> Result<Vec<QuotaPermit>, Denied> {
    let mut permits = Vec::new();
    for (name, quota) in member.quotas() {
        permits.push(fleet.admit(&name, quota, estimate).await?);
    }
    Ok(permits)
}

/// True when it is asked how the request would be routed, by a key that may.
fn wants_explanation(wishes: Wishes<'_>, key: &KeyEntry) -> Result<bool, Error> {
    let wanted = door::flag(wishes, &names::EXPLAIN)?;
    if wanted && !key.handling.explain {
        let message = "Your API key may not ask for explanations. Ask your operator to set `explain` for it.";
        return Err(Error::Forbidden(message.to_owned()));
    }
    Ok(wanted)
}

/// Refuses while the process has as much memory as it may have.
fn has_memory(front: &Front) -> Result<(), Error> {
    if !front.gauges.memory.is_tight() {
        return Ok(());
    }
    let message = "The gateway is short of memory just now; try again shortly.".to_owned();
    Err(Error::Shed { why: Shed::Memory, message, retry_after: Duration::from_secs(1) })
}

/// Refuses while the process ends, or while receipts find no room.
fn takes_calls(front: &Front) -> Result<(), Error> {
    let ends = (!front.readiness.takes_calls()).then_some(Shed::Draining);
    let Some(why) = ends.or_else(|| front.outbox.sheds()) else { return Ok(()) };
    let message = "The gateway takes no new requests just now; try again shortly.".to_owned();
    Err(Error::Shed { why, message, retry_after: Duration::from_secs(1) })
}

/// What routing is asked, headers included; `routing` is what the key says.
pub fn ask_of(
    parsed: &ChatRequest,
    wishes: Wishes<'_>,
    key_id: &str,
    routing: Option<Routing>,
) -> Result<Ask, Error> {
    let asked = Ask::of(parsed);
    let session = wishes.get(&names::SESSION_ID)?;
    let session = session.or(wishes.get(&names::SESSION_AFFINITY)?).or(parsed.affinity.as_deref());
    let order = wishes.get(&names::PROVIDER_ORDER)?.unwrap_or("");
    Ok(Ask {
        provider_order: order
            .split(',')
            .map(str::trim)
            .filter(|id| !id.is_empty())
            .map(str::to_owned)
            .collect(),
        no_fallback: door::flag(wishes, &names::NO_FALLBACK)?,
        // The body has the first word; the header is for clients that cannot add a field.
        routing: asked.routing.or(door::routing(wishes)?).or(routing),
        session: session.map(|name| session_hash(key_id, name)),
        ..asked
    })
}

/// Waits for the commit point and answers.
async fn answer(
    mut dispatch: Box<Dispatch>,
    mut meter: CallMeter,
    context: Context,
    front: &Front,
) -> HttpResponse {
    let limits = context.limits;
    let mut cut = front.cut.clone();
    let grace_ends = Instant::now() + limits.first_event_grace;
    loop {
        let step = tokio::select! {
            biased;
            step = dispatch.next(if dispatch.streams() { grace_ends } else { Instant::now() + LONG }) => step,
            _ = cut.wait_for(|cut| *cut) => Some(Step::Failed(stream::shutting_down())),
        };
        meter.sent_upstream(dispatch.sent_upstream(), dispatch.attempts());
        return match step {
            Some(Step::Whole(body)) => {
                meter.first_content();
                meter.completed();
                meter.said(&body);
                head(&dispatch, &meter, &context).finish_with(body)
            }
            Some(Step::Chunk(first)) => {
                meter.first_content();
                meter.committed();
                let head = head(&dispatch, &meter, &context);
                let live = stream::Live::new(dispatch, meter, limits.ping_interval, front.cut.clone(), first);
                head.finish_stream(live.events())
            }
            Some(Step::Silence) if !dispatch.streams() => continue,
            Some(Step::Silence) => {
                meter.committed();
                let head = head(&dispatch, &meter, &context);
                let live =
                    stream::Live::new(dispatch, meter, limits.ping_interval, front.cut.clone(), stream::PING);
                head.finish_stream(live.events())
            }
            Some(Step::Failed(error)) => {
                meter.failed(&error);
                failed(&dispatch, &error, &mut meter, &context)
            }
            Some(Step::End) | None => {
                meter.failed(&Error::Internal);
                failed(&dispatch, &Error::Internal, &mut meter, &context)
            }
        };
    }
}

/// The head of a 200.
fn head(dispatch: &Dispatch, meter: &CallMeter, context: &Context) -> Builder {
    let envelope = dispatch.envelope();
    let mut builder = Builder::new(StatusCode::OK)
        .header(&names::REQUEST_ID, &context.request_id)
        .header(&names::PROVIDER, &envelope.used_provider)
        .header(&names::MODEL, &envelope.used_model)
        .number(&names::ATTEMPTS, dispatch.attempts().into())
        .number(&names::OVERHEAD_US, meter.overhead_us());
    if !dispatch.dropped().is_empty() {
        builder = builder.header(&names::DROPPED_PARAMS, &dispatch.dropped().join(","));
    }
    builder.quota(context.quota)
}

/// An error after an upstream was involved.
fn failed(dispatch: &Dispatch, error: &Error, meter: &mut CallMeter, context: &Context) -> HttpResponse {
    let metadata = dispatch.envelope().failure_metadata();
    let builder = error_with_metadata(error, Some(&context.request_id), Some(dispatch.attempts()));
    let body = error_body(error, Some(&metadata));
    meter.said(&body);
    builder.quota(context.quota).finish_with(body)
}

/// An error before anything was sent.
fn refuse(error: &Error, meter: &mut CallMeter, context: &Context) -> HttpResponse {
    let builder = error_with_metadata(error, Some(&context.request_id), None);
    let body = error_body(error, None);
    meter.said(&body);
    builder.quota(context.quota).finish_with(body)
}
