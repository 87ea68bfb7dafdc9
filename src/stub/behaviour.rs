//! What the stub shall do, as text: `NAME[:key=value[,key=value]...]`.

use std::time::Duration;

/// One way to answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Behaviour {
    /// The last user message comes back.
    Echo,
    /// As echo, after a pause before the response head.
    Slow(Duration),
    /// A number of equal events, a pause between them.
    Drip {
        /// Events with content.
        events: usize,
        /// Pause before each but the first.
        pause: Duration,
        /// Bytes of content in each.
        bytes: usize,
    },
    /// Calls this many of the tools that were given.
    Tools(usize),
    /// Reasoning before the answer, in a field of its own.
    Reasoning,
    /// Reasoning before the answer, between tags in the text.
    Think,
    /// An error instead of an answer.
    Error {
        /// HTTP status.
        status: u16,
        /// `Retry-After`, seconds.
        retry_after: Option<u64>,
    },
    /// Breaks off after this many events, or in the middle of a whole answer.
    Truncate(usize),
    /// A response head, then nothing for this long, then the end.
    Silent(Duration),
    /// An error event after this many events.
    ErrorEvent(usize),
    /// Never tells its usage.
    NoUsage,
    /// An image beside the text.
    Image,
    /// Ends for want of tokens.
    Length,
    /// Ends by the content filter.
    Filter,
    /// A long answer.
    Big(usize),
    /// Every so many requests fail with a 500.
    Flaky(u64),
}

/// Behaviours worth trying, with what they show.
pub const EXAMPLES: &[(&str, &str)] = &[
    ("echo", "answers with your own words"),
    ("drip:events=20,ms=100", "a stream of 20 events, 100 ms apart"),
    ("slow:ms=2000", "two seconds to the first byte"),
    ("tool", "calls the first of your tools; `tools` calls two"),
    ("reasoning", "thinks first; `think` does it between tags"),
    ("image", "an image beside the text"),
    ("error:status=429,retry_after=2", "an error of the provider's"),
    ("error_event:after=3", "a stream that fails in the middle"),
    ("truncate:after=3", "a stream that breaks off without its end"),
    ("silent:ms=30000", "a response head, then silence"),
    ("nousage", "a provider that does not count tokens"),
    ("flaky:every=2", "every second request fails"),
];

/// Why a text is no behaviour.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Unknown {
    /// There is no behaviour of this name.
    Name(String),
    /// A parameter is not one, or out of bounds.
    Parameter(String),
}

/// Longest pause, milliseconds.
const MS_MAX: u64 = 600_000;
/// Events of one stream at most.
const EVENTS_MAX: u64 = 1_000_000;
/// Bytes of one answer at most.
const BYTES_MAX: u64 = 16 * 1024 * 1024;

/// The parameters of one text; each is taken once, what is left is unknown.
struct Parameters<'a>(Vec<(&'a str, &'a str)>);

impl<'a> Parameters<'a> {
    fn parse(text: &'a str) -> Result<Self, Unknown> {
        let pairs = text.split(',').filter(|pair| !pair.is_empty());
        let split = |pair: &'a str| pair.split_once('=').ok_or_else(|| Unknown::Parameter(pair.to_owned()));
        Ok(Self(pairs.map(split).collect::<Result<_, _>>()?))
    }

    /// Takes a number, `default` when it is not given.
    fn take(&mut self, name: &str, default: u64, most: u64) -> Result<u64, Unknown> {
        let Some(at) = self.0.iter().position(|(given, _)| *given == name) else { return Ok(default) };
        let (_, value) = self.0.swap_remove(at);
        let number = value.parse::<u64>().ok().filter(|number| *number <= most);
        number.ok_or_else(|| Unknown::Parameter(format!("{name}={value}")))
    }

    fn ms(&mut self, default: u64) -> Result<Duration, Unknown> {
        self.take("ms", default, MS_MAX).map(Duration::from_millis)
    }

    fn count(&mut self, name: &str, default: u64, most: u64) -> Result<usize, Unknown> {
        self.take(name, default, most).map(|number| usize::try_from(number).unwrap_or(usize::MAX))
    }
}

impl Behaviour {
    /// Reads a behaviour.
    ///
    /// # Errors
    /// See [`Unknown`].
    pub fn parse(text: &str) -> Result<Self, Unknown> {
        let (name, parameters) = text.split_once(':').unwrap_or((text, ""));
        let mut given = Parameters::parse(parameters)?;
        let behaviour = match name {
            "echo" => Self::Echo,
            "slow" => Self::Slow(given.ms(2_000)?),
            "drip" => Self::Drip {
                events: given.count("events", 20, EVENTS_MAX)?,
                pause: given.ms(100)?,
                bytes: given.count("bytes", 6, 65_536)?,
            },
            "tool" => Self::Tools(1),
            "tools" => Self::Tools(2),
            "reasoning" => Self::Reasoning,
            "think" => Self::Think,
            "error" => Self::error(&mut given)?,
            "truncate" => Self::Truncate(given.count("after", 3, EVENTS_MAX)?),
            "silent" => Self::Silent(given.ms(30_000)?),
            "error_event" => Self::ErrorEvent(given.count("after", 3, EVENTS_MAX)?),
            "nousage" => Self::NoUsage,
            "image" => Self::Image,
            "length" => Self::Length,
            "filter" => Self::Filter,
            "big" => Self::Big(given.count("bytes", 1_000_000, BYTES_MAX)?),
            "flaky" => Self::Flaky(given.take("every", 2, 1_000_000)?.max(1)),
            _ => return Err(Unknown::Name(name.to_owned())),
        };
        match given.0.first() {
            Some((name, value)) => Err(Unknown::Parameter(format!("{name}={value}"))),
            None => Ok(behaviour),
        }
    }

    fn error(given: &mut Parameters<'_>) -> Result<Self, Unknown> {
        let status = given.take("status", 500, 599)?;
        let retry_after = given.take("retry_after", u64::MAX, 86_400)?;
        match u16::try_from(status) {
            Ok(status @ 400..=599) => {
                Ok(Self::Error { status, retry_after: (retry_after != u64::MAX).then_some(retry_after) })
            }
            _ => Err(Unknown::Parameter(format!("status={status}"))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_is_a_behaviour_or_says_what_is_wrong() {
        let ms = Duration::from_millis;
        for (text, expected) in [
            ("echo", Ok(Behaviour::Echo)),
            ("slow:ms=5", Ok(Behaviour::Slow(ms(5)))),
            ("drip:events=3,ms=0", Ok(Behaviour::Drip { events: 3, pause: ms(0), bytes: 6 })),
            ("error:status=429,retry_after=2", Ok(Behaviour::Error { status: 429, retry_after: Some(2) })),
            ("error", Ok(Behaviour::Error { status: 500, retry_after: None })),
            ("error:status=200", Err(Unknown::Parameter("status=200".into()))),
            ("gpt-5", Err(Unknown::Name("gpt-5".into()))),
            ("echo:ms=5", Err(Unknown::Parameter("ms=5".into()))),
            ("slow:ms=x", Err(Unknown::Parameter("ms=x".into()))),
            ("slow:ms", Err(Unknown::Parameter("ms".into()))),
        ] {
            assert_eq!(Behaviour::parse(text), expected, "{text}");
        }
    }

    #[test]
    fn every_example_is_a_behaviour() {
        for (text, _) in EXAMPLES {
            assert!(Behaviour::parse(text).is_ok(), "{text}");
        }
    }
}
