//! The credentials of one provider: which of them an attempt takes, and which must rest.
//!
//! One [`Pool`] per provider, shared by all cells. A credential that the provider limits rests for the model that was
//! asked; one that it refuses is out until a probe goes well. An only credential has nobody to stand in for it: it rests
//! only as long as the provider itself says, and is out only when it is refused again and again.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::hash::{mixed, rendezvous};
use super::health::Sign;
use super::quota::{KeyQuota, Limits, QuotaPermit};
use crate::config::{ApiKey, Provider, Secret};

/// How long a credential rests that is limited without a word of how long; doubles each time, up to the longest.
const REST: Duration = Duration::from_secs(1);
const REST_LONGEST: Duration = Duration::from_secs(60);
/// The longest that a provider's own word makes one rest.
const REST_TOLD_MAX: Duration = Duration::from_secs(3_600);
/// How long a credential is out that was refused; doubles each time a probe is refused.
const OUT: Duration = Duration::from_secs(60);
const OUT_LONGEST: Duration = Duration::from_secs(30 * 60);
/// Refusals in a row that take an only credential out, and for how long at first.
const SOLE_REFUSALS: u32 = 3;
const SOLE_OUT: Duration = Duration::from_secs(5);
/// A probe that has not ended by then may be followed by another, so that nothing is stuck.
const PROBE_MAX: Duration = Duration::from_secs(60);
/// Models that one credential rests for at a time; beyond it the one that is back first makes room.
const RESTING_MAX: usize = 64;

/// What an attempt asks of a pool.
#[derive(Clone, Copy, Debug)]
pub struct Wanted<'a> {
    /// The name sent upstream.
    pub model: &'a str,
    /// Tokens that it may use, prompt and completion.
    pub tokens: u64,
    /// The session it belongs to: the same one gets the same credential, while that is well.
    pub session: Option<u64>,
    /// A random number, for weights.
    pub random: u64,
}

/// The credential of an attempt, and its place under that credential's own limits.
#[derive(Debug)]
pub struct Chosen {
    /// Its place in the provider's list.
    pub index: usize,
    /// What is known of it; it outlives a reload that moves it.
    pub credential: Arc<Credential>,
    /// It is out, and this attempt finds out whether it still is.
    pub probe: bool,
    /// `None` where it has no limits.
    pub permit: Option<QuotaPermit>,
}

/// Why no credential can be had.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unavailable {
    /// All of them rest or are at their limits; the first is back then.
    Limited(Duration),
    /// All of them are refused by the provider; the next probe is then.
    Refused(Duration),
    /// The request alone may use more than any of them allows in a minute.
    TooLarge,
}

/// How a credential stands, for operators.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CredentialStanding {
    /// What it is called.
    pub name: Arc<str>,
    /// Its weight among the others.
    pub weight: u32,
    /// The provider refuses it; it is tried again then.
    pub refused_for: Option<Duration>,
    /// Models that it rests for, and for how long.
    pub resting: Vec<(Box<str>, Duration)>,
    /// Its own limits.
    pub limits: Limits,
    /// Attempts under way with it, where it has limits.
    pub in_flight: u32,
}

/// What an operator must hear of a credential.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum News {
    /// The provider refuses it.
    Refused,
    /// It works again.
    Back,
}

/// The credentials of one provider, over all cells.
#[derive(Debug, Default)]
pub struct Pool {
    credentials: Vec<Arc<Credential>>,
}

/// One credential.
#[derive(Debug)]
pub struct Credential {
    /// What it is called in logs and views.
    pub name: Arc<str>,
    secret: Option<Secret>,
    weight: u32,
    /// There is no other.
    sole: bool,
    quota: Option<KeyQuota>,
    state: Arc<Mutex<State>>,
}

#[derive(Debug, Default)]
struct State {
    resting: Vec<Rest>,
    /// In a row.
    refusals: u32,
    out: Option<Out>,
}

/// It rests for one model.
#[derive(Debug)]
struct Rest {
    model: Box<str>,
    until: Instant,
    times: u32,
    refused: bool,
}

/// It is out.
#[derive(Debug)]
struct Out {
    until: Instant,
    times: u32,
    probing: Option<Instant>,
}

/// Whether a credential can be had.
enum Standing {
    Well,
    Probe,
    Limited(Duration),
    Refused(Duration),
}

/// `first`, doubled so many times.
fn doubled(first: Duration, times: u32, longest: Duration) -> Duration {
    first.saturating_mul(1 << times.min(16)).min(longest)
}

impl Credential {
    fn new(key: &ApiKey, sole: bool, origin: Instant) -> Self {
        let limits = Limits { rpm: key.rpm, tpm: key.tpm, concurrency: key.concurrency };
        Self {
            name: Arc::clone(&key.name),
            secret: Some(key.secret.clone()),
            weight: key.weight,
            sole,
            quota: (limits != Limits::default()).then(|| KeyQuota::new(limits, origin)),
            state: Arc::default(),
        }
    }

    /// The only one of a provider.
    fn single(provider: &Provider) -> Self {
        let secret = provider.key(0).cloned();
        Self { name: Arc::from("api_key"), secret, weight: 1, sole: true, quota: None, state: Arc::default() }
    }

    /// The same key after a reload: what is known of `old` stays.
    fn keeping(mut self, old: &Self) -> Self {
        self.state = Arc::clone(&old.state);
        self.quota = match (self.quota, &old.quota) {
            (Some(new), Some(old)) => Some(old.with_limits(new.limits())),
            (new, _) => new,
        };
        self
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn standing(&self, model: &str, now: Instant) -> Standing {
        let state = self.state();
        if let Some(out) = &state.out {
            if now < out.until {
                return Standing::Refused(out.until - now);
            }
            let probed = |since: Instant| now.saturating_duration_since(since);
            return match out.probing.map(probed) {
                Some(long) if long < PROBE_MAX => Standing::Refused(PROBE_MAX - long),
                _ => Standing::Probe,
            };
        }
        match state.resting.iter().find(|rest| *rest.model == *model && now < rest.until) {
            Some(rest) if rest.refused => Standing::Refused(rest.until - now),
            Some(rest) => Standing::Limited(rest.until - now),
            None => Standing::Well,
        }
    }

    fn shown(&self, now: Instant) -> CredentialStanding {
        let state = self.state();
        let left = |until: Instant| until.saturating_duration_since(now);
        let resting = state.resting.iter().filter(|rest| now < rest.until);
        CredentialStanding {
            name: Arc::clone(&self.name),
            weight: self.weight,
            refused_for: state.out.as_ref().map(|out| left(out.until)),
            resting: resting.map(|rest| (rest.model.clone(), left(rest.until))).collect(),
            limits: self.quota.as_ref().map(KeyQuota::limits).unwrap_or_default(),
            in_flight: self.quota.as_ref().map_or(0, KeyQuota::in_flight),
        }
    }

    /// Begins a probe; false when another thread was quicker.
    fn begin_probe(&self, now: Instant) -> bool {
        let mut state = self.state();
        let Some(out) = &mut state.out else { return true };
        let free = out.probing.is_none_or(|since| now.saturating_duration_since(since) >= PROBE_MAX);
        if free {
            out.probing = Some(now);
        }
        free
    }

    /// Takes what an attempt says of it.
    pub fn observe(&self, model: &str, sign: Sign, probe: bool, now: Instant) -> Option<News> {
        let mut state = self.state();
        match sign {
            Sign::Refused => {
                state.refusals = state.refusals.saturating_add(1);
                if self.sole && state.refusals < SOLE_REFUSALS {
                    return (state.refusals == 1).then_some(News::Refused);
                }
                let times = match &state.out {
                    // It began before the credential was out: nothing new.
                    Some(_) if !probe => return None,
                    Some(out) => out.times + 1,
                    None => 0,
                };
                let first = if self.sole { SOLE_OUT } else { OUT };
                let until = now + doubled(first, times, OUT_LONGEST);
                let news = state.out.is_none().then_some(News::Refused).filter(|_| !self.sole);
                state.out = Some(Out { until, times, probing: None });
                news
            }
            Sign::Limited(told) => {
                if told.is_some() || !self.sole {
                    state.rest(model, told.map(|told| told.min(REST_TOLD_MAX)), false, now);
                }
                state.well(probe)
            }
            Sign::Forbidden => {
                if !self.sole {
                    state.rest(model, None, true, now);
                }
                state.well(probe)
            }
            Sign::Good => {
                state.resting.retain(|rest| *rest.model != *model || now < rest.until);
                let back = self.sole && state.refusals > 0 && state.out.is_none();
                if state.out.is_none() {
                    state.refusals = 0;
                }
                state.well(probe).or(back.then_some(News::Back))
            }
            Sign::Failed | Sign::Overloaded(_) | Sign::Neutral => {
                if let Some(out) = state.out.as_mut().filter(|_| probe) {
                    out.probing = None;
                }
                None
            }
        }
    }
}

impl State {
    /// A probe was not refused.
    fn well(&mut self, probe: bool) -> Option<News> {
        let back = probe && self.out.take().is_some();
        if back {
            self.refusals = 0;
        }
        back.then_some(News::Back)
    }

    fn rest(&mut self, model: &str, told: Option<Duration>, refused: bool, now: Instant) {
        let known = self.resting.iter().position(|rest| *rest.model == *model);
        let times = known.map_or(0, |at| self.resting.swap_remove(at).times + 1);
        let first = if refused { OUT } else { REST };
        let longest = if refused { OUT_LONGEST } else { REST_LONGEST };
        let until = now + told.unwrap_or_else(|| doubled(first, times, longest));
        if self.resting.len() >= RESTING_MAX
            && let Some(at) =
                (0..self.resting.len()).min_by_key(|at| self.resting.get(*at).map(|rest| rest.until))
        {
            self.resting.swap_remove(at);
        }
        self.resting.push(Rest { model: model.into(), until, times, refused });
    }
}

impl Pool {
    /// Those of a row.
    pub fn new(provider: &Provider, origin: Instant) -> Self {
        let credentials = if provider.api_keys.is_empty() {
            vec![Arc::new(Credential::single(provider))]
        } else {
            let sole = provider.api_keys.len() == 1;
            provider.api_keys.iter().map(|key| Arc::new(Credential::new(key, sole, origin))).collect()
        };
        Self { credentials }
    }

    /// After a reload: credentials that are still there keep what is known of them.
    #[must_use]
    pub fn reloaded(&self, provider: &Provider, origin: Instant) -> Self {
        let kept = |new: Arc<Credential>| {
            let same = |old: &&Arc<Credential>| old.name == new.name && old.secret == new.secret;
            match (self.credentials.iter().find(same), Arc::try_unwrap(new)) {
                (Some(old), Ok(new)) => Arc::new(new.keeping(old)),
                (None, Ok(new)) => Arc::new(new),
                (_, Err(new)) => new,
            }
        };
        let fresh = Self::new(provider, origin).credentials;
        Self { credentials: fresh.into_iter().map(kept).collect() }
    }

    /// Takes a credential: by weight, or the session's own, of those that can be had.
    ///
    /// # Errors
    /// None can be had now.
    pub fn take(&self, wanted: &Wanted<'_>, now: Instant) -> Result<Chosen, Unavailable> {
        let (mut limited, mut refused) = (None::<Duration>, None::<Duration>);
        let sooner =
            |known: Option<Duration>, wait: Duration| Some(known.map_or(wait, |known| known.min(wait)));
        let mut order: Vec<(f64, usize)> =
            self.credentials.iter().enumerate().map(|(at, one)| (one.turn(at, wanted), at)).collect();
        order.sort_by(|one, other| one.0.total_cmp(&other.0));
        for (_, index) in order {
            let Some(credential) = self.credentials.get(index) else { continue };
            let probe = match credential.standing(wanted.model, now) {
                Standing::Well => false,
                Standing::Probe => true,
                Standing::Limited(wait) => {
                    limited = sooner(limited, wait);
                    continue;
                }
                Standing::Refused(wait) => {
                    refused = sooner(refused, wait);
                    continue;
                }
            };
            let permit =
                match credential.quota.as_ref().map(|quota| quota.admit(wanted.tokens, now)).transpose() {
                    Ok(permit) => permit,
                    Err(denied) => {
                        if let Some(wait) = denied.retry_after {
                            limited = sooner(limited, wait);
                        }
                        continue;
                    }
                };
            if probe && !credential.begin_probe(now) {
                refused = sooner(refused, PROBE_MAX);
                continue;
            }
            return Ok(Chosen { index, credential: Arc::clone(credential), probe, permit });
        }
        Err(match (limited, refused) {
            (Some(wait), _) => Unavailable::Limited(wait),
            (None, Some(wait)) => Unavailable::Refused(wait),
            (None, None) => Unavailable::TooLarge,
        })
    }

    /// How each stands.
    pub fn standings(&self, now: Instant) -> Vec<CredentialStanding> {
        self.credentials.iter().map(|credential| credential.shown(now)).collect()
    }

    /// Credentials that can be had now, of how many.
    pub fn usable(&self, model: &str, now: Instant) -> (usize, usize) {
        let well =
            |one: &&Arc<Credential>| matches!(one.standing(model, now), Standing::Well | Standing::Probe);
        (self.credentials.iter().filter(well).count(), self.credentials.len())
    }
}

impl Credential {
    /// Its turn among the others: an exponential race, so that each is first as often as its weight says, and a
    /// session's first one stays it when others come or go.
    fn turn(&self, at: usize, wanted: &Wanted<'_>) -> f64 {
        let seed = match wanted.session {
            Some(session) => rendezvous(session, &self.name, ""),
            None => mixed(wanted.random ^ mixed(at as u64)),
        };
        let uniform = ((seed >> 11) as f64 / (1_u64 << 53) as f64).max(f64::MIN_POSITIVE);
        if self.weight == 0 { f64::MAX } else { -uniform.ln() / f64::from(self.weight) }
    }
}

#[cfg(test)]
mod tests;
