//! Texts for tests.

use std::fs;
use std::path::{Path, PathBuf};

/// Every file of tests/fixtures that is a text, recorded exchanges above all.
pub fn fixtures() -> Vec<(PathBuf, String)> {
    let (mut found, mut folders) =
        (Vec::new(), vec![Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures")]);
    while let Some(folder) = folders.pop() {
        for path in fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()) {
            if path.is_dir() {
                folders.push(path);
            } else if let Ok(text) = fs::read_to_string(&path) {
                found.push((path, text));
            }
        }
    }
    found
}
