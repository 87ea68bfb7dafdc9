//! Gauges of the providers: set anew at each scrape, so that a provider that is gone leaves no series behind.

use std::time::Instant;

use prometheus::{GaugeVec, Registry};

use super::labels::{MODELS_MAX, PROVIDERS_MAX};
use super::names::Metric;
use super::series::labelled_gauge;
use crate::actors::standing::{ProviderStanding, Standings};
use crate::policy::health::State;

/// The gauges, and where their values come from.
pub struct Shown {
    standings: Standings,
    in_flight: GaugeVec,
    limit: GaugeVec,
    queued: GaugeVec,
    credential: GaugeVec,
    breaker: GaugeVec,
}

impl Shown {
    /// Registered, without series yet.
    ///
    /// # Errors
    /// The registry refuses: a name twice, or not a name.
    pub fn new(standings: Standings, registry: &Registry) -> Result<Self, prometheus::Error> {
        let gauge = |metric| labelled_gauge(registry, metric);
        Ok(Self {
            standings,
            in_flight: gauge(Metric::ProviderInFlight)?,
            limit: gauge(Metric::ProviderLimit)?,
            queued: gauge(Metric::ProviderQueued)?,
            credential: gauge(Metric::CredentialUp)?,
            breaker: gauge(Metric::BreakerState)?,
        })
    }

    /// Sets all of them.
    pub fn update(&self, now: Instant) {
        for gauge in [&self.in_flight, &self.limit, &self.queued, &self.credential, &self.breaker] {
            gauge.reset();
        }
        let mut room = MODELS_MAX;
        for standing in self.standings.providers(now).into_iter().take(PROVIDERS_MAX) {
            self.provider(&standing, &mut room);
        }
    }

    fn provider(&self, standing: &ProviderStanding, room: &mut usize) {
        let ProviderStanding { provider, load, credentials, targets, .. } = standing;
        let set = |gauge: &GaugeVec, labels: &[&str], value: f64| {
            // The labels are as many as the table says: a test renders all of them.
            if let Ok(gauge) = gauge.get_metric_with_label_values(labels) {
                gauge.set(value);
            }
        };
        set(&self.in_flight, &[&provider.id], load.in_flight as f64);
        set(&self.limit, &[&provider.id], load.limit as f64);
        set(&self.queued, &[&provider.id], load.queued as f64);
        for credential in credentials {
            let up = f64::from(u8::from(credential.refused_for.is_none()));
            set(&self.credential, &[&provider.id, &credential.name], up);
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
            set(&self.breaker, &[&provider.id, &target.model], state);
        }
    }
}
