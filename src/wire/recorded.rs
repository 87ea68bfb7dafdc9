//! For tests of formats: recorded traffic. What a vendor once sent is decoded in every chunking and compared with
//! what a correct answer holds; what a client asked is encoded and compared with what was recorded.
//!
//! A format's test calls [`answers`] and [`requests`]. Both say how many cases they compared, and panic with every
//! difference but the known ones; a known one that is none any more is a difference, too.

mod case;
mod compare;
pub mod seen;

pub use case::{Case, cut_anywhere};

use serde_json::Value;

use super::WireFormat;
use super::testing::{self, Target};

/// A case that deviates, and why that is right.
pub type Known = (&'static str, &'static str);

/// Decodes every recorded answer of a family; the number of cases.
pub fn answers(format: WireFormat, family: &str, known: &[Known]) -> usize {
    let cases = Case::all(family);
    let wrong = cases.iter().map(|case| (case.id.clone(), compare::answer(format, case))).collect();
    judge(wrong, known);
    cases.len()
}

/// Encodes the client's side of every recorded request of a family; the number of cases. `adjust` makes the
/// documented differences on the recorded side.
pub fn requests(
    format: WireFormat,
    family: &str,
    known: &[Known],
    target: fn(&Case) -> Target,
    adjust: fn(&Case, &mut Value),
) -> usize {
    let cases: Vec<Case> = Case::all(family).into_iter().filter(|case| case.client.is_some()).collect();
    let wrong = cases.iter().map(|case| (case.id.clone(), request(format, case, target, adjust))).collect();
    judge(wrong, known);
    cases.len()
}

fn request(
    format: WireFormat,
    case: &Case,
    target: fn(&Case) -> Target,
    adjust: fn(&Case, &mut Value),
) -> Vec<String> {
    let client = case.client.clone().unwrap();
    let model = case.meta["model"].as_str().or(client["model"].as_str()).unwrap_or("m").to_owned();
    let encoded = match testing::encode_for(format, &model, &client.to_string(), &target(case)) {
        Ok(encoded) => encoded,
        Err(error) => return vec![format!("refused: {error}")],
    };
    let mut expected = case.request.clone().unwrap();
    adjust(case, &mut expected);
    let sent: Value = serde_json::from_slice(&encoded.body).unwrap();
    let mut wrong = Vec::new();
    compare::values("", &expected, &sent, &mut wrong);
    if !encoded.dropped.is_empty() {
        wrong.push(format!("dropped {:?}", encoded.dropped));
    }
    wrong
}

fn judge(wrong: Vec<(String, Vec<String>)>, known: &[Known]) {
    assert!(!wrong.is_empty(), "no cases");
    let mut report = Vec::new();
    for (id, wrong) in wrong {
        match (known.iter().find(|(known, _)| *known == id), wrong.as_slice()) {
            (Some(_), []) => report.push(format!("{id}: deviates no more")),
            (Some(_), _) | (None, []) => {}
            (None, wrong) => report.push(format!("{id}\n    {}", wrong.join("\n    "))),
        }
    }
    assert!(report.is_empty(), "{} cases:\n{}", report.len(), report.join("\n"));
}
