//! The fields of a request in every format: complete, and written down for users in docs/fields.md.

use std::collections::BTreeSet;
use std::fmt::Write as _;

use super::*;
use crate::chat::fields::FIELDS;

const HEAD: &str = "# What becomes of a request's fields

Generated from the tables of the wire formats (`FIELDS` in src/wire/*/request.rs); a test keeps the two in step. To write
it anew: `WRITE_DOCS=1 cargo test --lib fields_of_a_request`.

- **passed**: goes upstream with the same meaning, perhaps under another name.
- **mapped**: becomes something else of the same meaning, or is passed under conditions.
- **dropped**: left out and named in `x-gateway-dropped-params`; a 400 `unsupported_parameter` under `strict`.
- **refused**: a 400 `unsupported_parameter`.

A value that asks for nothing (`n: 1`, a penalty of 0, `store: false`, ...) is neither dropped by name nor refused. In the
`openai` format every field passes, known or not; what a vendor is known to refuse is in its row (`quirks.drop_params` and
its kin in config/providers.yaml). In the other formats a field that stands in no table is dropped and named.
";

fn word(handling: Option<Handling>) -> &'static str {
    match handling {
        Some(Handling::Passed) => "passed",
        Some(Handling::Mapped) => "mapped",
        Some(Handling::Dropped) | None => "dropped",
        Some(Handling::Refused) => "refused",
    }
}

fn line(page: &mut String, field: &str, cell: impl Fn(WireFormat) -> &'static str) {
    let cells: Vec<&str> = WireFormat::ALL.into_iter().map(cell).collect();
    let _ = writeln!(page, "| `{field}` | {} |", cells.join(" | "));
}

fn markdown() -> String {
    let mut page = HEAD.to_owned();
    let names: Vec<&str> = WireFormat::ALL.into_iter().map(WireFormat::name).collect();
    let head = format!("| field | {} |\n|---|{}\n", names.join(" | "), "---|".repeat(names.len()));
    let _ = write!(page, "\n## Fields of the chat API\n\n{head}");
    for field in FIELDS {
        line(
            &mut page,
            field.name,
            |format| if field.ours { "gateway" } else { word(format.handling(field.name)) },
        );
    }
    let _ = write!(
        page,
        "\n`gateway`: the gateway's own, never sent upstream.\n\n## Fields of vendors\n\n{head}"
    );
    let vendors: BTreeSet<&str> = WireFormat::ALL
        .into_iter()
        .filter_map(WireFormat::codec)
        .flat_map(|codec| codec.fields.iter().map(|(name, _)| *name))
        .filter(|name| FIELDS.iter().all(|field| field.name != *name))
        .collect();
    for name in vendors {
        line(&mut page, name, |format| word(format.handling(name)));
    }
    page
}

#[test]
fn the_fields_of_a_request_are_written_down_as_they_are_handled() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/fields.md");
    if std::env::var_os("WRITE_DOCS").is_some() {
        std::fs::write(path, markdown()).unwrap();
    }
    let written = std::fs::read_to_string(path).unwrap_or_default();
    assert_eq!(written, markdown(), "write it anew: WRITE_DOCS=1 cargo test --lib fields_of_a_request");
}

#[test]
fn every_format_says_what_becomes_of_every_field_once() {
    for format in WireFormat::ALL {
        let Some(codec) = format.codec() else { continue };
        for field in FIELDS.iter().filter(|field| !field.ours) {
            let rows = codec.fields.iter().filter(|(name, _)| *name == field.name).count();
            assert_eq!(rows, 1, "{}: {}", format.name(), field.name);
        }
        let names: BTreeSet<&str> = codec.fields.iter().map(|(name, _)| *name).collect();
        assert_eq!(names.len(), codec.fields.len(), "{}: a field is there twice", format.name());
        assert!(FIELDS.iter().filter(|field| field.ours).all(|field| !names.contains(field.name)));
    }
}

#[test]
fn a_format_goes_by_its_word_in_configuration() {
    for format in WireFormat::ALL {
        assert_eq!(serde_json::to_value(format).unwrap(), format.name());
    }
}
