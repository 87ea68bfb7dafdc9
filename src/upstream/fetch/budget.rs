//! How much one request may fetch, and its part of what the process may hold.

use std::cell::{Cell, RefCell};
use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::base64;
use super::trouble::Trouble;

/// Bytes of all images of one request at most.
const REQUEST_BYTES_MAX: usize = 40 << 20;
/// Bytes of base64 that one permit of the room stands for.
const UNIT: usize = 64 * 1024;

/// Room for base64, shared by all cells.
pub fn room(bytes: u64) -> Arc<Semaphore> {
    let units = usize::try_from(bytes).unwrap_or(usize::MAX) / UNIT;
    Arc::new(Semaphore::new(units.min(Semaphore::MAX_PERMITS)))
}

/// What one request has taken so far.
pub struct Budget {
    room: Arc<Semaphore>,
    fetched: Cell<usize>,
    held: RefCell<Option<OwnedSemaphorePermit>>,
}

impl Budget {
    /// Nothing yet.
    pub fn new(room: &Arc<Semaphore>) -> Self {
        Self { room: Arc::clone(room), fetched: Cell::new(0), held: RefCell::new(None) }
    }

    /// Takes what a piece of an image needs.
    ///
    /// # Errors
    /// The request has fetched enough, or the process holds enough.
    pub fn take(&self, bytes: usize) -> Result<(), Trouble> {
        let fetched = self.fetched.get().saturating_add(bytes);
        if fetched > REQUEST_BYTES_MAX {
            return Err(Trouble::TooLargeTogether);
        }
        self.fetched.set(fetched);
        let mut held = self.held.borrow_mut();
        let units = base64::length(fetched).div_ceil(UNIT);
        let more = units.saturating_sub(held.as_ref().map_or(0, OwnedSemaphorePermit::num_permits));
        if more == 0 {
            return Ok(());
        }
        let more = u32::try_from(more).map_err(|_| Trouble::NoRoom)?;
        let taken = Arc::clone(&self.room).try_acquire_many_owned(more).map_err(|_| Trouble::NoRoom)?;
        match held.as_mut() {
            Some(permit) => permit.merge(taken),
            None => *held = Some(taken),
        }
        Ok(())
    }

    /// What must be held for as long as the images are.
    pub fn into_held(self) -> Option<OwnedSemaphorePermit> {
        self.held.into_inner()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn room_is_taken_as_images_arrive_and_given_back_with_them() {
        let room = room(10 * UNIT as u64);
        let budget = Budget::new(&room);
        assert_eq!(budget.take(1), Ok(()));
        assert_eq!((budget.take(3 * UNIT / 4 - 1), room.available_permits()), (Ok(()), 9));
        assert_eq!((budget.take(1), room.available_permits()), (Ok(()), 8));
        let other = Budget::new(&room);
        assert_eq!(other.take(7 * UNIT), Err(Trouble::NoRoom));
        assert_eq!((other.take(3), room.available_permits()), (Err(Trouble::NoRoom), 8));
        let held = budget.into_held();
        assert_eq!(room.available_permits(), 8);
        drop(held);
        assert_eq!(room.available_permits(), 10);
    }

    #[test]
    fn one_request_fetches_so_much_and_no_more_whatever_room_there_is() {
        let budget = Budget::new(&room(u64::MAX));
        assert_eq!(budget.take(REQUEST_BYTES_MAX), Ok(()));
        assert_eq!(budget.take(1), Err(Trouble::TooLargeTogether));
    }
}
