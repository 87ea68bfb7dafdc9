//! Connections: which worker gets them, and how many it takes.

use serde_json::json;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::support::{
    Gateway, Live, PATIENCE, Script, Setup, Upstream, chunk, question, raw, stream_head, text_event,
};

const HEALTH: &[u8] = b"GET /health/live HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n";

/// A series of each of two cells.
async fn of_cells(gateway: &Gateway, series: &str) -> [f64; 2] {
    [
        gateway.metric(&format!("{series}{{cell=\"0\"}}")).await,
        gateway.metric(&format!("{series}{{cell=\"1\"}}")).await,
    ]
}

#[tokio::test]
async fn streams_are_spread_over_the_workers_whatever_else_comes_between_them() {
    let up =
        Upstream::always(Script::new().send(stream_head()).send(chunk(text_event("one"))).until_closed())
            .await;
    let gateway = Setup::with_upstream(&up).variable("LLM_GATEWAY__SERVER__WORKERS", "2").start().await;
    let client = gateway.client().await;
    let mut streams = Vec::new();
    for _ in 0..20 {
        let mut stream = Live::open(client.request(&question("up/m", json!({"stream": true})))).await;
        stream.until("\n\n").await;
        streams.push(stream);
        assert_eq!(raw(&gateway.url, HEALTH).await.status, 200);
    }
    let [one, two] = of_cells(&gateway, "llm_gateway_cell_in_flight_requests").await;
    assert!(one + two == 20.0 && (one - two).abs() <= 2.0, "{one} and {two}");
    let [one, two] = of_cells(&gateway, "llm_gateway_cell_connections").await;
    assert!(one + two >= 20.0 && (one - two).abs() <= 2.0, "{one} and {two}");
    drop(streams);
    gateway.idle().await;
    for cell in ["0", "1"] {
        gateway.counted(&format!("llm_gateway_cell_connections{{cell=\"{cell}\"}}"), 0.0).await;
    }
}

#[tokio::test]
async fn connections_beyond_the_limit_wait_until_others_close() {
    let up = Upstream::always(Script::new().until_closed()).await;
    let gateway = Setup::with_upstream(&up).config("server: { max_connections: 2 }\n").start().await;
    let address = gateway.url.strip_prefix("http://").unwrap();
    let idle = [TcpStream::connect(address).await.unwrap(), TcpStream::connect(address).await.unwrap()];
    gateway.counted("llm_gateway_cell_connections{cell=\"0\"}", 2.0).await;
    let mut waiting = TcpStream::connect(address).await.unwrap();
    waiting.write_all(HEALTH).await.unwrap();
    // The kernel has it, and nobody has looked at it: a scrape, which is answered elsewhere, is no proof, but it takes longer.
    assert_eq!(gateway.metric("llm_gateway_cell_connections{cell=\"0\"}").await, 2.0);
    let mut answer = String::new();
    assert!(waiting.try_read(&mut [0; 1]).is_err());
    drop(idle);
    timeout(PATIENCE, waiting.read_to_string(&mut answer)).await.unwrap().unwrap();
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
}
