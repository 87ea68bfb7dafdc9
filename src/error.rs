//! The one table of errors: variant -> status, type, code, retry advice, metric label.
//!
//! Every failure that a client can see is one of these variants. The text says what to do; it never holds a
//! credential, an internal address, a stack or SQL. How a variant is rendered as HTTP lives in `http::reply`.

use std::fmt;
use std::time::Duration;

/// A failure as the client sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Error {
    /// The request is wrong; `param` is a path such as `messages[2].content[0].image_url`.
    InvalidRequest {
        /// What is wrong and what to do.
        message: String,
        /// Path of the offending field.
        param: Option<String>,
        /// Stable code, e.g. `invalid_json`, `unsupported_parameter`, `no_free_model`.
        code: Option<&'static str>,
    },
    /// No key was sent.
    MissingKey,
    /// The key is unknown, revoked or expired; one message for all three.
    InvalidKey,
    /// A budget is spent.
    BudgetExceeded(String),
    /// The key may not use this model, provider or route.
    Forbidden(String),
    /// No such model, or none that the key may see.
    ModelNotFound {
        /// The model string as asked.
        model: String,
        /// A near miss, if there is one.
        suggestion: Option<String>,
    },
    /// No such path or object.
    NotFound(String),
    /// The path exists, the method does not.
    MethodNotAllowed {
        /// Value of the `Allow` header.
        allow: &'static str,
    },
    /// The client took too long to send its request.
    RequestTimeout,
    /// The request conflicts with what is there.
    Conflict(String),
    /// The idempotency key was used for another request.
    IdempotencyKeyReused,
    /// The same request was answered with more than can be given again.
    IdempotencyAnswerTooLarge,
    /// Retired on every provider.
    ModelRetired(String),
    /// Body over the limit, in bytes.
    BodyTooLarge(u64),
    /// Not `application/json`, or an encoding we do not take.
    UnsupportedMediaType(String),
    /// The caller's own limit.
    RateLimited {
        /// Which limit, e.g. `requests per minute`.
        limit: String,
        /// When to come back.
        retry_after: Duration,
    },
    /// Every candidate upstream limits us.
    UpstreamRateLimited {
        /// What the upstream said.
        message: String,
        /// When to come back, if an upstream said so.
        retry_after: Option<Duration>,
    },
    /// The upstream refused the request itself (its own 400, 404, 413, 422), its message kept.
    UpstreamRejected {
        /// HTTP status passed on.
        status: u16,
        /// The upstream's own words.
        message: String,
        /// The upstream's `param`.
        param: Option<String>,
        /// The upstream's `code`.
        code: Option<String>,
    },
    /// The upstream refused our credential.
    UpstreamAuth(String),
    /// The upstream failed, broke off or sent something that cannot be read.
    Upstream {
        /// What happened.
        message: String,
        /// `upstream_error`, `upstream_unreachable`, `stream_truncated`, `upstream_invalid_response`, ...
        code: &'static str,
    },
    /// No candidate is open, or something that is needed does not answer just now.
    Overloaded {
        /// What happened.
        message: String,
        /// When to come back.
        retry_after: Duration,
    },
    /// Refused so that the gateway, or a provider, is not asked for more than it can take.
    Shed {
        /// For want of what.
        why: Shed,
        /// What happened.
        message: String,
        /// When to come back.
        retry_after: Duration,
    },
    /// The model is known, but no provider of it has a credential.
    NoCredentials(String),
    /// Connect, first byte or idle time-out.
    Timeout(String),
    /// A defect of the gateway.
    Internal,
}

/// For want of what a call is refused that would have been served at another time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Shed {
    /// The process has as much memory as it may have.
    Memory,
    /// The room for large bodies is taken.
    BodyMemory,
    /// The room for fetched images is taken.
    ImageMemory,
    /// Receipts cannot be written.
    Journal,
    /// Receipts wait for the store, too many of them.
    Billing,
    /// As many requests with an `Idempotency-Key` as can be kept apart are.
    Idempotency,
    /// The process ends.
    Draining,
    /// The queue of a provider is full.
    QueueFull,
    /// The time in the queue of a provider was over.
    QueueTimeout,
}

impl Shed {
    /// All of them, with the labels of their series.
    pub const ALL: [(Self, &'static str); 9] = [
        (Self::Memory, "memory"),
        (Self::BodyMemory, "body_memory"),
        (Self::ImageMemory, "image_memory"),
        (Self::Journal, "journal"),
        (Self::Billing, "billing"),
        (Self::Idempotency, "idempotency"),
        (Self::Draining, "draining"),
        (Self::QueueFull, "queue_full"),
        (Self::QueueTimeout, "queue_timeout"),
    ];
}

/// What a status line, an SDK and a metric need to know of an [`Error`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Class {
    /// HTTP status.
    pub status: u16,
    /// `error.type` of the body.
    pub kind: &'static str,
    /// `error.code` of the body, unless the variant carries its own.
    pub code: Option<&'static str>,
    /// Another target may do better: the attempt loop goes on.
    pub failover: bool,
    /// Whether the client's SDK should try again (`x-should-retry`); `None` leaves it to the status.
    pub client_retry: Option<bool>,
    /// Value of the `error` label in metrics.
    pub label: &'static str,
}

/// One row of the table.
const fn class(
    status: u16,
    kind: &'static str,
    code: Option<&'static str>,
    failover: bool,
    client_retry: Option<bool>,
    label: &'static str,
) -> Class {
    Class { status, kind, code, failover, client_retry, label }
}

const BAD: &str = "invalid_request_error";
const NOT_FOUND: &str = "not_found_error";
const UPSTREAM: &str = "upstream_error";

impl Error {
    /// Shorthand for a 400 with a path.
    pub fn invalid(message: impl Into<String>, param: impl Into<String>) -> Self {
        Self::InvalidRequest { message: message.into(), param: Some(param.into()), code: None }
    }

    /// Shorthand for a 400 with a code.
    pub fn invalid_code(message: impl Into<String>, param: Option<&str>, code: &'static str) -> Self {
        Self::InvalidRequest { message: message.into(), param: param.map(str::to_owned), code: Some(code) }
    }

    /// Shorthand for a broken upstream.
    pub fn upstream(message: impl Into<String>, code: &'static str) -> Self {
        Self::Upstream { message: message.into(), code }
    }

    /// The same with `secret` masked wherever an upstream may have repeated it.
    pub fn without(mut self, secret: &str) -> Self {
        let mask = |text: &mut String| {
            if text.contains(secret) {
                *text = text.replace(secret, "[redacted]");
            }
        };
        match &mut self {
            Self::UpstreamRejected { message, param, code, .. } => {
                mask(message);
                param.iter_mut().chain(code).for_each(mask);
            }
            Self::UpstreamRateLimited { message, .. }
            | Self::Upstream { message, .. }
            | Self::UpstreamAuth(message)
            | Self::Timeout(message) => mask(message),
            _ => {}
        }
        self
    }

    /// The table.
    #[rustfmt::skip]
    pub fn class(&self) -> Class {
        match self {
            Self::InvalidRequest { code, .. } => class(400, BAD, *code, false, None, "invalid_request"),
            Self::MissingKey => class(401, "authentication_error", Some("missing_api_key"), false, None, "missing_api_key"),
            Self::InvalidKey => class(401, "authentication_error", Some("invalid_api_key"), false, None, "invalid_api_key"),
            Self::BudgetExceeded(_) => class(402, "billing_error", Some("budget_exceeded"), false, Some(false), "budget_exceeded"),
            Self::Forbidden(_) => class(403, "permission_error", Some("permission_denied"), false, None, "permission_denied"),
            Self::ModelNotFound { .. } => class(404, NOT_FOUND, Some("model_not_found"), false, None, "model_not_found"),
            Self::NotFound(_) => class(404, NOT_FOUND, Some("not_found"), false, None, "not_found"),
            Self::MethodNotAllowed { .. } => class(405, BAD, Some("method_not_allowed"), false, None, "method_not_allowed"),
            Self::RequestTimeout => class(408, BAD, Some("request_timeout"), false, Some(false), "request_timeout"),
            Self::Conflict(_) => class(409, "conflict_error", Some("conflict"), false, Some(false), "conflict"),
            Self::IdempotencyKeyReused => class(409, "conflict_error", Some("idempotency_key_reused"), false, Some(false), "idempotency_key_reused"),
            Self::IdempotencyAnswerTooLarge => class(409, "conflict_error", Some("idempotency_answer_too_large"), false, Some(false), "idempotency_answer_too_large"),
            Self::ModelRetired(_) => class(410, NOT_FOUND, Some("model_retired"), false, None, "model_retired"),
            Self::BodyTooLarge(_) => class(413, BAD, Some("request_too_large"), false, None, "request_too_large"),
            Self::UnsupportedMediaType(_) => class(415, BAD, Some("unsupported_media_type"), false, None, "unsupported_media_type"),
            Self::RateLimited { .. } => class(429, "rate_limit_error", Some("rate_limit_exceeded"), false, None, "rate_limited"),
            Self::UpstreamRateLimited { .. } => class(429, "rate_limit_error", Some("upstream_rate_limited"), true, None, "upstream_rate_limited"),
            Self::UpstreamRejected { status, .. } => {
                let kind = if *status == 404 { NOT_FOUND } else { BAD };
                class(*status, kind, None, false, None, "upstream_rejected")
            }
            Self::UpstreamAuth(_) => class(502, UPSTREAM, Some("upstream_auth"), true, Some(false), "upstream_auth"),
            Self::Upstream { code, .. } => class(502, UPSTREAM, Some(code), true, None, code),
            Self::Overloaded { .. } | Self::Shed { .. } => class(503, "overloaded_error", Some("overloaded"), true, None, "overloaded"),
            Self::NoCredentials(_) => class(503, "overloaded_error", Some("no_credentials"), false, Some(false), "no_credentials"),
            Self::Timeout(_) => class(504, "timeout_error", Some("timeout"), true, None, "timeout"),
            Self::Internal => class(500, "api_error", Some("internal_error"), false, None, "internal"),
        }
    }

    /// `error.code` as sent: the upstream's own where it was kept.
    pub fn code(&self) -> Option<&str> {
        match self {
            Self::UpstreamRejected { code, .. } => code.as_deref(),
            _ => self.class().code,
        }
    }

    /// `error.param` as sent.
    pub fn param(&self) -> Option<&str> {
        match self {
            Self::InvalidRequest { param, .. } | Self::UpstreamRejected { param, .. } => param.as_deref(),
            Self::ModelNotFound { .. } | Self::ModelRetired(_) => Some("model"),
            _ => None,
        }
    }

    /// Value of `Retry-After`, where the error carries one.
    pub fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::RateLimited { retry_after, .. }
            | Self::Overloaded { retry_after, .. }
            | Self::Shed { retry_after, .. } => Some(*retry_after),
            // The contract promises the header on every 429; a second is the gentlest honest guess.
            Self::UpstreamRateLimited { retry_after, .. } => {
                Some(retry_after.unwrap_or(Duration::from_secs(1)))
            }
            _ => None,
        }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::InvalidRequest { message, .. }
            | Self::UpstreamRejected { message, .. }
            | Self::UpstreamRateLimited { message, .. }
            | Self::Upstream { message, .. }
            | Self::Overloaded { message, .. }
            | Self::Shed { message, .. }
            | Self::BudgetExceeded(message)
            | Self::Forbidden(message)
            | Self::NotFound(message)
            | Self::Conflict(message)
            | Self::ModelRetired(message)
            | Self::UnsupportedMediaType(message)
            | Self::UpstreamAuth(message)
            | Self::NoCredentials(message)
            | Self::Timeout(message) => f.write_str(message),
            Self::IdempotencyKeyReused => f.write_str(
                "This Idempotency-Key was used for another request. Send the same request again, or take another key.",
            ),
            Self::IdempotencyAnswerTooLarge => f.write_str(
                "A request with this Idempotency-Key is answered already, with more than can be given again. Take \
                 another key to ask anew.",
            ),
            Self::MissingKey => f.write_str(
                "You didn't provide an API key. Send it as `Authorization: Bearer <key>` or `x-api-key: <key>`.",
            ),
            Self::InvalidKey => {
                f.write_str("Incorrect API key provided. The key is unknown, revoked or expired; ask your operator.")
            }
            Self::ModelNotFound { model, suggestion } => {
                write!(f, "The model `{model}` does not exist or you do not have access to it.")?;
                suggestion.as_ref().map_or(Ok(()), |near| write!(f, " Did you mean `{near}`?"))
            }
            Self::MethodNotAllowed { allow } => write!(f, "Method not allowed here. Use: {allow}."),
            Self::RequestTimeout => f.write_str("The request was not received in time. Send it again, faster."),
            Self::BodyTooLarge(limit) => write!(f, "The request body is larger than the limit of {limit} bytes."),
            Self::RateLimited { limit, retry_after } => {
                write!(f, "Rate limit reached: {limit}. Try again in {:.1} s.", retry_after.as_secs_f64())
            }
            Self::Internal => f.write_str("The gateway failed to handle this request. The operator's log has it."),
        }
    }
}

impl std::error::Error for Error {}
