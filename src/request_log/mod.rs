//! The request log: which bodies of a call are kept, and what is masked in them before anything is stored. Pure.
//!
//! Invariants: nothing of a body is kept that the rules did not see; a body that is cut is cut behind what the rules
//! looked at, so that none keeps half of what a rule would have masked whole.

mod body;
mod builtin;
mod events;
mod gathered;
mod json_text;
mod rules;

pub use body::{Kept, MARGIN, keep};
pub use builtin::BUILT_IN;
pub use gathered::{Bodies, Raw, Room, Waiting};
pub use rules::{PATTERNS_MAX, Rules, check_pattern};

/// Which bodies of its calls a project keeps.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Logged {
    /// None.
    #[default]
    Off,
    /// What clients send.
    Request,
    /// What they are sent.
    Response,
    /// Both.
    Full,
}

impl Logged {
    /// The words of the API and the configuration.
    pub const WORDS: [&'static str; 4] = ["off", "request", "response", "full"];

    /// The word.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Off => "off",
            Self::Request => "request",
            Self::Response => "response",
            Self::Full => "full",
        }
    }

    /// The reverse of [`Logged::as_str`].
    pub fn parse(word: &str) -> Option<Self> {
        [Self::Off, Self::Request, Self::Response, Self::Full].into_iter().find(|one| one.as_str() == word)
    }

    /// True when request bodies are kept.
    pub const fn requests(self) -> bool {
        matches!(self, Self::Request | Self::Full)
    }

    /// True when response bodies are kept.
    pub const fn responses(self) -> bool {
        matches!(self, Self::Response | Self::Full)
    }
}
