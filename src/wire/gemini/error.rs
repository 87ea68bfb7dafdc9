//! Errors: `{"error": {code, message, status, details}}`, alone, in an array, or inside a 200.

use std::time::Duration;

use serde_json::Value;

use crate::wire::{Fault, openai};

/// Reasons for which Google answers 400 although it is the credential that it refuses.
const CREDENTIAL_REASONS: [&str; 2] = ["API_KEY_INVALID", "API_KEY_EXPIRED"];
/// The status of a refused credential.
const UNAUTHORIZED: u16 = 401;
/// A wait beyond this is a mistake, seconds.
const RETRY_AFTER_MAX_S: f64 = 7.0 * 86_400.0;

/// Reads an error answer; never fails.
pub fn read(status: u16, body: &[u8]) -> Fault {
    let mut fault = openai::decode_error(status, body);
    let value: Value = serde_json::from_slice(body).unwrap_or_default();
    let value = value.get(0).unwrap_or(&value);
    let Some(error) = value.get("error") else { return fault };
    fault.code = error.get("status").and_then(Value::as_str).map(str::to_owned).or(fault.code);
    for detail in error.get("details").and_then(Value::as_array).into_iter().flatten() {
        let text = |name: &str| detail.get(name).and_then(Value::as_str);
        if let Some(delay) = text("retryDelay").and_then(seconds) {
            fault.retry_after = Some(delay);
        }
        if text("reason").is_some_and(|reason| CREDENTIAL_REASONS.contains(&reason)) {
            fault.status = UNAUTHORIZED;
        }
    }
    fault
}

/// A duration as protocol buffers write it in JSON: `34.07s`.
fn seconds(text: &str) -> Option<Duration> {
    let seconds: f64 = text.strip_suffix('s')?.parse().ok()?;
    (0.0..RETRY_AFTER_MAX_S).contains(&seconds).then(|| Duration::from_secs_f64(seconds))
}
