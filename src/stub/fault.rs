//! Errors in OpenAI's shape.

use serde_json::json;

use super::behaviour::BEHAVIOURS;

/// An answer that is an error.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// HTTP status.
    pub status: u16,
    /// What went wrong.
    pub message: String,
    /// Seconds in `Retry-After`.
    pub retry_after: Option<u64>,
}

impl Fault {
    /// A request that cannot be understood.
    pub fn invalid(message: impl Into<String>) -> Self {
        Self::told(400, message)
    }

    /// An unknown behaviour.
    pub fn model_not_found(name: &str) -> Self {
        let shown: String = name.chars().take(100).collect();
        let known: Vec<&str> = BEHAVIOURS.iter().map(|row| row.name).collect();
        let message = format!(
            "The model `{shown}` does not exist or you do not have access to it. This stub knows {}.",
            known.join(", ")
        );
        Self::told(404, message)
    }

    /// An error that was asked for, with the words of the API.
    pub fn asked_for(status: u16, retry_after: Option<u64>) -> Self {
        let message = match status {
            400 => "The stub was told to find this request invalid.",
            401 => "Incorrect API key provided: stub. You can find your API key at https://example.com.",
            402 => "You have run out of credit.",
            403 => "You are not allowed to use this model.",
            404 => "The model `stub` does not exist or you do not have access to it.",
            429 => "Rate limit reached for requests. Please try again later.",
            503 => "The engine is currently overloaded, please try again later.",
            _ => "The server had an error while processing your request. Sorry about that!",
        };
        Self { retry_after, ..Self::told(status, message) }
    }

    /// An error with a message of its own.
    pub fn told(status: u16, message: impl Into<String>) -> Self {
        Self { status, message: message.into(), retry_after: None }
    }

    /// `{"error": {...}}`.
    pub fn body(&self) -> Vec<u8> {
        let (kind, code) = match self.status {
            401 => ("invalid_request_error", Some("invalid_api_key")),
            402 => ("insufficient_quota", Some("insufficient_quota")),
            403 => ("permission_error", None),
            404 => ("invalid_request_error", Some("model_not_found")),
            429 => ("requests", Some("rate_limit_exceeded")),
            400..=499 => ("invalid_request_error", None),
            _ => ("server_error", None),
        };
        let error = json!({"message": self.message, "type": kind, "param": null, "code": code});
        json!({ "error": error }).to_string().into_bytes()
    }
}
