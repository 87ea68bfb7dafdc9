//! Which credential an attempt gets, and for how long one rests or is out, in simulated time.

use std::collections::BTreeMap;
use std::num::NonZeroU32;

use super::*;

fn key(name: &str, weight: u32) -> ApiKey {
    let (name, secret) = (Arc::from(name), Secret::new(format!("secret of {name}")));
    ApiKey { name, secret, weight, rpm: None, tpm: None, concurrency: None }
}

fn provider(keys: Vec<ApiKey>) -> Provider {
    Provider { api_keys: keys, ..crate::config::testing::row("up", 1) }
}

fn secs(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

fn wanted(random: u64) -> Wanted<'static> {
    Wanted { model: "m", tokens: 10, session: None, random }
}

fn take(pool: &Pool, now: Instant) -> Result<String, Unavailable> {
    pool.take(&wanted(1), now).map(|chosen| chosen.credential.name.to_string())
}

/// Says so of the credential of this name.
fn say(pool: &Pool, name: &str, sign: Sign, now: Instant) -> Option<News> {
    pool.credentials.iter().find(|one| *one.name == *name).unwrap().observe("m", sign, false, now)
}

#[test]
fn weights_are_shares_and_a_weight_of_zero_waits_for_the_others_to_be_gone() {
    let (now, pool) =
        (Instant::now(), Pool::new(&provider(vec![key("a", 3), key("b", 1), key("z", 0)]), Instant::now()));
    let mut taken = BTreeMap::<String, u32>::new();
    for random in 0..4_000 {
        let chosen = pool.take(&wanted(random), now).unwrap();
        *taken.entry(chosen.credential.name.to_string()).or_default() += 1;
    }
    assert!((2_850..=3_150).contains(&taken["a"]) && !taken.contains_key("z"), "{taken:?}");
    say(&pool, "a", Sign::Limited(Some(secs(9))), now);
    say(&pool, "b", Sign::Limited(Some(secs(9))), now);
    assert_eq!(take(&pool, now).unwrap(), "z");
}

#[test]
fn a_session_keeps_its_credential_while_that_is_well() {
    let (now, pool) = (
        Instant::now(),
        Pool::new(&provider((0..4).map(|at| key(&format!("k{at}"), 1)).collect()), Instant::now()),
    );
    let of = |session: u64| {
        let names = (0..20).map(|random| Wanted { session: Some(session), ..wanted(random) });
        let names: std::collections::BTreeSet<_> =
            names.map(|wanted| pool.take(&wanted, now).unwrap().credential.name.to_string()).collect();
        assert_eq!(names.len(), 1, "{names:?}");
        names.into_iter().next().unwrap()
    };
    let before: Vec<_> = (0..40).map(of).collect();
    say(&pool, "k0", Sign::Refused, now);
    for (session, name) in before.iter().enumerate() {
        let after = of(session as u64);
        assert!(*name == after || name == "k0", "{session}: {name}, then {after}");
    }
    assert!(before.iter().any(|name| name == "k0") && before.iter().any(|name| name != "k0"));
}

#[test]
fn a_limited_credential_rests_for_that_model_as_long_as_it_was_told() {
    let (now, pool) =
        (Instant::now(), Pool::new(&provider(vec![key("only", 1), key("gone", 0)]), Instant::now()));
    pool.credentials[1].state().out = Some(Out { until: now + secs(1_000_000), times: 0, probing: None });
    say(&pool, "only", Sign::Limited(Some(secs(7))), now);
    assert_eq!(take(&pool, now + secs(2)), Err(Unavailable::Limited(secs(5))));
    assert!(pool.take(&Wanted { model: "other", ..wanted(1) }, now).is_ok());
    assert_eq!((pool.usable("m", now), pool.usable("other", now)), ((0, 2), (1, 2)));
    assert!(take(&pool, now + secs(7)).is_ok());
    // Nobody says for how long: longer each time, until an answer comes.
    let mut at = now + secs(7);
    for wait in [2, 4, 8, 16, 32, 60, 60] {
        say(&pool, "only", Sign::Limited(None), at);
        assert_eq!(take(&pool, at), Err(Unavailable::Limited(secs(wait))));
        at += secs(wait);
    }
    say(&pool, "only", Sign::Good, at);
    say(&pool, "only", Sign::Limited(None), at);
    assert_eq!(take(&pool, at), Err(Unavailable::Limited(secs(1))));
    say(&pool, "only", Sign::Limited(Some(secs(1_000_000))), at);
    assert_eq!(take(&pool, at), Err(Unavailable::Limited(secs(3_600))));
}

#[test]
fn a_refused_credential_is_out_for_all_models_until_a_probe_goes_well() {
    let (now, pool) =
        (Instant::now(), Pool::new(&provider(vec![key("only", 1), key("gone", 0)]), Instant::now()));
    pool.credentials[1].state().out = Some(Out { until: now + secs(1_000_000), times: 0, probing: None });
    assert_eq!(say(&pool, "only", Sign::Refused, now), Some(News::Refused));
    // Attempts that were under way say it again; an operator hears it once.
    assert_eq!(say(&pool, "only", Sign::Refused, now), None);
    assert_eq!(take(&pool, now), Err(Unavailable::Refused(secs(60))));
    let mut at = now + secs(60);
    for wait in [120, 240, 480, 960, 1_800, 1_800] {
        let probe = pool.take(&wanted(1), at).unwrap();
        assert!(probe.probe);
        assert!(matches!(take(&pool, at), Err(Unavailable::Refused(_))), "one at a time");
        assert_eq!(probe.credential.observe("m", Sign::Refused, true, at), None);
        assert_eq!(take(&pool, at), Err(Unavailable::Refused(secs(wait))));
        at += secs(wait);
    }
    let probe = pool.take(&wanted(1), at).unwrap();
    assert_eq!(probe.credential.observe("m", Sign::Neutral, true, at), None);
    let probe = pool.take(&wanted(1), at).unwrap();
    assert!(probe.probe, "a probe that says nothing makes room for another");
    assert_eq!(probe.credential.observe("m", Sign::Good, true, at), Some(News::Back));
    assert!(!pool.take(&wanted(1), at).unwrap().probe);
}

#[test]
fn a_credential_that_may_not_use_one_model_goes_on_for_the_others() {
    let (now, pool) =
        (Instant::now(), Pool::new(&provider(vec![key("only", 1), key("other", 0)]), Instant::now()));
    assert_eq!(say(&pool, "only", Sign::Forbidden, now), None);
    assert_eq!(take(&pool, now).unwrap(), "other");
    assert!(pool.take(&Wanted { model: "other", ..wanted(1) }, now).is_ok());
}

#[test]
fn own_limits_pass_an_attempt_on_to_the_next_credential() {
    let now = Instant::now();
    let few = ApiKey { concurrency: NonZeroU32::new(1), ..key("few", 1_000) };
    let small = ApiKey { tpm: NonZeroU32::new(100), ..key("small", 1) };
    let pool = Pool::new(&provider(vec![few, small]), now);
    let first = pool.take(&wanted(1), now).unwrap();
    let second = pool.take(&wanted(1), now).unwrap();
    assert_ne!(first.credential.name, second.credential.name);
    let large = Wanted { tokens: 1_000, ..wanted(1) };
    assert!(matches!(pool.take(&large, now), Err(Unavailable::Limited(_))));
    drop((first, second));
    assert_eq!(&*pool.take(&large, now).unwrap().credential.name, "few");
    let pool = Pool::new(&provider(vec![ApiKey { tpm: NonZeroU32::new(100), ..key("small", 1) }]), now);
    assert_eq!(pool.take(&large, now).unwrap_err(), Unavailable::TooLarge);
}

#[test]
fn a_reload_keeps_what_is_known_of_keys_that_stay_wherever_they_stand() {
    let now = Instant::now();
    let pool = Pool::new(&provider(vec![key("a", 1), key("b", 1)]), now);
    say(&pool, "b", Sign::Refused, now);
    let running = pool.take(&wanted(1), now).unwrap();
    let pool = pool.reloaded(&provider(vec![key("b", 5), key("a", 5), key("c", 0)]), now);
    assert_eq!((pool.usable("m", now), take(&pool, now).unwrap().as_str()), ((2, 3), "a"));
    // What began before the reload is still heard.
    running.credential.observe("m", Sign::Limited(Some(secs(9))), false, now);
    assert_eq!(take(&pool, now).unwrap(), "c");
    // Another secret under the same name is another key.
    let changed = ApiKey { secret: Secret::new("new"), ..key("b", 1) };
    assert_eq!(take(&pool.reloaded(&provider(vec![changed]), now), now).unwrap(), "b");
}

#[test]
fn an_only_credential_rests_as_it_is_told_and_is_out_when_it_is_refused_again_and_again() {
    let (now, pool) = (Instant::now(), Pool::new(&provider(vec![key("only", 1)]), Instant::now()));
    for sign in [Sign::Limited(None), Sign::Forbidden] {
        assert_eq!(say(&pool, "only", sign, now), None);
        assert!(take(&pool, now).is_ok());
    }
    assert_eq!(say(&pool, "only", Sign::Refused, now), Some(News::Refused));
    assert_eq!(say(&pool, "only", Sign::Good, now), Some(News::Back));
    assert_eq!(say(&pool, "only", Sign::Refused, now), Some(News::Refused));
    assert_eq!(say(&pool, "only", Sign::Refused, now), None);
    assert!(take(&pool, now).is_ok());
    assert_eq!(say(&pool, "only", Sign::Refused, now), None);
    assert_eq!(take(&pool, now), Err(Unavailable::Refused(secs(5))));
    let probe = pool.take(&wanted(1), now + secs(5)).unwrap();
    assert_eq!(probe.credential.observe("m", Sign::Refused, true, now + secs(5)), None);
    assert_eq!(take(&pool, now + secs(5)), Err(Unavailable::Refused(secs(10))));
    let probe = pool.take(&wanted(1), now + secs(15)).unwrap();
    assert_eq!(probe.credential.observe("m", Sign::Good, true, now + secs(15)), Some(News::Back));
    say(&pool, "only", Sign::Limited(Some(secs(9))), now);
    assert_eq!(take(&pool, now), Err(Unavailable::Limited(secs(9))));
}
