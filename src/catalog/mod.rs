//! The catalogue: which models exist, who offers them, what they can do and what they cost. Data, not code.

mod cost;
mod file;
pub mod import;
mod lookup;
mod model;
mod price;
mod scale;

pub use file::{Document, ModelEntry, OfferEntry, Problem};
pub use lookup::Catalog;
pub use model::{Capabilities, Capability, Model, Offer};
pub use price::{Price, Rates, ServiceTier, SizeTier, TierPrice};
