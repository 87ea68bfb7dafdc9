//! Series of the providers: set anew at each scrape, so that a provider that is gone leaves none behind.

use std::time::Instant;

use super::exposition::{Distribution, Family};
use super::labels::{MODELS_MAX, PROVIDERS_MAX};
use super::names::Metric;
use crate::actors::standing::{ProviderStanding, Standings};
use crate::policy::health::State;

/// The series, and where their values come from.
pub struct Shown {
    standings: Standings,
    in_flight: Family<f64>,
    limit: Family<f64>,
    queued: Family<f64>,
    credential: Family<f64>,
    breaker: Family<f64>,
    queue_wait: Family<Distribution>,
    queue_timeouts: Family<u64>,
    retries: Family<u64>,
    retry_budget: Family<u64>,
    hedges: Family<u64>,
    ejections: Family<u64>,
    failovers: Family<u64>,
}

impl Shown {
    /// Without series yet.
    pub fn new(standings: Standings) -> Self {
        Self {
            standings,
            in_flight: Family::new(Metric::ProviderInFlight),
            limit: Family::new(Metric::ProviderLimit),
            queued: Family::new(Metric::ProviderQueued),
            credential: Family::new(Metric::CredentialUp),
            breaker: Family::new(Metric::BreakerState),
            queue_wait: Family::new(Metric::QueueWait),
            queue_timeouts: Family::new(Metric::QueueTimeouts),
            retries: Family::new(Metric::Retries),
            retry_budget: Family::new(Metric::RetryBudget),
            hedges: Family::new(Metric::Hedges),
            ejections: Family::new(Metric::Ejections),
            failovers: Family::new(Metric::Failovers),
        }
    }

    /// Sets all of them.
    pub fn update(&mut self, now: Instant) {
        self.clear();
        let mut room = MODELS_MAX;
        for standing in self.standings.providers(now).into_iter().take(PROVIDERS_MAX) {
            self.provider(&standing, &mut room);
            self.tally(&standing);
        }
        let failovers = &mut self.failovers;
        let each = |from: &str, to: &str, why: &'static str, count| failovers.set(&[from, to, why], count);
        self.standings.failovers().each(each);
    }

    fn clear(&mut self) {
        let gauges =
            [&mut self.in_flight, &mut self.limit, &mut self.queued, &mut self.credential, &mut self.breaker];
        gauges.into_iter().for_each(Family::clear);
        let counts = [&mut self.queue_timeouts, &mut self.retries, &mut self.retry_budget, &mut self.hedges];
        counts.into_iter().chain([&mut self.ejections, &mut self.failovers]).for_each(Family::clear);
        self.queue_wait.clear();
    }

    fn provider(&mut self, standing: &ProviderStanding, room: &mut usize) {
        let ProviderStanding { provider, load, credentials, targets, .. } = standing;
        self.in_flight.set(&[&provider.id], load.in_flight as f64);
        self.limit.set(&[&provider.id], load.limit as f64);
        self.queued.set(&[&provider.id], load.queued as f64);
        for credential in credentials {
            let up = f64::from(u8::from(credential.refused_for.is_none()));
            self.credential.set(&[&provider.id, &credential.name], up);
        }
        // Callers make names up: those that the catalogue does not know are no series.
        for target in targets.iter().filter(|target| target.known) {
            if *room == 0 {
                return;
            }
            *room -= 1;
            let state = match target.reading.state {
                State::Closed => 0.0,
                State::Open => 1.0,
                State::HalfOpen => 2.0,
            };
            self.breaker.set(&[&provider.id, &target.model], state);
        }
    }

    /// What is counted of a provider: all of it from the beginning on, so that the first of a kind is seen as one more.
    fn tally(&mut self, standing: &ProviderStanding) {
        let (id, tally) = (&*standing.provider.id, &standing.account.tally);
        let at = self.queue_wait.at(&[id]);
        let (counts, sum_s) = tally.queue_waits();
        if let Some(waits) = self.queue_wait.value(at) {
            waits.take(&counts, sum_s);
        }
        self.queue_timeouts.set(&[id], tally.queue_timeouts());
        self.retry_budget.set(&[id], tally.unpaid_attempts());
        tally.retries().into_iter().for_each(|(why, count)| self.retries.set(&[id, why], count));
        tally.hedges().into_iter().for_each(|(what, count)| self.hedges.set(&[id, what], count));
        tally.ejections().into_iter().for_each(|(why, count)| self.ejections.set(&[id, why], count));
    }

    /// Writes all of them.
    pub fn write(&mut self, out: &mut String) {
        for family in
            [&mut self.in_flight, &mut self.limit, &mut self.queued, &mut self.credential, &mut self.breaker]
        {
            family.write(out);
        }
        let counts = [
            &mut self.queue_timeouts,
            &mut self.retries,
            &mut self.retry_budget,
            &mut self.hedges,
            &mut self.ejections,
        ];
        counts.into_iter().chain([&mut self.failovers]).for_each(|family| family.write(out));
        self.queue_wait.write(out);
    }
}
