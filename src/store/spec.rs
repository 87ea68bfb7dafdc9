//! What an operator says of a key, and the bounds of it. Pure: the API and the command line both come here.

use crate::chat::Routing;
use crate::error::Error;
use crate::money::{Markup, Usd};
use crate::policy::admission::Priority;
use crate::policy::budget::{ALERTS_MAX, Budget};
use crate::policy::quota::Limits;
use crate::wire::quirks::glob_matches;

/// Names and project names at most, bytes.
const NAME_MAX: usize = 128;
/// Patterns in one list at most.
const PATTERNS_MAX: usize = 256;
/// One pattern at most, bytes.
const PATTERN_MAX: usize = 256;
/// Tags of one key at most, as for a request.
const TAGS_MAX: usize = 8;
/// Name or value of a tag at most, bytes.
const TAG_MAX: usize = 64;

/// Globs over model names. Each is matched against `canonical` and `provider/canonical`; deny wins; an empty
/// `allow` allows everything.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ModelRules {
    /// Models the key may use.
    pub allow: Vec<String>,
    /// Models it may not, whatever `allow` says.
    pub deny: Vec<String>,
}

impl ModelRules {
    /// True when they let this model of this provider be used.
    pub fn permit(&self, canonical: &str, provider: &str) -> bool {
        if self.allow.is_empty() && self.deny.is_empty() {
            return true;
        }
        let full = format!("{provider}/{canonical}");
        let any = |patterns: &[String]| {
            patterns.iter().any(|pattern| glob_matches(pattern, canonical) || glob_matches(pattern, &full))
        };
        !any(&self.deny) && (self.allow.is_empty() || any(&self.allow))
    }
}

/// Weights of keys go up to this.
pub const SHARE_MAX: u32 = 100;

/// How a key's calls are handled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Handling {
    /// Its weight among the keys that wait for the same provider, 1 to 100.
    pub share: u32,
    /// The most urgent that its calls may be.
    pub max_priority: Priority,
    /// What counts most in routing them, unless a request says so.
    pub routing: Option<Routing>,
    /// It may ask how a request would be routed, and see the request that would go upstream.
    pub explain: bool,
}

impl Default for Handling {
    fn default() -> Self {
        Self { share: 1, max_priority: Priority::Normal, routing: None, explain: false }
    }
}

/// Everything of a key that an operator chooses.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct KeySpec {
    /// What people call it.
    pub name: String,
    /// Project it belongs to.
    pub project: Option<String>,
    /// When it ends, milliseconds since the epoch.
    pub expires_ms: Option<i64>,
    /// Models it may use.
    pub models: ModelRules,
    /// What it may use per minute and at a time.
    pub limits: Limits,
    /// What it may spend.
    pub budget: Option<Budget>,
    /// What it is charged on top of the provider's price; `None`: as its project says.
    pub markup: Option<Markup>,
    /// How its calls are handled.
    pub handling: Handling,
    /// Tags put on every ledger row of the key.
    pub tags: Vec<(String, String)>,
}

/// Changes to a [`KeySpec`]: what is `None` stays as it is; the inner `None` takes the value away.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct KeyPatch {
    /// New name.
    pub name: Option<String>,
    /// New project, or none.
    pub project: Option<Option<String>>,
    /// New end, or none.
    pub expires_ms: Option<Option<i64>>,
    /// New list of allowed models.
    pub allow: Option<Vec<String>>,
    /// New list of denied models.
    pub deny: Option<Vec<String>>,
    /// New requests per minute, or no limit.
    pub rpm: Option<Option<std::num::NonZeroU32>>,
    /// New tokens per minute, or no limit.
    pub tpm: Option<Option<std::num::NonZeroU32>>,
    /// New calls at a time, or no limit.
    pub concurrency: Option<Option<std::num::NonZeroU32>>,
    /// New budget, or none.
    pub budget: Option<Option<Budget>>,
    /// New markup, or none of its own.
    pub markup: Option<Option<Markup>>,
    /// New weight.
    pub share: Option<u32>,
    /// New highest priority.
    pub max_priority: Option<Priority>,
    /// New routing, or none of its own.
    pub routing: Option<Option<Routing>>,
    /// Whether it may ask for explanations.
    pub explain: Option<bool>,
    /// New tags, all of them.
    pub tags: Option<Vec<(String, String)>>,
}

/// Takes a change over, if there is one.
pub(super) fn set<T>(place: &mut T, change: Option<T>) {
    if let Some(value) = change {
        *place = value;
    }
}

impl KeyPatch {
    /// `spec` with these changes.
    #[must_use]
    pub fn apply(self, mut spec: KeySpec) -> KeySpec {
        set(&mut spec.name, self.name);
        set(&mut spec.project, self.project);
        set(&mut spec.expires_ms, self.expires_ms);
        set(&mut spec.models.allow, self.allow);
        set(&mut spec.models.deny, self.deny);
        set(&mut spec.limits.rpm, self.rpm);
        set(&mut spec.limits.tpm, self.tpm);
        set(&mut spec.limits.concurrency, self.concurrency);
        set(&mut spec.budget, self.budget);
        set(&mut spec.markup, self.markup);
        set(&mut spec.handling.share, self.share);
        set(&mut spec.handling.max_priority, self.max_priority);
        set(&mut spec.handling.routing, self.routing);
        set(&mut spec.handling.explain, self.explain);
        set(&mut spec.tags, self.tags);
        spec
    }
}

impl KeySpec {
    /// Checks every bound.
    ///
    /// # Errors
    /// A 400 that names the field.
    pub fn check(&self) -> Result<(), Error> {
        check_name(&self.name, "name")?;
        if let Some(project) = &self.project {
            check_name(project, "project")?;
        }
        check_models(&self.models)?;
        check_budget(self.budget.as_ref())?;
        if !(1..=SHARE_MAX).contains(&self.handling.share) {
            return Err(Error::invalid(format!("`share` is a whole number from 1 to {SHARE_MAX}."), "share"));
        }
        check_tags(&self.tags)
    }
}

/// Checks patterns of models.
pub(super) fn check_models(models: &ModelRules) -> Result<(), Error> {
    check_patterns(&models.allow, "models.allow")?;
    check_patterns(&models.deny, "models.deny")
}

/// Checks a budget.
pub(super) fn check_budget(budget: Option<&Budget>) -> Result<(), Error> {
    let Some(Budget { limit, alerts, .. }) = budget else { return Ok(()) };
    if *limit <= Usd::ZERO {
        let message = "`budget.limit_usd` must be above zero, such as \"25.00\".";
        return Err(Error::invalid(message, "budget.limit_usd"));
    }
    let ascending = alerts.iter().zip(alerts.iter().skip(1)).all(|(low, high)| low < high);
    if alerts.len() > ALERTS_MAX || !ascending || alerts.iter().any(|percent| !(1..=100).contains(percent)) {
        let message =
            format!("`budget.alerts` takes up to {ALERTS_MAX} percentages from 1 to 100, ascending.");
        return Err(Error::invalid(message, "budget.alerts"));
    }
    Ok(())
}

pub(super) fn check_name(name: &str, field: &str) -> Result<(), Error> {
    let sane = !name.trim().is_empty() && name.len() <= NAME_MAX && !name.chars().any(char::is_control);
    if sane {
        return Ok(());
    }
    let message =
        format!("`{field}` must have 1 to {NAME_MAX} bytes, not all blank, and no control characters.");
    Err(Error::invalid(message, field))
}

fn check_patterns(patterns: &[String], field: &str) -> Result<(), Error> {
    if patterns.len() > PATTERNS_MAX {
        return Err(Error::invalid(format!("`{field}` takes {PATTERNS_MAX} patterns at most."), field));
    }
    let odd = |pattern: &String| {
        let chars_ok = pattern.chars().all(|char| !char.is_control() && !char.is_whitespace());
        pattern.is_empty() || pattern.len() > PATTERN_MAX || !chars_ok
    };
    match patterns.iter().position(odd) {
        None => Ok(()),
        Some(at) => Err(Error::invalid(
            format!(
                "A model pattern has 1 to {PATTERN_MAX} bytes without blanks, such as `gpt-5*` or `openai/*`."
            ),
            format!("{field}[{at}]"),
        )),
    }
}

pub(super) fn check_tags(tags: &[(String, String)]) -> Result<(), Error> {
    if tags.len() > TAGS_MAX {
        return Err(Error::invalid(format!("`tags` takes {TAGS_MAX} tags at most."), "tags"));
    }
    let sane = |text: &str| {
        (1..=TAG_MAX).contains(&text.len())
            && text.chars().all(|char| !char.is_control() && !",=".contains(char))
    };
    let twice = |at: usize, name: &str| tags.iter().take(at).any(|(earlier, _)| earlier == name);
    let odd =
        |(at, (name, value)): &(usize, &(String, String))| !sane(name) || !sane(value) || twice(*at, name);
    match tags.iter().enumerate().find(odd) {
        None => Ok(()),
        Some((_, (name, _))) => {
            let short: String = name.chars().take(TAG_MAX).collect();
            let message = format!(
                "Names and values of tags have 1 to {TAG_MAX} bytes and hold no `,` or `=`; a name comes once."
            );
            Err(Error::invalid(message, format!("tags.{short}")))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_out_of_bounds_is_named() {
        let good = KeySpec { name: "team search".into(), ..KeySpec::default() };
        assert_eq!(good.check(), Ok(()));
        let with = |change: fn(&mut KeySpec)| {
            let mut spec = good.clone();
            change(&mut spec);
            spec.check().unwrap_err().param().unwrap().to_owned()
        };
        assert_eq!(with(|spec| spec.name = " ".into()), "name");
        assert_eq!(with(|spec| spec.name = "x".repeat(129)), "name");
        assert_eq!(with(|spec| spec.project = Some("a\nb".into())), "project");
        assert_eq!(with(|spec| spec.models.allow = vec!["gpt-5".into(), String::new()]), "models.allow[1]");
        assert_eq!(with(|spec| spec.models.deny = vec!["*".into(); 257]), "models.deny");
        assert_eq!(with(|spec| spec.handling.share = 0), "share");
        assert_eq!(with(|spec| spec.handling.share = 101), "share");
        assert_eq!(with(|spec| spec.tags = vec![("a".into(), "b=c".into())]), "tags.a");
        assert_eq!(with(|spec| spec.tags = vec![("a".into(), "b".into()); 9]), "tags");
        assert_eq!(with(|spec| spec.tags = vec![("a".into(), "b".into()); 2]), "tags.a");
    }

    #[test]
    fn a_patch_changes_what_it_names_and_nothing_else() {
        let spec = KeySpec {
            name: "a".into(),
            project: Some("p".into()),
            expires_ms: Some(5),
            ..KeySpec::default()
        };
        assert_eq!(KeyPatch::default().apply(spec.clone()), spec);
        let patch =
            KeyPatch { project: Some(None), rpm: Some(std::num::NonZeroU32::new(9)), ..KeyPatch::default() };
        let patched = patch.apply(spec.clone());
        assert_eq!((patched.project, patched.expires_ms), (None, Some(5)));
        assert_eq!(patched.limits.rpm.map(std::num::NonZeroU32::get), Some(9));
    }
}
