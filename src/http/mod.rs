//! HTTP: routes, extractors, handlers and replies. Thin: what decides lies below.

pub mod admin;
pub mod body_room;
mod call_meter;
mod capture;
mod chat;
pub mod cors;
pub mod door;
mod explain;
pub mod front;
pub mod idempotent;
pub mod models;
mod names;
pub mod ops;
pub mod readiness;
pub mod reply;
pub mod routes;
pub mod status;
mod stream;
mod unread;
