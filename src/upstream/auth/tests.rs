//! Tokens from servers that answer well, badly, late and not at all.

use std::sync::Mutex;
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;

use super::*;
use crate::config::EntraProof;

/// A server that answers every request with the same bytes, and keeps what it was sent.
struct Server {
    url: String,
    seen: Arc<Mutex<Vec<String>>>,
}

impl Server {
    async fn new(answer: impl Into<String>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let seen: Arc<Mutex<Vec<String>>> = Arc::default();
        let (kept, answer) = (Arc::clone(&seen), answer.into());
        actix_rt::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                let request = read(&mut stream).await;
                kept.lock().unwrap().push(request);
                if answer.is_empty() {
                    std::future::pending::<()>().await;
                }
                let _ = stream.write_all(answer.as_bytes()).await;
            }
        });
        Self { url, seen }
    }

    fn requests(&self) -> usize {
        self.seen.lock().unwrap().len()
    }
}

/// Reads one request, body and all.
async fn read(stream: &mut tokio::net::TcpStream) -> String {
    let mut bytes = Vec::new();
    loop {
        let text = String::from_utf8_lossy(&bytes).into_owned();
        if let Some((head, body)) = text.split_once("\r\n\r\n") {
            let length = head.to_lowercase().lines().find_map(|line| {
                line.strip_prefix("content-length:").and_then(|length| length.trim().parse().ok())
            });
            if body.len() >= length.unwrap_or(0) {
                return text;
            }
        }
        let mut piece = [0; 4096];
        let read = stream.read(&mut piece).await.unwrap();
        assert!(read > 0, "the request broke off: {text}");
        bytes.extend_from_slice(&piece[..read]);
    }
}

fn http(status: u16, body: &str) -> String {
    format!("HTTP/1.1 {status} X\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{body}", body.len())
}

fn granted(token: &str) -> String {
    http(200, &format!(r#"{{"access_token":"{token}","expires_in":3600,"token_type":"Bearer"}}"#))
}

fn entra(server: &Server) -> Identity {
    Identity::Entra(EntraIdentity {
        token_url: format!("{}/tenant/oauth2/v2.0/token", server.url),
        client: "client".into(),
        scope: "https://x.test/.default".into(),
        proof: EntraProof::Secret(Secret::new("very secret")),
    })
}

/// The `Authorization` that a request gets.
async fn proven(credential: &Credential) -> Result<String, String> {
    let tls = crate::upstream::tls_config().unwrap();
    let request = Unproven { url: "http://x.test/", headers: &HeaderMap::new(), body: &Bytes::new() };
    let proof = credential.prove(&tls, &request).await.map_err(|failure| failure.to_string())?;
    let (name, value) = &proof.headers[0];
    assert!(value.is_sensitive() && name == AUTHORIZATION);
    Ok(value.to_str().unwrap().to_owned())
}

#[actix::test]
async fn an_application_trades_its_secret_for_a_token_once_however_many_ask() {
    let server = Server::new(granted("token-1")).await;
    let credential = Credential::new(&entra(&server)).unwrap();
    let all = futures_util::future::join_all((0..20).map(|_| proven(&credential))).await;
    assert!(all.iter().all(|value| value.as_deref() == Ok("Bearer token-1")), "{all:?}");
    assert_eq!(server.requests(), 1);
    let request = server.seen.lock().unwrap()[0].clone();
    assert!(request.starts_with("POST /tenant/oauth2/v2.0/token HTTP/1.1\r\n"), "{request}");
    assert!(
        request.ends_with(
            "\r\n\r\ngrant_type=client_credentials&client_id=client&scope=https%3A%2F%2Fx.test%2F.default\
             &client_secret=very%20secret"
        ),
        "{request}"
    );
}

#[test]
fn cells_on_different_threads_share_one_fetch() {
    let system = actix_rt::System::new();
    system.block_on(async {
        let server = Server::new(granted("token-1")).await;
        let credential = Credential::new(&entra(&server)).unwrap();
        let threads: Vec<_> = (0..4)
            .map(|_| {
                let credential = credential.clone();
                std::thread::spawn(move || {
                    actix_rt::System::new().block_on(async { proven(&credential).await })
                })
            })
            .collect();
        let all = tokio::task::spawn_blocking(|| {
            threads.into_iter().map(|thread| thread.join().unwrap()).collect::<Vec<_>>()
        });
        for value in all.await.unwrap() {
            // A thread that ends while it fetches leaves the others to begin again; it never does so here.
            assert_eq!(value.as_deref(), Ok("Bearer token-1"));
        }
        assert_eq!(server.requests(), 1);
    });
}

#[actix::test]
async fn a_token_file_is_read_anew_each_time() {
    let folder = tempfile::TempDir::new().unwrap();
    let path = folder.path().join("token");
    std::fs::write(&path, "first.assertion\n").unwrap();
    let server = Server::new(granted("token-1")).await;
    let Identity::Entra(mut identity) = entra(&server) else { panic!("just made") };
    identity.proof = EntraProof::TokenFile(path.clone());
    let tls = crate::upstream::tls_config().unwrap();
    for assertion in ["first.assertion", "second.assertion"] {
        std::fs::write(&path, assertion).unwrap();
        super::entra::fetch(identity.clone(), Arc::clone(&tls)).await.unwrap();
        let request = server.seen.lock().unwrap().last().unwrap().clone();
        let expected =
            "client_assertion_type=urn%3Aietf%3Aparams%3Aoauth%3Aclient-assertion-type%3Ajwt-bearer";
        assert!(request.ends_with(&format!("&{expected}&client_assertion={assertion}")), "{request}");
    }
    std::fs::remove_file(&path).unwrap();
    let failure = super::entra::fetch(identity, tls).await.err().unwrap();
    assert!(failure.0.starts_with("the token file that AZURE_FEDERATED_TOKEN_FILE"), "{failure}");
    assert!(!failure.0.contains(path.to_str().unwrap()));
}

#[actix::test]
async fn what_a_token_endpoint_answers_wrongly_is_said_without_its_words() {
    let long = format!("{{\"access_token\":\"{}\"", "a".repeat(300_000));
    for (answer, expected) in [
        (
            http(400, r#"{"error":"invalid_client","error_description":"very secret"}"#),
            "refused with 400 (invalid_client)",
        ),
        (http(401, r#"{"error":"Very Secret"}"#), "refused with 401;"),
        (http(500, "very secret"), "refused with 500;"),
        (http(302, ""), "refused with 302;"),
        (http(200, "very secret"), "answered with something that is no token"),
        (http(200, r#"{"access_token":""}"#), "answered with something that is no token"),
        (http(200, r#"{"access_token":"a\r\nb"}"#), "answered with something that is no token"),
        (http(200, &long), "broke off in the middle of its answer"),
        (
            "HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\n{".to_owned(),
            "broke off in the middle of its answer",
        ),
        ("nonsense".to_owned(), "cannot be reached"),
    ] {
        let server = Server::new(answer.clone()).await;
        let failure = proven(&Credential::new(&entra(&server)).unwrap()).await.unwrap_err();
        let answer = answer.chars().take(100).collect::<String>();
        assert!(failure.contains(expected), "{answer}: {failure}");
        assert!(failure.contains("AZURE_CLIENT_SECRET") && !failure.contains("very secret"), "{failure}");
    }
}

#[actix::test]
async fn one_who_waits_bounds_the_wait_and_the_next_joins_the_same_fetch() {
    let server = Server::new("").await;
    let credential = Credential::new(&entra(&server)).unwrap();
    for _ in 0..3 {
        assert!(tokio::time::timeout(Duration::from_millis(50), proven(&credential)).await.is_err());
    }
    assert_eq!(server.requests(), 1);
}

#[actix::test]
async fn google_gives_tokens_to_users_and_machines() {
    let server = Server::new(granted("ya29.token")).await;
    let user = Identity::Google(GoogleIdentity::User {
        client_id: "id".into(),
        client_secret: Secret::new("s/1"),
        refresh_token: Secret::new("1//r"),
        token_url: format!("{}/token", server.url),
    });
    let host = server.url.trim_start_matches("http://").to_owned();
    let instance = Identity::Google(GoogleIdentity::Instance { host });
    for (identity, line, ending) in [
        (
            user,
            "POST /token HTTP/1.1",
            "grant_type=refresh_token&client_id=id&client_secret=s%2F1&refresh_token=1%2F%2Fr",
        ),
        (instance, "GET /computeMetadata/v1/instance/service-accounts/default/token HTTP/1.1", "\r\n\r\n"),
    ] {
        let value = proven(&Credential::new(&identity).unwrap()).await;
        assert_eq!(value.as_deref(), Ok("Bearer ya29.token"));
        let request = server.seen.lock().unwrap().last().unwrap().clone();
        assert!(request.starts_with(line) && request.ends_with(ending), "{request}");
        assert_eq!(
            request.to_lowercase().contains("\r\nmetadata-flavor: google\r\n"),
            line.starts_with("GET")
        );
    }
}

#[test]
fn a_private_key_that_is_none_is_found_at_start() {
    for key in ["", "no key", "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n"] {
        let identity = Identity::Google(GoogleIdentity::Key {
            email: "a@b".into(),
            key: Secret::new(key),
            key_id: None,
            token_url: "https://x.test".into(),
        });
        let failure = Credential::new(&identity).err().unwrap();
        assert!(failure.0.starts_with("the private key is not an RSA key in PEM"), "{failure}");
    }
}

#[test]
fn what_proves_a_request_is_known_so_that_it_can_be_masked() {
    let keys = Credentials::new("AKIDEXAMPLE", "secret-key", Some("session-token".into()), None, "test");
    let authorization = "AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/x, SignedHeaders=host, Signature=abcdef0123";
    let headers = vec![("authorization", authorization.to_owned())];
    let proof = Proof::signed(headers, Arc::new(keys), &Arc::default()).unwrap();
    let secrets: Vec<&str> = proof.secrets().iter().map(Secret::expose).collect();
    assert_eq!(secrets, ["AKIDEXAMPLE", "secret-key", "session-token", "abcdef0123"]);
}
