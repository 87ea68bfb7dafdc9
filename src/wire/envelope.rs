//! What the gateway adds to an answer: who answered, under which names, after which attempts.

use serde::Serialize;

use crate::json;

/// One attempt as the client sees it in `metadata.attempts`.
#[derive(Clone, Debug, Serialize)]
pub struct AttemptNote {
    /// Provider id.
    pub provider: String,
    /// Canonical model, or the upstream name.
    pub model: String,
    /// HTTP status of the upstream, 0 when no head arrived.
    pub status: u16,
    /// Error code, absent for the attempt that answered.
    pub error: Option<String>,
    /// Milliseconds from sending to the end of the attempt (to the answer, for the one that answered).
    pub latency_ms: u64,
}

/// Identity of one answer.
#[derive(Clone, Debug, Default)]
pub struct Envelope {
    /// `model` of the answer: `provider/canonical`.
    pub model: String,
    /// Exactly what the client sent as `model`.
    pub requested_model: String,
    /// The provider prefix of the model string, if it had one.
    pub requested_provider: Option<String>,
    /// Canonical id of the model that answers, or the upstream name when the catalogue does not know it.
    pub used_model: String,
    /// Who answers.
    pub used_provider: String,
    /// The name sent upstream.
    pub underlying_used_model: String,
    /// Same id as in headers, logs and ledger.
    pub request_id: String,
    /// Attempts that failed before this one.
    pub earlier: Vec<AttemptNote>,
    /// `id` for answers that come without one.
    pub fallback_id: String,
    /// `created` for answers that come without one, seconds since the epoch.
    pub created_s: i64,
    /// Why the gateway ended the answer before its end; goes into the metadata.
    pub cut: Option<Cut>,
}

/// Why the gateway itself ended an answer before its end.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Cut {
    /// The code of an error that says the same, e.g. `budget_exceeded`.
    pub code: &'static str,
    /// What happened and what to do.
    pub message: String,
}

impl Envelope {
    /// The `metadata` object as JSON; `latency_ms` is that of the answering attempt.
    pub fn metadata(&self, latency_ms: u64) -> Vec<u8> {
        let mut out = self.open();
        if !self.earlier.is_empty() {
            self.attempts(Some(latency_ms), &mut out);
        }
        self.close(out)
    }

    /// The `metadata` object of an error, after all attempts.
    pub fn failure_metadata(&self) -> Vec<u8> {
        let mut out = self.open();
        if self.earlier.len() > 1 {
            self.attempts(None, &mut out);
        }
        self.close(out)
    }

    /// The names that every `metadata` has. Written by hand: it is in every answer.
    fn open(&self) -> Vec<u8> {
        let names = [
            &self.requested_model,
            &self.used_model,
            &self.used_provider,
            &self.underlying_used_model,
            &self.request_id,
        ];
        let bytes: usize = names.iter().map(|name| name.len()).sum();
        let mut out = Vec::with_capacity(bytes + 192);
        let mut member = |name: &str, value: Option<&str>| {
            out.extend_from_slice(name.as_bytes());
            match value {
                Some(value) => json::write_string(value, &mut out),
                None => out.extend_from_slice(b"null"),
            }
        };
        member("{\"requested_model\":", Some(&self.requested_model));
        member(",\"requested_provider\":", self.requested_provider.as_deref());
        member(",\"used_model\":", Some(&self.used_model));
        member(",\"used_provider\":", Some(&self.used_provider));
        member(",\"underlying_used_model\":", Some(&self.underlying_used_model));
        member(",\"request_id\":", Some(&self.request_id));
        out
    }

    /// The attempts, in order; last the one that answered, if one did.
    fn attempts(&self, answered_ms: Option<u64>, out: &mut Vec<u8>) {
        let answered = answered_ms.map(|latency_ms| AttemptNote {
            provider: self.used_provider.clone(),
            model: self.used_model.clone(),
            status: 200,
            error: None,
            latency_ms,
        });
        out.extend_from_slice(b",\"attempts\":");
        let attempts: Vec<&AttemptNote> = self.earlier.iter().chain(&answered).collect();
        write(&attempts, out);
    }

    /// Why the answer was cut short, where it was, and the end.
    fn close(&self, mut out: Vec<u8>) -> Vec<u8> {
        if let Some(cut) = &self.cut {
            out.extend_from_slice(b",\"error\":");
            write(cut, &mut out);
        }
        out.push(b'}');
        out
    }
}

/// Appends a value as JSON.
fn write(value: &impl Serialize, out: &mut Vec<u8>) {
    // Writing to a Vec cannot fail, and names and numbers always have a JSON form.
    let _ = serde_json::to_writer(out, value);
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn read(written: &[u8]) -> Value {
        serde_json::from_slice(written).unwrap()
    }

    #[test]
    fn metadata_tells_of_attempts_only_where_there_was_more_than_one() {
        let mut envelope =
            Envelope { requested_model: "a\"b".into(), request_id: "r".into(), ..Envelope::default() };
        let names = json!({"requested_model": "a\"b", "requested_provider": null, "used_model": "",
            "used_provider": "", "underlying_used_model": "", "request_id": "r"});
        assert_eq!(read(&envelope.metadata(5)), names);
        assert_eq!(read(&envelope.failure_metadata()), names);
        let note = |status, error: Option<&str>, latency_ms| json!({"provider": "", "model": "", "status": status, "error": error, "latency_ms": latency_ms});
        let failed = AttemptNote {
            provider: String::new(),
            model: String::new(),
            status: 500,
            error: Some("e".into()),
            latency_ms: 3,
        };
        envelope.earlier.push(failed.clone());
        let attempts = json!([note(500, Some("e"), 3), note(200, None, 5)]);
        assert_eq!(read(&envelope.metadata(5))["attempts"], attempts);
        assert_eq!(read(&envelope.failure_metadata()), names);
        envelope.earlier.push(failed);
        envelope.cut = Some(Cut { code: "c", message: "m".into() });
        let failure = read(&envelope.failure_metadata());
        assert_eq!(failure["attempts"], json!([note(500, Some("e"), 3), note(500, Some("e"), 3)]));
        assert_eq!(failure["error"], json!({"code": "c", "message": "m"}));
    }
}
