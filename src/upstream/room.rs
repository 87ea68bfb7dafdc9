//! Room for what waits between an exchange and its client: events are counted by the channel, large ones by their bytes.

use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Pieces up to this size are bounded by the channel's length alone, bytes.
const SMALL: usize = 8 * 1024;
/// Bytes of larger pieces that may wait at a time.
const LARGE: usize = 64 * 1024;

/// The room of one stream.
#[derive(Default)]
pub struct Room(Option<Arc<Semaphore>>);

/// Bytes that wait: their room is free again when this drops.
#[derive(Debug)]
pub struct Waiting {
    _permit: OwnedSemaphorePermit,
}

impl Room {
    /// Waits until there is room for so many bytes; small pieces need none.
    pub async fn take(&mut self, bytes: usize) -> Option<Waiting> {
        if bytes <= SMALL {
            return None;
        }
        let room = self.0.get_or_insert_with(|| Arc::new(Semaphore::new(LARGE)));
        let wanted = u32::try_from(bytes.min(LARGE)).unwrap_or(u32::MAX);
        // The semaphore is never closed.
        Arc::clone(room).acquire_many_owned(wanted).await.ok().map(|permit| Waiting { _permit: permit })
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt as _;

    use super::*;

    #[tokio::test]
    async fn large_pieces_wait_for_room_and_small_ones_do_not() {
        let mut room = Room::default();
        assert!(room.take(SMALL).await.is_none());
        let first = room.take(LARGE * 2).await;
        assert!(first.is_some() && room.take(SMALL + 1).now_or_never().is_none());
        assert!(room.take(SMALL).now_or_never().is_some());
        drop(first);
        assert!(room.take(SMALL + 1).now_or_never().flatten().is_some());
    }
}
