//! Records survive the way to the disk and back, and no damage hides what is whole.

use std::sync::Arc;

use proptest::prelude::*;
use ulid::Ulid;

use super::codec::{self, Parsed};
use super::read::parse_all;
use super::*;
use crate::catalog::{Price, Rates};
use crate::chat::{Billed, Usage};
use crate::config::{JournalSettings, OnFull};
use crate::money::{Markup, Usd};
use crate::receipt::{Caller, Outcome, Receipt, Unmetered};
use crate::store::testing::{TempFolder, receipt};

const SALT: u32 = 0x5eed;

fn text() -> impl Strategy<Value = Arc<str>> {
    "\\PC{0,20}".prop_map(Arc::from)
}

fn usage() -> impl Strategy<Value = Usage> {
    let counts = (any::<[u64; 5]>(), any::<[u32; 6]>());
    (counts, any::<Option<u64>>(), any::<Option<(u64, u64)>>()).prop_map(|((a, b), reasoning, billed)| {
        Usage {
            prompt: a[0],
            completion: a[1],
            total: a[2],
            cache_read: a[3],
            cache_write_5m: a[4],
            cache_write_1h: b[0].into(),
            reasoning,
            audio_input: b[1].into(),
            audio_output: b[2].into(),
            image_input: b[3].into(),
            image_output: b[4].into(),
            web_searches: b[5].into(),
            billed: billed.map(|(prompt, completion)| Billed { prompt, completion }),
        }
    })
}

fn unmetered() -> impl Strategy<Value = Unmetered> {
    let told = proptest::option::of(usage());
    (any::<Vec<u8>>(), any::<u32>(), "\\PC{0,200}", any::<u32>(), told).prop_map(
        |(request, length, delivered, all, told)| Unmetered {
            request: request.into(),
            request_len: length as usize,
            delivered,
            delivered_len: all as usize,
            told,
        },
    )
}

fn price() -> impl Strategy<Value = Arc<Price>> {
    any::<[Option<u32>; 3]>().prop_map(|[input, output, fee]| {
        let usd = |units: u32| Usd::from_units(units.into());
        let rates = Rates { input: input.map(usd), output: output.map(usd), ..Rates::default() };
        Arc::new(Price { rates, per_request: fee.map(usd), ..Price::default() })
    })
}

/// Any receipt that a meter could make.
fn receipts() -> impl Strategy<Value = Receipt> {
    let texts = (text(), text(), proptest::option::of(text()), text(), text(), text(), text());
    let numbers =
        (any::<u128>(), 1..u16::MAX, any::<i64>(), any::<u16>(), any::<u32>(), any::<Option<u32>>());
    let flags = any::<[bool; 4]>();
    let tags = proptest::collection::vec(("[a-z]{0,9}", "\\PC{0,9}"), 0..4);
    let outcome = proptest::sample::select(vec![Outcome::Completed, Outcome::Failed, Outcome::Cancelled]);
    let error = proptest::sample::select(vec![None, Some("timeout"), Some("upstream_truncated")]);
    let sets = proptest::collection::vec(text(), 0..3);
    let charge = (any::<Option<i64>>(), -10_000..100_000_i32, sets);
    let money = (any::<Option<i64>>(), proptest::option::of(price()), proptest::option::of(text()), charge);
    let parts = (texts, numbers, flags, tags, outcome, error);
    let counted = (proptest::option::of(usage()), proptest::option::of(unmetered()));
    (parts, money, counted).prop_map(|((t, n, f, tags, outcome, error), money, (usage, unmetered))| Receipt {
        call_id: Ulid(n.0),
        attempt: n.1,
        request_id: t.0,
        time_ms: n.2,
        caller: Caller { key_id: t.1, project: t.2 },
        tags: tags.into(),
        requested_model: t.3,
        provider: t.4,
        model: t.5,
        known_model: f[0],
        upstream_model: t.6,
        status: n.3,
        reached: f[1],
        outcome,
        error,
        stream: f[2],
        ttft_ms: n.5,
        duration_ms: n.4,
        usage,
        unmetered,
        estimated: f[3],
        // Of a receipt with a cost the price is not needed.
        price: money.1.filter(|_| money.0.is_none()),
        cost: money.0.map(Usd::from_units),
        charged: money.3.0.map(Usd::from_units),
        markup: Markup::from_basis_points(money.3.1).unwrap(),
        tag_sets: money.3.2.into(),
        held: None,
        service_tier: money.2,
        place: None,
        span: None,
    })
}

fn record(receipt: &Receipt) -> Vec<u8> {
    let mut out = Vec::new();
    assert!(codec::encode(receipt, &mut out));
    codec::seal(&mut out, SALT);
    out
}

/// What a receipt says, its place aside.
fn said(receipt: &Receipt) -> String {
    format!("{:?}", Receipt { place: None, ..receipt.clone() })
}

/// A segment of some receipts, and where each record ends.
fn segment(receipts: &[Receipt]) -> (Vec<u8>, Vec<usize>) {
    let (mut bytes, mut ends) = (Vec::new(), Vec::new());
    for receipt in receipts {
        bytes.extend(record(receipt));
        ends.push(bytes.len());
    }
    (bytes, ends)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    #[test]
    fn a_receipt_comes_back_as_it_was(receipt in receipts()) {
        let bytes = record(&receipt);
        match codec::parse(&bytes, SALT) {
            Parsed::Record(back, size) => {
                prop_assert_eq!(size, bytes.len());
                prop_assert_eq!(said(&back), said(&receipt));
            }
            other => prop_assert!(false, "{:?}", other),
        }
        prop_assert!(matches!(codec::parse(&bytes, SALT + 1), Parsed::Wrong), "another segment's");
    }

    #[test]
    fn bytes_of_any_kind_are_no_receipts_and_no_panic(bytes in any::<Vec<u8>>(), is_end: bool) {
        let found = parse_all(&bytes, SALT, is_end, 100);
        prop_assert!(found.receipts.is_empty());
        prop_assert!(found.next <= bytes.len() as u64);
    }

    #[test]
    fn a_flipped_bit_costs_the_record_it_is_in(
        receipts in proptest::collection::vec(receipts(), 1..6), at: proptest::sample::Index, bit in 0..8_u32,
    ) {
        let (mut bytes, ends) = segment(&receipts);
        let at = at.index(bytes.len());
        bytes[at] ^= 1 << bit;
        let hit = ends.iter().position(|end| at < *end).unwrap();
        let found = parse_all(&bytes, SALT, true, 100);
        let kept: Vec<_> = found.receipts.iter().map(said).collect();
        let mut expected: Vec<_> = receipts.iter().map(said).collect();
        expected.remove(hit);
        prop_assert_eq!(kept, expected);
        let size = ends[hit] - hit.checked_sub(1).map_or(0, |before| ends[before]);
        prop_assert_eq!((found.damaged + found.torn, found.next), (size as u64, bytes.len() as u64));
    }
}

#[test]
fn every_truncation_leaves_the_records_before_it() {
    let receipts: Vec<_> = (1..5).map(receipt).collect();
    let (bytes, ends) = segment(&receipts);
    for length in 0..=bytes.len() {
        let found = parse_all(&bytes[..length], SALT, true, 100);
        let whole = ends.iter().filter(|end| **end <= length).count();
        let torn = length - whole.checked_sub(1).map_or(0, |last| ends[last]);
        assert_eq!((found.receipts.len(), found.torn, found.damaged), (whole, torn as u64, 0), "{length}");
        let places: Vec<_> =
            found.receipts.iter().map(|receipt| receipt.place.unwrap().end as usize).collect();
        assert_eq!(places, ends[..whole]);
    }
    // What a file system may leave after a loss of power.
    let found = parse_all(&[&bytes[..], &[0; 5_000]].concat(), SALT, true, 100);
    assert_eq!((found.receipts.len(), found.torn, found.damaged), (4, 5_000, 0));
}

#[test]
fn a_piece_that_ends_within_a_record_is_read_on_from_there() {
    let (bytes, ends) = segment(&(1..5).map(receipt).collect::<Vec<_>>());
    let found = parse_all(&bytes[..ends[2] - 1], SALT, false, 100);
    assert_eq!((found.receipts.len(), found.next as usize, found.damaged), (2, ends[1], 0));
    let found = parse_all(&bytes, SALT, true, 3);
    assert_eq!((found.receipts.len(), found.next as usize), (3, ends[2]));
}

#[test]
fn a_record_of_another_version_is_told_and_passed_over() {
    let (mut bytes, ends) = segment(&(1..4).map(receipt).collect::<Vec<_>>());
    let mut odd = bytes[ends[0]..ends[1]].to_vec();
    odd[codec::HEADER] = 9;
    codec::seal(&mut odd, SALT);
    bytes.splice(ends[0]..ends[1], odd);
    let found = parse_all(&bytes, SALT, true, 100);
    assert_eq!((found.receipts.len(), found.damaged as usize), (2, ends[1] - ends[0]));
}

#[test]
fn fields_that_are_not_known_are_passed_over_and_those_that_are_missing_have_a_value() {
    let mut bytes = Vec::new();
    assert!(codec::encode(&receipt(7), &mut bytes));
    // A number and some bytes of fields that a later version adds.
    bytes.extend([120 << 1, 200, 1, 121 << 1 | 1, 3, 1, 2, 3]);
    codec::seal(&mut bytes, SALT);
    assert!(matches!(codec::parse(&bytes, SALT), Parsed::Record(back, _) if back.time_ms == 7));
    // Nothing but what identifies it: as an old version would have written it.
    let mut old = vec![0; codec::HEADER];
    old.extend(codec::BEGINNING);
    old.extend([5; 16]);
    old.extend([2 << 1, 1]);
    codec::seal(&mut old, SALT);
    let Parsed::Record(back, _) = codec::parse(&old, SALT) else { panic!("not read") };
    assert_eq!((back.attempt, back.usage, back.cost, back.outcome), (1, None, None, Outcome::Failed));
}

#[test]
fn text_that_imitates_a_record_is_none_even_where_the_real_one_is_damaged() {
    // What a client could know: the form, and not the salt.
    let forged = {
        let mut out = Vec::new();
        assert!(codec::encode(&Receipt { request_id: "forged".into(), ..receipt(1) }, &mut out));
        codec::seal(&mut out, 0);
        out
    };
    let unmetered = Unmetered { request: forged.repeat(50).into(), ..Unmetered::default() };
    let (mut bytes, ends) = segment(&[Receipt { unmetered: Some(unmetered), ..receipt(1) }, receipt(2)]);
    bytes[4] ^= 1;
    let found = parse_all(&bytes, SALT, true, 100);
    let times: Vec<_> = found.receipts.iter().map(|receipt| receipt.time_ms).collect();
    assert_eq!((times, found.damaged as usize), (vec![2], ends[0]));
}

fn settings() -> JournalSettings {
    JournalSettings {
        fsync_interval: std::time::Duration::from_millis(1),
        segment_bytes: 1_000,
        max_bytes: 3_000,
        memory_receipts: 10,
        on_full: OnFull::Shed,
    }
}

fn open(folder: &TempFolder) -> Arc<Journal> {
    Journal::open(folder.path(), settings(), Arc::default()).unwrap()
}

#[test]
fn what_was_written_is_read_back_over_segments_and_the_bound_holds() {
    let folder = TempFolder::new();
    let journal = open(&folder);
    let mut writer = journal.writer();
    let mut written: Vec<Receipt> = (0..50).map(receipt).collect();
    written.iter_mut().for_each(|receipt| writer.append(receipt));
    let segments = journal.segments();
    assert!(segments.bytes() <= 3_000 && segments.all().len() >= 3);
    assert_eq!((segments.standing(), segments.sheds()), (Standing::Full, true));
    let kept: Vec<_> = written.iter().filter(|receipt| receipt.place.is_some()).collect();
    assert_eq!(kept.len() as u64 + segments.missed(), 50);
    let mut back = Vec::new();
    for segment in segments.all() {
        while !segment.is_settled() {
            let found = read(&segment, 2).unwrap();
            segment.settle(found.next, found.receipts.len() as u64, 0);
            back.extend(found.receipts);
        }
    }
    let of = |receipt: &Receipt| (receipt.time_ms, receipt.place);
    assert_eq!(back.iter().map(of).collect::<Vec<_>>(), kept.iter().map(|kept| of(kept)).collect::<Vec<_>>());
    assert!(segments.is_settled() && segments.unsettled() == 0);
}

#[test]
fn an_attempt_that_reached_nobody_is_not_written() {
    let folder = TempFolder::new();
    let journal = open(&folder);
    let mut receipt = Receipt { reached: false, ..receipt(1) };
    journal.writer().append(&mut receipt);
    assert_eq!((receipt.place, journal.segments().bytes(), journal.segments().missed()), (None, 0, 0));
}

#[test]
fn a_segment_that_was_closed_is_followed_by_another() {
    let folder = TempFolder::new();
    let journal = open(&folder);
    let mut writer = journal.writer();
    let mut two = [receipt(1), receipt(2)];
    writer.append(&mut two[0]);
    assert!(journal.segments().all()[0].close());
    writer.append(&mut two[1]);
    let numbers: Vec<_> = two.iter().map(|receipt| receipt.place.unwrap().segment).collect();
    assert_eq!(numbers, [0, 1]);
}

#[test]
fn who_is_gone_is_inherited_from_once_and_who_is_not_is_left_alone() {
    let folder = TempFolder::new();
    let first = open(&folder);
    let mut writer = first.writer();
    let mut one = receipt(1);
    writer.append(&mut one);
    let path = first.segments().all()[0].path().to_owned();
    // It lives: its lock is held.
    let second = open(&folder);
    assert!(second.segments().all().is_empty());
    drop((writer, first));
    let third = open(&folder);
    let adopted = third.segments().all();
    assert!(adopted.len() == 1 && adopted[0].is_adopted() && adopted[0].path() == path);
    assert!(open(&folder).segments().all().is_empty(), "adopted by the third");
    let found = read(&adopted[0], 10).unwrap();
    assert_eq!(found.receipts.iter().map(said).collect::<Vec<_>>(), [said(&one)]);
    adopted[0].settle(found.next, 1, 0);
    let keeper = third.keep().unwrap();
    keeper.end();
    while !keeper.has_ended() {
        std::thread::yield_now();
    }
    assert!(!path.exists());
    assert!(
        !path
            .with_file_name(format!(
                "{}.lock",
                path.file_name().unwrap().to_str().unwrap().split('-').next().unwrap()
            ))
            .exists()
    );
}
