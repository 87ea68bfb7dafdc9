//! The journal's folder: whose segments are whose, and what others left.
//!
//! A process is known by a ULID of its start. Beside its segments lies a lock that it holds for life: who can take the lock
//! of another knows that its owner is gone, and adopts what it left. A lock appears under its name only once it is held.

use std::collections::BTreeMap;
use std::fmt;
use std::fs::{self, DirBuilder, File, OpenOptions, Permissions, TryLockError};
use std::io;
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use tracing::{info, warn};
use ulid::Ulid;

use super::keeper::Keeper;
use super::segment::{Segment, Segments};
use super::writer::Writer;
use crate::config::{JournalSettings, OnFull};

/// Name of the folder in the data folder.
const FOLDER: &str = "journal";

/// Why there can be no journal: one clear line.
#[derive(Debug)]
pub struct JournalError(String);

impl fmt::Display for JournalError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for JournalError {}

/// The open journal of this process.
#[derive(Debug)]
pub struct Journal {
    pub(super) folder: PathBuf,
    pub(super) settings: JournalSettings,
    pub(super) segments: Arc<Segments>,
    boot: Ulid,
    workers: AtomicU64,
    /// Held for life.
    lock: File,
    /// The locks of those whose segments were adopted.
    adopted: Mutex<BTreeMap<Ulid, File>>,
    /// All whose segments were adopted, settled by now or not.
    inherited: Mutex<Vec<Ulid>>,
}

impl Journal {
    /// Opens the journal below `data_dir`, and adopts what processes left there that are gone.
    ///
    /// # Errors
    /// The folder cannot be made, read or written, or its file system knows no locks.
    pub fn open(
        data_dir: &Path,
        settings: JournalSettings,
        segments: Arc<Segments>,
    ) -> Result<Arc<Self>, JournalError> {
        let folder = data_dir.join(FOLDER);
        let wrong = |error: io::Error| {
            JournalError(format!(
                "cannot use the journal {}: {error}. Make data_dir a folder that this user can write, or set another one.",
                folder.display()
            ))
        };
        make_folder(&folder).map_err(wrong)?;
        let boot = Ulid::generate();
        let lock = own_lock(&folder, boot).map_err(wrong)?;
        segments.shed_when_down(settings.on_full == OnFull::Shed);
        let journal = Self {
            settings,
            segments,
            boot,
            workers: AtomicU64::new(0),
            lock,
            adopted: Mutex::default(),
            inherited: Mutex::default(),
            folder: folder.clone(),
        };
        journal.adopt().map_err(wrong)?;
        Ok(Arc::new(journal))
    }

    /// What tells this process from every other and every earlier one.
    pub fn boot(&self) -> Ulid {
        self.boot
    }

    /// Processes that are gone, and whose receipts all are in the store by now.
    pub fn departed(&self) -> Vec<Ulid> {
        let adopted = self.adopted.lock().unwrap_or_else(PoisonError::into_inner);
        let inherited = self.inherited.lock().unwrap_or_else(PoisonError::into_inner);
        inherited.iter().filter(|boot| !adopted.contains_key(*boot)).copied().collect()
    }

    /// A writer for one more cell.
    pub fn writer(self: &Arc<Self>) -> Writer {
        Writer::new(Arc::clone(self), self.workers.fetch_add(1, Ordering::Relaxed))
    }

    /// Starts what goes on beside the cells: synchronising, deleting, trying again.
    ///
    /// # Errors
    /// The system gives no thread.
    pub fn keep(self: &Arc<Self>) -> Result<Keeper, JournalError> {
        Keeper::start(Arc::clone(self))
            .map_err(|error| JournalError(format!("the journal's thread: {error}")))
    }

    /// The segments there are.
    pub fn segments(&self) -> &Arc<Segments> {
        &self.segments
    }

    pub(super) fn segment_path(&self, worker: u64, number: u64) -> PathBuf {
        self.folder.join(format!("{}-{worker}-{number}.seg", self.boot))
    }

    /// A file to try the disk with.
    pub(super) fn probe_path(&self) -> PathBuf {
        self.folder.join(format!("{}.probe", self.boot))
    }

    /// What the check sums of a segment begin with: known to who has its name, and to no client.
    pub(super) fn salt(path: &Path) -> u32 {
        crc32fast::hash(path.file_name().unwrap_or_default().as_encoded_bytes())
    }

    /// Takes in the segments of processes that are gone, oldest first.
    fn adopt(&self) -> io::Result<()> {
        let mut left: BTreeMap<Ulid, Vec<(u64, u64, PathBuf)>> = BTreeMap::new();
        for entry in fs::read_dir(&self.folder)? {
            let path = entry?.path();
            let Some(name) = path.file_name().and_then(|name| name.to_str()) else { continue };
            match Name::parse(name) {
                Some(Name::Segment(boot, worker, number)) => {
                    left.entry(boot).or_default().push((worker, number, path));
                }
                Some(Name::Other(boot)) => drop(left.entry(boot).or_default()),
                None if name.ends_with(".seg") => {
                    warn!(file = %path.display(), "not a segment of the journal by its name: left alone");
                }
                None => {}
            }
        }
        left.remove(&self.boot);
        for (boot, mut segments) in left {
            let Some(lock) = abandoned(&self.lock_path(boot))? else {
                info!(%boot, "another process is at work in this folder: its journal is left alone");
                continue;
            };
            segments.sort();
            for (_, _, path) in segments {
                self.take_in(boot, path);
            }
            self.adopted.lock().unwrap_or_else(PoisonError::into_inner).insert(boot, lock);
            self.inherited.lock().unwrap_or_else(PoisonError::into_inner).push(boot);
        }
        self.release_adopted();
        Ok(())
    }

    fn take_in(&self, boot: Ulid, path: PathBuf) {
        match fs::metadata(&path) {
            Ok(about) if about.is_file() => {
                let since_ms = i64::try_from(boot.timestamp_ms()).unwrap_or(i64::MAX);
                let salt = Self::salt(&path);
                let number = self.segments.next_number();
                self.segments.insert(Segment::adopted(number, path, salt, about.len(), since_ms));
            }
            Ok(_) => warn!(file = %path.display(), "not a file: left alone"),
            Err(error) => warn!(file = %path.display(), "cannot be read and is left alone: {error}"),
        }
    }

    fn lock_path(&self, boot: Ulid) -> PathBuf {
        self.folder.join(format!("{boot}.lock"))
    }

    /// Deletes the locks of processes of which nothing is left to settle.
    pub(super) fn release_adopted(&self) {
        let mut adopted = self.adopted.lock().unwrap_or_else(PoisonError::into_inner);
        if adopted.is_empty() {
            return;
        }
        let live = self.segments.all();
        adopted.retain(|boot, _| {
            let prefix = boot.to_string();
            let of_boot = |segment: &Arc<Segment>| {
                segment
                    .path()
                    .file_name()
                    .and_then(|name| name.to_str())
                    .is_some_and(|name| name.starts_with(&prefix))
            };
            let keeps = live.iter().any(of_boot);
            if !keeps {
                for end in ["lock", "lock.new", "probe"] {
                    let _ = fs::remove_file(self.folder.join(format!("{boot}.{end}")));
                }
            }
            keeps
        });
    }

    /// At the end: with nothing left to settle the lock goes, too.
    pub(super) fn release(&self) {
        self.release_adopted();
        if self.segments.count() == 0 {
            let _ = fs::remove_file(self.lock_path(self.boot));
            let _ = self.lock.unlock();
        }
    }
}

/// What the name of a file in the folder says.
#[derive(Debug, PartialEq, Eq)]
enum Name {
    /// A segment: whose, of which worker, which.
    Segment(Ulid, u64, u64),
    /// A lock or a probe: whose.
    Other(Ulid),
}

impl Name {
    fn parse(name: &str) -> Option<Self> {
        let (stem, kind) = name.split_once('.')?;
        match kind {
            "seg" => {
                let mut parts = stem.split('-');
                let boot = parts.next()?.parse().ok()?;
                let (worker, number) = (parts.next()?.parse().ok()?, parts.next()?.parse().ok()?);
                parts.next().is_none().then_some(Self::Segment(boot, worker, number))
            }
            "lock" | "lock.new" | "probe" => stem.parse().ok().map(Self::Other),
            _ => None,
        }
    }
}

/// Makes the folder, for this user alone.
pub(super) fn make_folder(folder: &Path) -> io::Result<()> {
    match DirBuilder::new().mode(0o700).create(folder) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
            // What a careless copy opened is closed again; a file system without rights is none of our making.
            let _ = fs::set_permissions(folder, Permissions::from_mode(0o700));
            Ok(())
        }
        other => other,
    }
}

/// Makes and takes this process's lock.
fn own_lock(folder: &Path, boot: Ulid) -> io::Result<File> {
    let (new, path) = (folder.join(format!("{boot}.lock.new")), folder.join(format!("{boot}.lock")));
    let lock = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&new)?;
    lock.try_lock().map_err(io::Error::from)?;
    fs::rename(&new, &path)?;
    Ok(lock)
}

/// Takes the lock of another process; `None` while that is alive. A lock that is missing is nobody's.
fn abandoned(path: &Path) -> io::Result<Option<File>> {
    let lock = OpenOptions::new().write(true).create(true).truncate(false).mode(0o600).open(path)?;
    match lock.try_lock() {
        Ok(()) => Ok(Some(lock)),
        Err(TryLockError::WouldBlock) => Ok(None),
        Err(TryLockError::Error(error)) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_says_whose_a_file_is() {
        let boot = Ulid::from_parts(1, 2);
        for (name, expected) in [
            (format!("{boot}-0-12.seg"), Some(Name::Segment(boot, 0, 12))),
            (format!("{boot}.lock"), Some(Name::Other(boot))),
            (format!("{boot}.lock.new"), Some(Name::Other(boot))),
            (format!("{boot}-0-12-3.seg"), None),
            (format!("{boot}-0-12.seg.torn"), None),
            ("x-0-1.seg".to_owned(), None),
            (format!("{boot}-a-1.seg"), None),
        ] {
            assert_eq!(Name::parse(&name), expected, "{name}");
        }
    }

    #[test]
    fn a_lock_is_taken_once_its_owner_is_gone() {
        let folder = tempfile::TempDir::new().unwrap();
        let boot = Ulid::generate();
        let lock = own_lock(folder.path(), boot).unwrap();
        let path = folder.path().join(format!("{boot}.lock"));
        assert!(abandoned(&path).unwrap().is_none());
        drop(lock);
        assert!(abandoned(&path).unwrap().is_some());
    }
}
