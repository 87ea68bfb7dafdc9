//! Completing a receipt: usage by estimate where none was told, then cost by the price that applies.
//!
//! Why apart from the exchange: counting tokens is slow, and belongs on Billing's thread and not on a cell's.
//!
//! Invariants: reported usage and a cost already set are never touched; an attempt that the upstream refused is
//! never estimated; the exchanged text is let go whatever comes of it.

use crate::catalog::ServiceTier;
use crate::policy::tokens;
use crate::receipt::Receipt;

/// Fills in `usage`, `estimated` and `cost` where they can be known, and drops the kept text.
pub fn complete(receipt: &mut Receipt) {
    let unmetered = receipt.unmetered.take();
    if receipt.usage.is_none()
        && receipt.status < 400
        && let Some(unmetered) = unmetered
    {
        receipt.usage = Some(tokens::estimate(&unmetered));
        receipt.estimated = true;
    }
    if receipt.cost.is_none()
        && let (Some(price), Some(usage)) = (&receipt.price, &receipt.usage)
    {
        let tier = receipt.service_tier.as_deref().and_then(ServiceTier::parse);
        receipt.cost = price.cost(usage, tier);
        receipt.charged = receipt.cost.map(|cost| receipt.markup.charged(cost));
    }
}

/// True while [`complete`] would change something: a batch without such receipts is passed on as it is.
pub fn is_incomplete(receipt: &Receipt) -> bool {
    receipt.unmetered.is_some()
        || (receipt.cost.is_none() && receipt.price.is_some() && receipt.usage.is_some())
}
