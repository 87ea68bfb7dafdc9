//! The stub provider, on a thread of its own: an upstream that is as strict as the APIs it stands for.

use std::net::SocketAddr;
use std::sync::mpsc;

use llm_gateway::stub::Stub;
use serde_json::Value;

/// A running stub; ends with its test.
pub struct StrictUpstream {
    address: SocketAddr,
    system: actix_rt::System,
}

impl StrictUpstream {
    /// Starts it.
    pub fn start() -> Self {
        let (tell, told) = mpsc::channel();
        std::thread::spawn(move || {
            let runner = actix_rt::System::new();
            let stub = runner.block_on(async { Stub::start("127.0.0.1:0", 1).expect("a free port") });
            tell.send((stub.address(), actix_rt::System::current())).expect("the test waits");
            runner.run().expect("the stub runs");
        });
        let (address, system) = told.recv().expect("the stub starts");
        Self { address, system }
    }

    /// `http://127.0.0.1:PORT`.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// The last request's body.
    pub async fn last_body(&self) -> Value {
        let http = reqwest::Client::builder().no_proxy().build().expect("a client");
        let report = http.get(format!("{}/stub/requests", self.url())).send().await.expect("answered");
        let report: Value = report.json().await.expect("JSON");
        report["last"]["body"].clone()
    }
}

impl Drop for StrictUpstream {
    fn drop(&mut self) {
        self.system.stop();
    }
}
