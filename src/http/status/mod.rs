//! The status page on the ops listener: a few files in the binary, and what a browser is told of them.
//!
//! Invariants: the page itself holds no data and no secret, so it needs no key; all it shows comes from the management API.
//! It loads nothing from elsewhere, and the policy sent with it forbids that it could.

use std::fmt::Write as _;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, OnceLock};

use actix_web::http::header::{
    CACHE_CONTROL, CONTENT_SECURITY_POLICY, ETAG, HOST, HeaderName, IF_NONE_MATCH, REFERRER_POLICY,
    X_CONTENT_TYPE_OPTIONS, X_FRAME_OPTIONS,
};
use actix_web::{HttpRequest, HttpResponse, web};
use sha2::{Digest as _, Sha256};

use super::reply::error_response;
use crate::error::Error;

/// Path, type and content of every file.
const FILES: &[(&str, &str, &str)] = &[
    ("/", "text/html; charset=utf-8", include_str!("index.html")),
    ("/status/style.css", "text/css; charset=utf-8", include_str!("style.css")),
    ("/status/icon.svg", "image/svg+xml", include_str!("icon.svg")),
    ("/status/main.js", SCRIPT, include_str!("main.js")),
    ("/status/api.js", SCRIPT, include_str!("api.js")),
    ("/status/view.js", SCRIPT, include_str!("view.js")),
    ("/status/overview.js", SCRIPT, include_str!("overview.js")),
    ("/status/keys.js", SCRIPT, include_str!("keys.js")),
    ("/status/playground.js", SCRIPT, include_str!("playground.js")),
];
const SCRIPT: &str = "text/javascript; charset=utf-8";

/// One file with its tag.
#[derive(Clone, Copy)]
struct File {
    kind: &'static str,
    content: &'static str,
}

/// Adds the page; `public` is where its playground calls, once that is known.
pub fn configure(cfg: &mut web::ServiceConfig, public: &Arc<OnceLock<SocketAddr>>) {
    for &(path, kind, content) in FILES {
        let file = File { kind, content };
        let tag = format!("\"{}\"", hex(&Sha256::digest(content)));
        let public = Arc::clone(public);
        let serve = move |request: HttpRequest| {
            let answer = answer(&request, file, &tag, public.get().copied());
            async move { answer }
        };
        let refuse = || async { error_response(&Error::MethodNotAllowed { allow: "GET, HEAD" }, None) };
        cfg.service(
            web::resource(path)
                .route(web::get().to(serve.clone()))
                .route(web::head().to(serve))
                .default_service(web::to(refuse)),
        );
    }
}

/// The first half of a digest tells contents apart as well.
fn hex(digest: &[u8]) -> String {
    digest.iter().take(16).fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

/// The file, or 304 for who has it. It is asked for anew each time: names say nothing of versions.
fn answer(request: &HttpRequest, file: File, tag: &str, public: Option<SocketAddr>) -> HttpResponse {
    let host = request.headers().get(HOST).and_then(|host| host.to_str().ok());
    let known = request.headers().get(IF_NONE_MATCH).and_then(|tags| tags.to_str().ok());
    let same =
        known.is_some_and(|tags| tags.split(',').any(|one| one.trim().trim_start_matches("W/") == tag));
    let mut answer = if same { HttpResponse::NotModified() } else { HttpResponse::Ok() };
    answer
        .insert_header((ETAG, tag))
        .insert_header((CACHE_CONTROL, "no-cache"))
        .insert_header((X_CONTENT_TYPE_OPTIONS, "nosniff"))
        .insert_header((X_FRAME_OPTIONS, "DENY"))
        .insert_header((REFERRER_POLICY, "no-referrer"))
        .insert_header((HeaderName::from_static("cross-origin-opener-policy"), "same-origin"))
        .insert_header((CONTENT_SECURITY_POLICY, policy(public, host)));
    if same { answer.finish() } else { answer.content_type(file.kind).body(file.content) }
}

/// What the page may do: run its own scripts, and call the two listeners.
fn policy(public: Option<SocketAddr>, host: Option<&str>) -> String {
    let api = public.map(|public| api_origins(public, host)).unwrap_or_default();
    format!(
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'{api}; \
         base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    )
}

/// Where a browser finds the public listener, each with a space before it. One that listens everywhere is found
/// under the name by which the page itself was found.
fn api_origins(public: SocketAddr, host: Option<&str>) -> String {
    if !public.ip().is_unspecified() {
        return format!(" http://{public}");
    }
    let name = host.map(|host| match host.rsplit_once(':') {
        Some((name, port)) if !port.ends_with(']') => name,
        _ => host,
    });
    let is_address = |name: &str| name.trim_matches(['[', ']']).parse::<IpAddr>().is_ok();
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-');
    // What goes into a policy must not be able to add to it.
    match name.filter(|name| !name.is_empty() && (name.bytes().all(plain) || is_address(name))) {
        Some(name) => format!(" http://{name}:{}", public.port()),
        None => String::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_policy_names_the_public_listener_and_nothing_that_a_client_made_up() {
        let origins = |public: &str, host| api_origins(public.parse().unwrap(), host);
        assert_eq!(origins("127.0.0.1:8080", Some("evil.test")), " http://127.0.0.1:8080");
        assert_eq!(origins("0.0.0.0:8080", Some("box.test:9090")), " http://box.test:8080");
        assert_eq!(origins("[::]:8080", Some("[fd00::1]:9090")), " http://[fd00::1]:8080");
        for host in [None, Some(""), Some("a; script-src *"), Some("*"), Some("a b:1")] {
            assert_eq!(origins("0.0.0.0:8080", host), "", "{host:?}");
        }
    }

    #[test]
    fn the_page_has_no_inline_script_or_style() {
        let html = include_str!("index.html");
        for inline in ["<style", " style=", " onclick=", "javascript:", "<script>"] {
            assert!(!html.contains(inline), "{inline}");
        }
        for (path, _, content) in FILES {
            assert!(!content.contains("innerHTML") && content.lines().count() < 500, "{path}");
        }
    }
}
