use actix_web::App;
use actix_web::http::Method;
use actix_web::test::{TestRequest, call_service, init_service, read_body, read_body_json};
use serde_json::{Value, json};

use super::*;
use crate::actors::gauges::{Gauges, UNSETTLED_MAX};
use crate::actors::metrics::Metrics;

/// Status, one header and the body that the ops routes answer.
async fn ask(
    metrics: Recipient<Scrape>,
    readiness: &Arc<Readiness>,
    method: Method,
    path: &str,
    header: &str,
) -> (u16, String, String) {
    let readiness = Arc::clone(readiness);
    let app = init_service(App::new().configure(|cfg| configure(cfg, metrics, readiness))).await;
    let reply = call_service(&app, TestRequest::with_uri(path).method(method).to_request()).await;
    let header = reply.headers().get(header).map_or("", |value| value.to_str().unwrap()).to_owned();
    (reply.status().as_u16(), header, String::from_utf8(read_body(reply).await.to_vec()).unwrap())
}

fn readiness() -> Arc<Readiness> {
    Arc::new(Readiness::new(Gauges::default()))
}

#[actix_web::test]
async fn metrics_are_prometheus_text() {
    let metrics = Metrics::launch(
        Gauges::default(),
        crate::actors::testing::standings(),
        crate::actors::testing::keys(),
    )
    .unwrap()
    .recipient();
    let (status, kind, body) = ask(metrics, &readiness(), Method::GET, "/metrics", "content-type").await;
    assert_eq!((status, kind.as_str()), (200, "text/plain; version=0.0.4"));
    assert!(body.contains("\nllm_gateway_in_flight_requests 0\n"), "{body}");
}

#[actix_web::test]
async fn a_metrics_actor_that_is_gone_is_a_503_that_says_so() {
    let arbiter = actix_rt::Arbiter::new();
    let metrics =
        Metrics::new(Gauges::default(), crate::actors::testing::standings(), crate::actors::testing::keys())
            .unwrap();
    let metrics = actix::Actor::start_in_arbiter(&arbiter.handle(), |_| metrics).recipient();
    arbiter.stop();
    arbiter.join().unwrap();
    let (status, wait, body) = ask(metrics, &readiness(), Method::GET, "/metrics", "retry-after").await;
    assert_eq!((status, wait.as_str()), (503, "1"));
    assert!(body.contains("overloaded_error"), "{body}");
}

#[actix_web::test]
async fn readiness_follows_the_life_of_the_process_and_never_goes_back() {
    let readiness = readiness();
    let app = init_service(App::new().configure(|cfg| configure_health(cfg, Arc::clone(&readiness)))).await;
    for (stage, status, word) in [
        (Stage::Starting, 503, "starting"),
        (Stage::Ready, 200, "ready"),
        (Stage::Leaving, 503, "leaving"),
        (Stage::Draining, 503, "draining"),
        (Stage::Ready, 503, "draining"),
    ] {
        readiness.advance(stage);
        let reply = call_service(&app, TestRequest::with_uri("/health/ready").to_request()).await;
        assert_eq!(reply.status().as_u16(), status, "{stage:?}");
        let body: Value = read_body_json(reply).await;
        assert_eq!(
            body,
            json!({"status": word, "checks": {"store": "ok", "billing": "ok", "memory": "ok", "journal": "ok"}})
        );
        let live = call_service(&app, TestRequest::with_uri("/health/live").to_request()).await;
        assert_eq!(live.status().as_u16(), 200);
    }
}

#[actix_web::test]
async fn a_failing_store_is_reported_and_does_not_make_the_process_unready() {
    let gauges = Gauges::default();
    let readiness = Arc::new(Readiness::new(gauges.clone()));
    readiness.advance(Stage::Ready);
    gauges.store_up.set(false);
    gauges.unsettled.add(UNSETTLED_MAX as usize);
    let app = init_service(App::new().configure(|cfg| configure_health(cfg, readiness))).await;
    let reply = call_service(&app, TestRequest::with_uri("/health/ready").to_request()).await;
    assert_eq!(reply.status().as_u16(), 200);
    let body: Value = read_body_json(reply).await;
    assert_eq!(
        body,
        json!({"status": "ready", "checks": {"store": "degraded", "billing": "degraded", "memory": "ok", "journal": "ok"}})
    );
}

#[actix_web::test]
async fn other_methods_are_told_which_ones_there_are() {
    let metrics = Metrics::launch(
        Gauges::default(),
        crate::actors::testing::standings(),
        crate::actors::testing::keys(),
    )
    .unwrap()
    .recipient();
    for path in ["/metrics", "/health/live", "/health/ready"] {
        let (status, allow, _) = ask(metrics.clone(), &readiness(), Method::POST, path, "allow").await;
        assert_eq!((status, allow.as_str()), (405, "GET, HEAD"), "{path}");
    }
}
