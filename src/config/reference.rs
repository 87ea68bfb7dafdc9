//! The reference of all keys, `docs/configuration.md`, generated from the table so that it cannot lag behind.

use std::fmt::Write as _;

use super::schema::{self, Key, Kind};
use super::units;

const HEAD: &str = "# Configuration reference

Generated from the table of keys in `src/config/schema.rs`; a test keeps the two in step. To write it anew:
`WRITE_DOCS=1 cargo test --lib configuration_reference`.

Layers, later wins: built-in defaults, the file, environment variables `LLM_GATEWAY__SECTION__KEY`
(`LLM_GATEWAY__SERVER__LISTEN`, `LLM_GATEWAY__PROVIDERS__MY_VLLM__BASE_URL` for the provider `my-vllm`). Lists are
separated by commas in a variable. Unknown keys and variables are errors. A key with nothing after it counts as not given.

- Secrets are references, `env:NAME` or `file:PATH`; a literal is taken with a warning.
- Durations carry a unit, `500ms`, `30s`, `5m`, `2h`, from 1ms to 24h; so do sizes: `256KiB`, `20MB`, `32MiB`.
- In a key, `<name>` is a name of your choice and `[]` a list.
- A provider whose id is a shipped one (`config/providers.yaml`) inherits its row; the keys given replace the row's. The
  defaults below are those of a row that says nothing.
- Without a `providers` section every shipped provider whose usual environment variable is set is configured.
";

/// The whole page, in Markdown.
pub fn markdown() -> String {
    let mut page = HEAD.to_owned();
    let mut section = "";
    for key in schema::keys() {
        let own = key.path.split_once('.').map_or("", |(section, _)| section);
        if own != section || page.len() == HEAD.len() {
            let title = if own.is_empty() { "Top level".to_owned() } else { format!("`{own}`") };
            let _ = write!(page, "\n## {title}\n\n| key | value | default | meaning |\n|---|---|---|---|\n");
            section = own;
        }
        let _ = writeln!(page, "{}", line(key));
    }
    page
}

fn line(key: &Key) -> String {
    let default = key.default.map_or_else(|| "-".to_owned(), |text| format!("`{text}`"));
    let path = key.path.replace(".#.", "[].").replace('*', "<name>");
    format!("| `{path}` | {} | {default} | {} |", kind(key.kind), key.doc)
}

fn kind(kind: Kind) -> String {
    match kind {
        Kind::Text => "text".into(),
        Kind::Bool => "`true`, `false`".into(),
        Kind::Path => "path".into(),
        Kind::Count(min, max) => format!("{min} to {max}"),
        Kind::AutoCount(min, max) => format!("`auto`, or {min} to {max}"),
        Kind::Duration => "duration".into(),
        Kind::DurationOrNever => "duration, or `0s`".into(),
        Kind::Life => "time with its unit, `1s` to `3650d`".into(),
        Kind::Size(min, max) => format!("size, {} to {}", units::size_text(min), units::size_text(max)),
        Kind::Listen => "`host:port`".into(),
        Kind::Url => "http or https address".into(),
        Kind::Secret => "secret".into(),
        Kind::Header => "text or secret".into(),
        Kind::Var => "text or `env:NAME,NAME`".into(),
        Kind::Auth => "`bearer`, `none`, `header:NAME`, `aws`, `google`, `entra`".into(),
        Kind::Credentials => "`file:PATH`, `profile:NAME`, `instance`".into(),
        Kind::Wire => "wire format".into(),
        Kind::Choice(words) => words.iter().map(|word| format!("`{word}`")).collect::<Vec<_>>().join(", "),
        Kind::Names => "list of texts".into(),
        Kind::Words(words) => {
            let words = words.iter().map(|word| format!("`{word}`")).collect::<Vec<_>>();
            format!("list of {}", words.join(", "))
        }
        Kind::Pattern => "regular expression".into(),
        Kind::Hosts => {
            "list of `host`, `address` or `network/bits`, each with `:port` where it is not 443".into()
        }
        Kind::Origins => "list of origins, `https://host` or `http://host:port`".into(),
        Kind::Amount => "amount in USD".into(),
        Kind::Ratio => "number, 0 to 1".into(),
        Kind::Markup => "percentage, -100 to 1000".into(),
        Kind::Percentages => "list of percentages".into(),
        Kind::Time => "RFC 3339 time".into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_configuration_reference_is_in_step_with_the_table() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/configuration.md");
        if std::env::var_os("WRITE_DOCS").is_some() {
            std::fs::write(path, markdown()).unwrap();
        }
        let written = std::fs::read_to_string(path).unwrap_or_default();
        assert_eq!(
            written,
            markdown(),
            "write it anew: WRITE_DOCS=1 cargo test --lib configuration_reference"
        );
    }
}
