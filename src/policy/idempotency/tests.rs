//! Keys, logs and bounds.

use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::FutureExt as _;

use super::log::AHEAD;
use super::{Begun, Head, Lead, Over, Read, Reader, Rules, Table, fingerprint, name};

const RULES: Rules =
    Rules { bytes_max: 1 << 20, keys_max: 4, answer_max: 4 << 20, life: Duration::from_secs(60) };

fn head() -> Head {
    Head { status: 200, headers: Vec::new(), length: None, request_id: "r".into() }
}

fn begin(table: &Arc<Table>, key: &str, asked: &str, now: Instant) -> Begun {
    table.begin(name("t", key), fingerprint(&[asked.as_bytes()]), now)
}

fn led(begun: Begun) -> (Box<Lead>, Reader) {
    let Begun::Lead(lead, reader) = begun else { panic!("{begun:?}") };
    (lead, reader)
}

fn joined(begun: Begun) -> Reader {
    let Begun::Join(reader) = begun else { panic!("{begun:?}") };
    reader
}

/// Answers a key with so many bytes.
fn answer(table: &Arc<Table>, key: &str, bytes: usize, now: Instant) {
    let (mut lead, _reader) = led(begin(table, key, "a", now));
    lead.begin(head());
    lead.push(&vec![b'x'; bytes], true);
    lead.finish(now);
}

/// Everything that can be read now, and what comes after it.
fn read(reader: &mut Reader) -> (String, Read) {
    let mut text = String::new();
    loop {
        match reader.read() {
            Read::Bytes(bytes) => text.push_str(std::str::from_utf8(&bytes).unwrap()),
            other => return (text, other),
        }
    }
}

#[test]
fn names_and_fingerprints_of_other_parts_are_others() {
    assert_ne!(name("ab", "c"), name("a", "bc"));
    assert_ne!(fingerprint(&[b"ab", b""]), fingerprint(&[b"a", b"b"]));
    assert_eq!(name("t", "k"), name("t", "k"));
}

#[test]
fn the_same_request_joins_then_replays_then_expires_and_another_is_refused() {
    let (table, now) = (Table::new(RULES), Instant::now());
    let (mut lead, mut first) = led(begin(&table, "k", "a", now));
    lead.begin(head());
    lead.push(b"one ", false);
    let mut second = joined(begin(&table, "k", "a", now));
    assert!(matches!(begin(&table, "k", "b", now), Begun::Reused));
    assert!(matches!(table.begin(name("u", "k"), [0; 32], now), Begun::Lead(..)), "another tenant");
    lead.push(b"two", true);
    assert_eq!(read(&mut first), ("one two".to_owned(), Read::Nothing));
    lead.finish(now);
    for reader in [&mut first, &mut second] {
        assert_eq!(read(reader).1, Read::Over(Over::Complete));
    }
    let Begun::Replay(answer) = begin(&table, "k", "a", now) else { panic!("not kept") };
    assert_eq!((&answer.body[..], answer.head.status), (&b"one two"[..], 200));
    assert!(matches!(begin(&table, "k", "b", now), Begun::Reused));
    let late = now + RULES.life;
    drop(led(begin(&table, "k", "b", late)));
    assert_eq!(table.size(), (0, 0), "nothing is left behind");
}

#[test]
fn what_failed_or_was_dropped_frees_the_key_and_tells_who_reads() {
    let (table, now) = (Table::new(RULES), Instant::now());
    let (mut lead, mut first) = led(begin(&table, "k", "a", now));
    lead.begin(head());
    lead.push(b"bad", false);
    lead.fail();
    assert_eq!(read(&mut first), ("bad".to_owned(), Read::Over(Over::Failed)));
    let (lead, mut first) = led(begin(&table, "k", "a", now));
    let mut second = joined(begin(&table, "k", "a", now));
    drop(lead);
    assert_eq!(
        (read(&mut first).1, read(&mut second).1),
        (Read::Over(Over::Aborted), Read::Over(Over::Aborted))
    );
    assert_eq!((table.size(), table.running()), ((0, 0), 0));
}

#[test]
fn a_log_ends_when_the_last_one_leaves_and_not_before_nor_once_it_is_complete() {
    let (table, now) = (Table::new(RULES), Instant::now());
    let (lead, first) = led(begin(&table, "k", "a", now));
    let second = joined(begin(&table, "k", "a", now));
    drop(first);
    assert!(lead.aborted().now_or_never().is_none());
    drop(second);
    assert!(lead.aborted().now_or_never().is_some());
    // Another may lead before the old one has noticed, and is not harmed by it.
    let (next, _reader) = led(begin(&table, "k", "a", now));
    drop(lead);
    let _joined = joined(begin(&table, "k", "a", now));
    drop(next);
    let (mut lead, first) = led(begin(&table, "k", "a", now));
    lead.begin(head());
    lead.push(b"all", true);
    drop(first);
    assert!(lead.aborted().now_or_never().is_none());
    lead.finish(now);
    assert!(matches!(begin(&table, "k", "a", now), Begun::Replay(_)));
}

#[test]
fn the_quickest_reader_sets_the_pace_and_who_is_far_behind_is_left() {
    let rules = Rules { answer_max: 2 * AHEAD as usize, bytes_max: usize::MAX, ..RULES };
    let (table, now) = (Table::new(rules), Instant::now());
    let (mut lead, mut quick) = led(begin(&table, "k", "a", now));
    let mut slow = joined(begin(&table, "k", "a", now));
    let piece = vec![b'x'; AHEAD as usize];
    lead.begin(head());
    lead.push(&piece, false);
    assert!(lead.room().now_or_never().is_some());
    lead.push(&piece, false);
    assert!(lead.room().now_or_never().is_none(), "nobody has read any of it");
    read(&mut quick);
    assert!(lead.room().now_or_never().is_some(), "one has");
    for _ in 0..3 {
        lead.push(&piece, false);
        read(&mut quick);
    }
    assert!(matches!(begin(&table, "k", "a", now), Begun::TooLarge));
    assert_eq!(slow.read(), Read::Behind);
    assert_eq!(read(&mut quick).1, Read::Nothing);
    assert_eq!(lead.finish(now), None);
    assert!(matches!(begin(&table, "k", "a", now), Begun::TooLarge), "it is not charged twice");
}

#[test]
fn the_oldest_answers_leave_for_new_ones_and_running_ones_never() {
    let (table, now) = (Table::new(RULES), Instant::now());
    for key in ["1", "2", "3", "4", "5"] {
        answer(&table, key, 10, now);
    }
    assert_eq!(table.size().0, 4);
    assert!(matches!(begin(&table, "2", "a", now), Begun::Replay(_)));
    let running: Vec<_> = ["6", "7", "8", "9"].map(|key| led(begin(&table, key, "a", now))).into();
    assert!(matches!(begin(&table, "10", "a", now), Begun::Full));
    assert_eq!((table.running(), table.size()), (4, (4, 0)));
    drop(running);
    // Bytes: an answer that needs them makes the oldest go, and what running ones hold stays theirs.
    answer(&table, "a", 600 << 10, now);
    answer(&table, "b", 600 << 10, now);
    assert!(table.size().1 <= RULES.bytes_max);
    drop(led(begin(&table, "a", "a", now)));
    assert!(matches!(begin(&table, "b", "a", now), Begun::Replay(_)));
    let (mut lead, _reader) = led(begin(&table, "c", "a", now));
    lead.push(&vec![b'x'; 700 << 10], false);
    let (mut other, _other) = led(begin(&table, "d", "a", now));
    other.push(&vec![b'x'; 700 << 10], false);
    assert!(matches!(begin(&table, "d", "a", now), Begun::TooLarge), "there is no room to keep it");
    let _joined = joined(begin(&table, "c", "a", now));
}

#[test]
fn what_another_replica_answered_is_given_to_all() {
    let (table, now) = (Table::new(RULES), Instant::now());
    answer(&table, "k", 3, now);
    let Begun::Replay(answer) = begin(&table, "k", "a", now) else { panic!("not kept") };
    let (lead, _first) = led(begin(&table, "other", "a", now));
    let mut second = joined(begin(&table, "other", "a", now));
    lead.adopt(&answer, now + Duration::from_secs(5));
    assert_eq!(read(&mut second), ("xxx".to_owned(), Read::Over(Over::Complete)));
    let later = |seconds| now + Duration::from_secs(seconds);
    assert!(matches!(begin(&table, "other", "a", later(4)), Begun::Replay(_)));
    drop(led(begin(&table, "other", "a", later(5))));
}
