//! provisional
use std::sync::atomic::{AtomicU8, Ordering};

/// x
#[derive(Debug, Default)]
pub struct Readiness(AtomicU8);

impl Readiness {
    /// x
    pub fn is_ready(&self) -> bool {
        self.0.load(Ordering::Relaxed) == 1
    }
}

/// x
pub fn health(_: &mut actix_web::web::ServiceConfig) {}
