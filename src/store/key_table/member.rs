//! A caller as one call knows it: its key, and the groups that the call belongs to.

use std::sync::Arc;
use std::time::Instant;

use super::super::rows::Payer;
use super::{Groups, KeyEntry, KeyTable};
use crate::error::Error;
use crate::money::Markup;
use crate::policy::budget::Purse;
use crate::policy::quota::{Denied, KeyQuota, QuotaPermit};

/// A key and the groups of one call.
#[derive(Clone, Debug)]
pub struct Member {
    /// The key.
    pub key: Arc<KeyEntry>,
    /// What the call belongs to beside it.
    pub groups: Groups,
}

impl Member {
    /// A caller with the tags of its key alone.
    pub fn of(key: Arc<KeyEntry>, table: &KeyTable) -> Self {
        let groups = table.belongs(&key, &key.tags);
        Self { key, groups }
    }

    /// True when key and groups all may use this model of this provider.
    pub fn may_use(&self, canonical: &str, provider: &str) -> bool {
        self.key.models.permit(canonical, provider)
            && self.each_group().all(|group| group.models.permit(canonical, provider))
    }

    /// Refuses where a group's time is over.
    ///
    /// # Errors
    /// 403 that names the group.
    pub fn check_time(&self, now_ms: i64) -> Result<(), Error> {
        match self.each_group().find(|group| group.expires_ms.is_some_and(|end| now_ms >= end)) {
            None => Ok(()),
            Some(group) => {
                let owner = group.purse.owner();
                Err(Error::Forbidden(format!("The time of {owner} is over. Ask your operator.")))
            }
        }
    }

    /// What is charged on top of the cost: the key's word, else its project's.
    pub fn markup(&self) -> Markup {
        let project = self.groups.project.as_ref();
        self.key.markup.or_else(|| project.and_then(|project| project.markup)).unwrap_or_default()
    }

    /// The purses that pay, the key's first.
    pub fn purses(&self) -> Arc<[Arc<Purse>]> {
        let groups = self.each_group().map(|group| &group.purse);
        std::iter::once(&self.key.purse).chain(groups).map(Arc::clone).collect()
    }

    /// What the purses are called where a fleet shares them, in their order.
    pub fn payers(&self) -> Arc<[Arc<str>]> {
        let groups = self.each_group().map(|group| Payer::Group(group.kind, group.name.to_string()));
        let key = Payer::Key(self.key.caller.key_id.to_string());
        std::iter::once(key).chain(groups).map(|payer| payer.shared_name().into()).collect()
    }

    /// Names of the sets of tags that the call belongs to.
    pub fn tag_sets(&self) -> Arc<[Arc<str>]> {
        self.groups.tag_sets.iter().map(|set| Arc::clone(&set.name)).collect()
    }

    /// Admits a call under the limits of the key and of every group, or under none.
    ///
    /// # Errors
    /// [`Denied`], naming the limit.
    pub fn admit(&self, tokens: u64, now: Instant) -> Result<Vec<QuotaPermit>, Denied> {
        let groups = || self.each_group().map(|group| &group.quota);
        // A request cannot be given back to its bucket: nobody takes one who is refused elsewhere for sure.
        if self.each_group().next().is_some() {
            std::iter::once(&self.key.quota).chain(groups()).try_for_each(|quota| quota.would_admit(now))?;
        }
        std::iter::once(&self.key.quota).chain(groups()).map(|quota| quota.admit(tokens, now)).collect()
    }

    /// The quotas that limit the call, by a name that a fleet shares them under.
    pub fn quotas(&self) -> impl Iterator<Item = (String, &Arc<KeyQuota>)> {
        let groups = self.each_group().map(|group| {
            let name = format!("{}/{}", group.kind.as_str(), group.name);
            (name, &group.quota)
        });
        std::iter::once((self.key.caller.key_id.to_string(), &self.key.quota)).chain(groups)
    }

    fn each_group(&self) -> impl Iterator<Item = &super::GroupEntry> {
        self.groups.project.iter().chain(&self.groups.tag_sets).map(AsRef::as_ref)
    }
}
