//! What is stored of keys. How they live is tested with both stores, in tests/blackbox/stores.

use crate::store::Store as _;
use crate::store::testing::{by, named, store};

#[tokio::test]
async fn no_file_ever_holds_a_key() {
    let (folder, store) = store().await;
    let (record, first) = store.create_key(named("a"), by(1)).await.unwrap();
    let (_, second) = store.rotate_key(&record.id, by(2)).await.unwrap();
    store.revoke_key(&record.id, by(3)).await.unwrap();
    let mut seen_prefix = false;
    for entry in std::fs::read_dir(folder.path()).unwrap() {
        let bytes = std::fs::read(entry.unwrap().path()).unwrap();
        let holds = |text: &str| bytes.windows(text.len()).any(|window| window == text.as_bytes());
        for key in [&first, &second] {
            seen_prefix |= holds(key.prefix());
            // Some bytes more than the prefix: one could be the first of the next column by chance.
            assert!(!holds(&key.expose()[..key.prefix().len() + 5]));
            assert!(!holds(&key.expose()[8..24]));
        }
    }
    assert!(seen_prefix, "else this test looks in the wrong place");
}
