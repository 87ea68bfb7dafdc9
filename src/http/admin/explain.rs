//! POST /explain: how a request would be routed and what would go upstream, without sending anything.

use std::sync::{Arc, PoisonError};
use std::time::Duration;

use actix_web::{HttpRequest, HttpResponse, web};
use tokio::time::Instant;

use super::super::door::Wishes;
use super::super::reply::Fault;
use super::super::{chat, door, explain, names};
use super::keys::read_json;
use super::query::Params;
use super::shown::Shown;
use crate::chat::request;
use crate::dispatch::{self, Question};
use crate::error::Error;
use crate::receipt::Caller;
use crate::store::{KeyEntry, KeyTable, Member};
use crate::upstream::{Call, CallFacts, Paying};

/// Largest request that is explained here, bytes.
const BODY_MAX: usize = 1 << 20;
/// Who asks without a key: a name that no key and no project has.
const NOBODY: &str = "\u{1}admin";
/// How long it may take.
const PATIENCE: Duration = Duration::from_secs(10);

/// The handler: the body is a chat request, `key` the id of the key whose request it would be.
pub(super) async fn question(
    request: HttpRequest,
    body: web::Payload,
    table: web::Data<KeyTable>,
    shown: web::Data<Shown>,
) -> Result<HttpResponse, Fault> {
    let mut params = Params::parse(request.query_string())?;
    let key = params.text("key");
    params.finish()?;
    let key = key.map(|id| find(&table, &id)).transpose()?;
    let body = read_json(&request, body, BODY_MAX).await?;
    let parsed = request::parse(&body)?;
    let headers = request.headers();
    let wishes = Wishes::of(headers);
    let caller = match &key {
        Some(key) => key.caller.clone(),
        None => Caller { key_id: Arc::from(NOBODY), project: None },
    };
    let routing = key.as_ref().and_then(|key| key.handling.routing);
    let question = Question {
        ask: chat::ask_of(&parsed, wishes, &caller.key_id, routing)?,
        call: Call::unmade(CallFacts {
            request_id: door::request_id(headers),
            caller,
            tags: Arc::from([]),
            requested_model: Arc::from(parsed.model.as_str()),
            stream: parsed.stream,
            include_usage: parsed.include_usage,
            n: parsed.n,
            paying: Paying::default(),
            vault: Arc::clone(&shown.vault),
            traced: None,
        }),
        key: key.map(|key| Member::of(key, &table)),
        body,
        request: Arc::new(parsed),
        strict: door::flag(wishes, &names::STRICT)? || shown.live.load().settings.strict,
        deadline: Instant::now() + PATIENCE,
    };
    let supervisor = shown.cells.lock().unwrap_or_else(PoisonError::into_inner).first().cloned();
    let Some(supervisor) = supervisor else {
        let message = "The gateway is starting or ending; try again.".to_owned();
        return Err(Fault(Error::Overloaded { message, retry_after: Duration::from_secs(1) }));
    };
    let explained = dispatch::explain(&supervisor, &question).await?;
    Ok(HttpResponse::Ok().json(explain::render(&question.request.model, &explained)))
}

fn find(table: &KeyTable, id: &str) -> Result<Arc<KeyEntry>, Error> {
    let message = "There is no live key with this id.";
    table.find(id, door::now_ms()).ok_or_else(|| Error::invalid(message, "key"))
}
