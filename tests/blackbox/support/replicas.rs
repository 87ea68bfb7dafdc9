//! Several gateways that are one to their clients: behind a balancer, each with a port that it keeps over restarts.

use serde_json::Value;

use super::{Balancer, Gateway, Setup, eventually, free_port};

/// Running gateways and what stands before them.
pub struct Replicas {
    /// Where clients go.
    pub balancer: Balancer,
    gateways: Vec<Option<Gateway>>,
}

impl Replicas {
    /// So many, each with this setup and folders of its own.
    pub async fn start(count: usize, setup: &Setup) -> Self {
        let ports: Vec<u16> = (0..count).map(|_| free_port()).collect();
        let mut gateways = Vec::new();
        for port in &ports {
            let listen = format!("127.0.0.1:{port}");
            gateways.push(Some(setup.clone().variable("LLM_GATEWAY__SERVER__LISTEN", &listen).start().await));
        }
        Self { balancer: Balancer::before(&ports).await, gateways }
    }

    /// One of them.
    pub fn at(&self, place: usize) -> &Gateway {
        self.gateways[place].as_ref().expect("it runs")
    }

    /// All of them.
    pub fn all(&self) -> impl Iterator<Item = &Gateway> {
        self.gateways.iter().map(|it| it.as_ref().expect("it runs"))
    }

    /// Kills one and starts it again in its folder.
    pub async fn crash(&mut self, place: usize) {
        let gateway = self.gateways[place].take().expect("it runs");
        self.gateways[place] = Some(gateway.crash_and_restart().await);
    }

    /// Asks one to end, waits for that, and starts it again in its folder.
    pub async fn replace(&mut self, place: usize) {
        let gateway = self.gateways[place].take().expect("it runs");
        self.gateways[place] = Some(gateway.stop_and_restart().await);
    }

    /// Makes a key with this specification, and waits until each of them knows it; gives its text and its id.
    pub async fn key(&self, spec: Value) -> (String, String) {
        let (status, made) = self.at(0).admin("POST", "/keys", Some(spec)).await;
        assert_eq!(status, 201, "{made}");
        let text = |name: &str| made[name].as_str().expect("a text").to_owned();
        let (key, id) = (text("key"), text("id"));
        for gateway in self.all() {
            eventually("the key is known", || async {
                let request = reqwest::Client::new().get(format!("{}/v1/models", gateway.url));
                let answer = request.bearer_auth(&key).send().await;
                answer.is_ok_and(|answer| answer.status() == 200).then_some(())
            })
            .await;
        }
        (key, id)
    }

    /// Waits until no call is in flight anywhere and all receipts are in the ledger.
    pub async fn settled(&self) {
        for gateway in self.all() {
            gateway.idle().await;
            gateway.counted("llm_gateway_unsettled_receipts", 0.0).await;
        }
    }
}
