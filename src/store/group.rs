//! Groups: what several keys share limits and budgets by. A project has its keys; a set of tags has every call that
//! carries all of them.

use super::spec::{ModelRules, check_budget, check_models, check_name, check_tags, set};
use crate::error::Error;
use crate::money::Markup;
use crate::policy::budget::Budget;
use crate::policy::quota::Limits;
use crate::request_log::Logged;

/// Groups at most: all of them are held in memory.
pub const GROUPS_LIMIT: i64 = 10_000;

/// What makes a call belong to a group.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum GroupKind {
    /// Its key's project has this name.
    Project,
    /// It carries these tags, from its header or its key. The name is `team=search,feature=summary`, sorted.
    Tags,
}

impl GroupKind {
    /// The word in the store.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Project => "project",
            Self::Tags => "tags",
        }
    }

    /// The reverse of [`GroupKind::as_str`].
    pub fn parse(word: &str) -> Option<Self> {
        [Self::Project, Self::Tags].into_iter().find(|kind| kind.as_str() == word)
    }
}

/// Everything of a group that an operator chooses.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct GroupSpec {
    /// When its calls end, milliseconds since the epoch.
    pub expires_ms: Option<i64>,
    /// Models that its calls may use.
    pub models: ModelRules,
    /// What all its calls together may use per minute and at a time.
    pub limits: Limits,
    /// What all its calls together may spend.
    pub budget: Option<Budget>,
    /// What its keys are charged on top of the provider's price, unless a key says so itself. Projects only.
    pub markup: Option<Markup>,
    /// Bodies of its calls that are stored. Projects only.
    pub request_log: Logged,
}

/// Changes to a [`GroupSpec`]: what is `None` stays as it is; the inner `None` takes the value away.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct GroupPatch {
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
    /// New markup, or none.
    pub markup: Option<Option<Markup>>,
    /// New choice of the bodies that are stored.
    pub request_log: Option<Logged>,
}

impl GroupPatch {
    /// `spec` with these changes.
    #[must_use]
    pub fn apply(self, mut spec: GroupSpec) -> GroupSpec {
        set(&mut spec.expires_ms, self.expires_ms);
        set(&mut spec.models.allow, self.allow);
        set(&mut spec.models.deny, self.deny);
        set(&mut spec.limits.rpm, self.rpm);
        set(&mut spec.limits.tpm, self.tpm);
        set(&mut spec.limits.concurrency, self.concurrency);
        set(&mut spec.budget, self.budget);
        set(&mut spec.markup, self.markup);
        set(&mut spec.request_log, self.request_log);
        spec
    }
}

/// A group as stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GroupRecord {
    /// What makes a call belong to it.
    pub kind: GroupKind,
    /// Unique within its kind.
    pub name: String,
    /// What the operator chose.
    pub spec: GroupSpec,
    /// Who may change it.
    pub managed: Managed,
    /// When it was made, milliseconds since the epoch.
    pub created_ms: i64,
    /// When it was deleted, if it was: its name may be taken again.
    pub deleted_ms: Option<i64>,
    /// Number of the change that left it as it is: grows with every change of any key or group.
    pub revision: i64,
}

/// Who may change a key or a group.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Managed {
    /// Operators, through the API and the command line.
    #[default]
    Api,
    /// The configuration file alone; read-only everywhere else.
    Config,
}

impl Managed {
    /// The word in the store and the API.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Api => "api",
            Self::Config => "config",
        }
    }

    /// The reverse of [`Managed::as_str`]; a word that is unknown counts as the API's.
    pub fn parse(word: &str) -> Self {
        if word == Self::Config.as_str() { Self::Config } else { Self::Api }
    }
}

/// The name of a set of tags: sorted, so that the same set has one name.
pub fn tags_name(tags: &[(String, String)]) -> String {
    let mut pairs: Vec<String> = tags.iter().map(|(name, value)| format!("{name}={value}")).collect();
    pairs.sort();
    pairs.join(",")
}

/// The tags of a name that [`tags_name`] made.
pub fn tags_of(name: &str) -> Vec<(String, String)> {
    let pairs = name.split(',').filter_map(|pair| pair.split_once('='));
    pairs.map(|(name, value)| (name.to_owned(), value.to_owned())).collect()
}

/// Checks a group's name and every bound of what was chosen.
///
/// # Errors
/// A 400 that names the field.
pub fn check_group(kind: GroupKind, name: &str, spec: &GroupSpec) -> Result<(), Error> {
    match kind {
        GroupKind::Project => check_name(name, "name")?,
        GroupKind::Tags => {
            let tags = tags_of(name);
            check_tags(&tags)?;
            if tags.is_empty() || tags_name(&tags) != name {
                return Err(Error::invalid("`tags` must hold 1 to 8 tags.", "tags"));
            }
            if spec.markup.is_some() {
                return Err(Error::invalid("A set of tags has no markup of its own.", "markup_percent"));
            }
            if spec.request_log != Logged::Off {
                let message = "Bodies are stored by project, and not by tags.";
                return Err(Error::invalid(message, "request_log"));
            }
        }
    }
    check_models(&spec.models)?;
    check_budget(spec.budget.as_ref())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pair(name: &str, value: &str) -> (String, String) {
        (name.to_owned(), value.to_owned())
    }

    #[test]
    fn a_set_of_tags_has_one_name_whatever_its_order() {
        let tags = [pair("team", "search"), pair("feature", "summary")];
        assert_eq!(tags_name(&tags), "feature=summary,team=search");
        assert_eq!(
            tags_of("feature=summary,team=search"),
            [pair("feature", "summary"), pair("team", "search")]
        );
    }

    #[test]
    fn what_is_out_of_bounds_is_named() {
        let param = |kind, name: &str, spec: GroupSpec| {
            check_group(kind, name, &spec).unwrap_err().param().unwrap().to_owned()
        };
        let plain = GroupSpec::default;
        assert_eq!(check_group(GroupKind::Tags, "a=b", &plain()), Ok(()));
        assert_eq!(param(GroupKind::Project, " ", plain()), "name");
        assert_eq!(param(GroupKind::Tags, "", plain()), "tags");
        assert_eq!(param(GroupKind::Tags, "b=1,a=2", plain()), "tags");
        let budget = |limit, alerts: &[u8]| {
            let mut budget =
                Budget::new(crate::money::Usd::from_units(limit), crate::policy::budget::Period::Day);
            budget.alerts = alerts.to_vec();
            GroupSpec { budget: Some(budget), ..plain() }
        };
        assert_eq!(param(GroupKind::Project, "p", budget(0, &[])), "budget.limit_usd");
        assert_eq!(param(GroupKind::Project, "p", budget(1, &[80, 80])), "budget.alerts");
        assert_eq!(param(GroupKind::Project, "p", budget(1, &[0])), "budget.alerts");
        let markup = GroupSpec { markup: Some(Markup::default()), ..plain() };
        assert_eq!(param(GroupKind::Tags, "a=b", markup), "markup_percent");
        let logged = GroupSpec { request_log: Logged::Full, ..plain() };
        assert_eq!(param(GroupKind::Tags, "a=b", logged), "request_log");
    }
}
