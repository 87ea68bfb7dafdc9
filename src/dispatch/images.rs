//! The images that a call names by address: fetched once, for the first target that needs their bytes, and kept for
//! those after it until the answer begins.

use std::rc::Rc;

use futures_util::FutureExt;
use futures_util::future::LocalBoxFuture;
use tokio::time::{Instant, timeout_at};

use super::Order;
use crate::chat::Conversation;
use crate::error::Error;
use crate::upstream::{Fetched, Wanted};
use crate::wire::Media;

static NO_MEDIA: Media = Media::new();

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
    pub async fn settled(&mut self, order: &Order, patience_ends: Instant) -> bool {
        if matches!(self, Self::Unasked) {
            *self = Self::start(order);
        }
        if let Self::Coming(coming) = self {
            let Ok(result) = timeout_at(patience_ends, coming).await else { return false };
            *self = Self::Settled(result);
        }
        true
    }

    fn start(order: &Order) -> Self {
        let wanted = match wanted(order) {
            Ok(wanted) => wanted,
            Err(error) => return Self::Settled(Err(error)),
        };
        match (wanted.first(), &order.fetcher) {
            (None, _) => Self::Settled(Ok(Fetched::default())),
            (Some((path, _)), None) => Self::Settled(Err(not_allowed(path))),
            (Some(_), Some(fetcher)) => {
                let request_id = order.call.request_id.clone();
                Self::Coming(Rc::clone(fetcher).fetch(wanted, order.deadline, request_id).boxed_local())
            }
        }
    }

    /// Why they are not to be had.
    pub fn refusal(&self) -> Option<Error> {
        match self {
            Self::Settled(Err(error)) => Some(error.clone()),
            _ => None,
        }
    }

    /// Those that are there.
    pub fn media(&self) -> &Media {
        match self {
            Self::Settled(Ok(fetched)) => &fetched.media,
            _ => &NO_MEDIA,
        }
    }

    /// Lets them go: no further target will be tried.
    pub fn let_go(&mut self) {
        *self = Self::Unasked;
    }
}

/// The images that a request gives by address.
fn wanted(order: &Order) -> Result<Vec<Wanted>, Error> {
    let conversation = Conversation::read(&order.request, &order.body)?;
    let images = conversation.image_urls();
    Ok(images.into_iter().map(|(path, url)| (path, url.to_owned())).collect())
}

/// 400 for an address where bytes are needed.
fn not_allowed(path: &str) -> Error {
    let message = format!(
        "The image at `{path}` is given by address, this model takes images inline only, and the gateway does not \
         fetch them. Send it as a data URL: `data:image/png;base64,...`."
    );
    Error::invalid_code(message, Some(path), "image_url_not_allowed")
}
