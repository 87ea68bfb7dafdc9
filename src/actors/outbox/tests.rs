use std::ops::RangeInclusive;

use actix::prelude::*;
use tokio::sync::mpsc;

use super::*;
use crate::actors::gauges::UNSETTLED_MAX;
use crate::actors::testing::{Recorder, receipt};
use crate::receipt::Unmetered;
use crate::receipt::testing::call;

fn fill(outbox: &Rc<Outbox>, attempts: RangeInclusive<u16>) {
    attempts.for_each(|attempt| outbox.receipt(receipt(attempt)));
}

async fn next(batches: &mut mpsc::Receiver<Arc<Batch>>) -> Vec<u16> {
    batches.recv().await.unwrap().receipts.iter().map(|receipt| receipt.attempt).collect()
}

#[actix::test]
async fn a_full_batch_goes_at_once_and_a_lone_receipt_soon() {
    let (billing, mut batches) = Recorder::narrow();
    let outbox = Outbox::new(billing, Unsettled::default());
    fill(&outbox, 1..=64);
    assert!(outbox.is_empty(), "handed over without waiting");
    fill(&outbox, 65..=65);
    assert_eq!(outbox.len(), 1);
    assert_eq!(next(&mut batches).await, (1..=64).collect::<Vec<_>>());
    assert_eq!(next(&mut batches).await, [65]);
    assert!(outbox.is_empty());
}

#[actix::test]
async fn what_a_full_mailbox_refuses_is_kept_and_arrives_once_and_in_order() {
    let (billing, mut batches) = Recorder::narrow();
    let outbox = Outbox::new(billing, Unsettled::default());
    for first in (1..=1_281).step_by(64) {
        fill(&outbox, first..=first + 63);
    }
    assert!(!outbox.is_empty(), "the recorder takes no more than a few batches unread");
    let mut arrived = Vec::new();
    while arrived.len() < 1_344 {
        arrived.extend(next(&mut batches).await);
    }
    assert_eq!(arrived, (1..=1_344).collect::<Vec<_>>());
}

#[actix::test]
async fn while_the_store_is_behind_receipts_wait_and_call_records_do_not() {
    let (billing, mut batches) = Recorder::narrow();
    let unsettled = Unsettled::default();
    unsettled.add(UNSETTLED_MAX as usize);
    let outbox = Outbox::new(billing, unsettled.clone());
    outbox.receipt(receipt(1));
    outbox.call(call());
    let batch = batches.recv().await.unwrap();
    assert_eq!((batch.receipts.len(), batch.calls.len(), outbox.len()), (0, 1, 1));
    unsettled.sub(1);
    assert_eq!(next(&mut batches).await, [1]);
}

#[actix::test]
async fn an_outbox_with_too_many_receipts_says_so() {
    let (billing, _batches) = Recorder::narrow();
    let unsettled = Unsettled::default();
    unsettled.add(UNSETTLED_MAX as usize);
    let outbox = Outbox::new(billing, unsettled);
    for _ in 1..RECEIPTS_MAX {
        outbox.receipt(receipt(1));
    }
    assert!(!outbox.is_full());
    outbox.receipt(receipt(1));
    assert!(outbox.is_full());
}

#[actix::test]
async fn text_that_is_yet_to_be_counted_is_bounded_in_all_and_per_batch() {
    let (billing, mut batches) = Recorder::narrow();
    let unsettled = Unsettled::default();
    unsettled.add(UNSETTLED_MAX as usize);
    let outbox = Outbox::new(billing, unsettled.clone());
    let request = bytes::Bytes::from(vec![b' '; 3 << 20]);
    let unmetered = Unmetered { request, ..Unmetered::default() };
    for attempt in 1..=22 {
        assert!(!outbox.is_full());
        outbox.receipt(Receipt { unmetered: Some(unmetered.clone()), ..receipt(attempt) });
    }
    assert!(outbox.is_full(), "22 times 3 MiB");
    unsettled.sub(1);
    for attempt in 1..=22 {
        assert_eq!(next(&mut batches).await, [attempt], "two are over 4 MiB");
    }
    assert!(!outbox.is_full() && outbox.is_empty());
}

#[actix::test]
async fn a_flush_returns_when_everything_is_acknowledged() {
    let (billing, mut batches) = Recorder::narrow();
    let outbox = Outbox::new(billing, Unsettled::default());
    fill(&outbox, 1..=3);
    let (flushed, arrived) = futures_util::future::join(outbox.flush(), next(&mut batches)).await;
    assert_eq!((flushed, arrived), (Ok(()), vec![1, 2, 3]));
    assert!(outbox.is_empty());
}

#[actix::test]
async fn a_flush_to_a_billing_that_is_gone_keeps_and_counts() {
    let (sender, _batches) = mpsc::channel(1);
    let arbiter = Arbiter::new();
    let billing = Recorder::start_in_arbiter(&arbiter.handle(), |_| Recorder(sender)).recipient();
    arbiter.stop();
    arbiter.join().unwrap();
    let outbox = Outbox::new(billing, Unsettled::default());
    fill(&outbox, 1..=70);
    assert_eq!(outbox.flush().await, Err(70));
    assert_eq!(outbox.len(), 70);
}
