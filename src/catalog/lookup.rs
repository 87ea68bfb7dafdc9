//! provisional
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use super::{Model, Offer};

/// x
#[derive(Clone, Debug, Default)]
pub struct Catalog {
    models: BTreeMap<Arc<str>, Arc<Model>>,
    offers: HashMap<Arc<str>, HashMap<Arc<str>, Arc<Offer>>>,
}

impl Catalog {
    /// x
    pub fn model(&self, id: &str) -> Option<&Arc<Model>> {
        self.models.get(id)
    }
    /// x
    pub fn offer(&self, provider: &str, name: &str) -> Option<&Arc<Offer>> {
        self.offers.get(provider)?.get(name)
    }
    /// x
    pub fn models(&self) -> impl Iterator<Item = &Arc<Model>> {
        self.models.values()
    }
    /// x
    pub fn auto_pool(&self) -> impl Iterator<Item = &Arc<Model>> {
        self.models.values().filter(|model| model.auto)
    }
    /// x
    pub fn nearest(&self, _asked: &str) -> Option<&str> {
        None
    }
}
