//! What must be true afterwards.

use std::collections::HashMap;

use sqlx::{Connection as _, PgConnection, Row as _};

use super::Fleet;
use super::load::{CLIENTS, Load, Payer};
use crate::support::eventually;

/// The most that a call may reserve, 1e-6 USD: 100 tokens of an answer, and a prompt.
const RESERVED_MAX: u64 = 1_050;

struct Row {
    outcome: String,
    tokens: (i64, i64),
    charged: i64,
}

async fn rows(database: &str) -> HashMap<u64, Row> {
    let mut connection = PgConnection::connect(database).await.expect("the server is there");
    let statement =
        "SELECT request_id, attempt, outcome, prompt_tokens, completion_tokens, charged FROM ledger";
    let mut rows = HashMap::new();
    for row in sqlx::query(statement).fetch_all(&mut connection).await.expect("the ledger can be read") {
        let id: String = row.get(0);
        let number = id.strip_prefix("call-").expect("ours").parse().expect("a number");
        assert_eq!(row.get::<i64, _>(1), 1, "{id} was tried again");
        let tokens = (row.get::<Option<i64>, _>(3).unwrap_or(0), row.get::<Option<i64>, _>(4).unwrap_or(0));
        let charged = row.get::<Option<i64>, _>(5).unwrap_or(0);
        let row = Row { outcome: row.get(2), tokens, charged };
        assert!(rows.insert(number, row).is_none(), "{id} is booked twice");
    }
    rows
}

/// The ledger is the upstream's bill. What is charged and not booked was on its way when a replica was killed: nobody
/// was answered, and nobody but the upstream knows. Gives what is booked to each payer, 1e-6 USD.
pub async fn ledger(load: &Load, database: &str, kills: u64) -> [u64; 4] {
    let rows = rows(database).await;
    let mut booked = [0; 4];
    let lost = load.facts(|facts| {
        assert!(facts.wrong.is_empty(), "{:#?}", facts.wrong);
        for (number, row) in &rows {
            let charge = facts.bill.get(number).unwrap_or_else(|| panic!("call-{number} was never charged"));
            let tokens = i64::try_from(charge.completed).expect("small");
            assert_eq!((row.outcome.as_str(), row.tokens), ("completed", (1, tokens)), "call-{number}");
            assert_eq!(
                row.charged,
                i64::try_from(charge.micros()).expect("small") * 1_000_000,
                "call-{number}"
            );
            booked[charge.payer as usize] += charge.micros();
        }
        let lost: Vec<u64> = facts.bill.keys().copied().filter(|number| !rows.contains_key(number)).collect();
        let answered: Vec<_> = lost.iter().filter(|number| facts.answered.contains(number)).collect();
        assert!(answered.is_empty(), "answered and not booked: {answered:?}");
        let strange: Vec<_> = lost.iter().filter(|number| !facts.interrupted.contains(number)).collect();
        assert!(strange.is_empty(), "charged and never heard of: {strange:?}");
        lost.len() as u64
    });
    let clients = (load.keys.len() * CLIENTS) as u64;
    assert!(lost <= kills * clients, "{lost} lost in {kills} kills");
    eprintln!("{} rows; {lost} charges lost with replicas that were killed", rows.len());
    booked
}

/// No budget is overspent beyond its bound, nobody is refused early, and who has enough is never refused.
pub fn budgets(load: &Load, booked: [u64; 4]) {
    for payer in [Payer::Short, Payer::Team] {
        let keys = || load.keys.iter().filter(|key| key.payer == payer);
        let limit = keys().next().expect("there is one").limit;
        let first = load.facts(|facts| {
            let refused = facts.refused.iter().filter(|(who, _)| *who == payer);
            refused.map(|(_, charged)| *charged).min()
        });
        let first = first.expect("it is spent in the end");
        // What runs has set aside what it may cost.
        let running = RESERVED_MAX * (keys().count() * CLIENTS) as u64;
        let booked = booked[payer as usize];
        eprintln!(
            "{payer:?}: limit {limit}, booked {booked}, charged {}, refused first at {first}, running {running}",
            load.charged(payer)
        );
        assert!(booked <= limit + limit / 16 + running, "{payer:?}: {booked} of {limit}");
        assert!(first + 2 * running >= limit, "{payer:?}: refused at {first} of {limit}");
    }
    load.facts(|facts| {
        let wrong = facts.refused.iter().find(|(payer, _)| matches!(payer, Payer::Free | Payer::Ample));
        assert!(wrong.is_none(), "refused with money left: {wrong:?}");
    });
}

/// What is left can be spent to the last call; then nothing is reserved or held.
pub async fn rest(load: &Load, fleet: &Fleet) {
    let started = std::time::Instant::now();
    for (at, key) in
        load.keys.iter().enumerate().filter(|(_, key)| matches!(key.payer, Payer::Short | Payer::Team))
    {
        let caller = load.caller(&fleet.replicas.balancer.url, at);
        eventually("what is left can be spent", || async {
            while caller.call().await {}
            (load.charged(key.payer) + RESERVED_MAX >= key.limit).then_some(())
        })
        .await;
        eprintln!(
            "{:?}: {} of {} after {:?}",
            key.payer,
            load.charged(key.payer),
            key.limit,
            started.elapsed()
        );
    }
    for gateway in fleet.replicas.all() {
        gateway.counted("llm_gateway_budget_leased_usd", 0.0).await;
        for key in &load.keys {
            let (_, shown) = gateway.admin("GET", &format!("/keys/{}", key.id), None).await;
            let reserved = shown["budget_status"]["reserved_usd"].as_str().unwrap_or("0");
            assert!(reserved.trim_matches(['0', '.']).is_empty(), "{shown}");
        }
    }
    eprintln!("leases are back after {:?}", started.elapsed());
}
