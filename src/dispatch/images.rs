//! The images that a call names by address: fetched once, for the first target that needs their bytes, and kept for
//! those after it until the answer begins.

use std::sync::Arc;

use futures_util::FutureExt;
use futures_util::future::LocalBoxFuture;
use tokio::time::{Instant, timeout_at};

use super::Order;
use super::encoding::{HEAVY_BYTES, off_thread};
use crate::chat::{ChatRequest, Conversation};
use crate::error::Error;
use crate::upstream::{Fetched, Wanted};
use crate::wire::{Media, WireFormat};

/// What became of a call's images. Dropping it ends a fetch that is under way.
pub enum Images {
    /// No target needed them yet.
    Unasked,
    /// Under way.
    Coming(LocalBoxFuture<'static, Result<Fetched, Error>>),
    /// There, or not to be had: the same for every target.
    Settled(Result<Fetched, Error>),
}

impl Images {
    /// Sees to it that they are settled; false when that takes longer than `patience_ends`. Ask again then.
    pub async fn settled(&mut self, order: &Order, wire: WireFormat, patience_ends: Instant) -> bool {
        if matches!(self, Self::Unasked) {
            *self = Self::start(order, wire);
        }
        if let Self::Coming(coming) = self {
            let Ok(result) = timeout_at(patience_ends, coming).await else { return false };
            *self = Self::Settled(result);
        }
        true
    }

    fn start(order: &Order, wire: WireFormat) -> Self {
        let (request, body) = (Arc::clone(&order.request), order.body.clone());
        let (fetcher, deadline) = (order.fetcher.clone(), order.deadline);
        let request_id = Arc::clone(&order.call.request_id);
        let coming = async move {
            let wanted = if body.len() < HEAVY_BYTES {
                wanted(wire, &request, &body)?
            } else {
                off_thread(move || wanted(wire, &request, &body)).await?
            };
            match (wanted.first(), fetcher) {
                (None, _) => Ok(Fetched::default()),
                (Some((path, _)), None) => Err(not_allowed(path)),
                (Some(_), Some(fetcher)) => fetcher.fetch(wanted, deadline, request_id).await,
            }
        };
        Self::Coming(coming.boxed_local())
    }

    /// Why they are not to be had.
    pub fn refusal(&self) -> Option<Error> {
        match self {
            Self::Settled(Err(error)) => Some(error.clone()),
            _ => None,
        }
    }

    /// Those that are there.
    pub fn media(&self) -> Arc<Media> {
        match self {
            Self::Settled(Ok(fetched)) => Arc::clone(&fetched.media),
            _ => Arc::default(),
        }
    }

    /// Lets them go: no further target will be tried.
    pub fn let_go(&mut self) {
        *self = Self::Unasked;
    }
}

/// The images that a request gives by address, but for those that the vendor reads itself.
fn wanted(wire: WireFormat, request: &ChatRequest, body: &[u8]) -> Result<Vec<Wanted>, Error> {
    let conversation = Conversation::read(request, body)?;
    let images = conversation.image_urls();
    let fetched = images.into_iter().filter(|(_, url)| !wire.reads(url));
    Ok(fetched.map(|(path, url)| (path, url.to_owned())).collect())
}

/// 400 for an address where bytes are needed.
fn not_allowed(path: &str) -> Error {
    let message = format!(
        "The image at `{path}` is given by address, this model takes images inline only, and the gateway does not \
         fetch them. Send it as a data URL: `data:image/png;base64,...`."
    );
    Error::invalid_code(message, Some(path), "image_url_not_allowed")
}
