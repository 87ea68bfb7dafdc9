//! Why an image could not be had, in words that tell its sender what to mend and a stranger nothing of what is inside.
//!
//! A host that does not resolve, one that resolves to an address that is not public, one that does not answer: all are
//! told in the same words, so that nobody can map a network by asking for images.

use std::time::Duration;

use crate::error::{Error, Shed};
use crate::policy::address::Refusal;

/// When to come back: fetched images are let go as calls end.
const RETRY_AFTER: Duration = Duration::from_secs(1);

/// Why there is no image.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trouble {
    /// The URL itself is not one that is fetched.
    Refused(Refusal),
    /// It does not resolve.
    Unresolved,
    /// It resolves to an address that must not be connected to.
    Inner,
    /// No connection, or it broke off before an answer.
    Unreachable,
    /// It answered with this status.
    Status(u16),
    /// It was sent on too often, or to nowhere.
    Redirects,
    /// One image is too large.
    TooLarge,
    /// All images together are too large.
    TooLargeTogether,
    /// Not an image of a kind that models take.
    NotAnImage,
    /// It broke off.
    BrokenOff,
    /// It took too long.
    Slow,
    /// Other calls hold too many images just now.
    NoRoom,
}

impl From<Refusal> for Trouble {
    fn from(refusal: Refusal) -> Self {
        Self::Refused(refusal)
    }
}

impl Trouble {
    /// What the operator's log says. Never the address: it may hold what its sender would not show.
    pub fn label(self) -> &'static str {
        match self {
            Self::Refused(Refusal::NotHttps) => "not_https",
            Self::Refused(Refusal::Malformed) => "malformed",
            Self::Refused(Refusal::Credentials) => "credentials",
            Self::Refused(Refusal::Port) => "port_not_listed",
            Self::Unresolved => "unresolved",
            Self::Inner => "address_not_public",
            Self::Unreachable => "unreachable",
            Self::Status(_) => "status",
            Self::Redirects => "redirects",
            Self::TooLarge => "too_large",
            Self::TooLargeTogether => "too_large_together",
            Self::NotAnImage => "not_an_image",
            Self::BrokenOff => "broken_off",
            Self::Slow => "slow",
            Self::NoRoom => "no_room",
        }
    }

    /// The answer to the request whose image at `path` it was.
    pub fn into_error(self, path: &str) -> Error {
        let why = match self {
            Self::NoRoom => {
                let message = "The gateway holds too many fetched images just now; try again shortly.";
                return Error::Shed {
                    why: Shed::ImageMemory,
                    message: message.to_owned(),
                    retry_after: RETRY_AFTER,
                };
            }
            Self::Refused(Refusal::NotHttps) => "only https addresses are fetched".to_owned(),
            Self::Refused(Refusal::Malformed) => "its address cannot be read".to_owned(),
            Self::Refused(Refusal::Credentials) => "its address must not hold credentials".to_owned(),
            Self::Refused(Refusal::Port) => "only port 443 is fetched from".to_owned(),
            Self::Unresolved | Self::Inner | Self::Unreachable => {
                "its host cannot be reached, or is not public".to_owned()
            }
            Self::Status(status) => format!("its host answered with status {status}"),
            Self::Redirects => "it is redirected too often, or to nowhere".to_owned(),
            Self::TooLarge => "it is larger than 20 MiB".to_owned(),
            Self::TooLargeTogether => "all fetched images together are larger than 40 MiB".to_owned(),
            Self::NotAnImage => "what is there is not a JPEG, PNG, GIF or WebP image".to_owned(),
            Self::BrokenOff => "the download broke off".to_owned(),
            Self::Slow => "the download took longer than 10 seconds".to_owned(),
        };
        let message = format!(
            "The image at `{path}` could not be fetched: {why}. Mend the address, or send the image as a data URL."
        );
        Error::invalid_code(message, Some(path), "invalid_image_url")
    }
}
