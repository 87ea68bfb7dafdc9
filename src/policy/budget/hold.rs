//! A hold: what one attempt may cost, set aside in every purse that pays for it, until it is settled or dropped.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use super::{Exhausted, Purse};
use crate::money::Usd;
use crate::receipt::Settles;

/// Money set aside for one attempt. Dropping it gives back what was not settled.
#[derive(Debug)]
#[must_use = "money that is given back at once was not set aside"]
pub struct Hold {
    purses: Arc<[Arc<Purse>]>,
    /// In each of them; units of 1e-12 USD.
    reserved: AtomicI64,
}

impl Hold {
    /// Sets `amount` aside in every purse, or in none.
    ///
    /// # Errors
    /// The first budget that does not allow it.
    pub fn reserve(purses: &Arc<[Arc<Purse>]>, amount: Usd, now_ms: i64) -> Result<Self, Exhausted> {
        let hold = Self { purses: Arc::clone(purses), reserved: AtomicI64::new(0) };
        hold.extend(amount, now_ms)?;
        Ok(hold)
    }

    /// Sets more aside, in every purse or in none.
    ///
    /// # Errors
    /// The first budget that does not allow it; what was held before still is.
    pub fn extend(&self, amount: Usd, now_ms: i64) -> Result<(), Exhausted> {
        for (at, purse) in self.purses.iter().enumerate() {
            if let Err(exhausted) = purse.reserve(amount, now_ms) {
                for earlier in self.purses.iter().take(at) {
                    earlier.settle(amount, Usd::ZERO, now_ms);
                }
                return Err(exhausted);
            }
        }
        self.reserved.fetch_add(amount.units(), Ordering::Relaxed);
        Ok(())
    }

    /// What is set aside in each purse.
    pub fn reserved(&self) -> Usd {
        Usd::from_units(self.reserved.load(Ordering::Relaxed))
    }

    /// True when one of the purses limits what is spent.
    pub fn is_limited(&self) -> bool {
        self.purses.iter().any(|purse| purse.has_budget())
    }
}

impl Settles for Hold {
    fn settle(&self, charged: Usd, time_ms: i64) {
        let reserved = Usd::from_units(self.reserved.swap(0, Ordering::Relaxed));
        for purse in self.purses.iter() {
            purse.settle(reserved, charged, time_ms);
        }
    }
}

impl Drop for Hold {
    fn drop(&mut self) {
        let reserved = Usd::from_units(*self.reserved.get_mut());
        if !reserved.is_zero() {
            // Nothing is charged: any time will do, and the earliest begins no new period.
            self.purses.iter().for_each(|purse| purse.settle(reserved, Usd::ZERO, i64::MIN));
        }
    }
}
