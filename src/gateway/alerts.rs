//! Telling of budgets that are nearly spent: looks at all purses, notes each threshold once over the fleet, logs it, and
//! sends it to the operator's address.
//!
//! Invariants: the calls know nothing of it; messages that wait are bounded, and each is tried for a bounded time; what
//! cannot be delivered is still in the log. A message is at most once in each period: one that is lost with a process is
//! not sent by another.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::join;
use futures_util::stream::{self, StreamExt as _};
use serde_json::{Value, json};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio::time::sleep;
use ulid::Ulid;

use super::now_ms;
use crate::actors::gauges::AlertCounts;
use crate::actors::live::Live;
use crate::policy::budget::{Standing, Window};
use crate::rfc3339::format_ms;
use crate::store::{Alert, GroupKind, KeyTable, Payer, PurseOf, Store};
use crate::upstream::notify;

/// How often it looks.
const LOOK: Duration = Duration::from_secs(2);
/// Messages that wait to be sent.
const QUEUE: usize = 256;
/// Messages that are being sent at a time.
const AT_ONCE: usize = 8;
/// What is waited before each of the tries of a message.
const PAUSES_S: [u64; 6] = [0, 1, 2, 4, 8, 16];

/// Which percentage each payer was told of, and in which period.
type Told = HashMap<Payer, (i64, u8)>;

/// Watches, as a task of this thread.
pub fn watch(keys: Arc<KeyTable>, store: Arc<dyn Store>, live: Live, counts: AlertCounts) -> JoinHandle<()> {
    let (sender, messages) = mpsc::channel(QUEUE);
    tokio::task::spawn_local(async move {
        let looking = async {
            let mut told = Told::new();
            loop {
                sleep(LOOK).await;
                look(&keys, &*store, &mut told, &sender, &counts).await;
            }
        };
        join(looking, deliver(messages, &live, &counts)).await;
    })
}

/// Looks at every purse once.
async fn look(
    keys: &KeyTable,
    store: &dyn Store,
    told: &mut Told,
    sender: &mpsc::Sender<Value>,
    counts: &AlertCounts,
) {
    let now_ms = now_ms();
    let purses = keys.purses();
    let mut seen = Told::new();
    for of in &purses {
        let Some(standing) = of.purse.standing(now_ms) else { continue };
        let start = standing.window.start_ms;
        let before = told.get(&of.payer).filter(|(window, _)| *window == start).map_or(0, |(_, to)| *to);
        let mut up_to = before;
        for percent in passed(&standing, before) {
            let alert = Alert { payer: of.payer.clone(), window_start_ms: start, percent };
            match store.note_alert(alert, now_ms).await {
                Ok(true) => tell(of, &standing, percent, now_ms, sender, counts),
                Ok(false) => {}
                Err(error) => {
                    // The next look tries again.
                    tracing::warn!(%error, payer = %of.payer, "a threshold of a budget cannot be noted");
                    break;
                }
            }
            up_to = percent;
        }
        seen.insert(of.payer.clone(), (start, up_to));
    }
    *told = seen;
}

/// Percentages above `before` that are passed, ascending.
fn passed(standing: &Standing, before: u8) -> Vec<u8> {
    let spent = i128::from(standing.spent.units()) * 100;
    let reached = |percent: &u8| spent >= i128::from(standing.budget.limit.units()) * i128::from(*percent);
    let alerts = standing.budget.alerts.iter().copied();
    alerts.filter(|percent| *percent > before && reached(percent)).collect()
}

fn tell(
    of: &PurseOf,
    standing: &Standing,
    percent: u8,
    now_ms: i64,
    sender: &mpsc::Sender<Value>,
    counts: &AlertCounts,
) {
    counts.told();
    let (spent, limit) = (standing.spent, standing.budget.limit);
    tracing::warn!(
        payer = %of.payer, name = &*of.name, percent, spent_usd = %spent, limit_usd = %limit,
        period = standing.budget.period.as_str(), "a budget has passed a threshold"
    );
    if sender.try_send(message(of, standing, percent, now_ms)).is_err() {
        counts.failed();
        tracing::warn!(payer = %of.payer, percent, "too many messages wait for the webhook; this one is left out");
    }
}

fn message(of: &PurseOf, standing: &Standing, percent: u8, now_ms: i64) -> Value {
    let payer = match &of.payer {
        Payer::Key(id) => json!({"kind": "key", "id": id, "name": &*of.name}),
        Payer::Group(GroupKind::Project, name) => json!({"kind": "project", "name": name}),
        Payer::Group(GroupKind::Tags, name) => json!({"kind": "tags", "name": name}),
    };
    let bounded = standing.window != Window::ALWAYS;
    json!({
        "type": "budget.threshold",
        "id": Ulid::generate().to_string(),
        "time": format_ms(now_ms),
        "payer": payer,
        "percent": percent,
        "soft": standing.budget.soft,
        "limit_usd": standing.budget.limit.to_string(),
        "spent_usd": standing.spent.to_string(),
        "period": standing.budget.period.as_str(),
        "window_start": bounded.then(|| format_ms(standing.window.start_ms)),
        "window_end": bounded.then(|| format_ms(standing.window.end_ms)),
    })
}

/// Sends what is told, some at a time.
async fn deliver(messages: mpsc::Receiver<Value>, live: &Live, counts: &AlertCounts) {
    let each = |mut messages: mpsc::Receiver<Value>| async move {
        messages.recv().await.map(|message| (message, messages))
    };
    stream::unfold(messages, each).for_each_concurrent(AT_ONCE, |message| send(message, live, counts)).await;
}

/// Sends one message, to the address that is configured by then; tries again for half a minute.
async fn send(message: Value, live: &Live, counts: &AlertCounts) {
    let body = Bytes::from(message.to_string());
    let mut why = String::new();
    for pause in PAUSES_S {
        sleep(Duration::from_secs(pause)).await;
        let current = live.load_full();
        let budgets = &current.settings.governance.budgets;
        let Some(url) = &budgets.webhook else { return };
        let secret = budgets.webhook_secret.as_ref();
        match notify(&current.tls, url, secret, body.clone(), now_ms() / 1000).await {
            Ok(()) => return,
            Err(error) => why = error,
        }
    }
    counts.failed();
    tracing::error!(message = %message, why, "the webhook did not take a message about a budget");
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::money::Usd;
    use crate::policy::budget::{Budget, Period};

    #[test]
    fn thresholds_are_passed_in_order_and_each_once() {
        let standing = |spent| Standing {
            budget: Budget { alerts: vec![50, 80, 100], ..Budget::new(Usd::from_units(1000), Period::Day) },
            window: Window::ALWAYS,
            spent: Usd::from_units(spent),
            reserved: Usd::ZERO,
            left: Usd::ZERO,
        };
        for (spent, before, expected) in [
            (499, 0, vec![]),
            (500, 0, vec![50]),
            (500, 50, vec![]),
            (999, 0, vec![50, 80]),
            (1_000_000, 50, vec![80, 100]),
            (i64::MAX, 100, vec![]),
        ] {
            assert_eq!(passed(&standing(spent), before), expected, "{spent} after {before}");
        }
    }
}
