//! The demo's settings: made as text and read as any configuration is, so that every rule and default holds.

use std::io::ErrorKind;
use std::net::{SocketAddr, TcpListener};
use std::path::Path;

use serde_json::json;

use crate::config::{Outside, Problem, Settings, assemble};
use crate::wire::WireFormat;

/// Where a listener opens.
pub struct Address {
    /// `host:port`.
    pub listen: String,
    /// What the user should know of the choice.
    pub note: Option<String>,
}

impl Address {
    /// The address given, or the usual one, or a free port when the usual one is taken.
    ///
    /// # Errors
    /// One line naming the flag, when the address given cannot be opened.
    pub fn choose(flag: &str, given: Option<&str>, usual: &str) -> Result<Self, String> {
        let listen = given.unwrap_or(usual);
        // Opened and closed at once: the listener itself opens later, and would not know the flag.
        match (TcpListener::bind(listen), given) {
            (Ok(_), _) => Ok(Self { listen: listen.to_owned(), note: None }),
            (Err(error), None) if error.kind() == ErrorKind::AddrInUse => {
                let note = format!("{usual} is taken, so a free port was chosen; {flag} chooses another.");
                Ok(Self { listen: "127.0.0.1:0".to_owned(), note: Some(note) })
            }
            (Err(error), _) => {
                let advice = match error.kind() {
                    ErrorKind::AddrInUse => "stop what uses it, or choose another port (0: any free one)",
                    ErrorKind::PermissionDenied => "choose a port from 1024",
                    _ => "choose another address, such as 127.0.0.1:0",
                };
                Err(format!("{flag} {listen} cannot be opened: {error}; {advice}"))
            }
        }
    }
}

/// What the stub's base address ends in for a format.
fn version_path(wire: WireFormat) -> &'static str {
    match wire {
        WireFormat::Openai | WireFormat::Responses => "/v1",
        WireFormat::Gemini => "/v1beta",
        WireFormat::Anthropic | WireFormat::BedrockConverse | WireFormat::Cohere => "",
    }
}

/// Builds them.
///
/// # Errors
/// As for a configuration file.
pub fn settings(
    api: &Address,
    ops: &Address,
    folder: &Path,
    stub: SocketAddr,
    wire: WireFormat,
) -> Result<Settings, Vec<Problem>> {
    // JSON is YAML.
    let text = json!({
        "server": {"listen": api.listen, "drain_timeout": "30s", "workers": 2},
        "ops": {"listen": ops.listen},
        "data_dir": folder.to_string_lossy(),
        "log": {"format": "pretty", "level": "warn"},
        "providers": {"stub": {
            "wire": wire.name(),
            "base_url": format!("http://{stub}{}", version_path(wire)),
            "auth": "none",
            "quirks": {"developer_role": true, "think_tags_models": ["think*"]},
            // The stub fails because it was asked to: no breaker may stand between a user and the fault of his choice.
            "breaker": {"consecutive_failures": 1_000_000, "failure_rate": 0},
        }},
        "models": {
            "fast": {"targets": [{"model": "stub/echo"}]},
            "smart": {"targets": [{"model": "stub/reasoning"}]},
        },
    });
    let outside = Outside { env: &|_| None, file: &|_| Err("a demo reads no files".to_owned()) };
    assemble(Some(("demo", &text.to_string())), [], &outside).map(|loaded| loaded.settings)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_stub_is_configured_and_nothing_is_warned_of() {
        let (api, ops) = (
            Address { listen: "127.0.0.1:1".into(), note: None },
            Address { listen: "127.0.0.1:2".into(), note: None },
        );
        let folder = Path::new("/tmp/it's \"odd\": #");
        let settings =
            settings(&api, &ops, folder, "127.0.0.1:3".parse().unwrap(), WireFormat::Openai).unwrap();
        assert_eq!(settings.providers.keys().collect::<Vec<_>>(), ["stub"]);
        assert!(settings.providers["stub"].has_credential());
        assert_eq!((settings.data_dir.as_path(), settings.log.level), (folder, tracing::Level::WARN));
    }

    #[test]
    fn a_taken_usual_port_is_replaced_and_a_taken_given_one_is_told() {
        let taken = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = taken.local_addr().unwrap().to_string();
        let chosen = Address::choose("--listen", None, &address).unwrap();
        assert!(chosen.listen.ends_with(":0") && chosen.note.unwrap().contains(&address));
        let told = Address::choose("--listen", Some(&address), "127.0.0.1:8080").err().unwrap();
        assert!(told.starts_with(&format!("--listen {address} cannot be opened")), "{told}");
        let told = Address::choose("--listen", Some("nonsense"), "127.0.0.1:8080").err().unwrap();
        assert!(told.contains("--listen nonsense") && !told.contains('\n'), "{told}");
    }
}
