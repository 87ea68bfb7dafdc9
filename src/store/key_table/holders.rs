//! Everybody who has limits, a budget or money set aside, for operators to look at.

use std::sync::{Arc, PoisonError};

use super::{GroupEntry, KeyEntry, KeyTable};
use crate::money::Usd;
use crate::policy::budget::Purse;
use crate::policy::quota::KeyQuota;
use crate::store::GroupKind;

/// A live key or group.
#[derive(Clone, Debug)]
pub enum Holder {
    /// A key.
    Key(Arc<KeyEntry>),
    /// A project or a set of tags.
    Group(Arc<GroupEntry>),
}

impl Holder {
    /// `key`, `project` or `tag_set`.
    pub fn scope(&self) -> &'static str {
        match self {
            Self::Key(_) => "key",
            Self::Group(group) => match group.kind {
                GroupKind::Project => "project",
                GroupKind::Tags => "tag_set",
            },
        }
    }

    /// Its id; a group's is its name.
    pub fn id(&self) -> &Arc<str> {
        match self {
            Self::Key(key) => &key.caller.key_id,
            Self::Group(group) => &group.name,
        }
    }

    /// What people call it.
    pub fn name(&self) -> &str {
        match self {
            Self::Key(key) => &key.name,
            Self::Group(group) => &group.name,
        }
    }

    /// Its budget and what is spent of it.
    pub fn purse(&self) -> &Arc<Purse> {
        match self {
            Self::Key(key) => &key.purse,
            Self::Group(group) => &group.purse,
        }
    }

    /// Its limits and what is used of them.
    pub fn quota(&self) -> &Arc<KeyQuota> {
        match self {
            Self::Key(key) => &key.quota,
            Self::Group(group) => &group.quota,
        }
    }
}

impl KeyTable {
    /// Looks at every live key and group. `see` must not change the table.
    pub fn each_holder(&self, mut see: impl FnMut(Holder)) {
        self.by_digest.iter().for_each(|key| see(Holder::Key(Arc::clone(&key))));
        for groups in [&self.projects, &self.tag_sets] {
            groups.iter().for_each(|group| see(Holder::Group(Arc::clone(&group))));
        }
    }

    /// Set aside by the attempts under way, each counted once: a call's key pays in any case, also one that ended since.
    pub fn reserved(&self) -> Usd {
        let live = self.by_digest.iter().map(|key| key.purse.reserved().units());
        let live = live.fold(0, i64::saturating_add);
        let ended: Vec<_> = {
            let ended = self.ended.lock().unwrap_or_else(PoisonError::into_inner);
            let keys = ended.iter().filter(|(payer, _)| matches!(payer, super::Payer::Key(_)));
            keys.filter_map(|(_, purse)| purse.upgrade()).collect()
        };
        let ended = ended.iter().map(|purse| purse.reserved().units());
        Usd::from_units(ended.fold(live, i64::saturating_add))
    }
}
