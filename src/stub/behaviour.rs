//! What the stub is told to do: `NAME[:key=value[,key=value]...]`.

use std::time::Duration;

use super::fault::Fault;

/// Longest wait, milliseconds: ten minutes.
const MS_MAX: u64 = 600_000;
/// Longest answer with its waits, milliseconds: one hour.
const TOTAL_MS_MAX: u64 = 3_600_000;
/// Most events of one stream.
const EVENTS_MAX: u64 = 1_000_000;
/// Most bytes of one answer's text.
const BYTES_MAX: u64 = 64 << 20;

/// One line of the list of behaviours: for people, for `GET /v1/models` and for the demo's catalogue.
pub struct Row {
    /// The name.
    pub name: &'static str,
    /// How it is written, with every key it takes.
    pub example: &'static str,
    /// What it does.
    pub what: &'static str,
}

const fn row(name: &'static str, example: &'static str, what: &'static str) -> Row {
    Row { name, example, what }
}

/// Everything the stub can be told.
pub const BEHAVIOURS: [Row; 20] = [
    row("echo", "echo", "answers with the last user message; honours tools, json_schema, n, logprobs"),
    row("slow", "slow:ms=2000", "the response head comes late"),
    row("drip", "drip:events=20,ms=100,bytes=8", "a stream of so many events, so far apart"),
    row("tool", "tool", "calls the first tool, or the one named; quotes its result afterwards"),
    row("tools", "tools", "two tool calls at once"),
    row("agent", "agent:rounds=10", "reasons and calls two tools at once, for so many rounds; then answers"),
    row("reasoning", "reasoning", "reasoning_content before the answer"),
    row("think", "think", "reasoning between <think> tags in the text"),
    row("image", "image", "an answer with a picture"),
    row("big", "big:bytes=1000000", "a large answer"),
    row("length", "length", "cut off at the token limit: finish_reason length"),
    row("filter", "filter", "cut off by a filter: finish_reason content_filter"),
    row("nousage", "nousage", "reports no usage"),
    row("n", "n", "echo, for requests with n above 1"),
    row("logprobs", "logprobs", "echo, for requests with logprobs"),
    row("error", "error:status=429,retry_after=2", "an error (default 500, without Retry-After)"),
    row("flaky", "flaky:every=2", "every second request fails with 500"),
    row("truncate", "truncate:after=3", "breaks off after so many events"),
    row("error_event", "error_event:after=3", "an error in the middle of the stream"),
    row("silent", "silent:ms=600000", "the head at once, then nothing for so long, then the answer"),
];

/// What to do with one request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Behaviour {
    /// Answers with the last user text.
    Echo,
    /// Echo with a late head.
    Slow(Duration),
    /// A stream of counted events.
    Drip {
        /// How many.
        events: u64,
        /// Time between two.
        pace: Duration,
        /// Text of one, bytes.
        bytes: Option<u64>,
    },
    /// Calls one tool.
    Tool,
    /// Calls two tools at once.
    Tools,
    /// Reasons and calls two tools, for so many rounds.
    Agent(u64),
    /// Reasoning in its own field.
    Reasoning,
    /// Reasoning between tags in the text.
    Think,
    /// Answers with this status.
    Error {
        /// The status.
        status: u16,
        /// Seconds in `Retry-After`.
        retry_after: Option<u64>,
    },
    /// Breaks off after so many events.
    Truncate(u64),
    /// The head, then nothing for so long, then the answer.
    Silent(Duration),
    /// An error in the stream after so many events.
    ErrorEvent(u64),
    /// Reports no usage.
    NoUsage,
    /// Sends a picture.
    Image,
    /// `finish_reason: length`.
    Length,
    /// `finish_reason: content_filter`.
    Filter,
    /// A text of so many bytes.
    Big(u64),
    /// Every so-manyth request fails.
    Flaky(u64),
}

impl Behaviour {
    /// Reads the grammar.
    ///
    /// # Errors
    /// 404 for a name that is none, 400 for keys and values that do not fit it.
    pub fn parse(text: &str) -> Result<Self, Fault> {
        let (name, rest) = text.split_once(':').map_or((text, None), |(name, rest)| (name, Some(rest)));
        if !BEHAVIOURS.iter().any(|row| row.name == name) {
            return Err(Fault::model_not_found(text));
        }
        let mut keys = Keys::read(name, rest)?;
        let behaviour = match name {
            "slow" => Self::Slow(keys.ms(2000)?),
            "drip" => drip(&mut keys)?,
            "tool" => Self::Tool,
            "tools" => Self::Tools,
            "agent" => Self::Agent(keys.number("rounds", 0..=1000)?.unwrap_or(10)),
            "reasoning" => Self::Reasoning,
            "think" => Self::Think,
            "error" => Self::Error {
                status: u16::try_from(keys.number("status", 400..=599)?.unwrap_or(500)).unwrap_or(500),
                retry_after: keys.number("retry_after", 0..=86_400)?,
            },
            "truncate" => Self::Truncate(keys.number("after", 0..=EVENTS_MAX)?.unwrap_or(3)),
            "silent" => Self::Silent(keys.ms(MS_MAX)?),
            "error_event" => Self::ErrorEvent(keys.number("after", 0..=EVENTS_MAX)?.unwrap_or(3)),
            "nousage" => Self::NoUsage,
            "image" => Self::Image,
            "length" => Self::Length,
            "filter" => Self::Filter,
            "big" => Self::Big(keys.number("bytes", 0..=BYTES_MAX)?.unwrap_or(1_000_000)),
            "flaky" => Self::Flaky(keys.number("every", 1..=EVENTS_MAX)?.unwrap_or(2)),
            _ => Self::Echo,
        };
        keys.done()?;
        Ok(behaviour)
    }
}

fn drip(keys: &mut Keys<'_>) -> Result<Behaviour, Fault> {
    let events = keys.number("events", 0..=EVENTS_MAX)?.unwrap_or(20);
    let pace = keys.ms(100)?;
    let bytes = keys.number("bytes", 1..=1 << 20)?;
    if events.saturating_mul(bytes.unwrap_or(0)) > BYTES_MAX {
        return Err(Fault::invalid(format!("`drip` sends {BYTES_MAX} bytes at most; ask for fewer.")));
    }
    if u128::from(events) * pace.as_millis() > u128::from(TOTAL_MS_MAX) {
        return Err(Fault::invalid(format!("`drip` takes {TOTAL_MS_MAX} ms at most; ask for fewer.")));
    }
    Ok(Behaviour::Drip { events, pace, bytes })
}

/// The keys of one behaviour that were not read yet.
struct Keys<'a> {
    name: &'a str,
    left: Vec<(&'a str, &'a str)>,
}

impl<'a> Keys<'a> {
    fn read(name: &'a str, text: Option<&'a str>) -> Result<Self, Fault> {
        let mut left: Vec<(&str, &str)> = Vec::new();
        for pair in text.into_iter().flat_map(|text| text.split(',')) {
            let Some((key, value)) = pair.split_once('=') else {
                return Err(Fault::invalid(format!("`{pair}` is not of the form key=value.")));
            };
            if left.iter().any(|(known, _)| *known == key) {
                return Err(Fault::invalid(format!("`{key}` is given twice.")));
            }
            left.push((key, value));
        }
        Ok(Self { name, left })
    }

    fn number(&mut self, key: &str, bounds: std::ops::RangeInclusive<u64>) -> Result<Option<u64>, Fault> {
        let Some(at) = self.left.iter().position(|(known, _)| *known == key) else { return Ok(None) };
        let (_, value) = self.left.swap_remove(at);
        match value.parse().ok().filter(|number| bounds.contains(number)) {
            Some(number) => Ok(Some(number)),
            None => {
                let (least, most) = bounds.into_inner();
                Err(Fault::invalid(format!("`{key}` takes a whole number from {least} to {most}.")))
            }
        }
    }

    fn ms(&mut self, default: u64) -> Result<Duration, Fault> {
        Ok(Duration::from_millis(self.number("ms", 0..=MS_MAX)?.unwrap_or(default)))
    }

    fn done(self) -> Result<(), Fault> {
        match self.left.first() {
            None => Ok(()),
            Some((key, _)) => Err(Fault::invalid(format!("`{}` takes no key `{key}`.", self.name))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_keys_say_what_is_done() {
        let ms = Duration::from_millis;
        let drip = |events, pace, bytes| Behaviour::Drip { events, pace: ms(pace), bytes };
        for (text, expected) in [
            ("echo", Behaviour::Echo),
            ("n", Behaviour::Echo),
            ("slow", Behaviour::Slow(ms(2000))),
            ("slow:ms=0", Behaviour::Slow(ms(0))),
            ("drip", drip(20, 100, None)),
            ("drip:ms=5,events=50", drip(50, 5, None)),
            ("drip:bytes=9", drip(20, 100, Some(9))),
            ("error:status=429,retry_after=2", Behaviour::Error { status: 429, retry_after: Some(2) }),
            ("error", Behaviour::Error { status: 500, retry_after: None }),
            ("truncate:after=0", Behaviour::Truncate(0)),
            ("flaky", Behaviour::Flaky(2)),
        ] {
            assert_eq!(Behaviour::parse(text), Ok(expected), "{text}");
        }
        for row in &BEHAVIOURS {
            assert!(
                Behaviour::parse(row.example).is_ok() && row.example.starts_with(row.name),
                "{}",
                row.name
            );
        }
    }

    #[test]
    fn what_does_not_fit_is_refused() {
        for (text, status, says) in [
            ("ehco", 404, "ehco"),
            ("", 404, "does not exist"),
            ("echo:ms=1", 400, "takes no key `ms`"),
            ("drip:evnts=1", 400, "`evnts`"),
            ("drip:events", 400, "key=value"),
            ("drip:", 400, "key=value"),
            ("drip:ms=1,ms=2", 400, "twice"),
            ("drip:events=-1", 400, "from 0 to"),
            ("drip:events=1000000,bytes=1000", 400, "bytes at most"),
            ("drip:events=1000000,ms=1000", 400, "ms at most"),
            ("slow:ms=600001", 400, "from 0 to 600000"),
            ("error:status=200", 400, "from 400 to 599"),
            ("flaky:every=0", 400, "from 1"),
        ] {
            let fault = Behaviour::parse(text).unwrap_err();
            assert_eq!(fault.status, status, "{text}");
            assert!(fault.message.contains(says), "{text}: {}", fault.message);
        }
    }
}
