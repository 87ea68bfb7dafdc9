//! The demo's catalogue: every behaviour of the stub as a model with a price, and one model that is free.

use serde_json::{Value, json};

use crate::catalog::{Capability, Catalog};
use crate::stub::BEHAVIOURS;

/// The model that costs nothing: echo under another name.
pub const FREE: &str = "free";

/// Builds it.
///
/// # Errors
/// Never in a released binary: a test builds it.
pub fn catalog() -> Result<Catalog, String> {
    let priced = json!({"rates": {"input": "1", "output": "4"}});
    let free = json!({"rates": {"input": "0", "output": "0"}});
    let mut models: Vec<Value> =
        BEHAVIOURS.iter().map(|row| model(row.name, row.name, row.name == "echo", &priced)).collect();
    models.push(model(FREE, "echo", true, &free));
    let document = json!({"version": 1, "source": "made up for the demo", "models": models});
    Catalog::parse(document.to_string().as_bytes()).map_err(|problems| {
        problems.iter().map(|one| format!("{}: {}", one.path, one.message)).collect::<Vec<_>>().join("; ")
    })
}

fn model(id: &str, upstream: &str, auto: bool, price: &Value) -> Value {
    let capabilities: Vec<&str> = Capability::ALL.into_iter().map(Capability::name).collect();
    let offer = json!({"provider": "stub", "upstream": upstream, "context_window": 131_072, "max_output": 32_768,
        "capabilities": capabilities, "price": price});
    json!({"id": id, "auto": auto, "offers": [offer]})
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_behaviour_has_a_price_and_one_model_is_free() {
        let catalog = catalog().unwrap();
        let free = |id: &str| catalog.model(id).unwrap().offers[0].price.as_ref().unwrap().is_free();
        assert!(BEHAVIOURS.iter().all(|row| !free(row.name)) && free(FREE));
        let pool: Vec<&str> = catalog.auto_pool().map(|model| &*model.id).collect();
        assert_eq!(pool, ["echo", FREE]);
        assert_eq!(&*catalog.offer("stub", "echo").unwrap().model, "echo");
    }
}
