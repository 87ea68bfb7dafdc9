//! The HTTP client's errors, told apart: never connected, maybe stale, timed out, broke off.

use actix_http::error::ParseError;
use awc::error::{ConnectError, SendRequestError};

use crate::error::Error;

/// What a failure to get a response head means.
#[derive(Debug)]
pub struct SendFailure {
    /// What the client is told.
    pub error: Error,
    /// False when no connection was made: nothing can have been charged.
    pub reached: bool,
    /// The connection was closed before any byte of an answer: if it was a pooled one, a fresh one may do.
    pub maybe_stale: bool,
}

/// Sorts an error of sending. The text never holds an address.
pub fn of_send(error: &SendRequestError, provider: &str) -> SendFailure {
    let unreachable = |why: &str| SendFailure {
        error: Error::upstream(format!("{provider} cannot be reached: {why}."), "upstream_unreachable"),
        reached: false,
        maybe_stale: false,
    };
    let too_slow = || SendFailure {
        error: Error::Timeout(format!("{provider} did not accept a connection in time.")),
        reached: false,
        maybe_stale: false,
    };
    match error {
        SendRequestError::Connect(connect) => match connect {
            // The client says so of a connection that closed before a response head, too.
            ConnectError::Disconnected => broke_off(provider),
            ConnectError::Timeout => too_slow(),
            ConnectError::Io(error) if error.kind() == std::io::ErrorKind::TimedOut => too_slow(),
            ConnectError::Resolver(_) | ConnectError::NoRecords | ConnectError::Unresolved => {
                unreachable("its host name does not resolve")
            }
            ConnectError::Io(error) if error.kind() == std::io::ErrorKind::ConnectionRefused => {
                unreachable("connection refused")
            }
            ConnectError::Io(_) => unreachable("the connection or its TLS handshake failed"),
            _ => unreachable("the connection failed"),
        },
        SendRequestError::Send(_) => broke_off(provider),
        // A reset while the head is awaited arrives as an error of reading it.
        SendRequestError::Response(ParseError::Io(_)) => broke_off(provider),
        SendRequestError::Response(_) => SendFailure {
            error: Error::upstream(
                format!("{provider} sent a response that is not HTTP."),
                "upstream_invalid_response",
            ),
            reached: true,
            maybe_stale: false,
        },
        SendRequestError::Timeout => SendFailure {
            error: Error::Timeout(format!("{provider} did not answer in time.")),
            reached: true,
            maybe_stale: false,
        },
        _ => broke_off(provider),
    }
}

/// The connection went away before the head. The request may have been read, and paid for.
fn broke_off(provider: &str) -> SendFailure {
    SendFailure {
        error: Error::upstream(
            format!("{provider} closed the connection before it answered."),
            "upstream_disconnected",
        ),
        reached: true,
        maybe_stale: true,
    }
}
