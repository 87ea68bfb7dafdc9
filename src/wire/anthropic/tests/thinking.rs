//! Thinking, and what of sampling goes with it.

use serde_json::{Value, json};

use super::rules::globs;
use super::{FORMAT, ask, call, facts, hello, tool, with};
use crate::chat::{Facts, Trait};
use crate::wire::Quirks;
use crate::wire::testing::{self, Target};

#[test]
fn sampling_is_said_once_and_only_where_it_is_taken() {
    let both = Quirks { both_sampling_models: globs(&["m"]), ..Quirks::default() };
    let fixed = with(&[Trait::FixedSampling]);
    let budget = with(&[Trait::BudgetThinking]);
    for (target, fields, sent, dropped) in [
        (&Target::default(), json!({"temperature": 1, "top_p": 0.5}), json!([null, 0.5]), vec![]),
        (&Target::default(), json!({"temperature": 0.5, "top_p": 1}), json!([0.5, null]), vec![]),
        (&Target::default(), json!({"temperature": 0.5, "top_p": 0.9}), json!([0.5, null]), vec!["top_p"]),
        (
            &Target { quirks: both, ..Target::default() },
            json!({"temperature": 0.5, "top_p": 0.9}),
            json!([0.5, 0.9]),
            vec![],
        ),
        (&fixed, json!({"temperature": 1.0, "top_p": 1.0}), json!([null, null]), vec![]),
        (
            &fixed,
            json!({"temperature": 0.0, "top_p": 0.9}),
            json!([null, null]),
            vec!["temperature", "top_p"],
        ),
        (
            &budget,
            json!({"reasoning_effort": "low", "temperature": 1, "top_p": 0.97}),
            json!([null, 0.97]),
            vec![],
        ),
        (
            &budget,
            json!({"reasoning_effort": "low", "temperature": 0.3, "top_p": 0.5}),
            json!([null, null]),
            vec!["temperature", "top_p"],
        ),
    ] {
        let (body, named) = testing::sent(FORMAT, &hello(&fields), target);
        assert_eq!(
            (json!([body["temperature"], body["top_p"]]), named),
            (sent, dropped.iter().map(|n| (*n).to_owned()).collect()),
            "{fields}"
        );
    }
}

/// A target, fields of a request, `thinking`, then `max_tokens` and `output_config`, and what is named as dropped.
type Row = (Target, Value, Value, Value, Vec<&'static str>);

fn check(rows: Vec<Row>) {
    for (target, fields, thinking, rest, dropped) in rows {
        let (sent, named) = testing::sent(FORMAT, &hello(&fields), &target);
        assert_eq!(sent["thinking"], thinking, "{fields}");
        assert_eq!(json!([sent["max_tokens"], sent["output_config"]]), rest, "{fields}");
        assert_eq!(named, dropped, "{fields}");
    }
}

#[test]
fn thinking_is_said_as_the_model_takes_it() {
    use Trait::{AdaptiveThinking as Adaptive, BudgetThinking as Budget};
    check(vec![
        (
            with(&[Adaptive]),
            json!({"reasoning_effort": "low"}),
            json!({"type": "adaptive", "display": "summarized"}),
            json!([64_000, {"effort": "low"}]),
            vec![],
        ),
        (
            with(&[Adaptive, Budget]),
            json!({"reasoning_effort": "minimal"}),
            json!({"type": "adaptive"}),
            json!([64_000, {"effort": "low"}]),
            vec![],
        ),
        (
            with(&[Adaptive, Trait::MaxEffort]),
            json!({"reasoning_effort": "xhigh"}),
            json!({"type": "adaptive", "display": "summarized"}),
            json!([64_000, {"effort": "max"}]),
            vec![],
        ),
        (
            with(&[Adaptive]),
            json!({"reasoning_effort": "none"}),
            json!({"type": "disabled"}),
            json!([64_000, null]),
            vec![],
        ),
        (with(&[Budget]), json!({"reasoning_effort": "none"}), Value::Null, json!([64_000, null]), vec![]),
    ]);
}

#[test]
fn thinking_of_unknown_and_small_models_has_its_bounds() {
    let unknown = |quirks| Target { quirks, facts: Facts::default(), ..Target::default() };
    let adaptive = Quirks { adaptive_thinking_models: globs(&["m*"]), ..Quirks::default() };
    let always = Quirks { always_thinking_models: globs(&["m*"]), ..adaptive.clone() };
    let small = Facts { max_output: Some(8192), ..facts(&[Trait::BudgetThinking]) };
    check(vec![
        (
            unknown(adaptive),
            json!({"reasoning_effort": "high"}),
            json!({"type": "adaptive", "display": "summarized"}),
            json!([4096, {"effort": "high"}]),
            vec![],
        ),
        (
            unknown(always),
            json!({"reasoning_effort": "none"}),
            Value::Null,
            json!([4096, {"effort": "low"}]),
            vec!["reasoning_effort"],
        ),
        (
            unknown(Quirks::default()),
            json!({"reasoning_effort": "medium"}),
            json!({"type": "enabled", "budget_tokens": 8192}),
            json!([12_288, null]),
            vec![],
        ),
        (
            Target { facts: small, ..Target::default() },
            json!({"reasoning_effort": "high", "max_tokens": 4096}),
            json!({"type": "enabled", "budget_tokens": 4096}),
            json!([8192, null]),
            vec![],
        ),
    ]);
}

#[test]
fn thinking_in_the_vendors_own_words_goes_as_it_is() {
    use Trait::{AdaptiveThinking as Adaptive, BudgetThinking as Budget};
    check(vec![
        (
            with(&[Budget]),
            json!({"thinking": {"type": "enabled", "budget_tokens": 2000}, "max_tokens": 100}),
            json!({"type": "enabled", "budget_tokens": 2000}),
            json!([2100, null]),
            vec![],
        ),
        (
            with(&[Adaptive]),
            json!({"thinking": {"type": "adaptive"}, "reasoning_effort": "high"}),
            json!({"type": "adaptive"}),
            json!([64_000, {"effort": "high"}]),
            vec![],
        ),
        (
            with(&[Budget]),
            json!({"thinking": {"type": "disabled"}, "reasoning_effort": "high"}),
            json!({"type": "disabled"}),
            json!([64_000, null]),
            vec!["reasoning_effort"],
        ),
        (
            with(&[Adaptive]),
            json!({"output_config": {"effort": "max"}, "reasoning_effort": "low"}),
            json!({"type": "adaptive", "display": "summarized"}),
            json!([64_000, {"effort": "max"}]),
            vec![],
        ),
    ]);
}

/// Without interleaving a model thinks once, before the first of its calls; later rounds bring none back.
#[test]
fn an_answer_keeps_its_thinking_where_it_began() {
    let detail =
        json!([{"type": "reasoning.text", "text": "t", "signature": "s", "format": "anthropic-claude-v1"}]);
    let round = |id: &str, details: &Value| {
        [
            json!({"role": "assistant", "tool_calls": [call(id)], "reasoning_details": details}),
            json!({"role": "tool", "tool_call_id": id, "content": "r"}),
        ]
    };
    let user = json!({"role": "user", "content": "a"});
    let thought = round("1", &detail);
    let silent = round("2", &json!([]));
    let conversation = |rounds: &[&[Value; 2]]| {
        let mut all = vec![user.clone()];
        all.extend(rounds.iter().flat_map(|round| round.iter().cloned()));
        json!(all)
    };
    let mut earlier = conversation(&[&silent]);
    earlier.as_array_mut().unwrap().extend([json!({"role": "assistant", "content": "b"}), user.clone()]);
    for (messages, thinks) in [
        (conversation(&[&thought]), true),
        (conversation(&[&thought, &silent]), true),
        (conversation(&[&silent, &thought]), false),
        (conversation(&[&silent]), false),
        (earlier, true),
    ] {
        for (fields, name) in [
            (json!({"tools": [tool()], "reasoning_effort": "low"}), "reasoning_effort"),
            (json!({"tools": [tool()], "thinking": {"type": "enabled", "budget_tokens": 1024}}), "thinking"),
        ] {
            let (sent, dropped) =
                testing::sent(FORMAT, &ask(&messages, &fields), &with(&[Trait::BudgetThinking]));
            assert_eq!((sent["thinking"].is_object(), dropped.is_empty()), (thinks, thinks), "{messages}");
            assert!(thinks || dropped == [name]);
        }
    }
}
