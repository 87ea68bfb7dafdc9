//! A provider row for tests of other modules: an OpenAI-compatible server without a credential.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use super::{AdmissionRule, AuthStyle, BreakerRule, OnCancel, Provider, Route, Tending, Timeouts};
use crate::wire::Quirks;

/// How long anything may take.
const PATIENCE: Duration = Duration::from_secs(10);

/// A row of this id for a server at this port.
pub fn row(id: &str, port: u16) -> Provider {
    Provider {
        id: Arc::from(id),
        routes: vec![Route { models: vec!["*".to_owned()], ..Route::default() }],
        responses: false,
        vars: BTreeMap::new(),
        base_url: format!("http://127.0.0.1:{port}/v1"),
        auth: AuthStyle::None,
        api_key: None,
        api_keys: Vec::new(),
        identity: None,
        env: Vec::new(),
        catalog: Arc::from(id),
        headers: BTreeMap::new(),
        quirks: Quirks::default(),
        timeouts: Timeouts {
            connect: PATIENCE,
            head: PATIENCE,
            first_event: PATIENCE,
            idle: PATIENCE,
            total: PATIENCE,
        },
        model_timeouts: Vec::new(),
        admission: AdmissionRule {
            ceiling: 8,
            adaptive: false,
            floor: 1,
            queue: 8,
            queue_timeout: Duration::from_secs(1),
        },
        breaker: BreakerRule {
            consecutive_failures: 5,
            failure_rate: 50,
            slow_call: Duration::ZERO,
            slow_rate: 80,
            minimum_calls: 20,
            cool_down: Duration::from_secs(5),
            cool_down_max: Duration::from_secs(120),
        },
        tending: Tending::default(),
        on_cancel: OnCancel::default(),
    }
}
