//! Requests signed for AWS (SigV4). The keys come from AWS's own chain: variables, the shared files, a web identity, the
//! role of a container or of the machine.
//!
//! Invariant: what is signed is what is sent, the path as it stands in the request line and every byte of the body.

use std::sync::Arc;
use std::time::SystemTime;

use aws_config::default_provider::credentials::DefaultCredentialsChain;
use aws_config::profile::ProfileFileCredentialsProvider;
use aws_config::provider_config::ProviderConfig;
use aws_config::{BehaviorVersion, Region};
use aws_credential_types::Credentials;
use aws_credential_types::provider::ProvideCredentials;
use aws_credential_types::provider::error::CredentialsError;
use aws_sigv4::http_request::{SignableBody, SignableRequest, SigningSettings, sign as signed};
use aws_sigv4::sign::v4::SigningParams;
use bytes::Bytes;
use sha2::{Digest, Sha256};

use super::aws_http;
use super::cache::{Failure, Fresh};
use crate::config::AwsIdentity;

/// Bodies up to this are hashed on the cell's own thread, bytes: a tenth of a millisecond.
const HASHED_HERE_MAX: usize = 128 * 1024;

/// Looks the keys up. The chain is made anew each time, so that files that changed are read.
pub async fn fetch(
    identity: AwsIdentity,
    tls: Arc<rustls::ClientConfig>,
) -> Result<Fresh<Credentials>, Failure> {
    let (client, requests) = aws_http::channel();
    let region = Region::new(identity.region);
    let config = ProviderConfig::without_region()
        .with_region(Some(region.clone()))
        .with_behavior_version(Some(BehaviorVersion::latest()))
        .with_http_client(client);
    let looking = async {
        match identity.profile {
            Some(name) => {
                let profile = ProfileFileCredentialsProvider::builder().configure(&config).profile_name(name);
                profile.build().provide_credentials().await
            }
            None => {
                let chain = DefaultCredentialsChain::builder().configure(config.clone()).region(region);
                chain.build().await.provide_credentials().await
            }
        }
    };
    let found = tokio::select! {
        biased;
        found = looking => found,
        () = aws_http::serve(&tls, requests) => Err(CredentialsError::not_loaded_no_source()),
    };
    let keys = found.map_err(|error| failure(&error))?;
    let lifetime = keys.expiry().map(|expiry| expiry.duration_since(SystemTime::now()).unwrap_or_default());
    Ok(Fresh { value: keys, lifetime })
}

/// What the chain's failure means. Its own words may quote files and answers, and stay out.
fn failure(error: &CredentialsError) -> Failure {
    let why = match error {
        CredentialsError::CredentialsNotLoaded(_) => "found no credentials",
        CredentialsError::ProviderTimedOut(_) => "had no answer in time",
        CredentialsError::InvalidConfiguration(_) => "found a configuration that is not valid",
        _ => "was refused or failed",
    };
    Failure(format!(
        "AWS's credential chain {why}; set AWS_BEARER_TOKEN_BEDROCK, or AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, \
         or AWS_PROFILE, or AWS_WEB_IDENTITY_TOKEN_FILE and AWS_ROLE_ARN"
    ))
}

/// SHA-256 of a body in hex; of a large one away from the cell's thread.
pub async fn digest(body: &Bytes) -> Result<String, Failure> {
    if body.len() <= HASHED_HERE_MAX {
        return Ok(hex(body));
    }
    let body = body.clone();
    let hashing = tokio::task::spawn_blocking(move || hex(&body));
    hashing.await.map_err(|_| Failure("the request could not be signed".into()))
}

fn hex(body: &[u8]) -> String {
    Sha256::digest(body).iter().map(|byte| format!("{byte:02x}")).collect()
}

/// A request as far as it is signed.
pub struct Signed<'a> {
    /// Its whole address, as it is sent.
    pub url: &'a str,
    /// Headers that are sent just so.
    pub headers: &'a [(&'a str, &'a str)],
    /// SHA-256 of its body, hex.
    pub digest: String,
}

/// The headers that a POST is signed with.
pub fn sign(
    keys: &Credentials,
    identity: &AwsIdentity,
    request: Signed<'_>,
    now: SystemTime,
) -> Result<Vec<(&'static str, String)>, Failure> {
    let failed = || Failure("the request could not be signed".into());
    let who = keys.clone().into();
    let params = SigningParams::builder()
        .identity(&who)
        .region(&identity.region)
        .name(&identity.service)
        .time(now)
        .settings(SigningSettings::default())
        .build()
        .map_err(|_| failed())?;
    let body = SignableBody::Precomputed(request.digest);
    let signable = SignableRequest::new("POST", request.url, request.headers.iter().copied(), body);
    let made = signed(signable.map_err(|_| failed())?, &params.into()).map_err(|_| failed())?;
    let (headers, _) = made.into_parts().0.into_parts();
    Ok(headers.into_iter().map(|header| (header.name(), header.value().to_owned())).collect())
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, UNIX_EPOCH};

    use super::*;

    const SECRET: &str = "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY";

    /// The signature of a POST on 30 August 2015, 12:36:00 UTC, and the headers that it names.
    fn signature(
        (region, service): (&str, &str),
        token: Option<&str>,
        url: &str,
        headers: &[(&str, &str)],
        body: &str,
    ) -> String {
        let keys = Credentials::new("AKIDEXAMPLE", SECRET, token.map(str::to_owned), None, "test");
        let identity = AwsIdentity { region: region.into(), service: service.into(), profile: None };
        let request = Signed { url, headers, digest: hex(body.as_bytes()) };
        let now = UNIX_EPOCH + Duration::from_secs(1_440_938_160);
        let made = sign(&keys, &identity, request, now).unwrap();
        let value = |name: &str| made.iter().find(|(is, _)| *is == name).map(|(_, value)| value.as_str());
        assert_eq!((value("x-amz-date"), value("x-amz-security-token")), (Some("20150830T123600Z"), token));
        let start = format!(
            "AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/20150830/{region}/{service}/aws4_request, SignedHeaders="
        );
        value("authorization").unwrap().strip_prefix(&start).unwrap().to_owned()
    }

    /// The expectations are what tests/fixtures/sigv4.py prints, of which AWS publishes the first two.
    #[test]
    fn signatures_are_those_that_aws_publishes_and_that_another_program_computes() {
        let suite = ("us-east-1", "service");
        let host = ("host", "example.amazonaws.com");
        let form = ("content-type", "application/x-www-form-urlencoded");
        assert_eq!(
            signature(suite, None, "https://example.amazonaws.com/", &[host], ""),
            "host;x-amz-date, Signature=5da7c1a2acd57cee7505fc6676e4e544621c30862966e37dddb68e92efbe5d6b"
        );
        assert_eq!(
            signature(suite, None, "https://example.amazonaws.com/", &[host, form], "Param1=value1"),
            "content-type;host;x-amz-date, \
             Signature=ff11897932ad3f4e8b18135d722051e5ac45fc38421b1da7b9d196a0fe09473a"
        );
        assert_eq!(
            signature(
                ("us-east-1", "bedrock"),
                Some("TOKEN/EXAMPLE=="),
                "https://bedrock-runtime.us-east-1.amazonaws.com/model/us.a%2Fb-v1%3A0/converse",
                &[("host", "bedrock-runtime.us-east-1.amazonaws.com"), ("content-type", "application/json")],
                r#"{"a":"é"}"#
            ),
            "content-type;host;x-amz-date;x-amz-security-token, \
             Signature=6d779346f419fee46f3cd13c51727beb314ac349d64788dc18c5b13a56fd04ed"
        );
    }

    #[actix::test]
    async fn small_and_large_bodies_have_the_digest_of_their_bytes() {
        for length in [0, 1, HASHED_HERE_MAX, HASHED_HERE_MAX + 1] {
            let body = Bytes::from(vec![7; length]);
            assert_eq!(digest(&body).await.unwrap(), hex(&body), "{length}");
        }
        assert_eq!(hex(b"abc"), "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
    }
}
