//! Requests and tokens per minute over all replicas: out of the credits in hand, else by asking Redis, else by share.
//!
//! Calls at a time are counted per process: a call that ends must free its place at once, and what a replica that died
//! had in flight is known to nobody.

use std::sync::Arc;
use std::time::{Duration, Instant};

use dashmap::DashMap;
use tokio::sync::Mutex;
use tokio::time::timeout;

use super::script::{Call, QUOTA, numbers};
use super::{Fleet, OnLoss};
use crate::policy::quota::credits::{Granted, Wish};
use crate::policy::quota::{Denied, KeyQuota, Limits, QuotaPermit};

/// When a call may come again that nobody can admit, since Redis is gone.
const LOSS_RETRY: Duration = Duration::from_secs(1);
/// Quotas in one round trip at a tick.
const TICK_CALLS: usize = 500;

/// The quotas that were asked for lately, and what stands in for them while Redis is gone.
#[derive(Default)]
pub(super) struct Quotas {
    active: DashMap<Box<str>, Active>,
    shares: DashMap<Box<str>, Arc<KeyQuota>>,
}

/// A quota, and the turn of whoever asks for it: those behind may find that enough was had.
struct Active {
    quota: Arc<KeyQuota>,
    turn: Arc<Mutex<()>>,
}

impl Fleet {
    /// Admits one call under the quota of `scope` (a key's id, a project's name), which all replicas share. Answers at
    /// once when credits are in hand, and within `redis.timeout` in any case.
    ///
    /// # Errors
    /// The limit that the call breaks.
    pub async fn admit(
        &self,
        scope: &str,
        quota: &Arc<KeyQuota>,
        tokens: u64,
    ) -> Result<QuotaPermit, Denied> {
        let now = Instant::now();
        if !quota.is_shared() {
            return quota.admit(tokens, now);
        }
        let limits = quota.limits();
        if limits.tpm.is_some_and(|limit| tokens > u64::from(limit.get())) {
            return Err(Denied { limit: "tokens per minute", retry_after: None });
        }
        if let Some(permit) = quota.admit_in_hand(tokens, now)? {
            return Ok(permit);
        }
        let turn = self.0.quotas.remember(scope, quota);
        let mine = timeout(self.0.setup.timeout / 2, turn.lock()).await;
        if mine.is_ok()
            && let Some(permit) = quota.admit_in_hand(tokens, now)?
        {
            return Ok(permit);
        }
        let mut permit = quota.admit_credited()?;
        let credits = quota.credits();
        let wish = credits.ask(limits, tokens, self.replicas());
        let rest = self.0.setup.timeout.saturating_sub(now.elapsed());
        let call = self.quota_call(scope, limits, &wish);
        match self.0.link.call_within(rest, &call).await {
            Ok(answer) => {
                let minute = credits.granted(&wish, read(&numbers(&answer)), tokens, quota.since(now))?;
                permit.hold(credits, minute, tokens, limits);
                Ok(permit)
            }
            Err(_) => {
                credits.lost(&wish);
                drop(permit);
                self.admit_alone(scope, quota, tokens, now)
            }
        }
    }

    /// Without Redis: by this replica's part of the limits, or not at all.
    fn admit_alone(
        &self,
        scope: &str,
        quota: &Arc<KeyQuota>,
        tokens: u64,
        now: Instant,
    ) -> Result<QuotaPermit, Denied> {
        let mut permit = quota.admit_credited()?;
        let limit = "requests or tokens per minute while they cannot be counted";
        if self.0.setup.on_loss == OnLoss::Deny {
            return Err(Denied { limit, retry_after: Some(LOSS_RETRY) });
        }
        let share = self.0.quotas.share(scope, quota.limits(), self.replicas(), now);
        let alone = share.admit(tokens, now).map_err(|denied| {
            // What does not fit a share may fit the whole, once that can be asked.
            Denied { retry_after: denied.retry_after.or(Some(LOSS_RETRY)), ..denied }
        })?;
        permit.stand_in(alone);
        Ok(permit)
    }

    fn quota_call(&self, scope: &str, limits: Limits, wish: &Wish) -> Call {
        let limit = |limit: Option<std::num::NonZeroU32>| limit.map_or(0, |limit| i64::from(limit.get()));
        Call::new(&QUOTA, format!("{}:q:{{{scope}}}", self.0.setup.prefix))
            .number(limit(limits.rpm))
            .number(wish.requests)
            .number(wish.more_requests)
            .number(limit(limits.tpm))
            .number(wish.tokens)
            .number(wish.more_tokens)
            .number(wish.debt)
            .number(wish.minute)
    }

    /// Tops up what is used, gives back what is not; all of it in few round trips.
    pub(super) async fn tick_quotas(&self) {
        let replicas = self.replicas();
        self.0.quotas.active.retain(|_, active| !active.quota.credits().is_idle());
        let wishes = self.0.quotas.active.iter().filter_map(|entry| {
            let quota = Arc::clone(&entry.quota);
            let wish = quota.credits().plan(quota.limits(), replicas)?;
            Some((self.quota_call(entry.key(), quota.limits(), &wish), wish, quota))
        });
        let wishes: Vec<_> = wishes.collect();
        self.send_wishes(wishes).await;
    }

    /// Gives back everything that is held.
    pub(super) async fn give_back_quotas(&self) {
        let wishes = self.0.quotas.active.iter().filter_map(|entry| {
            let quota = Arc::clone(&entry.quota);
            let wish = quota.credits().give_back()?;
            Some((self.quota_call(entry.key(), quota.limits(), &wish), wish, quota))
        });
        let wishes: Vec<_> = wishes.collect();
        self.send_wishes(wishes).await;
    }

    async fn send_wishes(&self, mut wishes: Vec<(Call, Wish, Arc<KeyQuota>)>) {
        while !wishes.is_empty() {
            let some = wishes.split_off(wishes.len().saturating_sub(TICK_CALLS));
            let (calls, asked): (Vec<_>, Vec<_>) =
                some.into_iter().map(|(call, wish, quota)| (call, (wish, quota))).unzip();
            let answers = self.0.link.batch(&calls).await;
            for ((wish, quota), answer) in asked.into_iter().zip(answers) {
                let credits = quota.credits();
                match answer {
                    Ok(answer) => {
                        let now = quota.since(Instant::now());
                        let _ = credits.granted(&wish, read(&numbers(&answer)), 0, now);
                    }
                    Err(_) => credits.lost(&wish),
                }
            }
        }
    }
}

impl Quotas {
    fn remember(&self, scope: &str, quota: &Arc<KeyQuota>) -> Arc<Mutex<()>> {
        let made = || Active { quota: Arc::clone(quota), turn: Arc::default() };
        let mut active = self.active.entry(scope.into()).or_insert_with(made);
        if !Arc::ptr_eq(&active.quota, quota) {
            // Other limits.
            *active = made();
        }
        Arc::clone(&active.turn)
    }

    /// The quota of one of `replicas`, which goes on counting from one loss of Redis to the next.
    fn share(&self, scope: &str, limits: Limits, replicas: u32, now: Instant) -> Arc<KeyQuota> {
        let part = |limit: std::num::NonZeroU32| {
            std::num::NonZeroU32::new(limit.get() / replicas.max(1)).unwrap_or(std::num::NonZeroU32::MIN)
        };
        let limits = Limits { rpm: limits.rpm.map(part), tpm: limits.tpm.map(part), concurrency: None };
        let mut share =
            self.shares.entry(scope.into()).or_insert_with(|| Arc::new(KeyQuota::new(limits, now)));
        if share.limits() != limits {
            *share = Arc::new(share.with_limits(limits));
        }
        Arc::clone(&share)
    }
}

/// The script's answer.
fn read(numbers: &[i64]) -> Granted {
    let at = |at: usize| numbers.get(at).copied().unwrap_or(0);
    Granted {
        admitted: at(0) == 1,
        requests: at(1),
        tokens: at(2),
        requests_left: at(3),
        requests_wait_ms: at(4),
        tokens_left: at(5),
        tokens_wait_ms: at(6),
        minute: at(7),
        requests_reset_ms: at(8),
        tokens_reset_ms: at(9),
    }
}
