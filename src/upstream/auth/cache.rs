//! What was fetched once and serves many requests until it expires: a token, or the keys that requests are signed with.
//!
//! Shared by all cells. Invariants: at most one fetch at a time; it is a task of its own, so that a client who leaves
//! does not end it; it starts well before the expiry, and while what is held is still good nobody waits for it or hears
//! of its failure; the wait of those who have nothing is theirs to bound.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use arc_swap::ArcSwapOption;
use tokio::sync::watch;
use tokio::time::timeout;

/// How long before the expiry a new one is fetched; half of the lifetime when that is less than twice as long.
const AHEAD: Duration = Duration::from_secs(300);
/// How long before its expiry it is no longer sent: clocks differ, and requests take time to arrive.
const MARGIN: Duration = Duration::from_secs(10);
/// Longest lifetime that is believed.
const LIFETIME_MAX: Duration = Duration::from_secs(24 * 3600);
/// How often what does not say when it expires is looked up again.
const UNBOUNDED: Duration = Duration::from_secs(900);
/// A fetch that takes longer has failed.
const FETCH_MAX: Duration = Duration::from_secs(30);
/// Pause after a failed fetch when there is nothing to send meanwhile; calls are told the same failure.
const PAUSE: Duration = Duration::from_secs(1);
/// The same while what is held is still good.
const PAUSE_HOLDING: Duration = Duration::from_secs(10);
/// What an upstream refuses is renewed at once, unless it was fetched this recently: then a new one would be refused, too.
const REFUSED_YOUNG: Duration = Duration::from_secs(30);

/// Why nothing could be fetched: what happened and what to set, without anything that was sent or received.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure(pub String);

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// What a fetch brought.
pub struct Fresh<T> {
    /// The thing itself.
    pub value: T,
    /// How long it is good; `None`: it does not say.
    pub lifetime: Option<Duration>,
}

struct Held<T> {
    value: Arc<T>,
    since: Instant,
    renew_at: Instant,
    ends_at: Option<Instant>,
}

type Landed<T> = Option<Result<Arc<T>, Failure>>;

/// The fetch that is under way, or the last one that failed.
struct Flight<T> {
    under_way: Option<watch::Receiver<Landed<T>>>,
    failed: Option<(Instant, Failure)>,
}

/// What is held, and the one fetch.
pub struct Cache<T> {
    held: ArcSwapOption<Held<T>>,
    flight: Mutex<Flight<T>>,
}

impl<T> Default for Cache<T> {
    fn default() -> Self {
        let flight = Flight { under_way: None, failed: None };
        Self { held: ArcSwapOption::empty(), flight: Mutex::new(flight) }
    }
}

impl<T: 'static> Cache<T> {
    /// What is held and good, or what `fetch` brings; to be called on a cell's thread.
    ///
    /// # Errors
    /// The fetch failed, and there is nothing else.
    pub async fn get<F>(self: &Arc<Self>, fetch: impl FnOnce() -> F) -> Result<Arc<T>, Failure>
    where
        F: Future<Output = Result<Fresh<T>, Failure>> + 'static,
    {
        let now = Instant::now();
        let held = self.held.load_full();
        let good = held.filter(|held| held.ends_at.is_none_or(|ends_at| now < ends_at));
        match good {
            Some(held) if now < held.renew_at => Ok(Arc::clone(&held.value)),
            Some(held) => {
                let _ = self.join(now, PAUSE_HOLDING, fetch);
                Ok(Arc::clone(&held.value))
            }
            None => {
                let mut landing = self.join(now, PAUSE, fetch)?;
                let landed = landing.wait_for(Option::is_some).await.ok().and_then(|landed| landed.clone());
                landed
                    .unwrap_or_else(|| Err(Failure("the fetch of a token was broken off; try again".into())))
            }
        }
    }

    /// The fetch that is under way, or a new one; the last failure when it is too early for another.
    fn join<F>(
        self: &Arc<Self>,
        now: Instant,
        pause: Duration,
        fetch: impl FnOnce() -> F,
    ) -> Result<watch::Receiver<Landed<T>>, Failure>
    where
        F: Future<Output = Result<Fresh<T>, Failure>> + 'static,
    {
        let mut flight = self.flight.lock().unwrap_or_else(PoisonError::into_inner);
        // One whose cell has gone down with it is not waited for.
        if let Some(under_way) = flight.under_way.as_ref().filter(|landing| landing.has_changed().is_ok()) {
            return Ok(under_way.clone());
        }
        if let Some((at, failure)) = &flight.failed
            && now < *at + pause
        {
            return Err(failure.clone());
        }
        let (land, landing) = watch::channel(None);
        flight.under_way = Some(landing.clone());
        drop(flight);
        let (cache, fetching) = (Arc::clone(self), fetch());
        actix_rt::spawn(async move {
            let fetched = timeout(FETCH_MAX, fetching).await;
            let fetched = fetched.unwrap_or_else(|_| Err(Failure("no token came in time".into())));
            let landed = cache.land(fetched);
            // Nobody may be waiting.
            land.send_replace(Some(landed));
        });
        Ok(landing)
    }

    /// Takes in what a fetch brought.
    fn land(&self, fetched: Result<Fresh<T>, Failure>) -> Result<Arc<T>, Failure> {
        let now = Instant::now();
        let landed = fetched.map(|fresh| {
            let lifetime = fresh.lifetime.map(|lifetime| lifetime.min(LIFETIME_MAX));
            let ahead = |lifetime: Duration| lifetime - AHEAD.min(lifetime / 2);
            let value = Arc::new(fresh.value);
            self.held.store(Some(Arc::new(Held {
                value: Arc::clone(&value),
                since: now,
                renew_at: now + lifetime.map_or(UNBOUNDED, ahead),
                ends_at: lifetime.map(|lifetime| now + (lifetime - MARGIN.min(lifetime / 10))),
            })));
            value
        });
        let mut flight = self.flight.lock().unwrap_or_else(PoisonError::into_inner);
        flight.under_way = None;
        flight.failed = landed.as_ref().err().map(|failure| (now, failure.clone()));
        landed
    }

    /// The upstream refused `value`: the next call begins to fetch anew. Until then it serves on, for it may have been
    /// refused for what was asked.
    pub fn refused(&self, value: &Arc<T>) {
        let Some(held) = self.held.load_full() else { return };
        if Arc::ptr_eq(&held.value, value) && held.since.elapsed() >= REFUSED_YOUNG {
            let now = Instant::now();
            let Held { since, ends_at, .. } = *held;
            let value = Arc::clone(value);
            self.held.store(Some(Arc::new(Held { value, since, renew_at: now, ends_at })));
        }
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;
    use std::rc::Rc;

    use super::*;

    /// A source of numbered tokens that fails once told so, and the cache before it.
    #[derive(Clone, Default)]
    struct Source {
        cache: Arc<Cache<u32>>,
        fetches: Rc<Cell<u32>>,
        down: Rc<Cell<bool>>,
        lifetime: Rc<Cell<Option<u64>>>,
    }

    impl Source {
        fn new(lifetime: Option<u64>) -> Self {
            let source = Self::default();
            source.lifetime.set(lifetime);
            source
        }

        async fn get(&self) -> Result<u32, Failure> {
            let source = self.clone();
            let fetch = move || async move {
                source.fetches.set(source.fetches.get() + 1);
                let number = source.fetches.get();
                tokio::time::sleep(Duration::from_millis(30)).await;
                let lifetime = source.lifetime.get().map(Duration::from_secs);
                if source.down.get() { Err(down()) } else { Ok(Fresh { value: number, lifetime }) }
            };
            self.cache.get(fetch).await.map(|value| *value)
        }

        /// Lets time pass for the cache: what it remembers moves into the past.
        fn pass(&self, seconds: u64) {
            let by = Duration::from_secs(seconds);
            if let Some(held) = self.cache.held.load_full() {
                let Held { value, since, renew_at, ends_at } = &*held;
                let moved = Held {
                    value: Arc::clone(value),
                    since: *since - by,
                    renew_at: *renew_at - by,
                    ends_at: ends_at.map(|ends_at| ends_at - by),
                };
                self.cache.held.store(Some(Arc::new(moved)));
            }
            if let Some((at, _)) = &mut self.cache.flight.lock().unwrap().failed {
                *at -= by;
            }
        }

        /// Waits for the fetch that is under way.
        async fn landed(&self) {
            while self.cache.flight.lock().unwrap().under_way.is_some() {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        }
    }

    fn down() -> Failure {
        Failure("down".into())
    }

    #[actix::test]
    async fn a_token_is_renewed_before_it_ends_and_nobody_waits_for_that() {
        let source = Source::new(Some(3600));
        assert_eq!(source.get().await, Ok(1));
        source.pass(3290);
        assert_eq!((source.get().await, source.fetches.get()), (Ok(1), 1));
        source.pass(20);
        for _ in 0..5 {
            assert_eq!(source.get().await, Ok(1), "the old one serves while the new one comes");
        }
        source.landed().await;
        assert_eq!((source.get().await, source.fetches.get()), (Ok(2), 2));
    }

    #[actix::test]
    async fn a_token_that_lives_shortly_is_renewed_after_half_of_its_life() {
        let source = Source::new(Some(100));
        assert_eq!(source.get().await, Ok(1));
        source.pass(49);
        assert_eq!((source.get().await, source.fetches.get()), (Ok(1), 1));
        source.pass(2);
        assert_eq!(source.get().await, Ok(1));
        source.landed().await;
        assert_eq!(source.fetches.get(), 2);
    }

    #[actix::test]
    async fn many_who_have_nothing_wait_for_one_fetch() {
        let source = Source::new(Some(3600));
        let got = futures_util::future::join_all((0..50).map(|_| source.get())).await;
        assert!(got.iter().all(|token| *token == Ok(1)), "{got:?}");
        assert_eq!(source.fetches.get(), 1);
    }

    #[actix::test]
    async fn one_who_leaves_does_not_end_the_fetch() {
        let source = Source::new(Some(3600));
        assert!(timeout(Duration::from_millis(1), source.get()).await.is_err());
        assert_eq!((source.get().await, source.fetches.get()), (Ok(1), 1));
    }

    #[actix::test]
    async fn a_failed_renewal_keeps_the_token_until_its_end_and_no_longer() {
        let source = Source::new(Some(3600));
        assert_eq!(source.get().await, Ok(1));
        source.down.set(true);
        source.pass(3400);
        for _ in 0..30 {
            assert_eq!(source.get().await, Ok(1));
            source.landed().await;
            source.pass(1);
        }
        assert!((3..=5).contains(&source.fetches.get()), "paused between tries: {}", source.fetches.get());
        source.pass(155);
        assert_eq!(source.get().await, Ok(1), "fifteen seconds before its end");
        source.landed().await;
        source.pass(10);
        assert_eq!(source.get().await, Err(down()), "five seconds before its end");
    }

    #[actix::test]
    async fn after_a_failure_calls_are_told_so_for_a_second_and_then_it_is_tried_again() {
        let source = Source::new(Some(3600));
        source.down.set(true);
        assert_eq!(source.get().await, Err(down()));
        source.down.set(false);
        assert_eq!((source.get().await, source.fetches.get()), (Err(down()), 1));
        source.pass(1);
        assert_eq!(source.get().await, Ok(2));
    }

    #[actix::test]
    async fn what_does_not_say_its_end_is_looked_up_now_and_then_and_serves_on() {
        let source = Source::new(None);
        assert_eq!(source.get().await, Ok(1));
        source.down.set(true);
        source.pass(100_000);
        assert_eq!(source.get().await, Ok(1));
        source.landed().await;
        assert_eq!((source.get().await, source.fetches.get()), (Ok(1), 2));
    }

    #[actix::test]
    async fn what_the_upstream_refuses_is_renewed_unless_it_is_new() {
        let source = Source::new(Some(3600));
        assert_eq!(source.get().await, Ok(1));
        let first = source.cache.held.load_full().unwrap();
        source.cache.refused(&first.value);
        assert_eq!(source.get().await, Ok(1), "it is new");
        source.pass(31);
        source.cache.refused(&Arc::new(1));
        assert_eq!(source.get().await, Ok(1), "another one was refused");
        source.landed().await;
        assert_eq!(source.fetches.get(), 1);
        source.cache.refused(&first.value);
        assert_eq!(source.get().await, Ok(1), "it may be good for something else");
        source.landed().await;
        assert_eq!(source.get().await, Ok(2));
    }

    #[test]
    fn a_fetch_whose_thread_ended_is_begun_again_on_another() {
        let cache: Arc<Cache<u32>> = Arc::default();
        let other = Arc::clone(&cache);
        let begun = std::thread::spawn(move || {
            actix_rt::System::new().block_on(async move {
                let waiting = other.get(std::future::pending);
                assert!(timeout(Duration::from_millis(10), waiting).await.is_err());
            });
        });
        begun.join().unwrap();
        let got = actix_rt::System::new().block_on(async move {
            let fetch = || async { Ok(Fresh { value: 7, lifetime: None }) };
            timeout(Duration::from_secs(10), cache.get(fetch)).await.unwrap()
        });
        assert_eq!(got.map(|value| *value), Ok(7));
    }
}
