//! Where traces and metrics are sent, and what they say of this process. The standard's own variables
//! (`OTEL_EXPORTER_OTLP_ENDPOINT` and the like) stand in for keys that are not given.

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::Value;

use super::problem::Problem;
use super::reader::Reader;
use super::secret::{self, Outside, Resolved, Secret};
use super::value;

/// What this process is called where nobody says.
const SERVICE_NAME: &str = "llm-gateway";

/// Where traces and metrics are sent, and what they say of this process.
#[derive(Clone, Debug, PartialEq)]
pub struct TelemetrySettings {
    /// Base address of a collector that takes OTLP over HTTP; `None`: nothing is sent.
    pub endpoint: Option<String>,
    /// Headers of every request to it.
    pub headers: BTreeMap<String, Secret>,
    /// The longest that one request may take.
    pub timeout: Duration,
    /// Share of the traces that begin here and are recorded, 0 to 1.
    pub sample_ratio: f64,
    /// Spans show the bodies that the request log may keep.
    pub content: bool,
    /// `service.name`.
    pub service_name: String,
    /// Further attributes of the process.
    pub resource: BTreeMap<String, String>,
    /// How often metrics are sent; zero: never.
    pub metrics_interval: Duration,
}

/// Reads the section.
pub(super) fn read(
    read: &Reader<'_>,
    outside: &Outside<'_>,
    problems: &mut Vec<Problem>,
    warnings: &mut Vec<String>,
) -> TelemetrySettings {
    let mut resource = pairs("OTEL_RESOURCE_ATTRIBUTES", outside, warnings);
    resource.extend(table(read.given("telemetry.resource")));
    let named = read.given("telemetry.service_name").and_then(|_| read.text("telemetry.service_name"));
    let named = named.or_else(|| variable("OTEL_SERVICE_NAME", outside));
    let by_resource = resource.remove("service.name");
    let endpoint = read.text("telemetry.otlp.endpoint").or_else(|| endpoint(outside, problems));
    if endpoint.is_some() {
        check_protocol(outside, warnings);
    }
    let timeout = read.duration("telemetry.otlp.timeout");
    if timeout.is_zero() || timeout > Duration::from_secs(60) {
        problems.push(Problem::new("telemetry.otlp.timeout", "is not between 1ms and 60s"));
    }
    TelemetrySettings {
        endpoint,
        headers: headers(read, outside, problems, warnings),
        timeout,
        sample_ratio: read
            .text("telemetry.traces.sample_ratio")
            .and_then(|text| text.parse().ok())
            .unwrap_or_default(),
        content: read.flag("telemetry.traces.content"),
        service_name: named.or(by_resource).unwrap_or_else(|| SERVICE_NAME.to_owned()),
        resource,
        metrics_interval: read.duration("telemetry.metrics.interval"),
    }
}

/// A variable of the standard's, unless it is empty, which means that it is not set.
fn variable(name: &str, outside: &Outside<'_>) -> Option<String> {
    (outside.env)(name).map(|value| value.trim().to_owned()).filter(|value| !value.is_empty())
}

fn endpoint(outside: &Outside<'_>, problems: &mut Vec<Problem>) -> Option<String> {
    const NAME: &str = "OTEL_EXPORTER_OTLP_ENDPOINT";
    match value::url(&variable(NAME, outside)?) {
        Ok(url) => Some(url),
        Err(why) => {
            problems.push(Problem::new(NAME, why));
            None
        }
    }
}

/// Says so where the environment asks for another protocol than the one that is spoken.
fn check_protocol(outside: &Outside<'_>, warnings: &mut Vec<String>) {
    const NAME: &str = "OTEL_EXPORTER_OTLP_PROTOCOL";
    if let Some(word) = variable(NAME, outside)
        && word != "http/json"
    {
        warnings.push(format!(
            "{NAME}: only http/json is spoken; the endpoint must be that of OTLP over HTTP, usually port 4318"
        ));
    }
}

fn headers(
    read: &Reader<'_>,
    outside: &Outside<'_>,
    problems: &mut Vec<Problem>,
    warnings: &mut Vec<String>,
) -> BTreeMap<String, Secret> {
    let mut headers = BTreeMap::new();
    for (name, value) in pairs("OTEL_EXPORTER_OTLP_HEADERS", outside, warnings) {
        headers.insert(name.to_ascii_lowercase(), Secret::new(value));
    }
    for (name, reference) in table(read.given("telemetry.otlp.headers")) {
        let path = format!("telemetry.otlp.headers.{name}");
        match secret::resolve(&reference, outside) {
            // A literal is common here, as it is among a provider's headers.
            Ok(Resolved::Value(value, _)) => {
                headers.insert(name.to_ascii_lowercase(), value);
            }
            Ok(Resolved::NotSet(variable)) => {
                problems.push(Problem::new(path, format!("{variable} is not set")))
            }
            Err(why) => problems.push(Problem::new(path, why)),
        }
    }
    for name in headers.keys() {
        if let Err(why) = value::header_name(name) {
            problems.push(Problem::new("telemetry.otlp.headers", why));
        }
    }
    for (name, value) in &headers {
        if value.expose().chars().any(|c| !c.is_ascii_graphic() && c != ' ') {
            let why = format!("the value of `{name}` holds characters that cannot travel in an HTTP header");
            problems.push(Problem::new("telemetry.otlp.headers", why));
        }
    }
    headers
}

/// Names and texts of a table; what is no text was reported by the check of the whole.
fn table(given: Option<&Value>) -> BTreeMap<String, String> {
    let Some(Value::Object(table)) = given else { return BTreeMap::new() };
    let text = |(name, value): (&String, &Value)| Some((name.clone(), value.as_str()?.to_owned()));
    table.iter().filter_map(text).collect()
}

/// `name=value,name=value` of a variable, percent-decoded, as the standard writes headers and attributes.
fn pairs(name: &str, outside: &Outside<'_>, warnings: &mut Vec<String>) -> BTreeMap<String, String> {
    let mut pairs = BTreeMap::new();
    let Some(list) = variable(name, outside) else { return pairs };
    for pair in list.split(',').map(str::trim).filter(|pair| !pair.is_empty()) {
        match pair.split_once('=').map(|(key, value)| (key.trim(), decoded(value.trim()))) {
            Some((key, Some(value))) if !key.is_empty() => {
                pairs.insert(key.to_owned(), value);
            }
            // Not the text of it, which may be a credential.
            _ => warnings.push(format!("{name}: an entry is left out; write name=value, percent-encoded")),
        }
    }
    pairs
}

/// Takes percent-encoding off; `None` where it is broken.
fn decoded(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((first, after)) = rest.split_first() {
        if *first != b'%' {
            bytes.push(*first);
            rest = after;
            continue;
        }
        let digits = std::str::from_utf8(after.get(..2)?).ok()?;
        bytes.push(u8::from_str_radix(digits, 16).ok()?);
        rest = after.get(2..)?;
    }
    String::from_utf8(bytes).ok()
}

#[cfg(test)]
mod tests {
    use super::super::{Outside, assemble};
    use super::*;

    fn settings(text: &str, variables: &[(&str, &str)]) -> Result<(TelemetrySettings, Vec<String>), String> {
        let env =
            |name: &str| variables.iter().find(|(set, _)| *set == name).map(|(_, value)| (*value).to_owned());
        let outside = Outside { env: &env, file: &|_| Err("no files here".to_owned()) };
        match assemble(Some(("f", text)), [], &outside) {
            Ok(loaded) => Ok((loaded.settings.telemetry, loaded.warnings)),
            Err(problems) => Err(problems.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ")),
        }
    }

    #[test]
    fn nothing_is_sent_unless_there_is_an_endpoint() {
        let (off, _) = settings("{}", &[]).unwrap();
        assert_eq!((off.endpoint, off.sample_ratio, &*off.service_name), (None, 0.1, "llm-gateway"));
        assert_eq!((off.metrics_interval, off.content), (Duration::from_secs(15), false));
        assert!(settings("{telemetry: {traces: {content: true}}}", &[]).unwrap().0.content);
    }

    #[test]
    fn keys_come_before_the_variables_of_the_standard() {
        let variables = [
            ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://env.invalid:4318/"),
            ("OTEL_EXPORTER_OTLP_HEADERS", "X-Key=of%20env, x-other=b"),
            ("OTEL_SERVICE_NAME", "by-env"),
            ("OTEL_RESOURCE_ATTRIBUTES", "deployment.environment.name=test,a=env,broken"),
            ("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc"),
        ];
        let (by_env, warnings) = settings("{}", &variables).unwrap();
        assert_eq!(by_env.endpoint.as_deref(), Some("http://env.invalid:4318"));
        assert_eq!((by_env.headers["x-key"].expose(), by_env.service_name.as_str()), ("of env", "by-env"));
        assert_eq!(by_env.resource["deployment.environment.name"], "test");
        let told = |word: &str| warnings.iter().any(|warning| warning.contains(word));
        assert!(told("OTEL_RESOURCE_ATTRIBUTES: an entry") && told("only http/json"), "{warnings:?}");
        let file = "{telemetry: {service_name: by-key, otlp: {endpoint: 'http://key.invalid:1', headers: {x-key: of-key}}, \
                    traces: {sample_ratio: 0.5}, resource: {a: key}}}";
        let (by_key, _) = settings(file, &variables).unwrap();
        assert_eq!(by_key.endpoint.as_deref(), Some("http://key.invalid:1"));
        assert_eq!((by_key.headers["x-key"].expose(), by_key.headers["x-other"].expose()), ("of-key", "b"));
        assert_eq!((by_key.service_name.as_str(), by_key.sample_ratio), ("by-key", 0.5));
        assert_eq!(by_key.resource["a"], "key");
    }

    #[test]
    fn what_cannot_be_sent_with_is_refused_without_the_secret() {
        for (text, told) in [
            ("{telemetry: {traces: {sample_ratio: 2}}}", "from 0 to 1"),
            ("{telemetry: {otlp: {endpoint: 'grpc://x'}}}", "must start with https:// or http://"),
            ("{telemetry: {otlp: {headers: {host: canary}}}}", "set by the gateway itself"),
            ("{telemetry: {otlp: {headers: {x: 'env:NOT_SET'}}}}", "NOT_SET is not set"),
            ("{telemetry: {otlp: {timeout: 5m}}}", "between 1ms and 60s"),
        ] {
            let why = settings(text, &[]).unwrap_err();
            assert!(why.contains(told) && !why.contains("canary"), "{why}");
        }
        let why = settings("{}", &[("OTEL_EXPORTER_OTLP_ENDPOINT", "http://u:canary@x")]).unwrap_err();
        assert!(why.contains("must not hold credentials") && !why.contains("canary"), "{why}");
    }
}
