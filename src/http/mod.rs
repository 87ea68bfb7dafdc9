//! HTTP: routes, extractors, handlers and replies. Thin: what decides lies below.

pub mod admin;
pub mod ops;
pub mod readiness;
pub mod reply;
