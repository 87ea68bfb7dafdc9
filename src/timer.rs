//! One timer for many waits: a wait that ends before its deadline leaves the timer as it is.
//!
//! A stream waits for its next event again and again, each time with a deadline that it almost never meets. To enter each
//! into the runtime's wheel and take it out again costs more than to look at a clock, so the wheel holds the earliest
//! deadline that was ever asked for; when that comes and is not the one that counts any more, the next one is entered.

use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::task::{Poll, ready};
use std::time::Duration;

use tokio::time::{Instant, Sleep, sleep_until};

/// A timer; nothing is entered anywhere before something has to be waited for.
#[derive(Debug, Default)]
pub struct Timer {
    sleep: Option<Pin<Box<Sleep>>>,
}

/// The deadline came first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Late;

impl Timer {
    /// What `future` gives, unless it takes longer than `limit` from the moment that it first has to be waited for.
    ///
    /// # Errors
    /// [`Late`]; the future is dropped.
    pub async fn within<F: Future>(&mut self, limit: Duration, future: F) -> Result<F::Output, Late> {
        self.until(|| Instant::now() + limit, future).await
    }

    /// What `future` gives, unless it takes longer than until `deadline`.
    ///
    /// # Errors
    /// [`Late`]; the future is dropped.
    pub async fn by<F: Future>(&mut self, deadline: Instant, future: F) -> Result<F::Output, Late> {
        self.until(|| deadline, future).await
    }

    async fn until<F: Future>(
        &mut self,
        deadline: impl Fn() -> Instant,
        future: F,
    ) -> Result<F::Output, Late> {
        let mut future = pin!(future);
        let mut ends = None;
        poll_fn(|cx| {
            if let Poll::Ready(output) = future.as_mut().poll(cx) {
                return Poll::Ready(Ok(output));
            }
            let ends = *ends.get_or_insert_with(&deadline);
            let sleep = self.sleep.get_or_insert_with(|| Box::pin(sleep_until(ends)));
            if sleep.deadline() > ends {
                sleep.as_mut().reset(ends);
            }
            loop {
                ready!(sleep.as_mut().poll(cx));
                if sleep.deadline() >= ends {
                    return Poll::Ready(Err(Late));
                }
                // It was entered for an earlier wait, which has long ended.
                sleep.as_mut().reset(ends);
            }
        })
        .await
    }
}

#[cfg(test)]
mod tests {
    use std::future::{pending, ready};

    use tokio::task::yield_now;

    use super::*;

    const HOUR: Duration = Duration::from_secs(3_600);
    const SHORT: Duration = Duration::from_millis(20);

    /// Runs within a minute: a deadline that is never noticed is an hour away in these tests.
    fn run(test: impl Future<Output = ()>) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
        runtime
            .block_on(async { tokio::time::timeout(HOUR / 60, test).await.expect("a deadline was missed") });
    }

    #[test]
    fn what_is_there_at_once_asks_for_no_timer() {
        run(async {
            let mut timer = Timer::default();
            assert_eq!(timer.within(Duration::ZERO, ready(7)).await, Ok(7));
            assert!(timer.sleep.is_none());
        });
    }

    #[test]
    fn each_wait_has_its_own_deadline_be_it_later_or_earlier_than_the_one_before() {
        run(async {
            let mut timer = Timer::default();
            assert_eq!(timer.within(HOUR, yield_now()).await, Ok(()));
            for (limit, after) in [(SHORT, HOUR), (SHORT * 2, SHORT), (SHORT, SHORT * 3)] {
                let began = Instant::now();
                assert_eq!(timer.within(limit, pending::<()>()).await, Err(Late));
                assert!(began.elapsed() >= limit, "{:?} of {limit:?}", began.elapsed());
                assert_eq!(timer.within(after, yield_now()).await, Ok(()));
            }
        });
    }

    #[test]
    fn a_timer_that_goes_off_for_an_earlier_wait_ends_none_of_the_later_ones() {
        run(async {
            let mut timer = Timer::default();
            assert_eq!(timer.within(SHORT, yield_now()).await, Ok(()));
            let slow = tokio::time::sleep(SHORT * 3);
            assert_eq!(timer.within(HOUR, slow).await, Ok(()));
        });
    }

    #[test]
    fn a_deadline_in_the_past_ends_what_is_not_there_and_nothing_else() {
        run(async {
            let (mut timer, past) = (Timer::default(), Instant::now());
            assert_eq!(timer.by(past, ready(7)).await, Ok(7));
            assert_eq!(timer.by(past, pending::<u8>()).await, Err(Late));
            assert_eq!(timer.by(past, pending::<u8>()).await, Err(Late), "once more");
        });
    }
}
