//! Groups in memory: projects by name, sets of tags by one of their tags.
//!
//! A set is listed under whichever of its tags the fewest other sets have, so that a call looks at few sets however many
//! there are.

use std::collections::HashMap;
use std::sync::Arc;

use super::super::group::GroupKind;
use super::super::spec::ModelRules;
use crate::money::Markup;
use crate::policy::budget::Purse;
use crate::policy::quota::KeyQuota;
use crate::request_log::Logged;

/// A tag, name and value.
type Tag = (String, String);

/// A group as the hot path sees it.
#[derive(Debug)]
pub struct GroupEntry {
    /// What makes a call belong to it.
    pub kind: GroupKind,
    /// Unique within its kind.
    pub name: Arc<str>,
    /// The tags of a set, none of a project.
    pub tags: Arc<[Tag]>,
    /// Models that its calls may use.
    pub models: ModelRules,
    /// When its calls end, milliseconds since the epoch.
    pub expires_ms: Option<i64>,
    /// What its keys are charged on top of the provider's price, unless a key says so itself.
    pub markup: Option<Markup>,
    /// Bodies of its calls that are stored.
    pub request_log: Logged,
    /// What its calls together may use.
    pub quota: Arc<KeyQuota>,
    /// What its calls together may spend.
    pub purse: Arc<Purse>,
}

/// The groups that one call belongs to.
#[derive(Clone, Debug, Default)]
pub struct Groups {
    /// Its key's project.
    pub project: Option<Arc<GroupEntry>>,
    /// Every set all of whose tags it carries, by name.
    pub tag_sets: Vec<Arc<GroupEntry>>,
}

/// Sets of tags by one tag of each: its name, then its value.
#[derive(Debug, Default)]
pub(super) struct TagIndex(HashMap<String, HashMap<String, Vec<Arc<GroupEntry>>>>);

impl TagIndex {
    /// Lists these sets.
    pub(super) fn of(sets: &[Arc<GroupEntry>]) -> Self {
        let mut frequent: HashMap<&Tag, usize> = HashMap::new();
        for tag in sets.iter().flat_map(|set| set.tags.iter()) {
            *frequent.entry(tag).or_default() += 1;
        }
        let mut index = Self::default();
        for set in sets {
            let rarest = set.tags.iter().min_by_key(|tag| frequent.get(tag).copied().unwrap_or_default());
            if let Some((name, value)) = rarest {
                let values = index.0.entry(name.clone()).or_default();
                values.entry(value.clone()).or_default().push(Arc::clone(set));
            }
        }
        index
    }

    /// How many sets a call with this tag makes one look at.
    #[cfg(test)]
    pub(super) fn looked_at(&self, name: &str, value: &str) -> usize {
        self.0.get(name).and_then(|values| values.get(value)).map_or(0, Vec::len)
    }

    /// The sets of a call with these tags and of a key with those: a caller that overrides a tag of the key is in the
    /// sets of both.
    pub(super) fn matching(&self, tags: &[Tag], of_key: &[Tag]) -> Vec<Arc<GroupEntry>> {
        if self.0.is_empty() {
            return Vec::new();
        }
        let more = of_key.iter().filter(|tag| !tags.contains(tag));
        let carried = |tag: &Tag| tags.contains(tag) || of_key.contains(tag);
        let mut found: Vec<_> = tags
            .iter()
            .chain(more)
            .filter_map(|(name, value)| self.0.get(name)?.get(value))
            .flatten()
            .filter(|set| set.tags.iter().all(carried))
            .map(Arc::clone)
            .collect();
        found.sort_unstable_by(|a, b| a.name.cmp(&b.name));
        // A header may hold the same tag twice.
        found.dedup_by(|a, b| a.name == b.name);
        found
    }
}
