//! OTLP as JSON: spans and histograms of the GenAI semantic conventions, written straight into bytes. Pure.
//!
//! Why JSON by hand: a recorded call is two or three objects of known shape, and no second serializer, runtime or HTTP
//! stack comes in for them. The format is that of the OTLP specification (1.5): ids in hexadecimal, 64-bit integers as
//! texts, enumerations as numbers.
//!
//! Invariants: no text of a prompt, an answer or an error is an attribute, unless the operator and the project both want it
//! and only as the request log's rules mask it (`content`); a credential never is.

mod attributes;
mod content;
mod histogram;
mod spans;
#[cfg(test)]
mod tests;

pub use self::attributes::Attributes;
pub use self::histogram::{Histogram, Instrument, Point};
pub use self::spans::{Server, attempt, call, operation};

use crate::config::TelemetrySettings;

/// What everything that is sent begins with.
#[derive(Clone, Debug)]
pub struct Resource {
    json: String,
}

impl Resource {
    /// Of this process; `instance` tells it from its siblings.
    pub fn new(settings: &TelemetrySettings, instance: &str) -> Self {
        let mut attributes = Attributes::new();
        attributes.text("service.name", &settings.service_name);
        for (name, value) in &settings.resource {
            attributes.text(name, value);
        }
        for (name, value) in
            [("service.version", env!("CARGO_PKG_VERSION")), ("service.instance.id", instance)]
        {
            // What the operator says counts.
            if !settings.resource.contains_key(name) {
                attributes.text(name, value);
            }
        }
        Self { json: format!("\"resource\":{{\"attributes\":{}}}", attributes.finish()) }
    }

    /// The body of a request to `/v1/traces`.
    pub fn traces<'s>(&self, spans: impl IntoIterator<Item = &'s str>) -> String {
        self.body(["resourceSpans", "scopeSpans", "spans"], spans)
    }

    /// The body of a request to `/v1/metrics`.
    pub fn metrics<'s>(&self, metrics: impl IntoIterator<Item = &'s str>) -> String {
        self.body(["resourceMetrics", "scopeMetrics", "metrics"], metrics)
    }

    fn body<'s>(&self, [whole, scope, each]: [&str; 3], items: impl IntoIterator<Item = &'s str>) -> String {
        let version = env!("CARGO_PKG_VERSION");
        let mut body = format!(
            "{{\"{whole}\":[{{{},\"{scope}\":[{{\"scope\":{{\"name\":\"llm-gateway\",\"version\":\"{version}\"}},\"{each}\":[",
            self.json
        );
        for (at, item) in items.into_iter().enumerate() {
            if at > 0 {
                body.push(',');
            }
            body.push_str(item);
        }
        body.push_str("]}]}]}");
        body
    }
}
