//! Encoding a call for one target: at once when it is small, on a thread that may block when it is large.
//!
//! Translating reads and writes every byte of a body. With images of many megabytes that takes longer than the other
//! calls of a cell may wait.

use std::sync::Arc;

use bytes::Bytes;

use super::Order;
use crate::chat::{ChatRequest, Facts};
use crate::config::Provider;
use crate::error::Error;
use crate::policy::route::Target;
use crate::upstream::Call;
use crate::wire::{Encoded, Media, Order as Encoding, WireFormat};

/// Bytes to translate from which on a cell's thread is not held up: some milliseconds' worth.
pub const HEAVY_BYTES: usize = 1 << 20;

/// All that encoding takes, on whatever thread.
struct Work {
    wire: WireFormat,
    body: Bytes,
    request: Arc<ChatRequest>,
    call: Arc<Call>,
    target: Target,
    provider: Arc<Provider>,
    facts: Facts,
    strict: bool,
    media: Arc<Media>,
}

/// What is encoded.
pub struct Source<'a> {
    /// The client's bytes.
    pub body: &'a Bytes,
    /// What was read from them.
    pub request: &'a Arc<ChatRequest>,
    /// Facts of the call.
    pub call: &'a Arc<Call>,
    /// Refuse instead of dropping parameters.
    pub strict: bool,
}

impl Order {
    /// What is encoded of it.
    pub fn source(&self) -> Source<'_> {
        Source { body: &self.body, request: &self.request, call: &self.call, strict: self.strict }
    }
}

/// Encodes a call in a target's format.
///
/// # Errors
/// What the format refuses.
pub async fn encode(
    source: Source<'_>,
    wire: WireFormat,
    target: &Target,
    provider: &Arc<Provider>,
    media: Arc<Media>,
) -> Result<Encoded, Error> {
    let work = Work {
        wire,
        body: source.body.clone(),
        request: Arc::clone(source.request),
        call: Arc::clone(source.call),
        target: target.clone(),
        provider: Arc::clone(provider),
        facts: target.facts(),
        strict: source.strict,
        media,
    };
    // OpenAI's own words are spliced, which is as quick as copying.
    if wire.codec().is_none() || work.body.len() + work.media.bytes() < HEAVY_BYTES {
        return work.run();
    }
    off_thread(move || work.run()).await
}

/// Runs what takes long on a thread that may block.
///
/// # Errors
/// Those of `work`; 500 when it panicked.
pub async fn off_thread<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, Error> + Send + 'static,
) -> Result<T, Error> {
    tokio::task::spawn_blocking(work).await.unwrap_or(Err(Error::Internal))
}

impl Work {
    fn run(&self) -> Result<Encoded, Error> {
        self.wire.encode(&Encoding {
            body: &self.body,
            request: &self.request,
            model: &self.target.upstream,
            quirks: &self.provider.quirks,
            facts: self.facts,
            strict: self.strict,
            media: &self.media,
            recall: &|message| self.call.recall(&self.target.provider, message),
        })
    }
}
