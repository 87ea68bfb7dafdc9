//! What real providers took must not be refused here: every recorded request that was answered, against the shipped
//! catalogue.

use std::path::Path;

use serde_json::Value;

use super::*;

fn read(path: &Path) -> Option<Vec<u8>> {
    std::fs::read(path).ok()
}

/// Folders within a folder.
fn folders(path: &Path) -> Vec<std::path::PathBuf> {
    let entries = std::fs::read_dir(path).unwrap();
    entries.map(|entry| entry.unwrap().path()).filter(|path| path.is_dir()).collect()
}

#[test]
fn every_recorded_request_that_was_answered_is_accepted_when_pinned() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/recorded");
    let catalog = Arc::new(Catalog::embedded().unwrap());
    let allowed = |_: &str, _: &str| true;
    let now = Now { today: "2026-11-01", at: Instant::now(), random: 0, allowed: &allowed, notes: None };
    let (mut accepted, mut known) = (0, 0);
    for provider in folders(&root) {
        let id: Arc<str> = Arc::from(provider.file_name().unwrap().to_str().unwrap());
        let upstream = Upstream {
            id: Arc::clone(&id),
            catalog: Arc::clone(&id),
            credentialed: true,
            env: vec![],
            account: account(&id),
            rule: crate::config::testing::row(&id, 1).admission,
        };
        let router =
            Router::new(Arc::clone(&catalog), vec![upstream], BTreeMap::new(), None, BTreeMap::new(), false);
        for case in folders(&provider) {
            let meta: Value = serde_json::from_slice(&read(&case.join("meta.json")).unwrap()).unwrap();
            let Some(body) = read(&case.join("request.json")) else { continue };
            if !(200..300).contains(&meta["status"].as_u64().unwrap()) {
                continue;
            }
            let Ok(request) = crate::chat::request::parse(&body) else { continue };
            let upstream = request.model.clone();
            let ask = Ask { model: format!("{id}/{upstream}"), ..Ask::of(&request) };
            let plan = router.plan(&ask, &now).unwrap_or_else(|error| panic!("{}: {error}", case.display()));
            assert_eq!((plan.targets.len(), &*plan.targets[0].upstream), (1, upstream.as_str()));
            accepted += 1;
            known += usize::from(plan.targets[0].offer.is_some());
        }
    }
    assert!(accepted > 200 && known > 100, "{accepted} accepted, {known} known to the catalogue");
}
