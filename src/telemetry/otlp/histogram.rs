//! Histograms of the GenAI semantic conventions, cumulative since the process started.

use std::fmt::Write as _;

use super::attributes::quoted;

/// Tokens, as the conventions have them.
const TOKENS: &[f64] = &[
    1.0,
    4.0,
    16.0,
    64.0,
    256.0,
    1024.0,
    4096.0,
    16384.0,
    65536.0,
    262_144.0,
    1_048_576.0,
    4_194_304.0,
    16_777_216.0,
    67_108_864.0,
];
/// Seconds of whole operations, as the conventions have them.
const DURATIONS: &[f64] =
    &[0.01, 0.02, 0.04, 0.08, 0.16, 0.32, 0.64, 1.28, 2.56, 5.12, 10.24, 20.48, 40.96, 81.92];
/// Seconds to the first token, as the conventions have them.
const FIRST: &[f64] =
    &[0.001, 0.005, 0.01, 0.02, 0.04, 0.06, 0.08, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0];
/// Seconds from token to token, as the conventions have them.
const EACH: &[f64] = &[0.01, 0.025, 0.05, 0.075, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.75, 1.0, 2.5];

/// What is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Instrument {
    /// Tokens of attempts.
    TokenUsage,
    /// Durations of attempts.
    OperationDuration,
    /// Durations of calls.
    RequestDuration,
    /// Times to the first token of streamed calls.
    TimeToFirstToken,
    /// Mean times between the tokens of streamed calls.
    TimePerOutputToken,
}

impl Instrument {
    /// All of them.
    pub const ALL: [Self; 5] = [
        Self::TokenUsage,
        Self::OperationDuration,
        Self::RequestDuration,
        Self::TimeToFirstToken,
        Self::TimePerOutputToken,
    ];

    /// Name, unit, description, and upper bounds of the buckets.
    const fn row(self) -> (&'static str, &'static str, &'static str, &'static [f64]) {
        match self {
            Self::TokenUsage => {
                ("gen_ai.client.token.usage", "{token}", "Tokens of attempts at providers.", TOKENS)
            }
            Self::OperationDuration => {
                ("gen_ai.client.operation.duration", "s", "Durations of attempts at providers.", DURATIONS)
            }
            Self::RequestDuration => {
                ("gen_ai.server.request.duration", "s", "Durations of calls.", DURATIONS)
            }
            Self::TimeToFirstToken => (
                "gen_ai.server.time_to_first_token",
                "s",
                "From the arrival of calls that stream to their first content.",
                FIRST,
            ),
            Self::TimePerOutputToken => (
                "gen_ai.server.time_per_output_token",
                "s",
                "Mean time between the tokens after the first of calls that stream.",
                EACH,
            ),
        }
    }

    /// The metric with its points, as JSON.
    pub fn metric(self, points: &str) -> String {
        let (name, unit, description, _) = self.row();
        format!(
            "{{\"name\":\"{name}\",\"unit\":\"{unit}\",\"description\":{},\
             \"histogram\":{{\"aggregationTemporality\":2,\"dataPoints\":[{points}]}}}}",
            quoted(description)
        )
    }
}

/// One distribution.
#[derive(Clone, Debug)]
pub struct Histogram {
    bounds: &'static [f64],
    counts: Box<[u64]>,
    sum: f64,
}

/// When a point was taken.
#[derive(Clone, Copy, Debug)]
pub struct Point {
    /// When counting began, nanoseconds since the Unix epoch.
    pub since_ns: u64,
    /// Now, the same.
    pub now_ns: u64,
}

impl Histogram {
    /// An empty one.
    pub fn new(instrument: Instrument) -> Self {
        let (_, _, _, bounds) = instrument.row();
        Self { bounds, counts: vec![0; bounds.len() + 1].into(), sum: 0.0 }
    }

    /// Counts a value. A bucket holds its upper bound.
    pub fn record(&mut self, value: f64) {
        let at = self.bounds.partition_point(|bound| *bound < value);
        if let Some(count) = self.counts.get_mut(at) {
            *count += 1;
        }
        self.sum += value;
    }

    /// Adds its point, with attributes that are JSON already, to a list of them.
    pub fn write(&self, attributes: &str, point: Point, out: &mut String) {
        if !out.is_empty() {
            out.push(',');
        }
        let count: u64 = self.counts.iter().sum();
        let Point { since_ns, now_ns } = point;
        // Writing to a string does not fail.
        let _ = write!(
            out,
            "{{\"attributes\":{attributes},\"startTimeUnixNano\":\"{since_ns}\",\"timeUnixNano\":\"{now_ns}\",\
             \"count\":\"{count}\",\"sum\":{},\"bucketCounts\":[",
            self.sum
        );
        list(self.counts.iter().map(|count| format!("\"{count}\"")), out);
        out.push_str("],\"explicitBounds\":[");
        list(self.bounds.iter().map(f64::to_string), out);
        out.push_str("]}");
    }
}

/// Items between commas.
fn list(items: impl Iterator<Item = String>, out: &mut String) {
    for (at, item) in items.enumerate() {
        if at > 0 {
            out.push(',');
        }
        out.push_str(&item);
    }
}
