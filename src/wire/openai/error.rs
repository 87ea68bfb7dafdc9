//! Errors as OpenAI-compatible vendors write them: in the official shape, as a bare string, under other names,
//! in a list, inside a 200, or as a page of HTML.

use serde_json::Value;

use crate::json::Members;
use crate::wire::Fault;

/// Characters of an unreadable body that are quoted.
const QUOTE_CHARS_MAX: usize = 200;

/// Reads an error body; never fails.
pub fn decode_error(status: u16, body: &[u8]) -> Fault {
    let text = String::from_utf8_lossy(body);
    let trimmed = text.trim_start();
    let json = trimmed.strip_prefix("data:").unwrap_or(trimmed).trim();
    match serde_json::from_str::<Value>(json) {
        Ok(Value::Array(list)) => from_value(status, list.first().unwrap_or(&Value::Null)),
        Ok(value) => from_value(status, &value),
        Err(_) => Fault { status, message: quote(trimmed), ..Fault::default() },
    }
}

/// A short quotation of a body that is not JSON; markup is not worth quoting.
fn quote(text: &str) -> String {
    if text.starts_with('<') {
        return "it answered with a page of HTML instead of JSON".to_owned();
    }
    text.chars().take(QUOTE_CHARS_MAX).collect::<String>().trim_end().to_owned()
}

/// Reads an error object, or the object that holds one under `error`.
pub fn from_value(status: u16, value: &Value) -> Fault {
    let inner = match value.get("error") {
        Some(Value::String(message)) => {
            return Fault { status, message: message.clone(), code: word(value, "code"), ..Fault::default() };
        }
        Some(inner @ Value::Object(_)) => inner,
        _ => value,
    };
    let message = ["message", "detail", "Message", "msg"]
        .iter()
        .filter_map(|name| inner.get(*name).or_else(|| value.get(*name)))
        .find_map(|found| match found {
            Value::Null => None,
            Value::String(message) => Some(message.clone()),
            other => Some(other.to_string()),
        })
        .unwrap_or_else(|| quote(&inner.to_string()));
    // OpenRouter wraps the real provider's words: they are what the caller needs.
    let raw = inner.pointer("/metadata/raw").and_then(Value::as_str);
    let message = match raw {
        Some(raw) if !raw.is_empty() => format!("{message}: {}", quote(raw)),
        _ => message,
    };
    let code = word(inner, "code");
    let codes = [code.clone(), word(inner, "status_code"), word(inner, "status"), word(value, "status")];
    let named = codes
        .into_iter()
        .flatten()
        .find_map(|code| code.parse().ok().filter(|code| (400..600).contains(code)));
    Fault {
        status: if status == 200 || status == 0 { named.unwrap_or(0) } else { status },
        message,
        code,
        param: word(inner, "param"),
        retry_after: None,
    }
}

/// True when an answer without `choices` says that it is an error, if not under `error`: some servers name it in
/// `object`, others give nothing but its words.
pub fn stands_alone(members: &Members, text: &str) -> bool {
    let is_text = |name: &str| members.get(text, name).is_some_and(|value| value.starts_with('"'));
    members.get(text, "object") == Some("\"error\"") || is_text("message") || is_text("detail")
}

/// A field as text, if it is a string or a number.
fn word(value: &Value, name: &str) -> Option<String> {
    match value.get(name)? {
        Value::String(text) if !text.is_empty() => Some(text.clone()),
        Value::Number(number) => Some(number.to_string()),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_shape_of_an_error_keeps_its_message() {
        for (status, body, message, code) in [
            (400, r#"{"error":{"message":"m","type":"t","code":"c","param":"p"}}"#, "m", Some("c")),
            (400, r#"{"error":"m"}"#, "m", None),
            (400, r#"{"message":"m","code":3}"#, "m", Some("3")),
            (400, r#"{"detail":"m"}"#, "m", None),
            (422, r#"{"detail":[{"msg":"x"}]}"#, r#"[{"msg":"x"}]"#, None),
            (400, r#"[{"error":{"message":"m"}}]"#, "m", None),
            (500, "data: {\"error\":{\"message\":\"m\"}}\n\n", "m", None),
            (502, "<html>x</html>", "it answered with a page of HTML instead of JSON", None),
            (500, "plain", "plain", None),
            (500, "", "", None),
        ] {
            let fault = decode_error(status, body.as_bytes());
            assert_eq!(
                (fault.message.as_str(), fault.code.as_deref(), fault.status),
                (message, code, status),
                "{body}"
            );
        }
    }

    #[test]
    fn an_error_inside_a_200_takes_the_status_it_names() {
        assert_eq!(decode_error(200, br#"{"error":{"message":"m","code":429}}"#).status, 429);
        assert_eq!(decode_error(200, br#"{"error":{"message":"m","code":"weird"}}"#).status, 0);
        assert_eq!(
            decode_error(200, br#"{"error":{"message":"m","code":"weird","status":400}}"#).status,
            400
        );
        assert_eq!(
            decode_error(0, br#"{"error":{"message":"m","status_code":503,"status":"x"}}"#).status,
            503
        );
    }
}
