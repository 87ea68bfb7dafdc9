//! One value of one kind: read, checked, typed. The same reading serves files, the environment and defaults.

use std::time::Duration;

use serde_json::Value;

use super::fetch::AllowedHost;
use super::schema::Kind;
use super::units::{self, brief};
use crate::money::{Markup, Usd};
use crate::request_log::check_pattern;
use crate::rfc3339::parse_ms;
use crate::wire::WireFormat;

/// A value that fits its kind.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Typed {
    /// Text, path, address, reference or word.
    Text(String),
    /// `true` or `false`.
    Bool(bool),
    /// A number, or a size in bytes.
    Number(u64),
    /// The word `auto`.
    Auto,
    /// A duration.
    Duration(Duration),
    /// A list of texts.
    Names(Vec<String>),
    /// A list of percentages.
    Percentages(Vec<u8>),
}

/// Reads `value` as `kind`; the error says what is wrong and what to write, and never holds a secret.
pub fn read(kind: Kind, value: &Value) -> Result<Typed, String> {
    match kind {
        Kind::Text | Kind::Path => text(value).map(Typed::Text),
        Kind::Bool => flag(value).map(Typed::Bool),
        Kind::Count(min, max) => count(value, min, max).map(Typed::Number),
        Kind::AutoCount(..) if value.as_str() == Some("auto") => Ok(Typed::Auto),
        Kind::AutoCount(min, max) => {
            count(value, min, max).map(Typed::Number).map_err(|why| format!("{why}, or `auto`"))
        }
        Kind::DurationOrNever if matches!(scalar(value)?.trim(), "0" | "0s" | "0ms") => {
            Ok(Typed::Duration(Duration::ZERO))
        }
        Kind::Duration | Kind::DurationOrNever => units::duration(&scalar(value)?).map(Typed::Duration),
        Kind::Life => units::life(&scalar(value)?).map(Typed::Duration),
        Kind::Size(min, max) => units::size(&scalar(value)?, min, max).map(Typed::Number),
        Kind::Listen => listen(&scalar(value)?).map(Typed::Text),
        Kind::Url => url(&text(value)?).map(Typed::Text),
        Kind::Secret | Kind::Header => masked_text(value).map(Typed::Text),
        Kind::Var => scalar(value).map(Typed::Text),
        Kind::Credentials => credentials(&text(value)?).map(Typed::Text),
        Kind::Auth => auth(&text(value)?).map(Typed::Text),
        Kind::Wire => wire(value).map(Typed::Text),
        Kind::Choice(words) => choice(&text(value)?, words).map(Typed::Text),
        Kind::Names => names(value).map(Typed::Names),
        Kind::Words(words) => {
            let given = names(value)?;
            given.iter().try_for_each(|word| choice(word, words).map(drop))?;
            Ok(Typed::Names(given))
        }
        Kind::Pattern => {
            let pattern = text(value)?;
            check_pattern(&pattern).map(|()| Typed::Text(pattern))
        }
        Kind::Hosts => hosts(value).map(Typed::Names),
        Kind::Origins => origins(value).map(Typed::Names),
        Kind::Amount => exact(value, |text| text.parse::<Usd>().map(drop).map_err(|error| error.to_string())),
        Kind::Markup => exact(value, |text| {
            let wrong =
                || "not a percentage from -100 to 1000 with up to two digits after the point".to_owned();
            Markup::parse(text).map(drop).ok_or_else(wrong)
        }),
        Kind::Ratio => ratio(&scalar(value)?).map(Typed::Text),
        Kind::Percentages => percentages(value).map(Typed::Percentages),
        Kind::Time => {
            let text = text(value)?;
            let wrong = || "must be an RFC 3339 time such as 2030-01-31T00:00:00Z".to_owned();
            parse_ms(&text).map(|_| Typed::Text(text)).ok_or_else(wrong)
        }
    }
}

fn kind_of(value: &Value) -> &'static str {
    match value {
        Value::Null => "nothing",
        Value::Bool(_) => "true or false",
        Value::Number(_) => "a number",
        Value::String(_) => "a text",
        Value::Array(_) => "a list",
        Value::Object(_) => "a table",
    }
}

fn text(value: &Value) -> Result<String, String> {
    match value {
        Value::String(text) if text.trim().is_empty() => {
            Err("is empty; give it a value or take the key out".into())
        }
        Value::String(text) => Ok(text.clone()),
        other => Err(format!("must be a text, not {}; put it in quotes if it is meant so", kind_of(other))),
    }
}

/// Like [`text`], for values that must not be repeated.
fn masked_text(value: &Value) -> Result<String, String> {
    match value {
        Value::String(_) => text(value),
        Value::Number(_) | Value::Bool(_) => Err("must be a text; put it in quotes".into()),
        other => Err(format!("must be a text, env:NAME or file:PATH, not {}", kind_of(other))),
    }
}

/// Text, or a number taken as text.
fn scalar(value: &Value) -> Result<String, String> {
    match value {
        Value::Number(number) => Ok(number.to_string()),
        other => text(other),
    }
}

fn flag(value: &Value) -> Result<bool, String> {
    match value {
        Value::Bool(flag) => Ok(*flag),
        Value::String(word) if word == "true" => Ok(true),
        Value::String(word) if word == "false" => Ok(false),
        Value::String(word) => Err(format!("must be true or false, not `{}`", brief(word))),
        other => Err(format!("must be true or false, not {}", kind_of(other))),
    }
}

fn count(value: &Value, min: u64, max: u64) -> Result<u64, String> {
    let number = match value {
        Value::Number(number) => number.as_u64(),
        Value::String(text) => text.trim().parse().ok(),
        _ => None,
    };
    let said = match value {
        Value::Number(number) => brief(&number.to_string()),
        Value::String(text) => brief(text),
        other => kind_of(other).to_owned(),
    };
    match number {
        Some(number) if (min..=max).contains(&number) => Ok(number),
        _ => Err(format!("must be a whole number from {min} to {max}, not `{said}`")),
    }
}

fn names(value: &Value) -> Result<Vec<String>, String> {
    match value {
        Value::String(list) => {
            Ok(list.split(',').map(str::trim).filter(|name| !name.is_empty()).map(str::to_owned).collect())
        }
        Value::Array(items) => {
            items.iter().map(|item| text(item).map_err(|why| format!("holds an entry that {why}"))).collect()
        }
        other => Err(format!("must be a list of texts, not {}", kind_of(other))),
    }
}

fn ratio(text: &str) -> Result<String, String> {
    match text.trim().parse::<f64>() {
        Ok(number) if (0.0..=1.0).contains(&number) => Ok(text.trim().to_owned()),
        _ => Err(format!("must be a number from 0 to 1, not `{}`", brief(text))),
    }
}

/// A decimal that is read exactly. A number's text is known up to 15 digits; more are taken in quotes only.
fn exact(value: &Value, check: impl Fn(&str) -> Result<(), String>) -> Result<Typed, String> {
    const DIGITS_MAX: usize = 15;
    let written = scalar(value)?;
    let digits = written.bytes().filter(u8::is_ascii_digit).count();
    if value.is_number() && digits > DIGITS_MAX {
        return Err(format!(
            "has more than {DIGITS_MAX} digits; put it in quotes, so that it is read exactly"
        ));
    }
    match check(&written) {
        Ok(()) => Ok(Typed::Text(written)),
        Err(why) => Err(format!("`{}` is {why}", brief(&written))),
    }
}

fn percentages(value: &Value) -> Result<Vec<u8>, String> {
    let wrong = || "must be a list of whole numbers from 1 to 100".to_owned();
    let percent = |text: &str| text.trim().parse::<u8>().ok().filter(|percent| (1..=100).contains(percent));
    let read: Option<Vec<u8>> = match value {
        Value::String(list) => list.split(',').map(percent).collect(),
        Value::Array(items) => items.iter().map(|item| percent(&item.to_string())).collect(),
        _ => None,
    };
    read.ok_or_else(wrong)
}

fn hosts(value: &Value) -> Result<Vec<String>, String> {
    let entries = names(value)?;
    match entries.iter().find_map(|entry| AllowedHost::parse(entry).err()) {
        Some(why) => Err(format!("holds an entry that cannot be used: {why}")),
        None => Ok(entries),
    }
}

/// Origins as browsers write them: one that differs in a slash or a capital letter would never match.
fn origins(value: &Value) -> Result<Vec<String>, String> {
    let entries = names(value)?;
    match entries.iter().find(|entry| !is_origin(entry)) {
        Some(wrong) => Err(format!(
            "holds `{}`, which is not an origin as browsers send it; write scheme, host in small letters, and the port \
             if it is not the usual one: https://app.example.com",
            brief(wrong)
        )),
        None => Ok(entries),
    }
}

fn is_origin(text: &str) -> bool {
    let https = text.strip_prefix("https://").map(|rest| (rest, ":443"));
    let Some((rest, usual)) = https.or_else(|| text.strip_prefix("http://").map(|rest| (rest, ":80"))) else {
        return false;
    };
    let plain =
        |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || matches!(byte, b'.' | b'-' | b'_');
    let (host, port) = match rest.rsplit_once(':') {
        Some((host, port)) if !port.ends_with(']') => (host, Some(port)),
        _ => (rest, None),
    };
    let in_brackets = host.strip_prefix('[').and_then(|host| host.strip_suffix(']'));
    let host_ok = match in_brackets {
        Some(address) => address.parse::<std::net::Ipv6Addr>().is_ok_and(|read| read.to_string() == address),
        None => !host.is_empty() && host.bytes().all(plain),
    };
    let port_ok = |port: &str| port.parse::<u16>().is_ok_and(|number| number.to_string() == port);
    host_ok && port.is_none_or(port_ok) && !rest.ends_with(usual)
}

fn choice(word: &str, words: &[&str]) -> Result<String, String> {
    if words.contains(&word) {
        return Ok(word.to_owned());
    }
    let hint = match super::problem::near_miss(word, words.iter().copied()) {
        Some(near) => format!("; did you mean `{near}`?"),
        None => format!("; write one of {}", words.join(", ")),
    };
    Err(format!("`{}` is not known{hint}", brief(word)))
}

fn wire(value: &Value) -> Result<String, String> {
    let word = text(value)?;
    match serde_json::from_value::<WireFormat>(Value::String(word.clone())) {
        Ok(_) => Ok(word),
        Err(error) => Err(format!("is not a wire format of this version: {error}")),
    }
}

/// `host:port` with a host that could be bound.
fn listen(text: &str) -> Result<String, String> {
    let wrong =
        || format!("`{}` is not an address; write host:port, e.g. 127.0.0.1:8080 or [::]:8080", brief(text));
    let (host, port) = text.rsplit_once(':').ok_or_else(wrong)?;
    let bracketed = host.starts_with('[') && host.ends_with(']');
    let host_ok = if bracketed {
        text.parse::<std::net::SocketAddr>().is_ok()
    } else {
        !host.is_empty() && host.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'-' | b'_'))
    };
    if !host_ok
        || port.is_empty()
        || !port.bytes().all(|b| b.is_ascii_digit())
        || port.parse::<u16>().is_err()
    {
        return Err(wrong());
    }
    Ok(text.to_owned())
}

fn auth(text: &str) -> Result<String, String> {
    match text.split_once(':') {
        None if matches!(text, "bearer" | "none" | "aws" | "google" | "entra") => Ok(text.to_owned()),
        Some(("header", name)) => header_name(name).map(|()| text.to_owned()),
        _ => Err(format!(
            "`{}` is not known; write bearer, none, aws, google, entra or header:NAME, e.g. header:api-key",
            brief(text)
        )),
    }
}

fn credentials(text: &str) -> Result<String, String> {
    let named = ["file:", "profile:"].iter().any(|kind| {
        text.strip_prefix(kind).is_some_and(|name| !name.is_empty() && !name.bytes().any(|b| b < b' '))
    });
    if named || text == "instance" {
        return Ok(text.to_owned());
    }
    // What stands here may be the credential itself.
    Err("is not known; write file:PATH, profile:NAME or instance".into())
}

/// Checks the name of a header that the operator sets.
pub fn header_name(name: &str) -> Result<(), String> {
    const OURS: [&str; 10] = [
        "host",
        "content-length",
        "content-type",
        "transfer-encoding",
        "connection",
        "accept-encoding",
        "te",
        "upgrade",
        "keep-alive",
        "trailer",
    ];
    let token = |b: u8| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&b);
    if name.is_empty() || !name.bytes().all(token) {
        return Err(format!("`{}` is not the name of a header", brief(name)));
    }
    if OURS.contains(&name.to_ascii_lowercase().as_str()) {
        return Err(format!("the header `{name}` is set by the gateway itself; take it out"));
    }
    Ok(())
}

/// An http or https address, possibly with `{NAME}` placeholders; trailing slashes are taken off.
///
/// Errors do not repeat the address: a credential may be in it.
pub fn url(text: &str) -> Result<String, String> {
    let rest = text
        .strip_prefix("https://")
        .or_else(|| text.strip_prefix("http://"))
        .ok_or("must start with https:// or http://, e.g. https://api.openai.com/v1")?;
    let authority = rest.split(['/', '?', '#']).next().unwrap_or("");
    if authority.contains('@') {
        return Err("must not hold credentials; give them as `api_key`".into());
    }
    if rest.contains(['?', '#']) {
        return Err(
            "must not hold a query or fragment; give the address without the part after `?` or `#`".into()
        );
    }
    if !text.bytes().all(|b| b.is_ascii_graphic()) || text.contains(['\\', '"', '<', '>']) {
        return Err("holds characters that an address cannot hold; percent-encode them".into());
    }
    authority_ok(authority)?;
    if rest.trim_end_matches('/').ends_with("/chat/completions") {
        return Err("ends with the endpoint; give the address without /chat/completions".into());
    }
    Ok(text.trim_end_matches('/').to_owned())
}

fn authority_ok(authority: &str) -> Result<(), String> {
    let (host, port) = match authority.rsplit_once(':') {
        Some((host, port)) if !port.ends_with(']') => (host, Some(port)),
        _ => (authority, None),
    };
    let inner = host.strip_prefix('[').and_then(|h| h.strip_suffix(']'));
    let host_ok = match inner {
        Some(address) => address.parse::<std::net::Ipv6Addr>().is_ok(),
        None => !host.is_empty() && host.bytes().all(|b| b.is_ascii_alphanumeric() || b".-_{}".contains(&b)),
    };
    if !host_ok {
        return Err("has no valid host name; write e.g. https://api.example.com/v1".into());
    }
    match port {
        Some(port) if !port.parse::<u16>().is_ok_and(|port| port > 0) => {
            Err("has no valid port; write a number from 1 to 65535 after the colon".into())
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_checked_and_trimmed() {
        for (address, expected) in [
            ("https://api.openai.com/v1/", Some("https://api.openai.com/v1")),
            ("http://[::1]:8000/v1", Some("http://[::1]:8000/v1")),
            ("http://vllm.internal:8000", Some("http://vllm.internal:8000")),
            (
                "https://{resource}.openai.azure.com/openai/v1",
                Some("https://{resource}.openai.azure.com/openai/v1"),
            ),
            ("ftp://x/v1", None),
            ("api.openai.com", None),
            ("https://user:pw@x/v1", None),
            ("https://x/v1?key=1", None),
            ("https://x:0/v1", None),
            ("https://x:99999/v1", None),
            ("https://", None),
            ("https://a b/v1", None),
            ("https://x/v1/chat/completions", None),
        ] {
            assert_eq!(url(address).ok().as_deref(), expected, "{address}");
        }
    }

    #[test]
    fn listen_addresses_have_a_host_and_a_port() {
        for (address, good) in [
            ("127.0.0.1:0", true),
            ("[::]:8080", true),
            ("localhost:8080", true),
            (":8080", false),
            ("8080", false),
            ("::1:8080", false),
            ("127.0.0.1:65536", false),
            ("127.0.0.1:+80", false),
        ] {
            assert_eq!(listen(address).is_ok(), good, "{address}");
        }
    }
}
