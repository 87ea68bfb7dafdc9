//! How a caller wants its target chosen: the `routing` field, `x-gateway-routing`, and what aliases and keys say.

/// What counts most in choosing a target.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Routing {
    /// Price, as long as health and speed are alike.
    #[default]
    Balanced,
    /// Price alone, among the healthy.
    Price,
    /// The time to the first token.
    Latency,
    /// Tokens per second.
    Throughput,
}

impl Routing {
    /// Every word, in the order of the documentation.
    pub const WORDS: [&'static str; 4] = ["balanced", "price", "latency", "throughput"];

    /// Reads a word.
    pub fn parse(word: &str) -> Option<Self> {
        Some(match word {
            "balanced" => Self::Balanced,
            "price" => Self::Price,
            "latency" => Self::Latency,
            "throughput" => Self::Throughput,
            _ => return None,
        })
    }

    /// Its word.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Balanced => "balanced",
            Self::Price => "price",
            Self::Latency => "latency",
            Self::Throughput => "throughput",
        }
    }
}
