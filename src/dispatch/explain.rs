//! How a request would be routed, and what would go upstream: decided and encoded as ever, and not sent.

use std::sync::Arc;

use actix::Addr;
use bytes::Bytes;
use tokio::time::{Instant, timeout_at};

use super::encoding::{Source, encode};
use crate::actors::messages::{Assignee, Explain, Preview};
use crate::actors::supervisor::Supervisor;
use crate::chat::ChatRequest;
use crate::error::Error;
use crate::policy::route::{Ask, Explanation};
use crate::store::Member;
use crate::upstream::{Call, Outgoing, Previewed};
use crate::wire::Media;

/// What is asked.
pub struct Question {
    /// Whose request it would be; `None`: somebody's who may use everything.
    pub key: Option<Member>,
    /// What routing is asked.
    pub ask: Ask,
    /// Facts of a call that is not made.
    pub call: Arc<Call>,
    /// The client's bytes.
    pub body: Bytes,
    /// What was read from them.
    pub request: Arc<ChatRequest>,
    /// Refuse instead of dropping parameters.
    pub strict: bool,
    /// When the answer must be there.
    pub deadline: Instant,
}

/// What would happen, and why.
pub struct Explained {
    /// The decision.
    pub explanation: Explanation,
    /// The request to the first target, or why it cannot be made; `None` without a target.
    pub request: Option<Result<Shown, Error>>,
}

/// The request to the first target.
pub struct Shown {
    /// Where it would go, and with what headers.
    pub head: Previewed,
    /// Its body.
    pub body: Bytes,
    /// Parameters that the target cannot take.
    pub dropped: Vec<String>,
}

/// Answers a question.
///
/// # Errors
/// The supervisor does not answer in time.
pub async fn explain(supervisor: &Addr<Supervisor>, question: &Question) -> Result<Explained, Error> {
    let message = Explain { ask: question.ask.clone(), key: question.key.clone() };
    let explained = timeout_at(question.deadline, supervisor.send(message)).await.map_err(|_| late())?;
    let explained = explained.map_err(|_| Error::Internal)?;
    let request = match &explained.first {
        Some(first) => Some(shown(question, first).await),
        None => None,
    };
    Ok(Explained { explanation: explained.explanation, request })
}

/// The request to this target. Images that are given by address are not fetched for it.
async fn shown(question: &Question, assignee: &Assignee) -> Result<Shown, Error> {
    let Question { body, request, call, strict, deadline, .. } = question;
    let Assignee { target, provider, address, .. } = assignee;
    let route = provider.route(&target.upstream, target.facts());
    let source = Source { body, request, call, strict: *strict };
    let encoding = encode(source, route.wire, target, provider, Arc::new(Media::default()));
    let encoded = timeout_at(*deadline, encoding).await.map_err(|_| late())??;
    let path = route.path(&target.upstream, request.stream);
    let (wire, stream, body) = (route.wire, request.stream, encoded.body);
    let out = Outgoing { wire, stream, path, credential: 0, headers: encoded.headers, body: body.clone() };
    let head = timeout_at(*deadline, address.send(Preview(out))).await.map_err(|_| late())?;
    Ok(Shown { head: head.map_err(|_| Error::Internal)??, body, dropped: encoded.dropped })
}

fn late() -> Error {
    Error::Timeout("The gateway could not explain this in time; try again.".to_owned())
}
