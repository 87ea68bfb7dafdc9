//! A server of pictures over https, with a certificate of its own: it answers by path, in the pieces and at the
//! moments a test wants.

use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, LazyLock, Mutex};
use std::time::{Duration, Instant};

use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use rustls::{ServerConfig, ServerConnection, StreamOwned};

use super::eventually;

/// A picture of one pixel.
pub const PNG: &[u8] = b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR\0\0\0\x01\0\0\0\x01\x08\x06\0\0\0\x1f\x15\xc4\x89\0\0\0\rIDATx\xdac\xfc\xcfP\x0f\0\x04\x85\x01\x80\x84\xa9\x8c!\0\0\0\0IEND\xaeB`\x82";

struct Identity {
    pem: String,
    tls: Arc<ServerConfig>,
}

/// One certificate for all servers of the tests: the loopback, by name and by address.
static IDENTITY: LazyLock<Identity> = LazyLock::new(|| {
    let names = vec!["localhost".to_owned(), "127.0.0.1".to_owned()];
    let made = rcgen::generate_simple_self_signed(names).expect("a certificate");
    let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(made.signing_key.serialize_der()));
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let tls = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("protocols")
        .with_no_client_auth()
        .with_single_cert(vec![made.cert.der().clone()], key)
        .expect("a key that fits");
    Identity { pem: made.cert.pem(), tls: Arc::new(tls) }
});

/// The certificate to trust, PEM.
pub fn certificate() -> &'static str {
    &IDENTITY.pem
}

/// What is sent in answer to one request; then the connection is closed.
#[derive(Clone, Debug)]
pub enum Reply {
    /// These bytes, head included.
    Bytes(Vec<u8>),
    /// These bytes, then this piece again and again, with pauses, until the other side closes.
    Forever(Vec<u8>, Vec<u8>, Duration),
}

impl Reply {
    /// A 200 with this content type and body.
    pub fn ok(content_type: &str, body: &[u8]) -> Self {
        let length = body.len();
        let mut bytes =
            format!("HTTP/1.1 200 OK\r\ncontent-type: {content_type}\r\ncontent-length: {length}\r\n\r\n")
                .into_bytes();
        bytes.extend_from_slice(body);
        Self::Bytes(bytes)
    }

    /// A picture.
    pub fn png() -> Self {
        Self::ok("image/png", PNG)
    }

    /// A redirect.
    pub fn redirect(location: &str) -> Self {
        let head = format!("HTTP/1.1 302 Found\r\nlocation: {location}\r\ncontent-length: 0\r\n\r\n");
        Self::Bytes(head.into_bytes())
    }

    /// A picture that never ends.
    pub fn never_ending(pause: Duration) -> Self {
        let mut head =
            b"HTTP/1.1 200 OK\r\ncontent-type: image/png\r\ntransfer-encoding: chunked\r\n\r\n".to_vec();
        head.extend_from_slice(&super::chunk(PNG));
        Self::Forever(head, super::chunk(vec![0; 16 * 1024]), pause)
    }
}

#[derive(Default)]
struct Seen {
    heads: Mutex<Vec<String>>,
    open: AtomicUsize,
    accepted: AtomicUsize,
    over: AtomicBool,
}

/// A running server.
pub struct Pictures {
    /// Its port on 127.0.0.1.
    pub port: u16,
    seen: Arc<Seen>,
}

impl Pictures {
    /// Answers every request by its path.
    pub fn start(answer: impl Fn(&str) -> Reply + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let port = listener.local_addr().expect("bound").port();
        let seen = Arc::<Seen>::default();
        let (shared, answer) = (Arc::clone(&seen), Arc::new(answer));
        std::thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                if shared.over.load(Ordering::SeqCst) {
                    return;
                }
                let (seen, answer) = (Arc::clone(&shared), Arc::clone(&answer));
                std::thread::spawn(move || {
                    seen.accepted.fetch_add(1, Ordering::SeqCst);
                    seen.open.fetch_add(1, Ordering::SeqCst);
                    // A client that breaks off is part of what is tested.
                    let _ = serve(stream, &seen, &*answer);
                    seen.open.fetch_sub(1, Ordering::SeqCst);
                });
            }
        });
        Self { port, seen }
    }

    /// An address on it, by name.
    pub fn url(&self, path: &str) -> String {
        format!("https://localhost:{}{path}", self.port)
    }

    /// Request heads so far.
    pub fn heads(&self) -> Vec<String> {
        self.seen.heads.lock().expect("heads").clone()
    }

    /// Connections so far, whatever came over them.
    pub fn connections(&self) -> usize {
        self.seen.accepted.load(Ordering::SeqCst)
    }

    /// Waits until so many requests have come.
    pub async fn reached(&self, count: usize) {
        eventually("pictures are asked for", || {
            std::future::ready((self.heads().len() >= count).then_some(()))
        })
        .await;
    }

    /// Waits until no connection is open; gives how long that took.
    pub async fn all_closed(&self) -> Duration {
        let started = Instant::now();
        eventually("the pictures' connections are closed", || {
            std::future::ready((self.seen.open.load(Ordering::SeqCst) == 0).then_some(()))
        })
        .await;
        started.elapsed()
    }
}

impl Drop for Pictures {
    fn drop(&mut self) {
        self.seen.over.store(true, Ordering::SeqCst);
        // Wakes the listener, so that its thread sees that it is over.
        let _ = TcpStream::connect(("127.0.0.1", self.port));
    }
}

fn serve(stream: TcpStream, seen: &Seen, answer: &dyn Fn(&str) -> Reply) -> std::io::Result<()> {
    stream.set_nodelay(true)?;
    let tls = ServerConnection::new(Arc::clone(&IDENTITY.tls)).map_err(std::io::Error::other)?;
    let mut stream = StreamOwned::new(tls, stream);
    let mut head = Vec::new();
    let mut byte = [0];
    while !head.ends_with(b"\r\n\r\n") {
        stream.read_exact(&mut byte)?;
        head.push(byte[0]);
    }
    let head = String::from_utf8_lossy(&head).into_owned();
    let path = head.split(' ').nth(1).unwrap_or("").to_owned();
    seen.heads.lock().expect("heads").push(head);
    match answer(&path) {
        Reply::Bytes(bytes) => {
            stream.write_all(&bytes)?;
            stream.flush()?;
        }
        Reply::Forever(first, piece, pause) => {
            stream.write_all(&first)?;
            while !seen.over.load(Ordering::SeqCst) {
                stream.flush()?;
                std::thread::park_timeout(pause);
                stream.write_all(&piece)?;
            }
        }
    }
    stream.conn.send_close_notify();
    stream.flush()
}
