//! One recorded case, as it lies in the tests' fixtures.

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::Value;

/// A recorded request and its answer.
#[derive(Clone, Debug)]
pub struct Case {
    /// `provider/name`
    pub id: String,
    /// Where it comes from and how it was made.
    pub meta: Value,
    /// What a correct answer holds.
    pub expected: Value,
    /// The answer's body.
    pub response: Vec<u8>,
    /// What went upstream.
    pub request: Option<Value>,
    /// What a client would have asked to make it so.
    pub client: Option<Value>,
}

fn folders(path: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(path).unwrap().map(|entry| entry.unwrap().path());
    let mut folders: Vec<PathBuf> = entries.filter(|path| path.is_dir()).collect();
    folders.sort();
    folders
}

fn json(path: PathBuf) -> Option<Value> {
    Some(serde_json::from_slice(&fs::read(path).ok()?).unwrap())
}

impl Case {
    /// Every case of a family, in order.
    pub fn all(family: &str) -> Vec<Self> {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/recorded");
        let cases = folders(&root).into_iter().flat_map(|provider| folders(&provider));
        cases.filter_map(|folder| Self::read(&folder)).filter(|case| case.meta["family"] == family).collect()
    }

    fn read(folder: &Path) -> Option<Self> {
        let name = |path: &Path| path.file_name().unwrap().to_str().unwrap().to_owned();
        let response = ["response.json", "response.sse", "response.bin"];
        Some(Self {
            id: format!("{}/{}", name(folder.parent().unwrap()), name(folder)),
            meta: json(folder.join("meta.json"))?,
            expected: json(folder.join("expected.json"))?,
            response: response.iter().find_map(|name| fs::read(folder.join(name)).ok())?,
            request: json(folder.join("request.json")),
            client: json(folder.join("client_request.json")),
        })
    }

    /// HTTP status of the answer.
    pub fn status(&self) -> u16 {
        self.meta["status"].as_u64().map_or(200, |status| u16::try_from(status).unwrap())
    }

    /// The answer is a stream.
    pub fn streamed(&self) -> bool {
        self.meta["streaming"] == true
    }

    /// Content type of the answer.
    pub fn content_type(&self) -> &str {
        self.meta["content_type"].as_str().unwrap_or("text/event-stream")
    }

    /// The answer's bytes: whole, event by event, byte by byte, and cut anywhere, always at the same places.
    pub fn chunkings(&self) -> [(&'static str, Vec<&[u8]>); 4] {
        let bytes = self.response.as_slice();
        [
            ("whole", vec![bytes]),
            ("event by event", bytes.split_inclusive(|byte| *byte == b'\n').collect()),
            ("byte by byte", bytes.chunks(1).collect()),
            ("cut anywhere", cut_anywhere(bytes, 7)),
        ]
    }
}

/// Pieces of 1 to 64 bytes, pseudo-random.
pub fn cut_anywhere(mut bytes: &[u8], seed: u64) -> Vec<&[u8]> {
    let mut state = seed | 1;
    let mut pieces = Vec::new();
    while !bytes.is_empty() {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let size = usize::try_from(state >> 58).unwrap() + 1;
        let (piece, rest) = bytes.split_at(size.min(bytes.len()));
        pieces.push(piece);
        bytes = rest;
    }
    pieces
}
