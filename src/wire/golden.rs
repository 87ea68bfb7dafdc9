//! For tests of formats: the same client requests in every format, compared byte by byte with files that were read by a
//! person. `WRITE_DOCS=1 cargo test --lib golden` writes them anew; look at what changes.

use std::path::Path;

use serde_json::{Value, json};

use super::WireFormat;
use super::testing::{self, Target};

/// What goes upstream, and what is named as dropped; or the refusal.
fn encoded(format: WireFormat, body: &str) -> Value {
    match testing::encode(format, body, &Target::default()) {
        Ok(encoded) => {
            let sent: Value = serde_json::from_slice(&encoded.body).unwrap();
            json!({"dropped": encoded.dropped, "headers": encoded.headers, "body": sent})
        }
        Err(error) => json!({"refused": error.to_string(), "param": error.param()}),
    }
}

#[test]
fn every_golden_request_is_written_in_every_format_as_it_was() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/golden");
    let mut compared = 0;
    for folder in std::fs::read_dir(root).unwrap().map(|entry| entry.unwrap().path()) {
        let Ok(body) = std::fs::read_to_string(folder.join("client.json")) else { continue };
        for format in WireFormat::ALL {
            let file = folder.join(format!("{}.json", format.name()));
            let written = format!("{:#}\n", encoded(format, &body));
            if std::env::var_os("WRITE_DOCS").is_some() {
                std::fs::write(&file, &written).unwrap();
            }
            assert_eq!(std::fs::read_to_string(&file).unwrap_or_default(), written, "{}", file.display());
            compared += 1;
        }
    }
    assert_eq!(compared, 36);
}
