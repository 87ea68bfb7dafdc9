//! The catalogue in memory: lookups by canonical name and by provider and name.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use super::{Model, Offer};

/// Names compared at most when looking for a near miss.
const NEAREST_MAX: usize = 10_000;

/// Every model, and every provider's offers by canonical and upstream name.
#[derive(Clone, Debug, Default)]
pub struct Catalog {
    models: BTreeMap<Arc<str>, Arc<Model>>,
    offers: HashMap<Arc<str>, HashMap<Arc<str>, Arc<Offer>>>,
    source: String,
}

impl Catalog {
    /// Indexes models. A canonical name wins over another model's upstream name.
    pub fn new(models: Vec<Model>) -> Self {
        let mut catalog = Self::default();
        for model in models {
            for offer in &model.offers {
                let names = catalog.offers.entry(Arc::clone(&offer.provider)).or_default();
                names.entry(Arc::clone(&offer.upstream)).or_insert_with(|| Arc::clone(offer));
            }
            catalog.models.insert(Arc::clone(&model.id), Arc::new(model));
        }
        for model in catalog.models.values() {
            // The first offer of a provider is the one its canonical name means.
            for offer in model.offers.iter().rev() {
                if let Some(names) = catalog.offers.get_mut(&offer.provider) {
                    names.insert(Arc::clone(&model.id), Arc::clone(offer));
                }
            }
        }
        catalog
    }

    /// The same, saying where its prices came from.
    #[must_use]
    pub fn from_source(self, source: String) -> Self {
        Self { source, ..self }
    }

    /// Where the prices came from, as the file says.
    pub fn source(&self) -> &str {
        &self.source
    }

    /// A model by its canonical name.
    pub fn model(&self, id: &str) -> Option<&Arc<Model>> {
        self.models.get(id)
    }

    /// A provider's offer by canonical or upstream name.
    pub fn offer(&self, provider: &str, name: &str) -> Option<&Arc<Offer>> {
        self.offers.get(provider)?.get(name)
    }

    /// All models by name.
    pub fn models(&self) -> impl Iterator<Item = &Arc<Model>> {
        self.models.values()
    }

    /// The models that `auto` picks from.
    pub fn auto_pool(&self) -> impl Iterator<Item = &Arc<Model>> {
        self.models.values().filter(|model| model.auto)
    }

    /// The canonical name closest to what was asked, if it is close.
    pub fn nearest(&self, asked: &str) -> Option<&str> {
        const CLOSE: f64 = 0.84;
        let score = |id: &Arc<str>| strsim::normalized_damerau_levenshtein(id, asked);
        let scored = self.models.keys().take(NEAREST_MAX).map(|id| (score(id), id));
        let best = scored.max_by(|(a, _), (b, _)| a.total_cmp(b))?;
        (best.0 >= CLOSE).then_some(&**best.1)
    }
}
