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
use awc::http::header::{
    ACCEPT, ACCEPT_ENCODING, AUTHORIZATION, CONTENT_TYPE, HOST, HeaderMap, HeaderName, HeaderValue,
    USER_AGENT,
};
use awc::http::{Method, Uri};
use awc::{Connect, Connector};
use bytes::Bytes;
use futures_util::future::join_all;
use tokio::time::timeout;

use super::auth::{Credential, Keyring, Proof, Unproven};
use super::client::{Client, Head, Response, Socket};
use super::drain;
use crate::config::{AuthStyle, ProbeRule, Provider, Secret};
use crate::error::Error;
use crate::timer::Timer;
use crate::wire::WireFormat;

/// Largest answer to a probe that is read, bytes: lists of models are long.
const PROBE_BYTES_MAX: usize = 8 << 20;
/// How long a connection may take to be there, whoever waits for it.
const PATIENCE_MAX: Duration = Duration::from_secs(600);

/// Shorter header values are versions and the like, and would mangle texts if they were masked.
const SECRET_LENGTH_MIN: usize = 8;

tokio::task_local! {
    /// Who waits for the connection that is being made.
    static CONNECTION: Connection;
}

/// A connection that is being made for a request.
#[derive(Clone)]
struct Connection {
    /// How long it may take to be there.
    patience: Duration,
    /// Told when it is, before its TLS handshake.
    made: Rc<Cell<bool>>,
}

/// How sending over the pool went.
pub struct Sent {
    /// The response head, or why there is none.
    pub result: Result<Response, SendRequestError>,
    /// The connection was one of the pool: it may have been closed meanwhile.
    pub pooled: bool,
}

/// A provider's client on this cell.
pub struct Link {
    /// The row.
    pub provider: Arc<Provider>,
    client: Client,
    /// What proves each request, where that is more than a key.
    credential: Option<Credential>,
    tls: Arc<rustls::ClientConfig>,
    /// Prepared heads by credential and path: of each credential first those of whole replies, then of streams.
    heads: RefCell<Vec<Heads>>,
}

type Heads = HashMap<Box<str>, Rc<Head>>;

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
            client: client(&provider, tls)?,
            credential: keyring.of(&provider.id),
            tls: Arc::clone(tls),
            heads: RefCell::default(),
            provider,
        };
        let keys = link.provider.keys().count().max(1);
        link.heads.borrow_mut().resize_with(2 * keys, Heads::new);
        for route in &link.provider.routes {
            for key in 0..keys {
                head(&link.provider, key, route.wire, false, &route.path("m", false))?;
            }
        }
        Ok(Rc::new(link))
    }

    /// The prepared head of a request.
    fn head(&self, out: &Outgoing) -> Result<Rc<Head>, LinkError> {
        let at = 2 * out.credential + usize::from(out.stream);
        if let Some(known) = self.heads.borrow().get(at).and_then(|heads| heads.get(out.path.as_str())) {
            return Ok(Rc::clone(known));
        }
        let made = Rc::new(head(&self.provider, out.credential, out.wire, out.stream, &out.path)?);
        if let Some(heads) = self.heads.borrow_mut().get_mut(at) {
            if heads.len() >= HEADS_MAX {
                heads.clear();
            }
            heads.insert(out.path.as_str().into(), Rc::clone(&made));
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
        let request = Unproven { url: &head.uri().to_string(), headers: head.headers(), body: &out.body };
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
        let (head, extra) = (self.head(out)?, extra(out, proof)?);
        let kept = self.client.kept();
        let pooled = kept.is_some();
        reached.set(pooled);
        let ready = match kept {
            Some(kept) => Ok(kept),
            None => {
                let connecting = Connection { patience, made: reached };
                Box::pin(CONNECTION.scope(connecting, self.client.connect())).await
            }
        };
        let result = match ready {
            Ok(ready) => ready.send(&head, extra.as_ref(), Some(&out.body)).await,
            Err(error) => Err(SendRequestError::Connect(error)),
        };
        Ok(Sent { result, pooled })
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
        Ok(Previewed { url: head.uri().to_string(), headers })
    }

    /// An error without this account's credentials: upstreams quote what they refuse.
    pub fn mask(&self, error: Error, proof: &Proof) -> Error {
        let secrets = self.provider.keys().chain(self.provider.headers.values()).chain(proof.secrets());
        let long = secrets.map(Secret::expose).filter(|secret| secret.len() >= SECRET_LENGTH_MIN);
        long.fold(error, Error::without)
    }

    /// Sends a body over a new connection.
    ///
    /// # Errors
    /// As [`Link::send`].
    pub async fn send_fresh(
        &self,
        out: &Outgoing,
        proof: &Proof,
    ) -> Result<Result<Response, SendRequestError>, LinkError> {
        let (head, extra) = (self.head(out)?, extra(out, proof)?);
        Ok(match self.client.connect().await {
            Ok(ready) => ready.send(&head, extra.as_ref(), Some(&out.body)).await,
            Err(error) => Err(SendRequestError::Connect(error)),
        })
    }
}

impl Link {
    /// Opens connections, or keeps those open that there are, so that no call waits for one: each takes a request that
    /// asks for nothing and proves nothing.
    pub async fn warm(&self) {
        let patience = self.provider.timeouts.connect * 2;
        let Ok(head) = self.bare(Method::HEAD, "", []) else { return };
        let ask = |_| timeout(patience, self.ask(&head));
        let asked = join_all((0..self.provider.tending.warm_connections).map(ask)).await;
        for answer in asked {
            // Whoever does not answer is not there for calls either, and they will say so.
            if let Ok(Err(error)) = answer {
                tracing::debug!(provider = %self.provider.id, %error, "a connection could not be opened ahead");
            }
        }
    }

    /// Sends a request without a body.
    async fn ask(&self, head: &Head) -> Result<Response, SendRequestError> {
        let ready = self.client.ready().await.map_err(SendRequestError::Connect)?;
        ready.send(head, None, None).await
    }

    /// The head of a request that is no call.
    fn bare(
        &self,
        method: Method,
        path: &str,
        more: impl IntoIterator<Item = (HeaderName, HeaderValue)>,
    ) -> Result<Head, LinkError> {
        let uri = address(&self.provider, path)?;
        let mut headers = HeaderMap::new();
        headers.insert(HOST, host(&self.provider, &uri)?);
        for (name, value) in more {
            headers.insert(name, value);
        }
        Ok(Head::new(method, uri, headers))
    }

    /// Asks whether the provider is well: it is when it answers with success in time. `None` where the answer is about
    /// the credential (refused, limited) and not about the provider.
    pub async fn probe(&self, rule: &ProbeRule, credential: usize) -> Option<bool> {
        let own = own_headers(&self.provider).unwrap_or_default();
        let fixed = self.provider.wire().fixed_headers().iter();
        let fixed =
            fixed.map(|(name, value)| (HeaderName::from_static(name), HeaderValue::from_static(value)));
        let proof = proof_by_key(&self.provider, credential).ok().flatten();
        let encoding = (ACCEPT_ENCODING, HeaderValue::from_static("identity"));
        let headers = [encoding].into_iter().chain(fixed).chain(own).chain(proof);
        let Ok(head) = self.bare(Method::GET, &rule.path, headers) else { return Some(false) };
        let asked = timeout(rule.timeout, async {
            let mut answer = self.ask(&head).await.ok()?;
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

fn client(provider: &Provider, tls: &Arc<rustls::ClientConfig>) -> Result<Client, LinkError> {
    let tcp = TcpConnector::default().service();
    let connect = fn_service(move |info: ConnectInfo<Uri>| {
        // Out of scope for whoever does not wait for it himself.
        let known = CONNECTION.try_with(Connection::clone).ok();
        let connecting = tcp.call(info);
        async move {
            // Who does not say how long he waits waits as long as the connector does.
            let patience = known.as_ref().map_or(PATIENCE_MAX, |known| known.patience);
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
        .finish();
    let uri = address(provider, "")?;
    Ok(Client::new(move || {
        let connecting = connector.call(Connect { uri: uri.clone(), addr: None });
        Box::pin(async move { Ok(Box::new(connecting.await?) as Box<dyn Socket>) })
    }))
}

/// The headers of one request alone; `None` when it has none.
fn extra(out: &Outgoing, proof: &Proof) -> Result<Option<HeaderMap>, LinkError> {
    if out.headers.is_empty() && proof.headers.is_empty() {
        return Ok(None);
    }
    let mut headers = HeaderMap::new();
    for (name, value) in &out.headers {
        let bad = |_| LinkError(format!("header `{name}` cannot be sent"));
        headers.insert(HeaderName::from_static(name), HeaderValue::from_str(value).map_err(bad)?);
    }
    for (name, value) in &proof.headers {
        headers.insert(name.clone(), value.clone());
    }
    Ok(Some(headers))
}

/// The request head that every request to this path shares.
fn head(
    provider: &Provider,
    credential: usize,
    wire: WireFormat,
    stream: bool,
    path: &str,
) -> Result<Head, LinkError> {
    let uri = address(provider, path)?;
    let mut headers = HeaderMap::new();
    let agent = concat!("llm-gateway/", env!("CARGO_PKG_VERSION"));
    for (name, value) in [
        (CONTENT_TYPE, "application/json"),
        (ACCEPT, wire.accepts(stream)),
        (ACCEPT_ENCODING, "identity"),
        (USER_AGENT, agent),
    ] {
        headers.insert(name, HeaderValue::from_static(value));
    }
    headers.insert(HOST, host(provider, &uri)?);
    for (name, value) in own_headers(provider)?.into_iter().chain(proof_by_key(provider, credential)?) {
        headers.insert(name, value);
    }
    Ok(Head::new(Method::POST, uri, headers))
}

/// Where a path of a provider is.
fn address(provider: &Provider, path: &str) -> Result<Uri, LinkError> {
    let url: Option<Uri> = format!("{}{path}", provider.base_url).parse().ok();
    url.filter(|url| url.authority().is_some())
        .ok_or_else(|| LinkError(format!("providers.{}.base_url is not a URL", provider.id)))
}

/// What the provider is called in its requests.
fn host(provider: &Provider, uri: &Uri) -> Result<HeaderValue, LinkError> {
    let authority = uri.authority().map_or("", |authority| authority.as_str());
    // Who is in the address is nobody's business.
    let host = authority.rsplit_once('@').map_or(authority, |(_, host)| host);
    HeaderValue::from_str(host).map_err(|_| {
        LinkError(format!("providers.{}.base_url cannot be sent in an HTTP header", provider.id))
    })
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
