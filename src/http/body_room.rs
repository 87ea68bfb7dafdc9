//! Room for large request bodies: one bound for the process, so that many callers at once cannot fill its memory.
//!
//! A body leases what it takes beyond `FREE_BYTES` as it arrives, and gives it back when its last byte is let
//! go, whatever became of its call. What is counted is the bodies' own length: a buffer that grows and the copy
//! sent upstream come on top, so the process takes several times as much. Small bodies lease nothing: they are served whatever the large ones do.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;

use crate::error::{Error, Shed};

/// Bytes of every body that need no lease; the bound on connections bounds them.
const FREE_BYTES: u64 = 64 * 1024;
/// When to come back: large bodies are let go as calls end.
const RETRY_AFTER: Duration = Duration::from_secs(1);

/// The room that is left, shared by all cells.
#[derive(Clone, Debug)]
pub struct BodyRoom(Arc<AtomicU64>);

impl BodyRoom {
    /// Room for this many bytes.
    pub fn new(bytes: u64) -> Self {
        Self(Arc::new(AtomicU64::new(bytes)))
    }

    /// A lease of nothing yet.
    pub fn lease(&self) -> Lease {
        Lease { room: self.clone(), leased: 0 }
    }
}

/// A part of the room. Given back when dropped.
#[derive(Debug)]
pub struct Lease {
    room: BodyRoom,
    leased: u64,
}

impl Lease {
    /// Makes it large enough for a body of `length` bytes.
    ///
    /// # Errors
    /// 503 when there is no room; what was leased before stays.
    pub fn cover(&mut self, length: usize) -> Result<(), Error> {
        let more = (length as u64).saturating_sub(FREE_BYTES).saturating_sub(self.leased);
        if more == 0 {
            return Ok(());
        }
        let taken =
            self.room.0.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(more));
        if taken.is_err() {
            let message = "The gateway has no room for another large request just now; try again shortly.";
            return Err(Error::Shed {
                why: Shed::BodyMemory,
                message: message.to_owned(),
                retry_after: RETRY_AFTER,
            });
        }
        self.leased += more;
        Ok(())
    }

    /// `body`, holding the lease for as long as any part of it is in use.
    pub fn hold(self, body: Bytes) -> Bytes {
        if self.leased == 0 { body } else { Bytes::from_owner(Held { body, _lease: self }) }
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        self.room.0.fetch_add(self.leased, Ordering::Relaxed);
    }
}

/// A body and its lease.
struct Held {
    body: Bytes,
    _lease: Lease,
}

impl AsRef<[u8]> for Held {
    fn as_ref(&self) -> &[u8] {
        &self.body
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FREE: usize = FREE_BYTES as usize;

    #[test]
    fn room_is_taken_as_a_body_grows_and_given_back_with_its_last_part() {
        let room = BodyRoom::new(1_000);
        let left = || room.0.load(Ordering::Relaxed);
        let mut first = room.lease();
        assert_eq!((first.cover(FREE + 400), left()), (Ok(()), 600));
        assert_eq!((first.cover(FREE + 300), left()), (Ok(()), 600), "a lease does not shrink");
        assert_eq!((first.cover(FREE + 900), left()), (Ok(()), 100));
        let mut second = room.lease();
        assert_eq!(second.cover(FREE + 101).map_err(|error| error.class().status), Err(503));
        assert_eq!((second.cover(FREE), left()), (Ok(()), 100), "small bodies need no room");
        let body = first.hold(Bytes::from_static(b"abc"));
        let part = body.slice(1..2);
        drop(body);
        assert_eq!((&part[..], left()), (&b"b"[..], 100));
        drop(part);
        assert_eq!((second.cover(FREE + 1_000), left()), (Ok(()), 0));
        drop(second);
        assert_eq!(left(), 1_000);
    }
}
