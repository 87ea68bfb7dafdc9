//! Spans: SERVER for a call, CLIENT for each of its attempts.

use super::attributes::{Attributes, quoted};
use super::content;
use crate::receipt::{AnsweredBy, AttemptSpan, CallRecord, CallSpan, Content, Outcome, Receipt, shown_model};
use crate::request_log::{Kept, Raw, Rules, keep};
use crate::trace::{Ids, hex};

/// `SPAN_KIND_SERVER`.
const SERVER: u8 = 2;
/// `SPAN_KIND_CLIENT`.
const CLIENT: u8 = 3;
/// Routes whose spans carry `gen_ai.*`, and what is done there in the words of the conventions.
const OPERATIONS: [(&str, &str); 1] = [("/v1/chat/completions", "chat")];

/// One span under construction.
struct Span {
    name: String,
    kind: u8,
    ids: Ids,
    start_ns: u64,
    end_ns: u64,
    attributes: Attributes,
    events: String,
    /// Why it failed, if it did.
    failed: Option<&'static str>,
}

impl Span {
    fn event(&mut self, name: &str, time_ns: u64, attributes: Attributes) {
        if !self.events.is_empty() {
            self.events.push(',');
        }
        self.events.push_str(&format!(
            "{{\"timeUnixNano\":\"{time_ns}\",\"name\":\"{name}\",\"attributes\":{}}}",
            attributes.finish()
        ));
    }

    fn finish(self) -> String {
        let Ids { trace_id, span_id, parent_id } = self.ids;
        let parent = parent_id.map_or_else(String::new, |id| format!("\"parentSpanId\":\"{id:016x}\","));
        // Unset where all went well: only an operator may say OK, says the standard.
        let status = self
            .failed
            .map_or_else(|| "{}".to_owned(), |why| format!("{{\"code\":2,\"message\":{}}}", quoted(why)));
        format!(
            "{{\"traceId\":\"{}\",\"spanId\":\"{span_id:016x}\",{parent}\"name\":{},\"kind\":{},\
             \"startTimeUnixNano\":\"{}\",\"endTimeUnixNano\":\"{}\",\"attributes\":{},\"events\":[{}],\"status\":{status}}}",
            hex(trace_id),
            quoted(&self.name),
            self.kind,
            self.start_ns,
            self.end_ns,
            self.attributes.finish(),
            self.events
        )
    }
}

/// What is done at a route, in the words of the conventions; `None`: nothing with a model.
pub fn operation(route: &str) -> Option<&'static str> {
    OPERATIONS.iter().find(|(known, _)| *known == route).map(|(_, operation)| *operation)
}

/// Who was asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Server {
    /// Host name or address.
    pub address: String,
    /// Port.
    pub port: u16,
}

impl Server {
    /// That of an http or https address.
    pub fn of(url: &str) -> Option<Self> {
        let (scheme, rest) = url.split_once("://")?;
        let authority = rest.split(['/', '?', '#']).next()?;
        let usual = if scheme == "http" { 80 } else { 443 };
        let (address, port) = match authority.rsplit_once(':') {
            Some((host, port)) if !port.ends_with(']') => (host, port.parse().ok()?),
            _ => (authority, usual),
        };
        Some(Self { address: address.trim_matches(['[', ']']).to_owned(), port })
    }
}

/// The SERVER span of a recorded call. What it shows of bodies is masked by `rules`.
pub fn call(record: &CallRecord, facts: &CallSpan, rules: &Rules) -> String {
    let start_ns = facts.ended_ns.saturating_sub(record.duration_us.saturating_mul(1_000));
    let mut attributes = Attributes::new();
    attributes.text("http.request.method", facts.method);
    attributes.text("http.route", record.route);
    attributes.text("url.path", record.route);
    attributes.text("url.scheme", "http");
    attributes.number("http.response.status_code", u64::from(record.status));
    attributes.maybe("error.type", record.error);
    if let Some(operation) = operation(record.route) {
        attributes.text("gen_ai.operation.name", operation);
        attributes.maybe("gen_ai.request.model", facts.requested_model.as_deref());
        if let Some(AnsweredBy { provider, model, .. }) = &record.told.by {
            attributes.text("gen_ai.provider.name", provider);
            if record.outcome == Outcome::Completed {
                attributes.text("gen_ai.response.model", &shown_model(model));
            }
        }
        if let Some((prompt, completion)) = record.told.tokens {
            attributes.number("gen_ai.usage.input_tokens", prompt);
            attributes.number("gen_ai.usage.output_tokens", completion);
        }
        attributes.flag("gen_ai.request.stream", record.stream);
        attributes.number("llm_gateway.attempts", u64::from(record.attempts));
        attributes.number("llm_gateway.overhead_us", record.overhead_us);
        let charged = record.told.charged.map(|charged| charged.to_string());
        attributes.maybe("llm_gateway.charged_usd", charged.as_deref());
        if record.told.estimated {
            attributes.flag("llm_gateway.estimated", true);
        }
    }
    if let Some(content) = &facts.content {
        shown(&mut attributes, content, rules);
    }
    ours(&mut attributes, &facts.request_id, record.key_id.as_deref(), facts.project.as_deref());
    attributes.text("llm_gateway.outcome", record.outcome.as_str());
    let mut span = Span {
        name: format!("{} {}", facts.method, record.route),
        kind: SERVER,
        ids: facts.ids,
        start_ns,
        end_ns: facts.ended_ns,
        attributes,
        events: String::new(),
        // What the client did wrong is no failure of this server's, says the standard.
        failed: record
            .error
            .filter(|_| record.status >= 500 || record.outcome == Outcome::Cancelled || record.status == 200),
    };
    for failover in &record.told.failovers {
        let before_end = facts.ended.saturating_duration_since(failover.at).as_nanos();
        let time_ns = facts.ended_ns.saturating_sub(u64::try_from(before_end).unwrap_or(u64::MAX));
        let mut attributes = Attributes::new();
        attributes.text("llm_gateway.from", &failover.from);
        attributes.text("llm_gateway.to", &failover.to);
        attributes.text("error.type", failover.why);
        span.event("failover", time_ns.max(start_ns), attributes);
    }
    if let Some(ttft_us) = record.ttft_us {
        span.event("commit", start_ns.saturating_add(ttft_us.saturating_mul(1_000)), Attributes::new());
    }
    span.finish()
}

/// The CLIENT span of a recorded attempt; `server` is the host that was asked.
pub fn attempt(receipt: &Receipt, facts: &AttemptSpan, server: Option<&Server>) -> String {
    let start_ns = facts.ended_ns.saturating_sub(facts.duration_us.saturating_mul(1_000));
    let mut attributes = Attributes::new();
    attributes.text("gen_ai.operation.name", "chat");
    attributes.text("gen_ai.provider.name", &receipt.provider);
    let model = shown_model(&receipt.upstream_model);
    attributes.text("gen_ai.request.model", &model);
    attributes.flag("gen_ai.request.stream", receipt.stream);
    if let Some(server) = server {
        attributes.text("server.address", &server.address);
        attributes.number("server.port", u64::from(server.port));
    }
    if receipt.status > 0 {
        attributes.number("http.response.status_code", u64::from(receipt.status));
    }
    attributes.maybe("error.type", receipt.error);
    if let Some(usage) = &receipt.usage {
        attributes.number("gen_ai.usage.input_tokens", usage.prompt);
        attributes.number("gen_ai.usage.output_tokens", usage.completion);
        attributes.number("gen_ai.usage.cache_read.input_tokens", usage.cache_read);
        attributes.flag("llm_gateway.estimated", receipt.estimated);
    }
    if let Some(ttft_us) = facts.ttft_us {
        attributes.number("llm_gateway.time_to_first_token_us", ttft_us);
    }
    attributes.number("llm_gateway.attempt", u64::from(receipt.attempt));
    attributes.text("llm_gateway.model", &shown_model(&receipt.model));
    let money = [receipt.cost, receipt.charged].map(|amount| amount.map(|amount| amount.to_string()));
    let [cost, charged] = &money;
    attributes.maybe("llm_gateway.cost_usd", cost.as_deref());
    attributes.maybe("llm_gateway.charged_usd", charged.as_deref());
    attributes.maybe("llm_gateway.service_tier", receipt.service_tier.as_deref());
    let caller = &receipt.caller;
    ours(&mut attributes, &receipt.request_id, Some(&caller.key_id), caller.project.as_deref());
    attributes.text("llm_gateway.outcome", receipt.outcome.as_str());
    let mut span = Span {
        name: format!("chat {model}"),
        kind: CLIENT,
        ids: facts.ids,
        start_ns,
        end_ns: facts.ended_ns,
        attributes,
        events: String::new(),
        failed: receipt.error,
    };
    if let Some(ttft_us) = facts.ttft_us {
        span.event("first_token", start_ns.saturating_add(ttft_us.saturating_mul(1_000)), Attributes::new());
    }
    span.finish()
}

/// What was asked and answered, masked and cut as what is stored.
fn shown(attributes: &mut Attributes, content: &Content, rules: &Rules) {
    match content {
        Content::NoRoom => attributes.flag("llm_gateway.content_dropped", true),
        Content::Gathered(bodies, _) => {
            let kept = |raw: &Raw| -> Kept { keep(&raw.bytes, raw.length, bodies.max, rules) };
            let (request, response) = (bodies.request.as_ref().map(kept), bodies.response.as_ref().map(kept));
            content::write(attributes, request.as_ref(), response.as_ref(), rules);
        }
    }
}

/// What leads from a span to the log and the ledger.
fn ours(attributes: &mut Attributes, request_id: &str, key_id: Option<&str>, project: Option<&str>) {
    attributes.text("llm_gateway.request_id", request_id);
    attributes.maybe("llm_gateway.key_id", key_id);
    attributes.maybe("llm_gateway.project", project);
}
