//! Receipts that are let go from memory and read back from the journal.

use super::*;
use crate::config::{JournalSettings, OnFull};
use crate::journal::{Journal, Writer};
use crate::store::testing::TempFolder;

/// Receipts in memory at most.
const MEMORY_MAX: usize = 50;

fn pace() -> Pace {
    let ms = Duration::from_millis;
    Pace { every: ms(1), pause_min: ms(1), pause_max: ms(4), deadline: ms(500), memory_max: MEMORY_MAX }
}

fn journal(folder: &TempFolder, gauges: &Gauges) -> Arc<Journal> {
    let settings = JournalSettings {
        fsync_interval: Duration::ZERO,
        segment_bytes: 4_000,
        max_bytes: 1 << 30,
        memory_receipts: MEMORY_MAX,
        on_full: OnFull::Shed,
    };
    Journal::open(folder.path(), settings, Arc::clone(&gauges.journal)).unwrap()
}

/// Books attempts in batches, as an outbox does.
async fn book(run: &Run, writers: &mut [Writer], attempts: std::ops::RangeInclusive<u16>) {
    let mut batch = Vec::new();
    for attempt in attempts {
        let mut receipt = receipt(attempt);
        let at = usize::from(attempt) % writers.len();
        writers[at].append(&mut receipt);
        batch.push(receipt);
        if batch.len() == 7 {
            run.send(std::mem::take(&mut batch)).await;
        }
    }
    run.send(batch).await;
}

fn sorted(mut booked: Vec<u16>) -> Vec<u16> {
    booked.sort_unstable();
    booked.dedup();
    booked
}

#[actix::test]
async fn while_the_store_is_down_memory_is_bounded_and_everything_is_settled_afterwards() {
    let (folder, gauges) = (TempFolder::new(), Gauges::default());
    let journal = journal(&folder, &gauges);
    let ledger = Arc::new(Fake { down: AtomicBool::new(true), ..Fake::default() });
    let run = Run::beside(gauges.clone(), Arc::clone(&ledger), pace());
    let mut writers = [journal.writer(), journal.writer()];
    book(&run, &mut writers, 1..=1_000).await;
    // The transaction that is tried again and again is beside the queue.
    assert!(gauges.unsettled.get() <= 2 * MEMORY_MAX as u64, "{}", gauges.unsettled.get());
    assert_eq!((gauges.unsettled.alone(), gauges.unsettled_receipts()), (0, 1_000));
    ledger.down.store(false, Ordering::Relaxed);
    book(&run, &mut writers, 1_001..=1_500).await;
    assert_eq!(run.flush(LONG).await, 0);
    assert_eq!(sorted(run.booked()), (1..=1_500).collect::<Vec<_>>());
    assert_eq!((gauges.unsettled.get(), gauges.journal.unsettled()), (0, 0));
    let costs: Vec<_> = ledger.booked.lock().unwrap().iter().map(|receipt| receipt.cost).collect();
    assert!(
        costs.iter().all(|cost| cost.is_some_and(|cost| cost.units() == 20)),
        "completed like the others"
    );
    // What comes next is settled from memory again.
    let before = run.booked().len();
    book(&run, &mut writers, 2_001..=2_010).await;
    assert_eq!((run.flush(LONG).await, run.booked().len() - before), (0, 10));
}

#[actix::test]
async fn receipts_without_a_place_are_kept_in_memory_beyond_the_bound() {
    let (folder, gauges) = (TempFolder::new(), Gauges::default());
    let journal = journal(&folder, &gauges);
    let ledger = Arc::new(Fake { down: AtomicBool::new(true), ..Fake::default() });
    let run = Run::beside(gauges.clone(), Arc::clone(&ledger), pace());
    run.send((1..=200).map(receipt).collect()).await;
    book(&run, &mut [journal.writer()], 201..=300).await;
    assert_eq!(gauges.unsettled.alone(), 200);
    assert!(gauges.unsettled.get() <= 200 + MEMORY_MAX as u64);
    let left = run.billing.send(Flush { deadline: Duration::from_millis(20) }).await.unwrap();
    assert_eq!(left, Left { lost: 200, kept: 100 });
    ledger.down.store(false, Ordering::Relaxed);
    assert_eq!(run.flush(LONG).await, 0);
    assert_eq!(sorted(run.booked()), (1..=300).collect::<Vec<_>>());
}

#[actix::test]
async fn what_another_process_left_is_settled_without_being_asked_for() {
    let folder = TempFolder::new();
    let first = Gauges::default();
    let mut writer = journal(&folder, &first).writer();
    let text = Unmetered {
        request_len: 400,
        delivered: "hello world".to_owned(),
        delivered_len: 11,
        ..Unmetered::default()
    };
    let unmetered = Receipt { usage: None, unmetered: Some(text), ..receipt(1) };
    let mut both = [unmetered.clone(), receipt(2)];
    both.iter_mut().for_each(|receipt| writer.append(receipt));
    drop(writer);
    let gauges = Gauges::default();
    let _journal = journal(&folder, &gauges);
    let run = Run::beside(gauges.clone(), Arc::default(), pace());
    assert_eq!(run.flush(LONG).await, 0);
    let booked = run.ledger.booked.lock().unwrap().clone();
    let mut expected = unmetered;
    completion::complete(&mut expected);
    let of = |receipt: &Receipt| (receipt.attempt, receipt.usage, receipt.cost, receipt.estimated);
    assert_eq!(
        booked.iter().map(of).collect::<Vec<_>>()[0],
        of(&expected),
        "counted and priced as Billing would have"
    );
    assert_eq!(booked.len(), 2);
}

#[actix::test]
async fn a_segment_that_cannot_be_read_holds_up_no_other_and_is_settled_once_it_can() {
    let (folder, gauges) = (TempFolder::new(), Gauges::default());
    let journal = journal(&folder, &gauges);
    let ledger = Arc::new(Fake { down: AtomicBool::new(true), ..Fake::default() });
    let run = Run::beside(gauges.clone(), Arc::clone(&ledger), Pace { memory_max: 0, ..pace() });
    let mut writers = [journal.writer(), journal.writer()];
    book(&run, &mut writers, 1..=10).await;
    let path = gauges.journal.all()[0].path().to_owned();
    let aside = path.with_extension("aside");
    std::fs::rename(&path, &aside).unwrap();
    // What leads to itself cannot be read, and is there all the same.
    std::os::unix::fs::symlink(&path, &path).unwrap();
    ledger.down.store(false, Ordering::Relaxed);
    let left = run.billing.send(Flush { deadline: Duration::from_millis(300) }).await.unwrap();
    // Some of it was read already: the transaction that was tried again and again.
    assert_eq!((left.lost, left.kept as usize + run.booked().len()), (0, 10));
    assert!((1..=5).contains(&left.kept), "{left:?}");
    std::fs::rename(&aside, &path).unwrap();
    assert_eq!(run.billing.send(Flush { deadline: LONG }).await.unwrap(), Left::default());
    assert_eq!(sorted(run.booked()), (1..=10).collect::<Vec<_>>());
}
