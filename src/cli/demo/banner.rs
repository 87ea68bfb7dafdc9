//! What the demo tells: where things are, commands to paste, and what can be tried. Pure.

use std::fmt::Write as _;
use std::net::SocketAddr;

use serde_json::json;

use super::catalog::FREE;
use crate::stub::BEHAVIOURS;

/// What the text is made of.
pub struct Facts {
    /// Where clients come in.
    pub api: SocketAddr,
    /// Where operators look.
    pub ops: SocketAddr,
    /// What should be known of these addresses.
    pub notes: Vec<String>,
    /// The API key.
    pub key: String,
    /// The key of the management API.
    pub admin_key: String,
    /// Where the store is.
    pub folder: String,
}

/// The text.
pub fn render(facts: &Facts) -> String {
    let Facts { api, ops, key, admin_key, folder, notes } = facts;
    let mut text = String::from("llm-gateway demo: gateway, store and a stub provider on this machine.\n\n");
    for note in notes {
        let _ = writeln!(text, "Note: {note}");
    }
    let rows = [
        ("API", format!("http://{api}/v1")),
        ("API key", key.clone()),
        ("page", format!("http://{ops}/ (signs in with the admin key)")),
        ("metrics", format!("http://{ops}/metrics")),
        ("admin key", admin_key.clone()),
        ("folder", format!("{folder} (removed at the end)")),
    ];
    for (name, value) in rows {
        let _ = writeln!(text, "  {name:<10} {value}");
    }
    let messages = json!([{"role": "user", "content": "Hello from the demo"}]);
    let plain = json!({"model": "stub/echo", "messages": messages});
    let options = json!({"include_usage": true});
    let stream =
        json!({"model": "stub/drip", "stream": true, "stream_options": options, "messages": messages});
    let _ = writeln!(text, "\nAn answer:\n\n{}", chat(facts, &plain));
    let _ = writeln!(text, "A streaming answer:\n\n{}", chat(facts, &stream));
    let _ = writeln!(
        text,
        "What it cost, by model:\n\n  curl -sS 'http://{ops}/admin/v1/usage?group_by=model' -H 'Authorization: Bearer {admin_key}'\n"
    );
    let _ = writeln!(text, "Models to try, as stub/NAME, or as the message /NAME to any of them:\n");
    for row in &BEHAVIOURS {
        let _ = writeln!(text, "  {:<30} {}", row.example, row.what);
    }
    let _ = writeln!(
        text,
        "\nAlso: auto (the router picks), {FREE} (costs nothing), and the aliases fast and smart."
    );
    text.push_str("\nReady. Ctrl-C stops it.\n");
    text
}

/// A command that can be pasted; no value in it holds a single quote.
fn chat(facts: &Facts, body: &serde_json::Value) -> String {
    format!(
        "  curl -sSN http://{}/v1/chat/completions -H 'Authorization: Bearer {}' -H 'Content-Type: application/json' -d '{body}'\n",
        facts.api, facts.key
    )
}
