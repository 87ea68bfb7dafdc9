//! The thread on which connections live.
//!
//! A connection belongs to the runtime in which it was opened, and every cell has a runtime of its own that ends with it.
//! So the store has one, too: whoever calls is in it while it is polled, and what is opened then belongs to it.

use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::runtime::{Builder, Handle};
use tokio::sync::oneshot;

use super::super::StoreFuture;
use super::super::error::StoreError;

/// A runtime on a thread of its own, which ends when this is dropped.
#[derive(Debug)]
pub struct OwnRuntime {
    handle: Handle,
    _end: oneshot::Sender<()>,
}

impl OwnRuntime {
    /// Starts it.
    pub fn start() -> Result<Self, StoreError> {
        let failed = |error| StoreError::Unusable(format!("the thread of the store cannot start: {error}"));
        let runtime = Builder::new_current_thread().enable_all().build().map_err(failed)?;
        let handle = runtime.handle().clone();
        let (end, ended) = oneshot::channel::<()>();
        let thread = std::thread::Builder::new().name("store".to_owned());
        thread.spawn(move || runtime.block_on(async { drop(ended.await) })).map_err(failed)?;
        Ok(Self { handle, _end: end })
    }

    /// A future that is in this runtime whenever it is polled, and when it is dropped.
    pub fn run<'a, T>(&self, future: StoreFuture<'a, T>) -> Inside<'a, T> {
        Inside { handle: self.handle.clone(), future: Some(future) }
    }
}

/// See [`OwnRuntime::run`].
pub struct Inside<'a, T> {
    handle: Handle,
    future: Option<StoreFuture<'a, T>>,
}

impl<T> Future for Inside<'_, T> {
    type Output = Result<T, StoreError>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let handle = self.handle.clone();
        let _inside = handle.enter();
        match &mut self.future {
            Some(future) => future.as_mut().poll(context),
            None => Poll::Pending,
        }
    }
}

impl<T> Drop for Inside<'_, T> {
    fn drop(&mut self) {
        // An abandoned connection goes back to the pool by a task, which needs a runtime.
        let _inside = self.handle.enter();
        self.future = None;
    }
}
