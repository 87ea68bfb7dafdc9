//! An upstream over raw TCP: it says exactly what a test wants, in the pieces and at the moments it wants, and
//! breaks off as it wants. Libraries are too polite for that.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

use super::eventually;

/// A request that reached the upstream.
#[derive(Clone, Debug)]
pub struct Request {
    /// Request line and headers, as sent.
    pub head: String,
    /// The body.
    pub body: Vec<u8>,
    /// Which connection it came over, from 0.
    pub connection: usize,
    /// Which request it is, from 0.
    pub number: usize,
}

impl Request {
    /// A header's value.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.head.lines().skip(1).find_map(|line| {
            let (given, value) = line.split_once(':')?;
            given.eq_ignore_ascii_case(name).then(|| value.trim())
        })
    }

    /// The body as JSON.
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).expect("the gateway sends JSON")
    }
}

/// What a connection does next.
#[derive(Clone, Debug)]
enum Step {
    Send(Arc<[u8]>),
    Wait(Duration),
    Gate(Arc<tokio::sync::Semaphore>),
    UntilClosed,
    Close,
    Reset,
    AtReuse(bool),
}

/// What an upstream does with one request, in order. At its end the connection takes the next request.
#[derive(Clone, Debug, Default)]
pub struct Script(Vec<Step>);

impl Script {
    /// Nothing yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Sends bytes in one write.
    pub fn send(mut self, bytes: impl Into<Vec<u8>>) -> Self {
        self.0.push(Step::Send(bytes.into().into()));
        self
    }

    /// Sends the same bytes so many times, without holding them as often.
    pub fn send_again_and_again(mut self, bytes: impl Into<Vec<u8>>, times: usize) -> Self {
        let bytes: Arc<[u8]> = bytes.into().into();
        self.0.extend((0..times).map(|_| Step::Send(Arc::clone(&bytes))));
        self
    }

    /// Sends bytes in writes of `size`, each on its way before the next.
    pub fn send_in_pieces(mut self, bytes: &[u8], size: usize) -> Self {
        for piece in bytes.chunks(size) {
            self.0.push(Step::Send(piece.into()));
            self.0.push(Step::Wait(Duration::from_micros(200)));
        }
        self
    }

    /// Waits. For pacing what is sent, never for synchronisation.
    pub fn wait(mut self, pause: Duration) -> Self {
        self.0.push(Step::Wait(pause));
        self
    }

    /// Waits until the test adds a permit to `gate`.
    pub fn until(mut self, gate: &Arc<tokio::sync::Semaphore>) -> Self {
        self.0.push(Step::Gate(Arc::clone(gate)));
        self
    }

    /// Says nothing until the gateway closes the connection.
    pub fn until_closed(mut self) -> Self {
        self.0.push(Step::UntilClosed);
        self
    }

    /// Closes the connection in an orderly way (FIN).
    pub fn close(mut self) -> Self {
        self.0.push(Step::Close);
        self
    }

    /// Resets the connection (RST).
    pub fn reset(mut self) -> Self {
        self.0.push(Step::Reset);
        self
    }

    /// Waits for the next request over this connection and closes it without having read any of it: in an orderly way,
    /// or by reset.
    pub fn close_at_reuse(mut self, orderly: bool) -> Self {
        self.0.push(Step::AtReuse(orderly));
        self
    }
}

/// A running upstream.
pub struct Upstream {
    port: u16,
    seen: Arc<Mutex<Vec<Request>>>,
    open: Arc<AtomicUsize>,
    accepted: Arc<AtomicUsize>,
    task: tokio::task::JoinHandle<()>,
}

type Answering = Arc<dyn Fn(&Request) -> Script + Send + Sync>;

impl Upstream {
    /// Answers every request with the script that `answer` gives.
    pub async fn start(answer: impl Fn(&Request) -> Script + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let port = listener.local_addr().expect("bound").port();
        let (seen, open, accepted) = (Arc::default(), Arc::default(), Arc::default());
        let shared = Shared {
            answer: Arc::new(answer) as Answering,
            seen: Arc::clone(&seen),
            open: Arc::clone(&open),
            accepted: Arc::clone(&accepted),
        };
        let task = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(shared.clone().serve(stream));
            }
        });
        Self { port, seen, open, accepted, task }
    }

    /// Answers every request with the same script.
    pub async fn always(script: Script) -> Self {
        Self::start(move |_| script.clone()).await
    }

    /// Answers with the script at the place that the request's model names: `0`, `1`, ...
    pub async fn of(scripts: Vec<Script>) -> Self {
        Self::start(move |request| {
            let model = request.json()["model"].as_str().expect("a model").to_owned();
            scripts[model.parse::<usize>().expect("a number for a model")].clone()
        })
        .await
    }

    /// `base_url` for a provider row.
    pub fn base_url(&self) -> String {
        format!("http://127.0.0.1:{}/v1", self.port)
    }

    /// Requests so far.
    pub fn requests(&self) -> Vec<Request> {
        self.seen.lock().expect("requests").clone()
    }

    /// The last request.
    pub fn last(&self) -> Request {
        self.requests().pop().expect("a request reached the upstream")
    }

    /// Connections accepted so far.
    pub fn connections(&self) -> usize {
        self.accepted.load(Ordering::SeqCst)
    }

    /// Connections open now.
    pub fn open_connections(&self) -> usize {
        self.open.load(Ordering::SeqCst)
    }

    /// Waits until `count` requests arrived.
    pub async fn reached(&self, count: usize) {
        eventually("requests reach the upstream", || {
            std::future::ready((self.requests().len() >= count).then_some(()))
        })
        .await;
    }

    /// Waits until no connection is open; gives how long that took.
    pub async fn all_closed(&self) -> Duration {
        let started = tokio::time::Instant::now();
        eventually("the upstream's connections are closed", || {
            std::future::ready((self.open_connections() == 0).then_some(()))
        })
        .await;
        started.elapsed()
    }
}

/// A port where connecting never comes to an end: its listener takes nobody and has no place left to wait in.
pub struct BlackHole {
    port: u16,
    /// Keep it full.
    _listener: socket2::Socket,
    _waiting: Vec<socket2::Socket>,
}

impl BlackHole {
    /// Opens and fills it.
    pub fn open() -> Self {
        use socket2::{Domain, Socket, Type};
        let socket = || Socket::new(Domain::IPV4, Type::STREAM, None).expect("a socket");
        let listener = socket();
        listener.bind(&std::net::SocketAddr::from(([127, 0, 0, 1], 0)).into()).expect("a free port");
        listener.listen(0).expect("it can listen");
        let address = listener.local_addr().expect("bound");
        let port = address.as_socket().expect("an address").port();
        let waiting = || {
            let socket = socket();
            socket.set_nonblocking(true).expect("a socket that does not block");
            // In progress: the system answers as many as it has places for, and then no more.
            let _ = socket.connect(&address);
            socket
        };
        Self { port, _waiting: (0..8).map(|_| waiting()).collect(), _listener: listener }
    }

    /// `base_url` for a provider row.
    pub fn base_url(&self) -> String {
        format!("http://127.0.0.1:{}/v1", self.port)
    }
}

impl Drop for Upstream {
    fn drop(&mut self) {
        self.task.abort();
    }
}

#[derive(Clone)]
struct Shared {
    answer: Answering,
    seen: Arc<Mutex<Vec<Request>>>,
    open: Arc<AtomicUsize>,
    accepted: Arc<AtomicUsize>,
}

/// Counts an open connection.
struct Open(Arc<AtomicUsize>);

impl Drop for Open {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}

impl Shared {
    async fn serve(self, mut stream: TcpStream) {
        self.open.fetch_add(1, Ordering::SeqCst);
        let _open = Open(Arc::clone(&self.open));
        let connection = self.accepted.fetch_add(1, Ordering::SeqCst);
        let _ = stream.set_nodelay(true);
        let mut buffer = Vec::new();
        while let Some((head, body)) = read_request(&mut stream, &mut buffer).await {
            let request = {
                let mut seen = self.seen.lock().expect("requests");
                let request = Request { head, body, connection, number: seen.len() };
                seen.push(request.clone());
                request
            };
            let script = (self.answer)(&request);
            if !play(&mut stream, script).await {
                return;
            }
        }
    }
}

/// Plays a script; false when the connection is over.
async fn play(stream: &mut TcpStream, script: Script) -> bool {
    for step in script.0 {
        match step {
            Step::Send(bytes) => {
                if stream.write_all(&bytes).await.is_err() {
                    return false;
                }
            }
            Step::Wait(pause) => tokio::time::sleep(pause).await,
            Step::Gate(gate) => gate.acquire().await.expect("never closed").forget(),
            Step::UntilClosed => {
                let mut waste = [0; 1024];
                while stream.read(&mut waste).await.is_ok_and(|read| read > 0) {}
                return false;
            }
            Step::Close => {
                let _ = stream.shutdown().await;
                return false;
            }
            Step::AtReuse(orderly) => {
                let _ = stream.peek(&mut [0]).await;
                if orderly {
                    let _ = stream.shutdown().await;
                    let _ = stream.read(&mut [0; 1024]).await;
                }
                // What was not read makes it a reset.
                return false;
            }
            Step::Reset => {
                let _ = socket2::SockRef::from(&*stream).set_linger(Some(Duration::ZERO));
                return false;
            }
        }
    }
    true
}

/// Reads one request; `None` at the end of the connection.
async fn read_request(stream: &mut TcpStream, buffer: &mut Vec<u8>) -> Option<(String, Vec<u8>)> {
    let end = loop {
        if let Some(at) = buffer.windows(4).position(|window| window == b"\r\n\r\n") {
            break at + 4;
        }
        read_more(stream, buffer).await?;
    };
    let head = String::from_utf8_lossy(&buffer[..end]).into_owned();
    let length = head.lines().find_map(|line| {
        let (name, value) = line.split_once(':')?;
        name.eq_ignore_ascii_case("content-length").then(|| value.trim().parse::<usize>().ok())?
    });
    let total = end + length.unwrap_or(0);
    while buffer.len() < total {
        read_more(stream, buffer).await?;
    }
    let body = buffer[end..total].to_vec();
    buffer.drain(..total);
    Some((head, body))
}

async fn read_more(stream: &mut TcpStream, buffer: &mut Vec<u8>) -> Option<()> {
    let mut piece = vec![0; 16 * 1024];
    let read = stream.read(&mut piece).await.ok().filter(|read| *read > 0)?;
    buffer.extend_from_slice(&piece[..read]);
    Some(())
}

/// A whole HTTP answer with a JSON body.
pub fn whole(status: u16, body: &Value) -> Vec<u8> {
    let body = body.to_string();
    let length = body.len();
    format!("HTTP/1.1 {status} X\r\ncontent-type: application/json\r\ncontent-length: {length}\r\n\r\n{body}")
        .into_bytes()
}

/// A plain chat completion.
pub fn completion(text: &str) -> Value {
    json!({
        "id": "chatcmpl-up", "object": "chat.completion", "created": 1_700_000_000, "model": "m",
        "choices": [{"index": 0, "message": {"role": "assistant", "content": text}, "finish_reason": "stop"}],
        "usage": {"prompt_tokens": 9, "completion_tokens": 3, "total_tokens": 12}
    })
}

/// The head of a stream in chunked encoding.
pub fn stream_head() -> Vec<u8> {
    b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n".to_vec()
}

/// Bytes as one piece of chunked encoding; the empty piece ends the body.
pub fn chunk(bytes: impl AsRef<[u8]>) -> Vec<u8> {
    let bytes = bytes.as_ref();
    let mut out = format!("{:x}\r\n", bytes.len()).into_bytes();
    out.extend_from_slice(bytes);
    out.extend_from_slice(b"\r\n");
    out
}

/// One `chat.completion.chunk` as an event; `delta` and `finish` are JSON.
pub fn event(delta: &str, finish: &str) -> String {
    format!(
        "data: {{\"id\":\"c\",\"object\":\"chat.completion.chunk\",\"created\":1,\"model\":\"m\",\"choices\":[{{\"index\":0,\"delta\":{delta},\"finish_reason\":{finish}}}]}}\n\n"
    )
}

/// An event with text.
pub fn text_event(text: &str) -> String {
    event(&json!({"role": "assistant", "content": text}).to_string(), "null")
}

/// The usage event of [`completion`]'s numbers.
pub const USAGE_EVENT: &str = "data: {\"id\":\"c\",\"object\":\"chat.completion.chunk\",\"created\":1,\"model\":\"m\",\"choices\":[],\"usage\":{\"prompt_tokens\":9,\"completion_tokens\":3,\"total_tokens\":12}}\n\n";

/// What a good stream ends with: finish reason, usage, end marker.
pub fn ending() -> String {
    format!("{}{USAGE_EVENT}data: [DONE]\n\n", event("{}", "\"stop\""))
}

/// A whole good stream that says `text`.
pub fn streamed(text: &str) -> Script {
    Script::new().send(stream_head()).send(chunk(text_event(text) + &ending())).send(chunk(""))
}

/// The answer that a request asks for, stream or not, in a time that depends on its number, with what is charged for it.
pub fn charged(body: &Value, number: u64, prompt: u64, completed: u64) -> Script {
    let usage =
        json!({"prompt_tokens": prompt, "completion_tokens": completed, "total_tokens": prompt + completed});
    if body["stream"] != true {
        let mut reply = completion("hello there");
        reply["usage"] = usage;
        return Script::new().wait(Duration::from_millis(number % 7)).send(whole(200, &reply));
    }
    let told = json!({"id": "c", "object": "chat.completion.chunk", "created": 1, "model": "m", "choices": [], "usage": usage});
    let end = format!("{}data: {told}\n\ndata: [DONE]\n\n", event("{}", "\"stop\""));
    Script::new()
        .send(stream_head())
        .send(chunk(text_event("hello")))
        .wait(Duration::from_millis(number % 11))
        .send(chunk(text_event(" there")))
        .send(chunk(end))
        .send(chunk(""))
}
