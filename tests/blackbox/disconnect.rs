//! Clients that leave: the upstream is let go at once, and what was delivered is booked once.

use std::time::Duration;

use serde_json::json;

use crate::support::{Gateway, Script, Setup, Upstream, chunk, eventually, question, stream_head};

/// How soon after its client an upstream must be let go.
const AT_ONCE: Duration = Duration::from_millis(100);
/// Clients that leave at once.
const CROWD: usize = 1_000;

fn content() -> Vec<u8> {
    chunk(
        "data: {\"id\":\"c\",\"object\":\"chat.completion.chunk\",\"created\":1,\"model\":\"m\",\"choices\":[{\"index\":0,\"delta\":{\"role\":\"assistant\",\"content\":\"hello world\"},\"finish_reason\":null}]}\n\n",
    )
}

#[tokio::test]
async fn a_client_that_leaves_before_the_head_frees_its_upstream() {
    for stream in [false, true] {
        let upstream = Upstream::always(Script::new().until_closed()).await;
        let gateway = Gateway::before(&upstream).await;
        let call =
            tokio::spawn(gateway.client().await.request(&question("up/m", json!({"stream": stream}))).send());
        upstream.reached(1).await;
        call.abort();
        assert!(call.await.is_err());
        let took = upstream.all_closed().await;
        assert!(took < AT_ONCE, "{took:?}");
        gateway.idle().await;
        let rows = gateway.ledger(1).await;
        assert_eq!((rows.len(), &rows[0]["outcome"]), (1, &json!("cancelled")));
    }
}

#[tokio::test]
async fn a_client_that_leaves_in_mid_stream_is_booked_with_what_it_got() {
    let upstream = Upstream::always(Script::new().send(stream_head()).send(content()).until_closed()).await;
    let gateway = Gateway::before(&upstream).await;
    let mut response = gateway
        .client()
        .await
        .request(&question("up/m", json!({"stream": true})))
        .send()
        .await
        .expect("a head");
    assert!(response.chunk().await.expect("content").is_some());
    drop(response);
    let took = upstream.all_closed().await;
    assert!(took < AT_ONCE, "{took:?}");
    gateway.idle().await;
    let rows = gateway.ledger(1).await;
    assert_eq!(
        (rows.len(), &rows[0]["outcome"], &rows[0]["estimated"]),
        (1, &json!("cancelled"), &json!(true))
    );
    assert_eq!(rows[0]["completion_tokens"], 2);
}

#[tokio::test]
async fn a_thousand_clients_that_leave_at_once_leave_nothing_behind() {
    let upstream = Upstream::always(Script::new().send(stream_head()).send(content()).until_closed()).await;
    let setup = Setup::with_upstream(&upstream);
    let row = format!("providers:\n  up: {{ base_url: '{}', max_in_flight: 5000 }}\n", upstream.base_url());
    drop(setup);
    let gateway = Setup::new(row).start().await;
    let client = gateway.client_with(json!({"name": "crowd", "concurrency": 2_000})).await;
    let descriptors =
        || std::fs::read_dir(format!("/proc/{}/fd", gateway.process.id())).expect("its descriptors").count();
    let before = descriptors();
    let calls: Vec<_> = (0..CROWD)
        .map(|_| tokio::spawn(client.request(&question("up/m", json!({"stream": true}))).send()))
        .collect();
    upstream.reached(CROWD).await;
    let mut streams = Vec::new();
    for call in calls {
        streams.push(call.await.expect("not cancelled").expect("a head"));
    }
    drop(streams);
    drop(client);
    upstream.all_closed().await;
    gateway.idle().await;
    eventually("the descriptors are closed", || {
        std::future::ready((descriptors() <= before + 5).then_some(()))
    })
    .await;
    eventually("every call is booked once", || async {
        (gateway.metric("llm_gateway_attempts_total{error=\"cancelled\",model=\"other\",outcome=\"cancelled\",provider=\"up\"}").await == CROWD as f64).then_some(())
    })
    .await;
    let again = gateway.client_with(json!({"name": "after", "concurrency": 1})).await;
    let mut response =
        again.request(&question("up/m", json!({"stream": true}))).send().await.expect("a head");
    assert!(response.status() == 200 && response.chunk().await.expect("content").is_some());
}
