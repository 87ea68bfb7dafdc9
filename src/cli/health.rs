//! `llm-gateway health`: asks a gateway on this machine whether it is ready, for images that have neither shell nor curl.
//!
//! It reads no configuration: one that is wrong would say nothing of the process, which goes on with its old one.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

/// How long the whole question may take: less than the time-out of common health checks.
const DEADLINE: Duration = Duration::from_secs(3);
/// Longest answer that is read, bytes; it has some two hundred.
const ANSWER_BYTES_MAX: usize = 4096;

/// Whom to ask.
#[derive(Clone, Debug, clap::Args)]
pub struct Arguments {
    /// Address of the gateway's ops listener
    #[arg(long, value_name = "ADDRESS:PORT", default_value = "127.0.0.1:9090")]
    ops: SocketAddr,
}

/// Asks `/health/ready`; gives what it said.
///
/// # Errors
/// When nobody answers in time, or the answer is not a 200: in one line.
pub fn run(arguments: &Arguments) -> Result<String, String> {
    let address = arguments.ops;
    let answer = ask(address).map_err(|error| format!("{address} does not answer: {error}"))?;
    let (head, body) = answer.split_once("\r\n\r\n").unwrap_or((&answer, ""));
    let status = head.split(' ').nth(1).unwrap_or_default();
    if status == "200" { Ok(format!("{body}\n")) } else { Err(format!("{address} answers {status}: {body}")) }
}

/// The whole answer, head and body.
fn ask(address: SocketAddr) -> std::io::Result<String> {
    let started = Instant::now();
    // A time-out of zero would be none.
    let left = || Some(DEADLINE.saturating_sub(started.elapsed()).max(Duration::from_millis(1)));
    let mut stream = TcpStream::connect_timeout(&address, DEADLINE)?;
    stream.set_write_timeout(left())?;
    stream.write_all(
        format!("GET /health/ready HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n").as_bytes(),
    )?;
    let (mut answer, mut buffer) = (Vec::new(), [0; 1024]);
    while answer.len() < ANSWER_BYTES_MAX && started.elapsed() < DEADLINE {
        stream.set_read_timeout(left())?;
        match stream.read(&mut buffer)? {
            0 => break,
            read => answer.extend(buffer.iter().take(read)),
        }
    }
    Ok(String::from_utf8_lossy(&answer).into_owned())
}
