//! Credentials that are more than a key: an upstream that checks AWS's signature itself, and token endpoints that check
//! what they are sent.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ring::hmac::{HMAC_SHA256, Key, sign};
use ring::signature::{RSA_PKCS1_2048_8192_SHA256, RsaPublicKeyComponents};
use rustls::pki_types::PrivateKeyDer;
use rustls::pki_types::pem::PemObject as _;
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use crate::support::{Gateway, Request, Script, Setup, Upstream, completion, streamed, whole};

const ACCESS_KEY: &str = "AKIDCANARYEXAMPLE";
const SECRET_KEY: &str = "wJalrXUtnFEMI/canary/bPxRfiCYEXAMPLEKEY";
const SESSION: &str = "canary-session-token//==";

/// Of no account anywhere: made for these tests.
const TEST_KEY: &str = include_str!("../fixtures/service_account_test_key.pem");

fn hex(bytes: impl AsRef<[u8]>) -> String {
    bytes.as_ref().iter().map(|byte| format!("{byte:02x}")).collect()
}

fn hmac(key: impl AsRef<[u8]>, text: &str) -> Vec<u8> {
    sign(&Key::new(HMAC_SHA256, key.as_ref()), text.as_bytes()).as_ref().to_vec()
}

/// The path as it is signed: what stands in the request line, encoded once more.
fn signed_path(path: &str) -> String {
    let byte = |byte: u8| match byte {
        b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' | b'/' => {
            char::from(byte).to_string()
        }
        other => format!("%{other:02X}"),
    };
    path.bytes().map(byte).collect()
}

/// What is wrong with the signature of a request, computed from nothing but the request and the secret key.
fn wrong_with(request: &Request, region: &str, service: &str) -> Option<String> {
    let authorization = request.header("authorization")?;
    let field = |name: &str| {
        authorization.split([' ', ',']).find_map(|part| part.strip_prefix(name)?.strip_prefix('='))
    };
    let date = request.header("x-amz-date").unwrap_or_default();
    let scope = format!("{}/{region}/{service}/aws4_request", date.get(..8).unwrap_or_default());
    if field("Credential") != Some(&format!("{ACCESS_KEY}/{scope}")) {
        return Some(format!("the scope of {authorization}"));
    }
    let names = field("SignedHeaders").unwrap_or_default();
    let ours = request.head.lines().skip(1).filter_map(|line| line.split(':').next());
    let ours = ours.map(str::to_lowercase).filter(|name| name.starts_with("x-amz-"));
    for needed in ["content-type".to_owned(), "host".to_owned()].into_iter().chain(ours) {
        if !names.split(';').any(|name| *name == needed) {
            return Some(format!("{needed} is not signed"));
        }
    }
    let headers: String = names
        .split(';')
        .map(|name| format!("{name}:{}\n", request.header(name).unwrap_or_default()))
        .collect();
    let target = request.head.split(' ').nth(1).unwrap_or_default();
    let (path, query) = target.split_once('?').unwrap_or((target, ""));
    let body = hex(Sha256::digest(&request.body));
    let canonical = format!("POST\n{}\n{query}\n{headers}\n{names}\n{body}", signed_path(path));
    let text = format!("AWS4-HMAC-SHA256\n{date}\n{scope}\n{}", hex(Sha256::digest(&canonical)));
    let day = hmac(format!("AWS4{SECRET_KEY}"), date.get(..8).unwrap_or_default());
    let key = hmac(hmac(hmac(day, region), service), "aws4_request");
    let expected = hex(hmac(key, &text));
    (field("Signature") != Some(&expected))
        .then(|| format!("the signature is not {expected} of\n{canonical}"))
}

fn refused(status: u16, message: &str) -> Script {
    Script::new().send(whole(status, &json!({"message": message, "error": {"message": message}})))
}

/// Answers what is signed as it must be, refuses everything else.
async fn aws(service: &'static str) -> Upstream {
    Upstream::start(move |request| match wrong_with(request, "eu-west-3", service) {
        None if request.header("authorization").is_none() => refused(403, "no signature"),
        None if request.header("accept") == Some("text/event-stream") => streamed("hi"),
        None => Script::new().send(whole(200, &completion("hi"))),
        Some(wrong) => refused(403, &wrong),
    })
    .await
}

/// A provider `up` whose requests are signed.
fn signing(upstream: &Upstream, more: &str) -> Setup {
    Setup::new(format!(
        "providers:\n  up: {{ base_url: '{}', auth: aws, vars: {{ region: eu-west-3 }}, {more} }}\n",
        upstream.base_url()
    ))
    .variable("LLM_GATEWAY__LOG__LEVEL", "trace")
}

fn with_keys(setup: Setup) -> Setup {
    setup
        .variable("AWS_ACCESS_KEY_ID", ACCESS_KEY)
        .variable("AWS_SECRET_ACCESS_KEY", SECRET_KEY)
        .variable("AWS_SESSION_TOKEN", SESSION)
}

#[tokio::test]
async fn every_request_is_signed_over_its_path_and_its_bytes() {
    let up = aws("bedrock").await;
    let setup = signing(&up, "path: '/model/{model}/converse'");
    let mut gateway = with_keys(setup).start().await;
    let client = gateway.client().await;
    let large = "é".repeat(300_000);
    for (model, more) in [
        ("plain", json!({})),
        ("us.anthropic.claude-opus-4-20250514-v1:0", json!({"user": "é \u{1f600}"})),
        ("arn:aws:bedrock:eu-west-3:123:inference-profile/a b+c~d%2F", json!({})),
        ("large", json!({"user": large})),
    ] {
        for stream in [false, true] {
            let mut body = more.clone();
            body["stream"] = json!(stream);
            let answer = client.ask(&format!("up/{model}"), body).await;
            assert_eq!(answer.status, 200, "{model}: {}", answer.text());
        }
    }
    let path = up.requests()[4].head.split(' ').nth(1).unwrap().to_owned();
    assert_eq!(
        path,
        "/v1/model/arn%3Aaws%3Abedrock%3Aeu-west-3%3A123%3Ainference-profile%2Fa%20b%2Bc~d%252F/converse"
    );
    gateway.stop().await;
    let log = gateway.process.log();
    for secret in [ACCESS_KEY, SECRET_KEY, SESSION, "Signature="] {
        assert!(!log.contains(secret), "{secret}: {log}");
    }
}

#[tokio::test]
async fn another_service_and_a_query_are_signed_for_and_keys_may_come_from_a_profile() {
    let up = aws("bedrock-mantle").await;
    let more = "path: '/x?beta=1', headers: { x-amz-team: search }, credentials: 'profile:dev'";
    let file = format!(
        "[default]\naws_access_key_id = wrong\naws_secret_access_key = wrong\n[dev]\naws_access_key_id = {ACCESS_KEY}\n\
         aws_secret_access_key = {SECRET_KEY}\naws_session_token = {SESSION}\n"
    );
    let config = format!(
        "providers:\n  up: {{ base_url: '{}', auth: aws, vars: {{ region: eu-west-3, service: bedrock-mantle }}, {more} }}\n",
        up.base_url()
    );
    let setup = Setup::new(config).file("aws", &file).variable("AWS_SHARED_CREDENTIALS_FILE", "aws");
    let gateway = setup.variable("AWS_BEARER_TOKEN_BEDROCK", "canary-bearer-token").start().await;
    let answer = gateway.client().await.ask("up/m", json!({})).await;
    assert_eq!(answer.status, 200, "{}", answer.text());
}

#[tokio::test]
async fn a_bearer_token_goes_before_a_signature() {
    let up = Upstream::always(Script::new().send(whole(200, &completion("hi")))).await;
    let setup =
        with_keys(signing(&up, "path: /x")).variable("AWS_BEARER_TOKEN_BEDROCK", "canary-bearer-token");
    let gateway = setup.start().await;
    assert_eq!(gateway.client().await.ask("up/m", json!({})).await.status, 200);
    assert_eq!(up.last().header("authorization"), Some("Bearer canary-bearer-token"));
    assert_eq!(up.last().header("x-amz-date"), None);
}

/// Temporary keys as the metadata server and the token service give them.
const EXPIRY: &str = "2999-01-01T00:00:00Z";

#[tokio::test]
async fn keys_may_come_from_the_machine_and_from_a_web_identity() {
    let up = aws("bedrock").await;
    let imds = Upstream::start(|request| {
        let path = request.head.split(' ').nth(1).unwrap_or_default();
        let keys = json!({
            "Code": "Success", "Type": "AWS-HMAC", "AccessKeyId": ACCESS_KEY, "SecretAccessKey": SECRET_KEY,
            "Token": SESSION, "Expiration": EXPIRY, "LastUpdated": "2024-01-01T00:00:00Z", "AccountId": "1"
        });
        let text = |text: &str| {
            let length = text.len();
            Script::new().send(format!(
                "HTTP/1.1 200 OK\r\ncontent-length: {length}\r\nx-aws-ec2-metadata-token-ttl-seconds: 600\r\n\r\n{text}"
            ))
        };
        match path {
            "/latest/api/token" => text("imds-session"),
            _ if request.header("x-aws-ec2-metadata-token") != Some("imds-session") => refused(401, "no session"),
            _ if path.ends_with("/role") => Script::new().send(whole(200, &keys)),
            _ => text("role"),
        }
    })
    .await;
    let setup = signing(&up, "path: /x, credentials: instance")
        .variable("AWS_EC2_METADATA_SERVICE_ENDPOINT", imds.base_url().trim_end_matches("/v1"));
    let gateway = setup.start().await;
    let answer = gateway.client().await.ask("up/m", json!({})).await;
    assert_eq!(answer.status, 200, "{} {:?}", answer.text(), imds.requests());

    let sts = Upstream::start(|request| {
        let form = String::from_utf8_lossy(&request.body).into_owned();
        if !form.contains("Action=AssumeRoleWithWebIdentity") || !form.contains("WebIdentityToken=web.identity.token") {
            return refused(400, &form);
        }
        let body = format!(
            "<AssumeRoleWithWebIdentityResponse><AssumeRoleWithWebIdentityResult><Credentials>\
             <AccessKeyId>{ACCESS_KEY}</AccessKeyId><SecretAccessKey>{SECRET_KEY}</SecretAccessKey>\
             <SessionToken>{SESSION}</SessionToken><Expiration>{EXPIRY}</Expiration></Credentials>\
             <AssumedRoleUser><AssumedRoleId>A:b</AssumedRoleId><Arn>arn:aws:sts::123456789012:assumed-role/r/b</Arn>\
             </AssumedRoleUser></AssumeRoleWithWebIdentityResult></AssumeRoleWithWebIdentityResponse>"
        );
        let length = body.len();
        Script::new().send(format!("HTTP/1.1 200 OK\r\ncontent-type: text/xml\r\ncontent-length: {length}\r\n\r\n{body}"))
    })
    .await;
    let setup = signing(&up, "path: /x")
        .file("token", "web.identity.token")
        .variable("AWS_WEB_IDENTITY_TOKEN_FILE", "token")
        .variable("AWS_ROLE_ARN", "arn:aws:iam::123456789012:role/r")
        .variable("AWS_ENDPOINT_URL_STS", sts.base_url().trim_end_matches("/v1"));
    let gateway = setup.start().await;
    let client = gateway.client().await;
    for _ in 0..3 {
        let answer = client.ask("up/m", json!({})).await;
        assert_eq!(answer.status, 200, "{} {:?}", answer.text(), sts.requests());
    }
    assert_eq!(sts.requests().len(), 1);
}

#[tokio::test]
async fn what_a_refusal_quotes_of_a_signed_request_is_masked() {
    let up = Upstream::start(|request| refused(400, &format!("You signed:\n{}", request.head))).await;
    let gateway = with_keys(signing(&up, "path: /x")).start().await;
    let answer = gateway.client().await.ask("up/m", json!({})).await;
    let signature = up.last().header("authorization").unwrap().rsplit_once('=').unwrap().1.to_owned();
    assert!(answer.status == 400 && answer.text().contains("[redacted]"), "{}", answer.text());
    for secret in [ACCESS_KEY, SESSION, &signature] {
        assert!(!answer.text().contains(secret), "{secret}: {}", answer.text());
    }
}

#[tokio::test]
async fn without_keys_nothing_is_sent_and_the_answer_says_what_to_set() {
    let up = aws("bedrock").await;
    let setup = signing(&up, "path: /x")
        .variable("AWS_PROFILE", "none")
        .variable("AWS_EC2_METADATA_DISABLED", "true");
    let gateway = setup.start().await;
    let answer = gateway.client().await.ask("up/m", json!({})).await;
    assert_eq!((answer.status, answer.code().as_str()), (502, "upstream_auth"), "{}", answer.text());
    assert!(
        answer.text().contains("up was not asked") && answer.text().contains("AWS_PROFILE"),
        "{}",
        answer.text()
    );
    assert_eq!(up.connections(), 0);
}

/// The file of a service account whose tokens come from `endpoint`.
fn service_account(endpoint: &Upstream) -> String {
    json!({
        "type": "service_account", "project_id": "p", "private_key_id": "key-1", "private_key": TEST_KEY,
        "client_email": "gateway@p.test", "client_id": "1", "token_uri": format!("{}/token", endpoint.base_url())
    })
    .to_string()
}

/// What is wrong with a request for a token, seen from Google's side.
fn wrong_with_assertion(request: &Request, audience: &str) -> Option<String> {
    let form = String::from_utf8(request.body.clone()).ok()?;
    let assertion =
        form.strip_prefix("grant_type=urn%3Aietf%3Aparams%3Aoauth%3Agrant-type%3Ajwt-bearer&assertion=");
    let Some((signed, signature)) = assertion.and_then(|assertion| assertion.rsplit_once('.')) else {
        return Some(format!("the form {form}"));
    };
    let bytes = |text: &str| URL_SAFE_NO_PAD.decode(text).unwrap_or_default();
    let value = |text: &str| serde_json::from_slice::<Value>(&bytes(text)).unwrap_or_default();
    let (header, claims) = signed.split_once('.').unwrap_or_default();
    if value(header) != json!({"alg": "RS256", "typ": "JWT", "kid": "key-1"}) {
        return Some(format!("the header {}", value(header)));
    }
    let claims = value(claims);
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
    let (issued, expires) = (claims["iat"].as_u64().unwrap_or(0), claims["exp"].as_u64().unwrap_or(0));
    let scope = "https://www.googleapis.com/auth/cloud-platform";
    let good = claims["iss"] == "gateway@p.test" && claims["aud"] == audience && claims["scope"] == scope;
    if !good || issued.abs_diff(now) > 30 || expires <= issued || expires - issued > 3600 {
        return Some(format!("the claims {claims}"));
    }
    let PrivateKeyDer::Pkcs8(key) = PrivateKeyDer::from_pem_slice(TEST_KEY.as_bytes()).unwrap() else {
        return Some("the test key".into());
    };
    let pair = ring::signature::RsaKeyPair::from_pkcs8(key.secret_pkcs8_der()).unwrap();
    let public: RsaPublicKeyComponents<Vec<u8>> = pair.public().into();
    let verified = public.verify(&RSA_PKCS1_2048_8192_SHA256, signed.as_bytes(), &bytes(signature));
    verified.is_err().then(|| "the signature".into())
}

/// A token endpoint that gives numbered tokens for a good assertion.
async fn google(lifetime_s: u64) -> (Upstream, Arc<AtomicUsize>) {
    let given = Arc::new(AtomicUsize::new(0));
    let counter = Arc::clone(&given);
    let endpoint = Upstream::start(move |request| {
        let audience = format!("http://{}/v1/token", request.header("host").unwrap_or_default());
        match wrong_with_assertion(request, &audience) {
            Some(wrong) => refused(400, &wrong),
            None => {
                let number = counter.fetch_add(1, Ordering::SeqCst);
                let token = format!("ya29.canary-token-{number}");
                Script::new().send(whole(200, &json!({"access_token": token, "expires_in": lifetime_s})))
            }
        }
    })
    .await;
    (endpoint, given)
}

/// A provider `up` with a service account.
async fn with_account(up: &Upstream, endpoint: &Upstream, more: &str) -> Gateway {
    let setup =
        Setup::new(format!("providers:\n  up: {{ base_url: '{}', auth: google, {more} }}\n", up.base_url()));
    setup
        .file("account.json", &service_account(endpoint))
        .variable("GOOGLE_APPLICATION_CREDENTIALS", "account.json")
        .variable("LLM_GATEWAY__LOG__LEVEL", "trace")
        .variable("LLM_GATEWAY__SERVER__WORKERS", "2")
        .start()
        .await
}

#[tokio::test]
async fn a_service_account_signs_for_a_token_that_serves_every_request_of_every_worker() {
    let up = Upstream::always(Script::new().send(whole(200, &completion("hi")))).await;
    let (endpoint, given) = google(3600).await;
    let mut gateway = with_account(&up, &endpoint, "").await;
    let client = gateway.client().await;
    let asked = (0..16).map(|_| client.ask("up/m", json!({})));
    for answer in futures_util::future::join_all(asked).await {
        assert_eq!(answer.status, 200, "{} {:?}", answer.text(), endpoint.requests());
    }
    assert_eq!(given.load(Ordering::SeqCst), 1);
    for request in up.requests() {
        assert_eq!(request.header("authorization"), Some("Bearer ya29.canary-token-0"));
    }
    gateway.stop().await;
    let log = gateway.process.log();
    for secret in ["canary-token", "PRIVATE KEY", "assertion="] {
        assert!(!log.contains(secret), "{secret}: {log}");
    }
}

#[tokio::test]
async fn a_token_is_renewed_before_it_expires() {
    let up = Upstream::always(Script::new().send(whole(200, &completion("hi")))).await;
    let (endpoint, given) = google(2).await;
    let gateway = with_account(&up, &endpoint, "").await;
    let client = gateway.client().await;
    assert_eq!(client.ask("up/m", json!({})).await.status, 200);
    crate::support::eventually("a second token is used", || async {
        assert_eq!(client.ask("up/m", json!({})).await.status, 200);
        (up.last().header("authorization") == Some("Bearer ya29.canary-token-1")).then_some(())
    })
    .await;
    assert!(given.load(Ordering::SeqCst) >= 2);
}

#[tokio::test]
async fn a_token_that_the_upstream_quotes_is_masked() {
    let up =
        Upstream::start(|request| refused(400, request.header("authorization").unwrap_or_default())).await;
    let (endpoint, _) = google(3600).await;
    let gateway = with_account(&up, &endpoint, "").await;
    let answer = gateway.client().await.ask("up/m", json!({})).await;
    assert!(
        answer.text().contains("[redacted]") && !answer.text().contains("canary-token"),
        "{}",
        answer.text()
    );
}

#[tokio::test]
async fn a_token_endpoint_that_refuses_or_says_nothing_costs_no_request_and_no_longer_than_a_connection() {
    let up = Upstream::always(Script::new().send(whole(200, &completion("hi")))).await;
    let bad = json!({"error": "invalid_grant", "error_description": "canary words"});
    let refusing = Upstream::always(Script::new().send(whole(400, &bad))).await;
    let silent = Upstream::always(Script::new().until_closed()).await;
    for (endpoint, status, code, said) in [
        (&refusing, 502, "upstream_auth", "refused with 400 (invalid_grant)"),
        (&silent, 504, "timeout", "could not be had within 300 ms"),
    ] {
        let gateway = with_account(&up, endpoint, "timeouts: { connect: 300ms }").await;
        let client = gateway.client().await;
        let started = std::time::Instant::now();
        let answer = client.ask("up/m", json!({})).await;
        assert!(started.elapsed() < Duration::from_secs(5));
        assert_eq!((answer.status, answer.code().as_str()), (status, code), "{}", answer.text());
        assert!(answer.text().contains(said) && !answer.text().contains("canary"), "{}", answer.text());
        assert_eq!(endpoint.requests().len(), 1, "one try");
    }
    assert_eq!(up.connections(), 0);
}

#[tokio::test]
async fn an_application_of_entras_brings_its_token() {
    let up = Upstream::always(Script::new().send(whole(200, &completion("hi")))).await;
    let token = json!({"token_type": "Bearer", "expires_in": 3599, "access_token": "eyJ.canary-token"});
    let endpoint = Upstream::always(Script::new().send(whole(200, &token))).await;
    let config = format!(
        "providers:\n  azure: {{ base_url: '{}', auth: entra, vars: {{ authority: '{}' }} }}\n",
        up.base_url(),
        endpoint.base_url()
    );
    let gateway = Setup::new(config)
        .variable("AZURE_TENANT_ID", "tenant-1")
        .variable("AZURE_CLIENT_ID", "client-1")
        .variable("AZURE_CLIENT_SECRET", "canary~secret")
        .variable("AZURE_OPENAI_API_KEY", "canary-key")
        .start()
        .await;
    assert_eq!(gateway.client().await.ask("azure/m", json!({})).await.status, 200);
    assert_eq!(up.last().header("authorization"), Some("Bearer eyJ.canary-token"));
    assert_eq!(up.last().header("api-key"), None);
    assert!(endpoint.last().head.starts_with("POST /v1/tenant-1/oauth2/v2.0/token HTTP/1.1"));
}
