//! Several replicas, as tasks of the test, share budgets through a real Redis that is killed, flushed, paused, put back
//! and failed over under them. A ledger of the test is the judge.

use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use llm_gateway::fleet::address::Address;
use llm_gateway::fleet::{Allowance, Fleet, OnLoss, Setup, Sum, Sums};
use llm_gateway::money::Usd;
use llm_gateway::policy::budget::{Budget, Calendar, Hold, Period, Purse, Window};
use llm_gateway::receipt::Settles as _;
use tokio::task::JoinHandle;

use crate::support::{Redis, Switch, eventually};

const LIMIT: i64 = 1_000_000_000_000;
/// A hundredth of a cent.
const CALL: i64 = 100_000_000;

fn now_ms() -> i64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis().try_into().unwrap()
}

/// The ledger of all replicas: what was settled, and how often it was read.
#[derive(Default)]
struct Ledger {
    spent: AtomicI64,
    read: AtomicU64,
}

/// One replica's view of it: what it books is there at once.
struct View(Arc<Ledger>);

impl Sums for View {
    fn spent<'a>(&'a self, _payer: &'a str, _window: Window) -> Sum<'a> {
        self.0.read.fetch_add(1, Ordering::Relaxed);
        Box::pin(async { Some(Usd::from_units(self.0.spent.load(Ordering::Relaxed))) })
    }

    fn settled_ms(&self) -> i64 {
        // What was booked in this very millisecond may not be there yet.
        now_ms() - 1
    }
}

struct Replica {
    fleet: Fleet,
    purse: Arc<Purse>,
    purses: Arc<[Arc<Purse>]>,
    view: Arc<View>,
    tasks: Mutex<Vec<JoinHandle<()>>>,
}

impl Replica {
    fn new(url: &str, boot: &str, ledger: &Arc<Ledger>, on_loss: OnLoss) -> Arc<Self> {
        let setup = Setup {
            address: Address::parse(url).unwrap(),
            timeout: Duration::from_secs(2),
            on_loss,
            prefix: "t".to_owned(),
            boot: boot.to_owned(),
        };
        let fleet = Fleet::new(setup);
        let purse = Purse::new("this key".into(), Arc::new(Calendar::default()));
        purse.set(Some(Budget::new(Usd::from_units(LIMIT), Period::Total)), now_ms());
        fleet.share_budget("key/x".into(), Arc::clone(&purse) as Arc<dyn Allowance>);
        let view = Arc::new(View(Arc::clone(ledger)));
        let (running, sums) = (fleet.clone(), Arc::clone(&view));
        let task = tokio::spawn(async move { running.run(&*sums).await });
        let purses = Arc::from([Arc::clone(&purse)]);
        Arc::new(Self { fleet, purse, purses, view, tasks: Mutex::new(vec![task]) })
    }

    /// One call: reserves, spends something up to that, settles. False when it was refused.
    async fn call(&self, reserve: i64, spend: i64) -> bool {
        let attempt = || Hold::reserve(&self.purses, Usd::from_units(reserve), now_ms());
        let Ok(hold) = self.fleet.reserve(&["key/x".into()], &*self.view, attempt).await else {
            return false;
        };
        tokio::task::yield_now().await;
        self.view.0.spent.fetch_add(spend, Ordering::Relaxed);
        hold.settle(Usd::from_units(spend), now_ms());
        true
    }

    /// Waits until it can spend.
    async fn opened(&self) {
        eventually("a lease is had", || async { self.call(CALL, 0).await.then_some(()) }).await;
    }

    fn crash(&self) {
        self.tasks.lock().unwrap().drain(..).for_each(|task| task.abort());
    }
}

fn fleet(redis: &Redis, replicas: usize, ledger: &Arc<Ledger>, on_loss: OnLoss) -> Vec<Arc<Replica>> {
    (0..replicas).map(|at| Replica::new(&redis.url(), &format!("boot{at}"), ledger, on_loss)).collect()
}

/// Everybody calls as fast as it can until all are refused; gives what was spent.
async fn exhaust(replicas: &[Arc<Replica>], ledger: &Arc<Ledger>) -> i64 {
    let callers = replicas.iter().flat_map(|it| std::iter::repeat_n(it, 4)).enumerate().map(
        |(at, replica)| async move {
            let mut refused = 0;
            let mut turn = i64::try_from(at).unwrap();
            while refused < 40 {
                turn += 1;
                if replica.call(20 * CALL, (turn % 20 + 1) * CALL).await {
                    refused = 0;
                } else {
                    refused += 1;
                    tokio::time::sleep(Duration::from_millis(25)).await;
                }
            }
        },
    );
    futures_util::future::join_all(callers).await;
    ledger.spent.load(Ordering::Relaxed)
}

/// Nobody has anything reserved, and all that is left can be spent to the last call.
async fn sound(replicas: &[Arc<Replica>], ledger: &Arc<Ledger>) {
    let spent = ledger.spent.load(Ordering::Relaxed);
    for replica in replicas {
        assert_eq!(replica.purse.reserved(), Usd::ZERO);
    }
    assert!(spent <= LIMIT, "{} too much", spent - LIMIT);
    assert!(spent > LIMIT - 20 * CALL - 1_000_000, "{} could not be spent", LIMIT - spent);
}

#[tokio::test]
async fn three_replicas_spend_a_budget_to_the_last_call_and_no_further() {
    let (redis, ledger) = (Redis::start().await, Arc::<Ledger>::default());
    let replicas = fleet(&redis, 3, &ledger, OnLoss::Deny);
    for replica in &replicas {
        replica.opened().await;
    }
    assert_eq!(ledger.read.load(Ordering::Relaxed), 1, "one replica reads the ledger");
    exhaust(&replicas, &ledger).await;
    sound(&replicas, &ledger).await;
}

#[tokio::test]
async fn what_was_spent_before_redis_knew_is_read_from_the_ledger() {
    let (redis, ledger) = (Redis::start().await, Arc::<Ledger>::default());
    ledger.spent.store(LIMIT - 50 * CALL, Ordering::Relaxed);
    let replicas = fleet(&redis, 2, &ledger, OnLoss::Deny);
    replicas[0].opened().await;
    exhaust(&replicas, &ledger).await;
    sound(&replicas, &ledger).await;
}

#[tokio::test]
async fn a_flush_a_crash_and_an_old_snapshot_sell_nothing_twice() {
    let (mut redis, ledger) = (Redis::start().await, Arc::<Ledger>::default());
    let replicas = fleet(&redis, 3, &ledger, OnLoss::Deny);
    replicas[0].opened().await;
    let spend = |calls: usize| {
        let replicas = replicas.clone();
        async move {
            for replica in &replicas {
                for _ in 0..calls {
                    replica.call(20 * CALL, 10 * CALL).await;
                }
            }
        }
    };
    spend(20).await;
    redis.save().await;
    spend(100).await;
    redis.flush().await;
    spend(50).await;
    eventually("it is rebuilt", || async { (ledger.read.load(Ordering::Relaxed) >= 2).then_some(()) }).await;
    replicas[1].opened().await;
    spend(50).await;
    // Back to the snapshot, which knows of 20 calls each.
    redis.restart().await;
    eventually("it is rebuilt", || async { (ledger.read.load(Ordering::Relaxed) >= 3).then_some(()) }).await;
    replicas[2].opened().await;
    exhaust(&replicas, &ledger).await;
    sound(&replicas, &ledger).await;
}

#[tokio::test]
async fn a_failover_that_loses_the_last_writes_sells_nothing_twice() {
    let (master, standby) = (Redis::start().await, Redis::start().await);
    standby.follow(&master).await;
    let ledger = Arc::<Ledger>::default();
    // What stands in front of both and is switched over.
    let switch = Switch::to(master.port()).await;
    let url = format!("redis://127.0.0.1:{}", switch.port);
    let replicas: Vec<_> =
        (0..3).map(|at| Replica::new(&url, &format!("boot{at}"), &ledger, OnLoss::Deny)).collect();
    replicas[0].opened().await;
    for replica in &replicas {
        for _ in 0..50 {
            replica.call(20 * CALL, 10 * CALL).await;
        }
    }
    // The replica hears nothing more, and does not know what is granted from now on.
    standby.promote().await;
    for replica in &replicas {
        for _ in 0..100 {
            replica.call(20 * CALL, 10 * CALL).await;
        }
    }
    switch.turn(standby.port());
    let read = ledger.read.load(Ordering::Relaxed);
    eventually("it is rebuilt", || async { (ledger.read.load(Ordering::Relaxed) > read).then_some(()) })
        .await;
    replicas[1].opened().await;
    exhaust(&replicas, &ledger).await;
    sound(&replicas, &ledger).await;
}

#[tokio::test]
async fn what_a_replica_that_died_held_comes_back_once_its_journal_is_read() {
    let (redis, ledger) = (Redis::start().await, Arc::<Ledger>::default());
    let replicas = fleet(&redis, 2, &ledger, OnLoss::Deny);
    replicas[0].opened().await;
    replicas[1].opened().await;
    for _ in 0..50 {
        replicas[1].call(20 * CALL, CALL).await;
    }
    replicas[1].crash();
    replicas[0].fleet.departed("boot1");
    exhaust(&replicas[..1], &ledger).await;
    eventually("all of it can be spent", || async {
        exhaust(&replicas[..1], &ledger).await;
        (ledger.spent.load(Ordering::Relaxed) > LIMIT - 20 * CALL - 1_000_000).then_some(())
    })
    .await;
    sound(&replicas, &ledger).await;
}

#[tokio::test]
async fn without_redis_replicas_take_their_share_once_and_no_more_than_was_left() {
    let (mut redis, ledger) = (Redis::start().await, Arc::<Ledger>::default());
    let replicas = fleet(&redis, 3, &ledger, OnLoss::LocalShare);
    for replica in &replicas {
        replica.opened().await;
        // The lease is small at first: it is known what is left, and by how many it is shared.
        replica.call(20 * CALL, 20 * CALL).await;
    }
    for replica in &replicas {
        eventually("all know each other", || async {
            replica.call(CALL, CALL).await;
            (replica.fleet.replicas() == 3).then_some(())
        })
        .await;
    }
    redis.kill();
    let spent = exhaust(&replicas, &ledger).await;
    assert!(spent > LIMIT / 2, "only {spent} could be spent");
    assert!(spent <= LIMIT + LIMIT / 20, "{} too much", spent - LIMIT);
}
