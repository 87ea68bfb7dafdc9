//! A collector of traces and metrics: takes OTLP over HTTP as JSON and holds it to the format, as far as a reader relies on
//! it.

use serde_json::{Value, json};

use super::{Script, Upstream, eventually, whole};

/// A running collector.
pub struct Collector {
    upstream: Upstream,
}

/// One span.
#[derive(Clone, Debug)]
pub struct Span(pub Value);

impl Span {
    /// A field of the span itself, as text.
    pub fn text(&self, name: &str) -> &str {
        self.0[name].as_str().unwrap_or_default()
    }

    /// An attribute, its type taken off; numbers come as texts.
    pub fn attribute(&self, name: &str) -> Value {
        attribute(&self.0["attributes"], name)
    }

    /// Names of its events, in order.
    pub fn events(&self) -> Vec<&str> {
        let events = self.0["events"].as_array().expect("a list of events");
        events.iter().filter_map(|event| event["name"].as_str()).collect()
    }

    /// True when it failed.
    pub fn failed(&self) -> bool {
        self.0["status"]["code"] == 2
    }
}

fn attribute(attributes: &Value, name: &str) -> Value {
    let mut all = attributes.as_array().expect("a list of attributes").iter();
    let found = all.find(|one| one["key"] == name);
    let value = found.and_then(|one| one["value"].as_object()?.values().next().cloned());
    value.unwrap_or(Value::Null)
}

impl Collector {
    /// One that takes everything.
    pub async fn start() -> Self {
        Self::answering(|_| Script::new().send(whole(200, &json!({})))).await
    }

    /// One that answers like this; what it is sent counts all the same.
    pub async fn answering(answer: impl Fn(&super::Request) -> Script + Send + Sync + 'static) -> Self {
        Self { upstream: Upstream::start(answer).await }
    }

    /// Lines for a gateway's configuration: to here, tracing this share.
    pub fn config(&self, ratio: &str) -> String {
        let url = self.upstream.base_url();
        let base = url.trim_end_matches("/v1");
        format!(
            "telemetry:\n  otlp: {{ endpoint: '{base}', timeout: 2s, headers: {{ x-canary-header: canary-of-the-collector }} }}\n  \
             traces: {{ sample_ratio: {ratio} }}\n  metrics: {{ interval: 300ms }}\n  resource: {{ deployment.environment.name: test }}\n"
        )
    }

    /// Everything it was sent, as text.
    pub fn everything(&self) -> String {
        let bodies = self.upstream.requests().into_iter().map(|request| request.body);
        bodies.map(|body| String::from_utf8(body).expect("text")).collect()
    }

    fn bodies(&self, path: &str) -> Vec<Value> {
        let to = format!("POST {path} ");
        let requests = self.upstream.requests().into_iter().filter(|request| request.head.starts_with(&to));
        let checked = requests.map(|request| {
            assert_eq!(request.header("content-type"), Some("application/json"));
            assert_eq!(request.header("x-canary-header"), Some("canary-of-the-collector"));
            request.json()
        });
        checked.collect()
    }

    /// Attributes of the process.
    pub fn resource(&self, name: &str) -> Value {
        let bodies = self.bodies("/v1/traces");
        attribute(&bodies[0]["resourceSpans"][0]["resource"]["attributes"], name)
    }

    /// All spans so far.
    pub fn spans(&self) -> Vec<Span> {
        let of = |body: Value| body["resourceSpans"][0]["scopeSpans"][0]["spans"].as_array().cloned();
        let spans: Vec<Span> =
            self.bodies("/v1/traces").into_iter().filter_map(of).flatten().map(Span).collect();
        for span in &spans {
            assert_eq!((span.text("traceId").len(), span.text("spanId").len()), (32, 16), "{span:?}");
            let time = |name: &str| span.text(name).parse::<u64>().expect("nanoseconds");
            assert!(time("startTimeUnixNano") <= time("endTimeUnixNano"), "{span:?}");
        }
        spans
    }

    /// The call's span with this request id and those of its attempts, in order, once there are so many of them.
    pub async fn trace(&self, request_id: &str, attempts: usize) -> (Span, Vec<Span>) {
        eventually("the spans are sent", || async {
            let mut spans = self.spans();
            spans.retain(|span| span.attribute("llm_gateway.request_id") == request_id);
            let call = spans.iter().find(|span| span.0["kind"] == 2)?.clone();
            spans.retain(|span| span.0["kind"] == 3);
            spans.sort_by_key(|span| span.attribute("llm_gateway.attempt").to_string());
            (spans.len() >= attempts).then_some((call, spans))
        })
        .await
    }

    /// The newest points of a metric, with their attributes, once there are any.
    pub async fn points(&self, name: &str) -> Vec<Value> {
        eventually("the metric is sent", || async {
            let metrics = self.bodies("/v1/metrics").into_iter().rev().find_map(|body| {
                let metrics = body["resourceMetrics"][0]["scopeMetrics"][0]["metrics"].as_array().cloned()?;
                metrics.into_iter().find(|metric| metric["name"] == name)
            });
            metrics?["histogram"]["dataPoints"].as_array().cloned()
        })
        .await
    }

    /// An attribute of a point.
    pub fn of(point: &Value, name: &str) -> Value {
        attribute(&point["attributes"], name)
    }
}
