//! Google's tokens: a service account's key signs for one, a user's permission is traded for one, or the machine's
//! metadata server gives one.
//!
//! The signature is made by `ring`, which TLS uses, too.

use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use bytes::Bytes;
use ring::rand::SystemRandom;
use ring::signature::{RSA_PKCS1_SHA256, RsaKeyPair};
use rustls::pki_types::PrivateKeyDer;
use rustls::pki_types::pem::PemObject;
use serde::Serialize;

use super::cache::{Failure, Fresh};
use super::http::{Asked, client};
use crate::config::{GoogleIdentity, Secret};

const SCOPE: &str = "https://www.googleapis.com/auth/cloud-platform";
const GRANT: &str = "urn:ietf:params:oauth:grant-type:jwt-bearer";
/// How long a signed request for a token is good, seconds: the most that is taken.
const ASSERTION_SECONDS: u64 = 3600;

const ENDPOINT: Asked<'static> = Asked {
    whom: "Google's token endpoint",
    mend: "the file that GOOGLE_APPLICATION_CREDENTIALS or `credentials` names",
};
const METADATA: Asked<'static> = Asked {
    whom: "Google's metadata server",
    mend: "that the gateway runs on a machine of Google's with a service account, or give `credentials: file:PATH`",
};

#[derive(Serialize)]
struct Header<'a> {
    alg: &'static str,
    typ: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    kid: Option<&'a str>,
}

#[derive(Serialize)]
struct Claims<'a> {
    iss: &'a str,
    scope: &'static str,
    aud: &'a str,
    iat: u64,
    exp: u64,
}

/// A private key, ready to sign.
///
/// # Errors
/// It is not an RSA key in PEM.
pub fn signing_key(key: &Secret) -> Result<RsaKeyPair, Failure> {
    let unusable = || {
        Failure("the private key is not an RSA key in PEM; download the service account's key anew".into())
    };
    let pair = match PrivateKeyDer::from_pem_slice(key.expose().as_bytes()).map_err(|_| unusable())? {
        PrivateKeyDer::Pkcs8(der) => RsaKeyPair::from_pkcs8(der.secret_pkcs8_der()),
        PrivateKeyDer::Pkcs1(der) => RsaKeyPair::from_der(der.secret_pkcs1_der()),
        _ => return Err(unusable()),
    };
    pair.map_err(|_| unusable())
}

/// Fetches a token.
pub async fn fetch(
    identity: GoogleIdentity,
    tls: Arc<rustls::ClientConfig>,
) -> Result<Fresh<Secret>, Failure> {
    match identity {
        GoogleIdentity::Key { email, key, key_id, token_url } => {
            let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
            let assertion = assertion(&signing_key(&key)?, &email, key_id.as_deref(), &token_url, now)?;
            let form = [("grant_type", GRANT), ("assertion", assertion.as_str())];
            ENDPOINT.post(&tls, &token_url, &form).await
        }
        GoogleIdentity::User { client_id, client_secret, refresh_token, token_url } => {
            let form = [
                ("grant_type", "refresh_token"),
                ("client_id", client_id.as_str()),
                ("client_secret", client_secret.expose()),
                ("refresh_token", refresh_token.expose()),
            ];
            ENDPOINT.post(&tls, &token_url, &form).await
        }
        GoogleIdentity::Instance { host } => {
            let url = format!("http://{host}/computeMetadata/v1/instance/service-accounts/default/token");
            let request = client(&tls).get(url).insert_header(("metadata-flavor", "Google"));
            METADATA.token(request, Bytes::new()).await
        }
    }
}

/// The signed request for a token.
fn assertion(
    key: &RsaKeyPair,
    email: &str,
    key_id: Option<&str>,
    token_url: &str,
    now: u64,
) -> Result<String, Failure> {
    let failed = || Failure("the request for a token could not be signed".into());
    let header = Header { alg: "RS256", typ: "JWT", kid: key_id };
    let claims = Claims { iss: email, scope: SCOPE, aud: token_url, iat: now, exp: now + ASSERTION_SECONDS };
    let header = serde_json::to_vec(&header).map_err(|_| failed())?;
    let claims = serde_json::to_vec(&claims).map_err(|_| failed())?;
    let mut signed = format!("{}.{}", URL_SAFE_NO_PAD.encode(header), URL_SAFE_NO_PAD.encode(claims));
    let mut signature = vec![0; key.public().modulus_len()];
    key.sign(&RSA_PKCS1_SHA256, &SystemRandom::new(), signed.as_bytes(), &mut signature)
        .map_err(|_| failed())?;
    signed.push('.');
    signed.push_str(&URL_SAFE_NO_PAD.encode(signature));
    Ok(signed)
}
