//! A provider's HTTP client on one cell: its connection pool and its prepared request heads.
//!
//! The client's defaults are not a gateway's: no limit of 100 connections (admission is ours), no redirects
//! (they would carry the credential away), no decompression, no five-second timeout, TCP_NODELAY on.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use actix_service::{Service, fn_service};
use actix_tls::connect::{ConnectError, ConnectInfo, Connection as TcpConnection, Connector as TcpConnector};
use awc::error::SendRequestError;
use awc::http::Uri;
use awc::http::header::{
    ACCEPT, ACCEPT_ENCODING, AUTHORIZATION, CONTENT_TYPE, HOST, HeaderMap, HeaderName, HeaderValue,
    USER_AGENT,
};
use awc::{Client, ClientResponse, Connector, FrozenClientRequest, SendClientRequest};
use bytes::Bytes;
use futures_util::future::join_all;
use tokio::time::timeout;

use super::auth::{Credential, Keyring, Proof, Unproven};
use super::drain;
use crate::config::{AuthStyle, ProbeRule, Provider, Secret};
use crate::error::Error;
use crate::timer::Timer;
use crate::wire::WireFormat;

/// How long an idle upstream connection is kept: below what common servers and balancers allow.
const POOL_IDLE: Duration = Duration::from_secs(30);
/// Largest answer to a probe that is read, bytes: lists of models are long.
const PROBE_BYTES_MAX: usize = 8 << 20;
/// How long a connection is used at all, so that DNS changes are followed.
const POOL_LIFETIME: Duration = Duration::from_secs(600);

/// Shorter header values are versions and the like, and would mangle texts if they were masked.
const SECRET_LENGTH_MIN: usize = 8;

tokio::task_local! {
    /// What is known of the connection of the request that is being sent.
    static CONNECTION: Connection;
}

/// The connection of one request.
#[derive(Clone)]
struct Connection {
    /// It is a new one.
    fresh: Rc<Cell<bool>>,
    /// How long a new one may take to be there.
    patience: Duration,
    /// It is there: the request may have gone over it. Of a new one this is said before its TLS handshake.
    made: Rc<Cell<bool>>,
}

/// How sending over the pool went.
pub struct Sent {
    /// The response head, or why there is none.
    pub result: Result<ClientResponse, SendRequestError>,
    /// The connection was one of the pool: it may have been closed meanwhile.
    pub pooled: bool,
}

/// A provider's client on this cell.
pub struct Link {
    /// The row.
    pub provider: Arc<Provider>,
    pooled: Client,
    /// Without a pool: for the one retry after a pooled connection turned out to be closed.
    single: Client,
    /// What proves each request, where that is more than a key.
    credential: Option<Credential>,
    tls: Arc<rustls::ClientConfig>,
    /// Prepared heads by credential and path: of each credential first those of whole replies, then of streams.
    heads: RefCell<Vec<Heads>>,
}

type Heads = HashMap<Box<str>, FrozenClientRequest>;

/// Prepared heads kept at most, of each kind: models that are named in the path make one each.
const HEADS_MAX: usize = 256;

/// What one request is sent with.
#[derive(Clone, Debug)]
pub struct Outgoing {
    /// Format of the upstream.
    pub wire: WireFormat,
    /// A stream is asked for.
    pub stream: bool,
    /// Path after the provider's `base_url`.
    pub path: String,
    /// The credential to use, by its place in the row.
    pub credential: usize,
    /// Headers of this request alone.
    pub headers: Vec<(&'static str, String)>,
    /// The body.
    pub body: Bytes,
}

/// A request that is shown and not sent.
#[derive(Clone, Debug)]
pub struct Previewed {
    /// Where it would go.
    pub url: String,
    /// Its headers, credentials masked.
    pub headers: Vec<(String, String)>,
}

/// The row cannot be turned into requests; said at start.
#[derive(Debug)]
pub struct LinkError(pub String);

impl std::fmt::Display for LinkError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

impl Link {
    /// Prepares the client of a provider.
    ///
    /// # Errors
    /// An address, credential or header that HTTP cannot carry.
    pub fn new(
        provider: Arc<Provider>,
        tls: &Arc<rustls::ClientConfig>,
        keyring: &Keyring,
    ) -> Result<Rc<Self>, LinkError> {
        let link = Self {
            pooled: client(&provider, tls, POOL_IDLE),
            single: client(&provider, tls, Duration::ZERO),
            credential: keyring.of(&provider.id),
            tls: Arc::clone(tls),
            heads: RefCell::default(),
            provider,
        };
        let keys = link.provider.keys().count().max(1);
        link.heads.borrow_mut().resize_with(2 * keys, Heads::new);
        for route in &link.provider.routes {
            for key in 0..keys {
                head(&link.pooled, &link.provider, key, route.wire, false, &route.path("m", false))?;
            }
        }
        Ok(Rc::new(link))
    }

    /// The prepared head of a request.
    fn head(&self, out: &Outgoing) -> Result<FrozenClientRequest, LinkError> {
        let at = 2 * out.credential + usize::from(out.stream);
        if let Some(known) = self.heads.borrow().get(at).and_then(|heads| heads.get(out.path.as_str())) {
            return Ok(known.clone());
        }
        let made = head(&self.pooled, &self.provider, out.credential, out.wire, out.stream, &out.path)?;
        if let Some(heads) = self.heads.borrow_mut().get_mut(at) {
            if heads.len() >= HEADS_MAX {
                heads.clear();
            }
            heads.insert(out.path.as_str().into(), made.clone());
        }
        Ok(made)
    }

    /// True when each request must be proven; a key is in its head already.
    pub fn proves(&self) -> bool {
        self.credential.is_some()
    }

    /// Proves who sends a request; at once when that is a key, which its head holds.
    ///
    /// # Errors
    /// 502 or 504 when nothing to prove it with can be had in the time that a connection may take.
    pub async fn prove(&self, out: &Outgoing) -> Result<Proof, Error> {
        let Some(credential) = &self.credential else { return Ok(Proof::default()) };
        let (id, patience) = (&self.provider.id, self.provider.timeouts.connect);
        let unsendable = |error: LinkError| Error::upstream(format!("{error}."), "upstream_unreachable");
        let head = self.head(out).map_err(unsendable)?;
        let request = Unproven { url: &head.get_uri().to_string(), headers: head.headers(), body: &out.body };
        match timeout(patience, credential.prove(&self.tls, &request)).await {
            Ok(Ok(proof)) => Ok(proof),
            Ok(Err(why)) => Err(Error::UpstreamAuth(format!("{id} was not asked: {why}."))),
            Err(_) => Err(Error::Timeout(format!(
                "{id} was not asked: its credential could not be had within {} ms; check what `credentials` or its \
                 variables name, or raise providers.{id}.timeouts.connect.",
                patience.as_millis()
            ))),
        }
    }

    /// Sends a body over a connection of the pool, or a new one when none is idle, which may take as long as `patience`
    /// to be there. `reached` is true while there is a connection.
    ///
    /// # Errors
    /// A path or header that HTTP cannot carry.
    pub async fn send(
        &self,
        out: &Outgoing,
        proof: &Proof,
        reached: Rc<Cell<bool>>,
        patience: Duration,
    ) -> Result<Sent, LinkError> {
        let request = self.head(out)?;
        let sending = with_headers(&request, out, proof)?;
        // Unless the pool has to connect, it has one.
        reached.set(true);
        let connection = Connection { fresh: Rc::default(), patience, made: reached };
        // The pool connects within the request that asks for it: what this scope sees is its own connection.
        let result = CONNECTION.scope(connection.clone(), sending).await;
        Ok(Sent { result, pooled: !connection.fresh.get() })
    }

    /// What would be sent, with everything masked that may be a credential.
    ///
    /// # Errors
    /// A path or header that HTTP cannot carry.
    pub fn preview(&self, out: &Outgoing) -> Result<Previewed, LinkError> {
        let head = self.head(out)?;
        let own = |name: &str| self.provider.headers.keys().any(|own| own.eq_ignore_ascii_case(name));
        let shown = |(name, value): (&HeaderName, &HeaderValue)| {
            let masked = value.is_sensitive() || own(name.as_str());
            let value = if masked { "***" } else { value.to_str().unwrap_or("***") };
            (name.as_str().to_owned(), value.to_owned())
        };
        let mut headers: Vec<(String, String)> = head.headers().iter().map(shown).collect();
        headers.extend(out.headers.iter().map(|(name, value)| ((*name).to_owned(), value.clone())));
        if self.credential.is_some() {
            // A signature or a token, made for each request.
            headers.push((AUTHORIZATION.as_str().to_owned(), "***".to_owned()));
        }
        headers.sort();
        Ok(Previewed { url: head.get_uri().to_string(), headers })
    }

    /// An error without this account's credentials: upstreams quote what they refuse.
    pub fn mask(&self, error: Error, proof: &Proof) -> Error {
        let secrets = self.provider.keys().chain(self.provider.headers.values()).chain(proof.secrets());
        let long = secrets.map(Secret::expose).filter(|secret| secret.len() >= SECRET_LENGTH_MIN);
        long.fold(error, Error::without)
    }

    /// Sends a body over a connection of its own.
    ///
    /// # Errors
    /// A path or header that HTTP cannot carry.
    pub fn send_fresh(&self, out: &Outgoing, proof: &Proof) -> Result<SendClientRequest, LinkError> {
        let head = head(&self.single, &self.provider, out.credential, out.wire, out.stream, &out.path)?;
        with_headers(&head, out, proof)
    }
}

impl Link {
    /// Opens connections, or keeps those open that there are, so that no call waits for one: each takes a request that
    /// asks for nothing and proves nothing.
    pub async fn warm(&self) {
        let patience = self.provider.timeouts.connect * 2;
        let ask = |_| timeout(patience, self.pooled.head(&self.provider.base_url).no_decompress().send());
        let asked = join_all((0..self.provider.tending.warm_connections).map(ask)).await;
        for answer in asked {
            // Whoever does not answer is not there for calls either, and they will say so.
            if let Ok(Err(error)) = answer {
                tracing::debug!(provider = %self.provider.id, %error, "a connection could not be opened ahead");
            }
        }
    }

    /// Asks whether the provider is well: it is when it answers with success in time. `None` where the answer is about
    /// the credential (refused, limited) and not about the provider.
    pub async fn probe(&self, rule: &ProbeRule, credential: usize) -> Option<bool> {
        let own = own_headers(&self.provider).unwrap_or_default();
        let fixed = self.provider.wire().fixed_headers().iter();
        let fixed =
            fixed.map(|(name, value)| (HeaderName::from_static(name), HeaderValue::from_static(value)));
        let proof = proof_by_key(&self.provider, credential).ok().flatten();
        let mut request = self
            .pooled
            .get(format!("{}{}", self.provider.base_url, rule.path))
            .no_decompress()
            .insert_header((ACCEPT_ENCODING, HeaderValue::from_static("identity")));
        for header in fixed.chain(own).chain(proof) {
            request = request.insert_header(header);
        }
        let asked = timeout(rule.timeout, async {
            let mut answer = request.send().await.ok()?;
            let status = answer.status();
            // Read to its end, so that its connection serves calls.
            let limits = (rule.timeout, PROBE_BYTES_MAX);
            let body = drain::whole(&mut answer, &mut Timer::default(), limits, &self.provider.id).await;
            body.is_ok().then_some(status)
        });
        match asked.await.ok().flatten().map(|status| status.as_u16()) {
            Some(401 | 402 | 403 | 429) => None,
            Some(status) => Some((200..300).contains(&status)),
            None => Some(false),
        }
    }
}

fn client(provider: &Provider, tls: &Arc<rustls::ClientConfig>, idle: Duration) -> Client {
    let tcp = TcpConnector::default().service();
    let connect = fn_service(move |info: ConnectInfo<Uri>| {
        // Out of scope for a connection of its own, whose age nobody asks.
        let known = CONNECTION.try_with(Connection::clone).ok();
        if let Some(known) = &known {
            known.fresh.set(true);
            known.made.set(false);
        }
        let connecting = tcp.call(info);
        async move {
            // Nobody's own patience is longer than the client's.
            let patience = known.as_ref().map_or(POOL_LIFETIME, |known| known.patience);
            let late = |_| ConnectError::Io(std::io::ErrorKind::TimedOut.into());
            let connecting = timeout(patience, connecting).await.map_err(late)?;
            let connection: TcpConnection<Uri, actix_rt::net::TcpStream> = connecting?;
            if let Some(known) = known {
                known.made.set(true);
            }
            connection.io_ref().set_nodelay(true).map_err(ConnectError::Io)?;
            Ok::<_, ConnectError>(connection)
        }
    });
    // No `max_http_version`: it would replace the TLS given here by none. The TLS itself offers HTTP/1.1 only.
    let connector = Connector::new()
        .connector(connect)
        .rustls_0_23(Arc::clone(tls))
        .limit(0)
        .timeout(provider.timeouts.connect)
        .handshake_timeout(provider.timeouts.connect)
        .conn_keep_alive(idle)
        .conn_lifetime(POOL_LIFETIME);
    Client::builder().connector(connector).disable_timeout().disable_redirects().no_default_headers().finish()
}

/// Sends a body with the headers of its request alone.
fn with_headers(
    request: &FrozenClientRequest,
    out: &Outgoing,
    proof: &Proof,
) -> Result<SendClientRequest, LinkError> {
    if out.headers.is_empty() && proof.headers.is_empty() {
        return Ok(request.send_body(out.body.clone()));
    }
    let mut headers = HeaderMap::new();
    for (name, value) in &out.headers {
        let bad = |_| LinkError(format!("header `{name}` cannot be sent"));
        headers.insert(HeaderName::from_static(name), HeaderValue::from_str(value).map_err(bad)?);
    }
    for (name, value) in &proof.headers {
        headers.insert(name.clone(), value.clone());
    }
    Ok(request.extra_headers(headers).send_body(out.body.clone()))
}

/// The request head that every request to this path shares.
fn head(
    client: &Client,
    provider: &Provider,
    credential: usize,
    wire: WireFormat,
    stream: bool,
    path: &str,
) -> Result<FrozenClientRequest, LinkError> {
    let bad =
        |what: &str| LinkError(format!("providers.{}.{what} cannot be sent in an HTTP header", provider.id));
    let url: Uri = format!("{}{path}", provider.base_url)
        .parse()
        .map_err(|_| LinkError(format!("providers.{}.base_url is not a URL", provider.id)))?;
    let accept = wire.accepts(stream);
    let mut request = client
        .post(&url)
        .no_decompress()
        .insert_header((CONTENT_TYPE, HeaderValue::from_static("application/json")))
        .insert_header((ACCEPT, HeaderValue::from_static(accept)))
        .insert_header((ACCEPT_ENCODING, HeaderValue::from_static("identity")))
        .insert_header((
            USER_AGENT,
            HeaderValue::from_static(concat!("llm-gateway/", env!("CARGO_PKG_VERSION"))),
        ));
    if let Some(authority) = url.authority() {
        let host = HeaderValue::from_str(authority.as_str()).map_err(|_| bad("base_url"))?;
        request = request.insert_header((HOST, host));
    }
    for header in own_headers(provider)? {
        request = request.insert_header(header);
    }
    if let Some(header) = proof_by_key(provider, credential)? {
        request = request.insert_header(header);
    }
    freeze(request, &bad)
}

/// The headers of a row.
fn own_headers(provider: &Provider) -> Result<Vec<(HeaderName, HeaderValue)>, LinkError> {
    let header = |(name, value): (&String, &Secret)| {
        let bad = || {
            LinkError(format!("providers.{}.headers.{name} cannot be sent in an HTTP header", provider.id))
        };
        let value = HeaderValue::from_str(value.expose()).map_err(|_| bad())?;
        Ok((HeaderName::try_from(name.as_str()).map_err(|_| bad())?, value))
    };
    provider.headers.iter().map(header).collect()
}

/// The header that proves who sends a request, where that is a key.
fn proof_by_key(
    provider: &Provider,
    credential: usize,
) -> Result<Option<(HeaderName, HeaderValue)>, LinkError> {
    let bad =
        |what: &str| LinkError(format!("providers.{}.{what} cannot be sent in an HTTP header", provider.id));
    if credential > 0 && credential >= provider.api_keys.len() {
        // A request without its credential must never go out in place of one with it.
        return Err(LinkError(format!("providers.{} has no such key", provider.id)));
    }
    let Some(key) = provider.key(credential) else { return Ok(None) };
    let (name, value) = match &provider.auth {
        // A token that stands in for an identity travels as any other.
        AuthStyle::Bearer | AuthStyle::Aws | AuthStyle::Google | AuthStyle::Entra => {
            (AUTHORIZATION, format!("Bearer {}", key.expose()))
        }
        AuthStyle::Header(name) => {
            (HeaderName::try_from(name.as_str()).map_err(|_| bad("auth"))?, key.expose().to_owned())
        }
        AuthStyle::None => return Ok(None),
    };
    let mut value = HeaderValue::from_str(&value).map_err(|_| bad("api_key"))?;
    value.set_sensitive(true);
    Ok(Some((name, value)))
}

fn freeze(
    request: awc::ClientRequest,
    bad: &dyn Fn(&str) -> LinkError,
) -> Result<FrozenClientRequest, LinkError> {
    request.freeze().map_err(|_| bad("base_url"))
}
