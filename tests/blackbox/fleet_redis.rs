//! Redis in each form in which it may be run: behind sentinels, as a cluster, over TLS. Two gateways share a budget and a
//! quota over it, and outlive the loss of a master.

use std::time::Duration;

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::support::{
    Client, Gateway, Redis, Script, Setup, Upstream, completion, eventually, free_port, whole,
};

/// A call of 1 and 100 tokens costs 0.001001 USD, and reserves a little more.
const CATALOG: &str = r#"{"version":1,"models":[{"id":"priced","offers":[
  {"provider":"up","upstream":"priced","capabilities":[],"price":{"rates":{"input":"1","output":"10"}}}]}]}"#;

/// Two gateways on one store.
struct Two {
    gateways: Vec<Gateway>,
    upstream: Upstream,
    _store: TempDir,
}

impl Two {
    async fn on(url: &str, more: &str, files: &[(&str, &str)]) -> Self {
        let mut body = completion("hi");
        body["usage"] = json!({"prompt_tokens": 1, "completion_tokens": 100, "total_tokens": 101});
        let upstream = Upstream::always(Script::new().send(whole(200, &body))).await;
        let store = TempDir::new().expect("a temporary folder");
        let config =
            format!("redis: {{ url: '{url}', timeout: 500ms{more} }}\ncatalog: {{ file: catalog.json }}\n");
        let setup = Setup::with_upstream(&upstream).config(&config).file("catalog.json", CATALOG);
        let mut setup = setup.variable("LLM_GATEWAY__DATA_DIR", &store.path().display().to_string());
        for (name, text) in files {
            setup = setup.file(name, text);
        }
        let gateways = vec![setup.clone().start().await, setup.start().await];
        let two = Self { gateways, upstream, _store: store };
        two.all_up().await;
        two
    }

    async fn all_up(&self) {
        for gateway in &self.gateways {
            gateway.counted("llm_gateway_redis_up", 1.0).await;
        }
    }

    /// A client of each gateway, with one key.
    async fn clients(&self, spec: Value) -> Vec<Client> {
        let (status, made) = self.gateways[0].admin("POST", "/keys", Some(spec)).await;
        assert_eq!(status, 201, "{made}");
        let key = made["key"].as_str().expect("a key");
        let clients: Vec<Client> = self.gateways.iter().map(|it| Client::new(&it.url, key)).collect();
        for client in &clients {
            eventually("the key is known", || async {
                (client.get("/v1/models").await.status == 200).then_some(())
            })
            .await;
        }
        clients
    }

    /// A limit of so many requests a minute is one for both of them.
    async fn share_a_quota(&self) {
        let clients = self.clients(json!({"name": "low", "rpm": 6})).await;
        let mut admitted = 0;
        for at in 0..20 {
            admitted += u32::from(clients[at % 2].ask("up/priced", json!({})).await.status == 200);
        }
        // One flows back every ten seconds.
        assert!((6..=8).contains(&admitted), "{admitted} of 6 a minute");
    }

    /// A budget of 20 calls is spent to the last one and no further, whatever happens after half of them.
    async fn share_a_budget(&self, meanwhile: impl AsyncFnOnce()) {
        let spec = json!({"name": "k", "budget": {"limit_usd": "0.0203", "period": "total"}});
        let clients = self.clients(spec).await;
        let before = self.upstream.requests().len();
        for at in 0..10 {
            assert_eq!(call(&clients[at % 2]).await, 200);
        }
        meanwhile().await;
        let mut answered = 10;
        while call(&clients[answered % 2]).await == 200 {
            answered += 1;
        }
        assert_eq!((answered, self.upstream.requests().len() - before), (20, 20), "calls that were paid for");
        assert_eq!(call(&clients[1]).await, 402);
    }
}

/// A call as an SDK makes it: what is to be tried again is.
async fn call(client: &Client) -> u16 {
    for _ in 0..150 {
        let answer = client.ask("up/priced", json!({"max_tokens": 100})).await;
        if answer.status != 503 {
            return answer.status;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    panic!("never told what is left")
}

#[tokio::test]
async fn sentinels_name_the_master_and_the_next_one_once_that_is_gone() {
    let (mut master, replica) = (Redis::start().await, Redis::start().await);
    replica.follow(&master).await;
    let mut sentinels = Vec::new();
    for _ in 0..3 {
        sentinels.push(Redis::sentinel(master.port(), 2).await);
    }
    for sentinel in &sentinels {
        eventually("the sentinels know each other and the replica", || async {
            let told = sentinel.command(&["INFO", "sentinel"]).await;
            told.contains("slaves=1,sentinels=3").then_some(())
        })
        .await;
    }
    let hosts: Vec<String> = sentinels.iter().map(|it| format!("127.0.0.1:{}", it.port())).collect();
    // Refused while it is gone: so the budget is exact.
    let two = Two::on(&format!("redis+sentinel://{}/main/0", hosts.join(",")), ", on_loss: deny", &[]).await;
    two.share_a_quota().await;
    two.share_a_budget(async || {
        master.kill();
        eventually("the replica is master", || async {
            replica.command(&["ROLE"]).await.starts_with("master").then_some(())
        })
        .await;
        two.all_up().await;
    })
    .await;
}

/// Three masters and a replica of each.
async fn cluster() -> Vec<Redis> {
    let mut nodes = Vec::new();
    for _ in 0..6 {
        // The port of its bus must be one that nobody else is given.
        let bus = free_port().to_string();
        let enabled = ["--cluster-enabled", "yes", "--cluster-node-timeout", "1000", "--cluster-port", &bus];
        nodes.push(Redis::with(&enabled).await);
    }
    let hosts: Vec<String> = nodes.iter().map(|it| format!("127.0.0.1:{}", it.port())).collect();
    let mut words = vec!["--cluster", "create"];
    words.extend(hosts.iter().map(String::as_str));
    words.extend(["--cluster-replicas", "1", "--cluster-yes"]);
    let said = nodes[0].command(&words).await;
    for node in &nodes {
        eventually("the cluster is whole", || async {
            let info = node.command(&["CLUSTER", "INFO"]).await;
            let links = node.command(&["INFO", "replication"]).await;
            let linked = links.contains("role:master") || links.contains("master_link_status:up");
            (info.contains("cluster_state:ok") && linked).then_some(())
        })
        .await;
    }
    assert!(said.contains("All 16384 slots covered"), "{said}");
    nodes
}

#[tokio::test]
async fn a_cluster_keeps_each_budget_on_one_node_and_outlives_that_one() {
    let mut nodes = cluster().await;
    let hosts: Vec<String> = nodes.iter().map(|it| format!("127.0.0.1:{}", it.port())).collect();
    let url = format!("redis+cluster://{}", hosts.join(","));
    let two = Two::on(&url, ", on_loss: deny", &[]).await;
    two.share_a_quota().await;
    two.share_a_budget(async || {
        // The first three are the masters; the one with the budget is killed.
        let mut found = None;
        for (at, node) in nodes.iter().take(3).enumerate() {
            if node.command(&["KEYS", "llmgw:b:*"]).await.contains("llmgw:b:") {
                found = Some(at);
            }
        }
        nodes[found.expect("somebody has it")].kill();
        eventually("its replica is master", || async {
            let mut masters = 0;
            for node in &nodes[3..] {
                masters += usize::from(node.command(&["ROLE"]).await.starts_with("master"));
            }
            (masters == 1).then_some(())
        })
        .await;
        two.all_up().await;
    })
    .await;
}

#[tokio::test]
async fn a_server_that_speaks_tls_is_trusted_by_the_certificate_that_is_configured_and_by_no_other() {
    let names = || vec!["127.0.0.1".to_owned(), "localhost".to_owned()];
    let made = rcgen::generate_simple_self_signed(names()).expect("a certificate");
    let other = rcgen::generate_simple_self_signed(names()).expect("a certificate");
    let redis = Redis::with_tls(&made.cert.pem(), &made.signing_key.serialize_pem()).await;
    let url = format!("rediss://127.0.0.1:{}", redis.port());
    let two = Two::on(&url, ", ca_file: ca.pem", &[("ca.pem", &made.cert.pem())]).await;
    two.share_a_quota().await;
    two.share_a_budget(async || {}).await;
    let stranger = Setup::with_upstream(&two.upstream)
        .config(&format!("redis: {{ url: '{url}', ca_file: ca.pem }}\n"))
        .file("ca.pem", &other.cert.pem());
    let stranger = stranger.start().await;
    eventually("it says that it cannot", || async {
        stranger.process.log().contains("Redis cannot be reached").then_some(())
    })
    .await;
    assert_eq!(stranger.metric("llm_gateway_redis_up").await, 0.0);
}
