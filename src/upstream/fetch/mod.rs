//! Fetching the images that a request names by address, for formats that take bytes only.
//!
//! Invariants: every address that a host resolves to passes the guard before any is connected to, and only a checked
//! one is connected to, never a name; each redirect starts over; nothing of the client or the operator goes along,
//! no cookie, no credential; every wait, count and size has a bound; dropping the future ends all of it.

mod base64;
mod budget;
mod image;
mod trouble;

use std::net::{SocketAddr, ToSocketAddrs};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use actix_service::{Service, fn_service};
use actix_tls::connect::{ConnectError, ConnectInfo, Connector as TcpConnector};
use awc::error::SendRequestError;
use awc::http::header::{ACCEPT, ACCEPT_ENCODING, HOST, HeaderValue, LOCATION, USER_AGENT};
use awc::http::{StatusCode, Uri};
use awc::{Client, ClientResponse, Connector};
use futures_util::{StreamExt, TryStreamExt, stream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, timeout_at};

use self::budget::Budget;
use self::trouble::Trouble;
use super::tls::{tls_config, tls_config_trusting};
use crate::config::FetchSettings;
use crate::error::Error;
use crate::policy::address::{Address, Guard};
use crate::wire::Media;

/// All images of one request must be there by then.
const TIME_MAX: Duration = Duration::from_secs(10);
/// One connection must stand by then; there may be another address to try.
const CONNECT_TIME_MAX: Duration = Duration::from_secs(3);
/// Images of one request.
const IMAGES_MAX: usize = 16;
/// Images of one request that are fetched at once.
const AT_ONCE: usize = 4;
/// Redirects of one image.
const REDIRECTS_MAX: usize = 3;
/// Addresses of one host that are looked at; a host with more is not believed.
const ADDRESSES_MAX: usize = 64;
/// Addresses of one host that are tried.
const TRIED_MAX: usize = 4;
/// Names that are looked up at once by the process: each blocks a thread for as long as the resolver likes.
const LOOKUPS_MAX: usize = 32;

/// What the fetchers of all cells share.
#[derive(Clone)]
pub struct Fetching {
    tls: Arc<rustls::ClientConfig>,
    guard: Guard,
    room: Arc<Semaphore>,
    lookups: Arc<Semaphore>,
}

/// One cell's fetcher.
pub struct Fetcher {
    client: Client,
    shared: Fetching,
}

/// An image to fetch: its path in the request, and its address.
pub type Wanted = (String, String);

/// The images of one request, and their part of the process's room.
#[derive(Debug, Default)]
pub struct Fetched {
    /// By address.
    pub media: Arc<Media>,
    _held: Option<OwnedSemaphorePermit>,
}

impl Fetching {
    /// From the settings; `None` when the operator allowed nothing.
    ///
    /// # Errors
    /// Certificates that cannot be read.
    pub fn of(settings: &FetchSettings) -> Result<Option<Self>, rustls::Error> {
        if !settings.images {
            return Ok(None);
        }
        let tls = match &settings.ca_file {
            Some(file) => tls_config_trusting(file)?,
            None => tls_config()?,
        };
        Ok(Some(Self {
            tls,
            guard: Guard::new(settings.allow.clone()),
            room: budget::room(settings.memory),
            lookups: Arc::new(Semaphore::new(LOOKUPS_MAX)),
        }))
    }
}

impl Fetcher {
    /// A fetcher for this thread.
    pub fn new(shared: Fetching) -> Rc<Self> {
        Rc::new(Self { client: client(&shared.tls), shared })
    }

    /// Fetches all of them, until `deadline` at the latest.
    ///
    /// # Errors
    /// 400 that names the first image that could not be had; 503 when the process holds enough; 504 at the deadline.
    pub async fn fetch(
        self: Rc<Self>,
        wanted: Vec<Wanted>,
        deadline: Instant,
        request_id: Arc<str>,
    ) -> Result<Fetched, Error> {
        if let Some((path, _)) = wanted.get(IMAGES_MAX) {
            let message = format!(
                "A request may give {IMAGES_MAX} different images by address at most; send the others as data URLs."
            );
            return Err(Error::invalid_code(message, Some(path), "invalid_image_url"));
        }
        let patience = Instant::now() + TIME_MAX;
        let ends = patience.min(deadline);
        let budget = Budget::new(&self.shared.room);
        let (fetcher, spent, request_id) = (&self, &budget, &request_id);
        let one = |(path, url): Wanted| async move {
            let image = timeout_at(ends, fetcher.one(&url, spent)).await;
            match image.unwrap_or(Err(Trouble::Slow)) {
                Ok(image) => Ok((url, image)),
                Err(Trouble::Slow) if deadline < patience => {
                    Err(Error::Timeout("The images of the request could not be fetched in time.".to_owned()))
                }
                Err(trouble) => {
                    tracing::warn!(%request_id, reason = trouble.label(), "an image of a request was not fetched");
                    Err(trouble.into_error(&path))
                }
            }
        };
        let media = stream::iter(wanted).map(one).buffer_unordered(AT_ONCE).try_collect().await?;
        Ok(Fetched { media: Arc::new(Media(media)), _held: budget.into_held() })
    }

    /// Media type and base64 of the image at an address.
    async fn one(&self, url: &str, budget: &Budget) -> Result<(String, String), Trouble> {
        let mut address = Address::parse(url)?;
        for _ in 0..=REDIRECTS_MAX {
            self.shared.guard.check(&address)?;
            let response = self.ask(&address, &self.resolve(&address).await?).await?;
            match response.status() {
                StatusCode::OK => return image::read(response, budget).await,
                StatusCode::MOVED_PERMANENTLY
                | StatusCode::FOUND
                | StatusCode::SEE_OTHER
                | StatusCode::TEMPORARY_REDIRECT
                | StatusCode::PERMANENT_REDIRECT => {
                    let location = response.headers().get(LOCATION).and_then(|value| value.to_str().ok());
                    address = address.join(location.ok_or(Trouble::Redirects)?)?;
                }
                status => return Err(Trouble::Status(status.as_u16())),
            }
        }
        Err(Trouble::Redirects)
    }

    /// Where a host is: every address it has, each of them admitted.
    async fn resolve(&self, address: &Address) -> Result<Vec<SocketAddr>, Trouble> {
        let port = address.port();
        let places = match (address.literal(), self.shared.guard.lookup_name(address)) {
            (Some(literal), _) => vec![SocketAddr::new(literal, port)],
            (None, Some(name)) => self.look_up(name, port).await?,
            (None, None) => Vec::new(),
        };
        if places.is_empty() || places.len() > ADDRESSES_MAX {
            return Err(Trouble::Unresolved);
        }
        if !self.shared.guard.admits_all(address, places.iter().map(SocketAddr::ip)) {
            return Err(Trouble::Inner);
        }
        Ok(places)
    }

    async fn look_up(&self, name: String, port: u16) -> Result<Vec<SocketAddr>, Trouble> {
        let lookups = Arc::clone(&self.shared.lookups);
        let permit = lookups.acquire_owned().await.map_err(|_| Trouble::Unresolved)?;
        let looked_up = tokio::task::spawn_blocking(move || {
            // Held by the thread: a caller who leaves does not free a thread that still waits for the resolver.
            let _permit = permit;
            let places = (name.as_str(), port).to_socket_addrs()?;
            std::io::Result::Ok(places.take(ADDRESSES_MAX + 1).collect())
        });
        looked_up.await.map_err(|_| Trouble::Unresolved)?.map_err(|_| Trouble::Unresolved)
    }

    /// Asks at the first of these places that takes a connection.
    async fn ask(&self, address: &Address, places: &[SocketAddr]) -> Result<ClientResponse, Trouble> {
        let host = HeaderValue::from_str(&address.authority()).map_err(|_| Trouble::Unreachable)?;
        for place in places.iter().take(TRIED_MAX) {
            let request = self
                .client
                .get(address.url())
                .address(*place)
                .force_close()
                .no_decompress()
                .insert_header((HOST, host.clone()))
                .insert_header((ACCEPT, HeaderValue::from_static("image/*")))
                .insert_header((ACCEPT_ENCODING, HeaderValue::from_static("identity")))
                .insert_header((
                    USER_AGENT,
                    HeaderValue::from_static(concat!("llm-gateway/", env!("CARGO_PKG_VERSION"))),
                ));
            match request.send().await {
                Ok(response) => return Ok(response),
                Err(SendRequestError::Connect(_)) => {}
                Err(_) => return Err(Trouble::Unreachable),
            }
        }
        Err(Trouble::Unreachable)
    }
}

/// A client that connects where it is told and nowhere else, and keeps no connection.
fn client(tls: &Arc<rustls::ClientConfig>) -> Client {
    let tcp = TcpConnector::default().service();
    let connect = fn_service(move |info: ConnectInfo<Uri>| {
        // Without an address the connector would resolve the name itself, and nobody would have checked the result.
        let checked = info.addrs().next().is_some();
        let connecting = tcp.call(info);
        async move { if checked { connecting.await } else { Err(ConnectError::Unresolved) } }
    });
    let connector = Connector::new()
        .connector(connect)
        .rustls_0_23(Arc::clone(tls))
        .limit(0)
        .timeout(CONNECT_TIME_MAX)
        .handshake_timeout(CONNECT_TIME_MAX)
        .conn_keep_alive(Duration::ZERO);
    Client::builder().connector(connector).disable_timeout().disable_redirects().no_default_headers().finish()
}
