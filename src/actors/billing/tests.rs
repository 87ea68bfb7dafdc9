use std::collections::VecDeque;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use tokio::sync::mpsc;

mod cold;

use super::*;
use crate::actors::metrics::{Metrics, Scrape};
use crate::actors::outbox::Outbox;
use crate::actors::testing::{Recorder, receipt};
use crate::receipt::{Outcome, Receipt, Unmetered};
use crate::store::{RequestFilter, Store};

/// How the fake store answers one transaction.
#[derive(Clone, Copy)]
enum Answer {
    Fail,
    Panic,
    Hang,
}

/// A store that answers as scripted, then well; `down` for ever.
#[derive(Default)]
struct Fake {
    script: Mutex<VecDeque<Answer>>,
    down: AtomicBool,
    booked: Mutex<Vec<Receipt>>,
}

impl Ledger for Fake {
    fn settle<'a>(&'a self, receipts: &'a [Receipt]) -> BoxFuture<'a, Result<(), String>> {
        async move {
            let answer = self.script.lock().unwrap().pop_front();
            match answer {
                Some(Answer::Panic) => panic!("as scripted"),
                Some(Answer::Hang) => std::future::pending().await,
                Some(Answer::Fail) => Err("as scripted".to_owned()),
                None if self.down.load(Ordering::Relaxed) => Err("down".to_owned()),
                None => {
                    self.booked.lock().unwrap().extend_from_slice(receipts);
                    Ok(())
                }
            }
        }
        .boxed()
    }
}

struct Run {
    ledger: Arc<Fake>,
    billing: Addr<Billing>,
    gauges: Gauges,
    measured: mpsc::Receiver<Arc<Batch>>,
}

impl Run {
    fn new(ledger: Fake) -> Self {
        let ms = Duration::from_millis;
        Self::paced(
            ledger,
            Pace { every: ms(1), pause_min: ms(1), pause_max: ms(4), deadline: ms(20), ..Pace::default() },
        )
    }

    fn paced(ledger: Fake, pace: Pace) -> Self {
        Self::beside(Gauges::default(), Arc::new(ledger), pace)
    }

    fn beside(gauges: Gauges, ledger: Arc<Fake>, pace: Pace) -> Self {
        let (metrics, measured) = Recorder::narrow();
        let billing = Billing::launch(Arc::clone(&ledger) as Arc<dyn Ledger>, metrics, gauges.clone(), pace);
        Self { ledger, billing, gauges, measured }
    }

    async fn send(&self, receipts: Vec<Receipt>) {
        self.billing.send(Arc::new(Batch { receipts, calls: Vec::new() })).await.unwrap();
    }

    async fn flush(&self, deadline: Duration) -> u64 {
        self.billing.send(Flush { deadline }).await.unwrap().lost
    }

    fn booked(&self) -> Vec<u16> {
        self.ledger.booked.lock().unwrap().iter().map(|receipt| receipt.attempt).collect()
    }
}

const LONG: Duration = Duration::from_secs(20);

#[actix::test]
async fn a_receipt_without_usage_is_completed_settled_and_measured() {
    let mut run = Run::new(Fake::default());
    let request = bytes::Bytes::from_static(br#"{"messages":[{"role":"user","content":"hello world"}]}"#);
    let unmetered = Unmetered {
        request_len: request.len(),
        request,
        delivered: "hello world".to_owned(),
        delivered_len: 11,
        told: None,
    };
    run.send(vec![Receipt { usage: None, unmetered: Some(unmetered), ..receipt(1) }]).await;
    assert_eq!(run.flush(LONG).await, 0);
    let measured = run.measured.recv().await.unwrap();
    for receipts in [&*run.ledger.booked.lock().unwrap(), &measured.receipts] {
        let receipt = receipts.first().unwrap();
        let usage = receipt.usage.unwrap();
        assert_eq!((usage.prompt, usage.completion, receipt.estimated), (6, 2, true));
        assert_eq!(receipt.cost.unwrap().units(), 6 + 2 * 2);
        assert!(receipt.unmetered.is_none());
    }
}

#[actix::test]
async fn at_the_end_a_store_that_was_down_for_long_is_tried_again_at_short_intervals() {
    let pace = Pace { pause_min: Duration::from_millis(5), pause_max: LONG, ..Pace::default() };
    let script = Mutex::new(VecDeque::from([Answer::Fail; 10]));
    let run = Run::paced(Fake { script, ..Fake::default() }, pace);
    run.send(vec![receipt(1)]).await;
    let failures = || run.ledger.script.lock().unwrap().len();
    while failures() > 2 {
        tokio::task::yield_now().await;
    }
    // The pause is more than half a second by now, and would be twice as long after the next failure.
    assert_eq!((run.flush(Duration::from_secs(1)).await, run.booked()), (0, vec![1]));
}

#[actix::test]
async fn an_attempt_that_the_upstream_refused_is_not_estimated() {
    let run = Run::new(Fake::default());
    let refused = Receipt {
        usage: None,
        unmetered: Some(Unmetered { request_len: 4_000, ..Unmetered::default() }),
        status: 429,
        outcome: Outcome::Failed,
        ..receipt(1)
    };
    run.send(vec![refused]).await;
    assert_eq!(run.flush(LONG).await, 0);
    let booked = run.ledger.booked.lock().unwrap().first().unwrap().clone();
    assert_eq!((booked.usage, booked.estimated, booked.cost), (None, false, None));
}

#[actix::test]
async fn an_attempt_without_a_connection_is_measured_and_not_booked() {
    let mut run = Run::new(Fake::default());
    run.send(vec![Receipt { reached: false, ..receipt(1) }, receipt(2)]).await;
    assert_eq!(run.flush(LONG).await, 0);
    assert_eq!(run.booked(), [2]);
    assert_eq!(run.measured.recv().await.unwrap().receipts.len(), 2);
    assert_eq!(run.billing.send(Snapshot).await.unwrap().all.attempts, 1);
}

#[actix::test]
async fn a_store_that_fails_hangs_or_panics_gets_everything_in_the_end_once_and_in_order() {
    let script = [Answer::Fail, Answer::Hang, Answer::Fail, Answer::Panic, Answer::Fail];
    let run = Run::new(Fake { script: Mutex::new(VecDeque::from(script)), ..Fake::default() });
    for first in (1..=2_401).step_by(100) {
        run.send((first..first + 100).map(receipt).collect()).await;
    }
    assert_eq!(run.flush(LONG).await, 0);
    assert_eq!(run.booked(), (1..=2_500).collect::<Vec<_>>());
    assert!(run.gauges.store_up.get() && run.gauges.unsettled.get() == 0);
}

#[actix::test]
async fn while_the_store_is_down_receipts_are_kept_and_a_flush_ends_at_its_deadline() {
    let run = Run::new(Fake { down: AtomicBool::new(true), ..Fake::default() });
    run.send(vec![receipt(1), receipt(2)]).await;
    assert_eq!(run.flush(Duration::from_millis(30)).await, 2);
    assert!(!run.gauges.store_up.get());
    assert_eq!(run.gauges.unsettled.get(), 2);
    assert!(run.booked().is_empty());
}

#[actix::test]
async fn sums_are_kept_by_key_model_and_provider_and_stay_bounded() {
    let run = Run::new(Fake::default());
    let failed = Receipt { outcome: Outcome::Failed, usage: None, cost: None, ..receipt(2) };
    run.send(vec![receipt(1), failed]).await;
    let totals = run.billing.send(Snapshot).await.unwrap();
    let expected = Total { attempts: 2, failed: 1, prompt: 10, completion: 5, cost_units: 20, unpriced: 1 };
    assert_eq!(totals.all, expected);
    assert_eq!(totals.by_key.get("key_1"), Some(&expected));
    assert_eq!(totals.by_provider.get("p"), Some(&expected));
    let mut totals = totals;
    for number in 0..12_000 {
        totals.add(&Receipt { model: Arc::from(format!("m{number}")), ..receipt(1) });
    }
    assert_eq!(totals.by_model.len(), totals::GROUPS_MAX + 1);
    assert_eq!(totals.by_model.get("other").map(|total| total.attempts), Some(2_001));
}

#[actix::test]
async fn receipts_travel_from_an_outbox_to_a_real_store() {
    let (_folder, store) = crate::store::testing::store().await;
    let store: Arc<dyn Store> = Arc::new(store);
    let gauges = Gauges::default();
    let metrics =
        Metrics::launch(gauges.clone(), crate::actors::testing::standings(), crate::actors::testing::keys())
            .unwrap();
    let ledger: Arc<dyn Ledger> = Arc::new(Arc::clone(&store));
    let billing = Billing::launch(ledger, metrics.clone().recipient(), gauges.clone(), Pace::default());
    let outbox = Outbox::new(billing.clone().recipient(), gauges.unsettled);
    for attempt in 1..=200 {
        outbox.receipt(receipt(attempt));
    }
    outbox.flush().await.unwrap();
    assert_eq!(billing.send(Flush { deadline: LONG }).await.unwrap(), Left::default());
    let page = store.requests(&RequestFilter::default(), None, 1_000).await.unwrap();
    assert_eq!(page.data.len(), 200);
    assert!(page.data.iter().all(|row| row.cost.map(crate::money::Usd::units) == Some(20)), "{page:?}");
    let text = metrics.send(Scrape).await.unwrap().unwrap();
    assert!(
        text.contains(r#"llm_gateway_tokens_total{kind="completion",model="m",provider="p"} 1000"#),
        "{text}"
    );
}
