//! Numbers of the fleet: whether Redis answers, how much it is asked, what leases could cost.

use std::sync::OnceLock;

use prometheus::{Counter, Gauge, Registry};

use super::names::Metric;
use super::registered;
use crate::fleet::Fleet;
use crate::money::{UNITS_PER_USD, Usd};

/// The series, which are zero where there is no fleet.
pub(super) struct Shared {
    up: Gauge,
    replicas: Gauge,
    round_trips: Counter,
    lost: Counter,
    leased: Gauge,
    taken: Gauge,
}

impl Shared {
    pub(super) fn new(registry: &Registry) -> Result<Self, prometheus::Error> {
        Ok(Self {
            up: registered::gauge(registry, Metric::RedisUp)?,
            replicas: registered::gauge(registry, Metric::FleetReplicas)?,
            round_trips: registered::counter(registry, Metric::RedisRoundTrips)?,
            lost: registered::counter(registry, Metric::RedisLost)?,
            leased: registered::gauge(registry, Metric::BudgetLeased)?,
            taken: registered::gauge(registry, Metric::BudgetTaken)?,
        })
    }

    pub(super) fn update(&self, fleet: &OnceLock<Fleet>) {
        let Some(fleet) = fleet.get() else { return };
        let (traffic, exposure) = (fleet.traffic(), fleet.exposure());
        self.up.set(f64::from(u8::from(fleet.is_up())));
        self.replicas.set(f64::from(fleet.replicas()));
        self.round_trips.reset();
        self.round_trips.inc_by(traffic.round_trips as f64);
        self.lost.reset();
        self.lost.inc_by(traffic.lost as f64);
        self.leased.set(float(exposure.in_hand));
        self.taken.set(float(exposure.shared));
    }
}

/// For display only.
fn float(amount: Usd) -> f64 {
    amount.units() as f64 / UNITS_PER_USD as f64
}
