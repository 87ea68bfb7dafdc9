//! A budget as JSON: the same in the store, the API and the audit trail.

use serde_json::{Value, json};

use crate::policy::budget::{Budget, Period};

/// A budget as JSON.
pub fn budget_json(budget: &Budget) -> Value {
    json!({
        "limit_usd": budget.limit.to_string(),
        "period": budget.period.as_str(),
        "soft": budget.soft,
        "alerts": budget.alerts,
    })
}

/// The reverse of [`budget_json`]; `None` when it is none of ours.
pub fn budget_of(value: &Value) -> Option<Budget> {
    let alerts = value.get("alerts")?.as_array()?.iter();
    Some(Budget {
        limit: value.get("limit_usd")?.as_str()?.parse().ok()?,
        period: Period::parse(value.get("period")?.as_str()?)?,
        soft: value.get("soft")?.as_bool()?,
        alerts: alerts.map(|percent| u8::try_from(percent.as_u64()?).ok()).collect::<Option<_>>()?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_budget_comes_back_as_it_went() {
        for period in Period::WORDS.into_iter().filter_map(Period::parse) {
            let budget = Budget { soft: true, ..Budget::new("0.000000000001".parse().unwrap(), period) };
            assert_eq!(budget_of(&budget_json(&budget)), Some(budget));
        }
        assert_eq!(budget_of(&json!({"limit_usd": 1})), None);
    }
}
