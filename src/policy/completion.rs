//! Completing a receipt: usage by estimate where none was told.
//!
//! Why apart from the exchange: counting tokens is slow, and belongs on Billing's thread and not on a cell's.
//!
//! Invariants: reported usage is never touched; an attempt that the upstream refused is
//! never estimated; the exchanged text is let go whatever comes of it.

use crate::policy::tokens;
use crate::receipt::Receipt;

/// Fills in `usage` and `estimated` where they can be known, and drops the kept text.
pub fn complete(receipt: &mut Receipt) {
    let unmetered = receipt.unmetered.take();
    if receipt.usage.is_none()
        && receipt.status < 400
        && let Some(unmetered) = unmetered
    {
        receipt.usage = Some(tokens::estimate(&unmetered));
        receipt.estimated = true;
    }
}

/// True while [`complete`] would change something: a batch without such receipts is passed on as it is.
pub fn is_incomplete(receipt: &Receipt) -> bool {
    receipt.unmetered.is_some()
}
