//! The keeper: a thread that looks after the journal's files, so that no cell has to.
//!
//! It synchronises what was written, closes segments that are idle, deletes those of which everything is settled, and
//! finds out whether a disk that failed takes something again. It polls: nobody wakes it, and nobody waits for it but the
//! end of the process.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use tracing::{error, info, warn};

use super::open::{Journal, make_folder};
use super::segment::{Segment, Standing};

/// How often it looks at most.
const TICK: Duration = Duration::from_millis(200);
/// How long nothing may have been written to a segment that is closed for it.
const IDLE: Duration = Duration::from_secs(1);
/// How often a disk that failed is tried.
const PROBE_EVERY: Duration = Duration::from_millis(500);
/// Bytes that it must take: enough for some hundred receipts.
const PROBE_BYTES: usize = 64 * 1024;
/// Hundredths of the bound below which a full journal is written to again.
const RELIEF: u64 = 90;

/// The running thread.
#[derive(Debug)]
pub struct Keeper {
    ends: Arc<AtomicBool>,
    thread: JoinHandle<()>,
}

impl Keeper {
    pub(super) fn start(journal: Arc<Journal>) -> io::Result<Self> {
        let ends = Arc::new(AtomicBool::new(false));
        let told = Arc::clone(&ends);
        let thread = thread::Builder::new().name("journal".to_owned()).spawn(move || run(&journal, &told))?;
        Ok(Self { ends, thread })
    }

    /// Asks it to look a last time and end. Nothing may be appended any more.
    pub fn end(&self) {
        self.ends.store(true, Ordering::Release);
        self.thread.thread().unpark();
    }

    /// True when it has ended.
    pub fn has_ended(&self) -> bool {
        self.thread.is_finished()
    }
}

impl Drop for Keeper {
    fn drop(&mut self) {
        self.end();
    }
}

fn run(journal: &Journal, ends: &AtomicBool) {
    let every = journal.settings.fsync_interval;
    let tick = if every.is_zero() { TICK } else { every.min(TICK) };
    let mut due = Due { synced: Instant::now(), looked: Instant::now(), probed: Instant::now() };
    while !ends.load(Ordering::Acquire) {
        thread::park_timeout(tick);
        if !every.is_zero() && due.synced.elapsed() >= every {
            due.synced = Instant::now();
            sync(journal);
        }
        let idle = due.looked.elapsed() >= IDLE;
        if idle {
            due.looked = Instant::now();
        }
        tidy(journal, idle);
        if journal.segments.standing() != Standing::Ok && due.probed.elapsed() >= PROBE_EVERY {
            due.probed = Instant::now();
            probe(journal);
        }
    }
    journal.segments.all().iter().for_each(|segment| {
        segment.close();
    });
    tidy(journal, false);
    sync(journal);
    journal.release();
}

/// When what was last done.
struct Due {
    synced: Instant,
    looked: Instant,
    probed: Instant,
}

/// Makes what was written outlast a loss of power.
fn sync(journal: &Journal) {
    for segment in journal.segments.all() {
        if !segment.dirty.swap(false, Ordering::Relaxed) {
            continue;
        }
        let synced = OpenOptions::new().append(true).open(segment.path()).and_then(|file| file.sync_data());
        if let Err(why) = synced {
            journal.segments.failed();
            error!(file = %segment.path().display(), "the journal cannot be synchronised: {why}");
            // What comes next goes elsewhere.
            segment.close();
        }
    }
    if journal.segments.folder_dirty.swap(false, Ordering::Relaxed)
        && let Err(why) = File::open(&journal.folder).and_then(|folder| folder.sync_all())
    {
        warn!("the journal's folder cannot be synchronised: {why}");
    }
}

/// Closes what is idle, deletes what is settled.
fn tidy(journal: &Journal, idle: bool) {
    let mut changed = false;
    for segment in journal.segments.all().iter().filter(|segment| segment.is_settled()) {
        if idle
            && !segment.is_closed()
            && segment.seen.swap(segment.written(), Ordering::Relaxed) == segment.written()
        {
            segment.close();
        }
        // Asked again: nothing is written to a closed one, so that this holds from here on.
        if segment.is_closed() && segment.is_settled() {
            changed |= delete(journal, segment);
        }
    }
    if changed {
        journal.release_adopted();
    }
}

/// Deletes a settled segment; sets one aside of which not everything could be read.
fn delete(journal: &Journal, segment: &Segment) -> bool {
    let path = segment.path();
    let done = if segment.is_damaged() {
        let mut aside = PathBuf::from(path).into_os_string();
        aside.push(".torn");
        fs::rename(path, aside)
    } else {
        fs::remove_file(path)
    };
    match done {
        Err(why) if why.kind() != io::ErrorKind::NotFound => {
            if segment.seen.swap(u64::MAX, Ordering::Relaxed) != u64::MAX {
                warn!(file = %path.display(), "a settled segment cannot be deleted: {why}");
            }
            false
        }
        _ => {
            journal.segments.remove(segment);
            true
        }
    }
}

/// Finds out whether receipts can be written again.
fn probe(journal: &Journal) {
    let segments = &journal.segments;
    let takes = match segments.standing() {
        Standing::Ok => return,
        Standing::Full => segments.bytes() <= journal.settings.max_bytes / 100 * RELIEF,
        Standing::Failing => try_disk(journal).is_ok(),
    };
    if takes && segments.stand(Standing::Ok) {
        info!(missed = segments.missed(), "the journal is written again");
    }
}

/// Writes something and takes it away, in a folder that is made anew if somebody took it away.
fn try_disk(journal: &Journal) -> io::Result<()> {
    make_folder(&journal.folder)?;
    let path = journal.probe_path();
    let made = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&path);
    let written = made.and_then(|mut file| file.write_all(&[0; PROBE_BYTES]));
    let removed = fs::remove_file(&path);
    written.and(removed)
}
