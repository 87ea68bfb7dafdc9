//! What the attempts of the last five minutes say: counts per ten seconds, the old ones weighing less.

use std::time::{Duration, Instant};

use super::{Observation, Sign};

/// Length of a bucket.
const BUCKET: Duration = Duration::from_secs(10);
/// Buckets kept: five minutes.
const BUCKETS: u64 = 30;
/// Of those, the ones whose rates open a breaker: the last minute.
const LATELY: u64 = 6;
/// What a bucket weighs beside the next younger one: half as much after a good minute.
const DECAY: f32 = 0.9;
/// Bounds of the histogram of times to the first content: 8 per doubling, from a millisecond on.
const STEPS: usize = 8;
/// Bounds: up to 2^20 ms, which is 17 minutes.
const BOUNDS: usize = 20 * STEPS;
/// Times that a percentile needs.
const SAMPLES_MIN: u32 = 20;

/// Attempts of ten seconds.
#[derive(Clone, Debug, Default)]
struct Bucket {
    /// Which ten seconds, from 1; 0: none.
    number: u64,
    good: u32,
    failed: u32,
    slow: u32,
    ttft_ms: f32,
    ttfts: u32,
    tokens: f32,
    seconds: f32,
    times: Vec<u16>,
}

/// The last five minutes.
#[derive(Debug)]
pub struct Window {
    origin: Option<Instant>,
    buckets: Vec<Bucket>,
}

/// The attempts of the last minute.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Lately {
    /// All that count.
    pub attempts: u32,
    /// Those that failed.
    pub failed: u32,
    /// Those that were slow.
    pub slow: u32,
}

/// Sums in which old attempts weigh less.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Decayed {
    /// Attempts that count.
    pub attempts: f32,
    /// Share that went well.
    pub success_rate: Option<f32>,
    /// Mean milliseconds to the first content.
    pub ttft_ms: Option<f32>,
    /// Mean tokens per second after it.
    pub tokens_per_s: Option<f32>,
}

impl Default for Window {
    fn default() -> Self {
        Self { origin: None, buckets: vec![Bucket::default(); BUCKETS as usize] }
    }
}

impl Window {
    /// The number of the bucket of a moment, from 1.
    fn number(&self, now: Instant) -> u64 {
        let since = self.origin.map_or(Duration::ZERO, |origin| now.saturating_duration_since(origin));
        since.as_secs() / BUCKET.as_secs() + 1
    }

    /// Counts an attempt; `slow` as the breaker's rule has it.
    pub fn count(&mut self, seen: &Observation, slow: bool, now: Instant) {
        self.origin.get_or_insert(now);
        let number = self.number(now);
        let Some(bucket) = self.buckets.get_mut((number % BUCKETS) as usize) else { return };
        if bucket.number != number {
            *bucket = Bucket { number, ..Bucket::default() };
        }
        match seen.sign {
            Sign::Good => bucket.good += 1,
            Sign::Failed | Sign::Overloaded(_) => bucket.failed += 1,
            Sign::Limited(_) | Sign::Refused | Sign::Forbidden | Sign::Neutral => return,
        }
        bucket.slow += u32::from(slow);
        let Some(ttft) = seen.ttft else { return };
        bucket.ttft_ms += ttft.as_secs_f32() * 1_000.0;
        bucket.ttfts += 1;
        if bucket.times.is_empty() {
            bucket.times = vec![0; BOUNDS];
        }
        if let Some(count) = bucket.times.get_mut(bound_of(ttft)) {
            *count = count.saturating_add(1);
        }
        let writing = seen.duration.saturating_sub(ttft).as_secs_f32();
        if let Some(tokens) = seen.output_tokens.filter(|tokens| *tokens > 0)
            && writing > 0.0
        {
            bucket.tokens += tokens as f32;
            bucket.seconds += writing;
        }
    }

    /// Buckets no older than so many, with their age.
    fn recent(&self, now: Instant, buckets: u64) -> impl Iterator<Item = (u64, &Bucket)> {
        let number = self.number(now);
        self.buckets.iter().filter_map(move |bucket| {
            let age = number.checked_sub(bucket.number)?;
            (bucket.number > 0 && age < buckets).then_some((age, bucket))
        })
    }

    /// The last minute.
    pub fn lately(&self, now: Instant) -> Lately {
        self.recent(now, LATELY).fold(Lately::default(), |sum, (_, bucket)| Lately {
            attempts: sum.attempts + bucket.good + bucket.failed,
            failed: sum.failed + bucket.failed,
            slow: sum.slow + bucket.slow,
        })
    }

    /// Five minutes, decayed.
    pub fn decayed(&self, now: Instant) -> Decayed {
        let (mut good, mut all) = (0.0, 0.0);
        let (mut ms, mut ttfts, mut tokens, mut seconds) = (0.0, 0.0, 0.0, 0.0);
        for (age, bucket) in self.recent(now, BUCKETS) {
            let weight = DECAY.powi(age as i32);
            good += weight * bucket.good as f32;
            all += weight * (bucket.good + bucket.failed) as f32;
            ms += weight * bucket.ttft_ms;
            ttfts += weight * bucket.ttfts as f32;
            tokens += weight * bucket.tokens;
            seconds += weight * bucket.seconds;
        }
        let mean = |sum: f32, count: f32| (count > 0.0).then(|| sum / count);
        Decayed {
            attempts: all,
            success_rate: mean(good, all),
            ttft_ms: mean(ms, ttfts),
            tokens_per_s: mean(tokens, seconds),
        }
    }

    /// The time within which 95 of 100 answers began.
    pub fn p95_ttft(&self, now: Instant) -> Option<Duration> {
        let mut counts = vec![0_u32; BOUNDS];
        for (_, bucket) in self.recent(now, BUCKETS) {
            counts.iter_mut().zip(&bucket.times).for_each(|(sum, count)| *sum += u32::from(*count));
        }
        let all: u32 = counts.iter().sum();
        if all < SAMPLES_MIN {
            return None;
        }
        let mut below = 0;
        let at = counts.iter().position(|count| {
            below += count;
            u64::from(below) * 100 >= u64::from(all) * 95
        })?;
        Some(Duration::from_secs_f32(((at + 1) as f32 / STEPS as f32).exp2() / 1_000.0))
    }

    /// Forgets everything: what was, is no measure of what is.
    pub fn clear(&mut self) {
        self.buckets.iter_mut().for_each(|bucket| *bucket = Bucket::default());
    }
}

/// The bound of the histogram that a time falls under.
fn bound_of(ttft: Duration) -> usize {
    let ms = (ttft.as_secs_f32() * 1_000.0).max(1.0);
    ((ms.log2() * STEPS as f32) as usize).min(BOUNDS - 1)
}
