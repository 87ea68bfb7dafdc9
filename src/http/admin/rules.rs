//! What keys and groups have in common in a body: when they end, models, limits, budget, markup. Pure.

use std::num::NonZeroU32;

use super::fields::{Change, Fields};
use crate::error::Error;
use crate::money::{Markup, Usd};
use crate::policy::budget::{ALERTS, Budget, Period};

/// The changes of one body.
#[derive(Debug, Default)]
pub(super) struct Rules {
    pub(super) expires_ms: Change<i64>,
    pub(super) allow: Option<Vec<String>>,
    pub(super) deny: Option<Vec<String>>,
    pub(super) rpm: Change<NonZeroU32>,
    pub(super) tpm: Change<NonZeroU32>,
    pub(super) concurrency: Change<NonZeroU32>,
    pub(super) budget: Change<Budget>,
    pub(super) markup: Change<Markup>,
}

impl Rules {
    /// Takes them out of a body. Bounds are the store's to check.
    pub(super) fn take(fields: &mut Fields) -> Result<Self, Error> {
        let mut rules = Self {
            expires_ms: fields.time("expires_at")?,
            rpm: fields.positive("rpm")?,
            tpm: fields.positive("tpm")?,
            concurrency: fields.positive("concurrency")?,
            budget: budget(fields)?,
            markup: fields.decimal(
                "markup_percent",
                "a percentage from -100 to 1000 with up to two digits after the point, such as \"12.5\", or null",
                Markup::parse,
            )?,
            ..Self::default()
        };
        if let Some(mut models) = fields.object("models")? {
            rules.allow = models.texts("allow")?;
            rules.deny = models.texts("deny")?;
            models.finish()?;
        }
        Ok(rules)
    }
}

/// A budget is given as a whole, so that nobody keeps a limit of one period in another.
fn budget(fields: &mut Fields) -> Result<Change<Budget>, Error> {
    if fields.is_null("budget") {
        fields.take("budget");
        return Ok(Some(None));
    }
    let Some(mut given) = fields.object("budget")? else { return Ok(None) };
    let limit = given.decimal(
        "limit_usd",
        "an amount in USD as a decimal string with up to 12 digits after the point, such as \"25.00\"",
        |text| text.parse::<Usd>().ok(),
    )?;
    let period = given.word("period", &Period::WORDS, Period::parse)?;
    let soft = given.flag("soft")?.flatten().unwrap_or(false);
    let alerts = given.percentages("alerts")?.unwrap_or_else(|| ALERTS.to_vec());
    given.finish()?;
    let missing = |name: &str| {
        let path = format!("budget.{name}");
        Error::invalid(format!("`{path}` is required: a budget is given as a whole."), path)
    };
    let limit = limit.flatten().ok_or_else(|| missing("limit_usd"))?;
    let period = period.flatten().ok_or_else(|| missing("period"))?;
    Ok(Some(Some(Budget { limit, period, soft, alerts })))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(body: &str) -> Result<Rules, Error> {
        let mut fields = Fields::parse(body.as_bytes()).unwrap();
        Rules::take(&mut fields)
    }

    fn limit(written: &str) -> Option<String> {
        let body = format!(r#"{{"budget":{{"limit_usd":{written},"period":"day"}}}}"#);
        of(&body).ok().map(|rules| rules.budget.unwrap().unwrap().limit.to_string())
    }

    #[test]
    fn an_amount_is_read_from_its_text_and_never_through_a_float() {
        for (written, expected) in [
            ("\"25.00\"", Some("25")),
            ("25", Some("25")),
            ("0.1", Some("0.1")),
            // A float would make 9007199.254740994 of it.
            ("9007199.254740993", Some("9007199.254740993")),
            ("0.000000000001", Some("0.000000000001")),
            ("0.0000000000001", None),
            ("1e2", None),
            ("-1", Some("-1")),
            ("\"1,5\"", None),
            ("true", None),
            ("\"\"", None),
        ] {
            assert_eq!(limit(written).as_deref(), expected, "{written}");
        }
    }

    #[test]
    fn what_is_wrong_with_a_budget_is_named() {
        for (body, param) in [
            (r#"{"budget":{"period":"day"}}"#, "budget.limit_usd"),
            (r#"{"budget":{"limit_usd":"1"}}"#, "budget.period"),
            (r#"{"budget":{"limit_usd":"1","period":"year"}}"#, "budget.period"),
            (r#"{"budget":{"limit_usd":"1","period":"day","soft":1}}"#, "budget.soft"),
            (r#"{"budget":{"limit_usd":"1","period":"day","alerts":[80.5]}}"#, "budget.alerts[0]"),
            (r#"{"budget":{"limit_usd":"1","period":"day","limit":1}}"#, "budget.limit"),
            (r#"{"budget":"25/month"}"#, "budget"),
            (r#"{"markup_percent":"12.345"}"#, "markup_percent"),
            (r#"{"markup_percent":1000.01}"#, "markup_percent"),
        ] {
            assert_eq!(of(body).unwrap_err().param(), Some(param), "{body}");
        }
    }

    #[test]
    fn null_takes_away_and_nothing_leaves_as_it_is() {
        let none = of(r#"{"budget":null,"markup_percent":null}"#).unwrap();
        assert_eq!((none.budget, none.markup), (Some(None), Some(None)));
        let nothing = of("{}").unwrap();
        assert_eq!((nothing.budget, nothing.markup), (None, None));
        let all = of(
            r#"{"budget":{"limit_usd":1,"period":"total","soft":true,"alerts":[50]},"markup_percent":-12.5}"#,
        );
        let all = all.unwrap();
        let budget = all.budget.unwrap().unwrap();
        assert_eq!((budget.period, budget.soft, budget.alerts), (Period::Total, true, vec![50]));
        assert_eq!(all.markup.unwrap().unwrap().to_string(), "-12.5");
    }
}
