//! Telling an address of the operator's own: one signed POST, of whose answer only the status counts.
//!
//! The address is the operator's, as a provider's is: plain http and inner addresses are allowed. A client per message:
//! there are few.

use std::sync::Arc;
use std::time::Duration;

use awc::http::Uri;
use awc::http::header::{CONTENT_TYPE, HeaderValue, USER_AGENT};
use awc::{Client, Connector};
use bytes::Bytes;
use ring::hmac;
use tokio::time::timeout;

use crate::config::Secret;

/// Connecting, sending and the head of the answer take this long at most.
const PATIENCE: Duration = Duration::from_secs(5);
/// The header that proves where a message came from.
const SIGNATURE: &str = "x-gateway-signature";

/// Sends a message, signed as of `time_s` (seconds since the epoch) where there is a secret.
///
/// # Errors
/// Why it was not taken, without the address: no answer in time, or another status than 2xx.
pub async fn notify(
    tls: &Arc<rustls::ClientConfig>,
    url: &Secret,
    secret: Option<&Secret>,
    body: Bytes,
    time_s: i64,
) -> Result<(), String> {
    let uri: Uri = url.expose().parse().map_err(|_| "its address cannot be read".to_owned())?;
    let connector = Connector::new()
        .rustls_0_23(Arc::clone(tls))
        .timeout(PATIENCE)
        .handshake_timeout(PATIENCE)
        .conn_keep_alive(Duration::ZERO);
    let client =
        Client::builder().connector(connector).timeout(PATIENCE).disable_redirects().no_default_headers();
    let mut request = client
        .finish()
        .post(uri)
        .force_close()
        .no_decompress()
        .insert_header((CONTENT_TYPE, HeaderValue::from_static("application/json")))
        .insert_header((
            USER_AGENT,
            HeaderValue::from_static(concat!("llm-gateway/", env!("CARGO_PKG_VERSION"))),
        ));
    if let Some(secret) = secret {
        request = request.insert_header((SIGNATURE, signature(secret, &body, time_s)));
    }
    let sent = timeout(PATIENCE, request.send_body(body)).await;
    let answer = sent
        .map_err(|_| "it did not answer in time".to_owned())?
        .map_err(|_| "it cannot be reached".to_owned())?;
    let status = answer.status();
    if status.is_success() { Ok(()) } else { Err(format!("it answered with {}", status.as_u16())) }
}

/// `t=<seconds>,v1=<hex>`: HMAC-SHA256 over the time, a point and the body, so that no message can be sent again later
/// as a new one.
fn signature(secret: &Secret, body: &[u8], time_s: i64) -> String {
    let key = hmac::Key::new(hmac::HMAC_SHA256, secret.expose().as_bytes());
    let mut signed = hmac::Context::with_key(&key);
    signed.update(format!("{time_s}.").as_bytes());
    signed.update(body);
    let hex: String = signed.sign().as_ref().iter().map(|byte| format!("{byte:02x}")).collect();
    format!("t={time_s},v1={hex}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_signature_is_what_any_other_implementation_makes() {
        // printf '1700000000.{"a":1}' | openssl dgst -sha256 -hmac whsec
        let made = signature(&Secret::new("whsec"), br#"{"a":1}"#, 1_700_000_000);
        assert_eq!(made, "t=1700000000,v1=8ad37ba156048ae0e0a5533c75cdf26fee88b07f93cb57ee4c80adb053012032");
    }
}
