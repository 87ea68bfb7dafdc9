//! What ends an exchange from outside: its deadlines, for which there is one timer, and that nobody waits any more.

use std::cell::Cell;

use tokio::sync::mpsc;
use tokio::time::{Instant, sleep_until};

use crate::config::OnCancel;

/// When an exchange must have come how far.
#[derive(Clone, Copy, Debug)]
pub struct Deadlines {
    /// The answer must have begun.
    pub content: Instant,
    /// The call must be over.
    pub call: Instant,
    /// The provider must have finished.
    pub total: Instant,
}

/// Which of them passed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Deadline {
    /// For the answer to begin.
    Content,
    /// Of the call.
    Call,
    /// Of the provider.
    Total,
}

impl Deadlines {
    /// Ready when the first of them passes. Once the answer has begun, that of its beginning is none.
    pub async fn passed(&self, begun: &Cell<bool>) -> Deadline {
        let last = self.call.min(self.total);
        if self.content <= last {
            sleep_until(self.content).await;
            if !begun.get() {
                return Deadline::Content;
            }
        }
        sleep_until(last).await;
        if self.call <= self.total { Deadline::Call } else { Deadline::Total }
    }
}

/// Ready when nobody waits for the answer any more, and it is not read to its end for the bill's sake.
pub async fn abandoned<T>(events: &mpsc::Sender<T>, on_cancel: OnCancel) {
    events.closed().await;
    if let OnCancel::Drain(most) = on_cancel {
        tokio::time::sleep(most).await;
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn the_first_deadline_counts_and_that_of_the_beginning_until_it_has_begun() {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
        runtime.block_on(async {
            let now = Instant::now();
            let at = |ms| now + Duration::from_millis(ms);
            for (content, call, total, begun, expected) in [
                (1, 2, 3, false, Deadline::Content),
                (2, 2, 3, false, Deadline::Content),
                (1, 2, 3, true, Deadline::Call),
                (1, 3, 2, true, Deadline::Total),
                (9, 2, 2, false, Deadline::Call),
                (9, 3, 2, false, Deadline::Total),
            ] {
                let deadlines = Deadlines { content: at(content), call: at(call), total: at(total) };
                let passed = deadlines.passed(&Cell::new(begun)).await;
                assert_eq!(passed, expected, "{content} {call} {total} {begun}");
            }
        });
    }
}
