//! The body of a key's creation or change. Pure.

use std::num::NonZeroU32;

use super::fields::Fields;
use super::rules::Rules;
use crate::chat::Routing;
use crate::error::Error;
use crate::policy::admission::Priority;
use crate::store::{KeyPatch, KeySpec};

/// Reads the changes to a key.
///
/// # Errors
/// A 400 that names the field.
pub(super) fn read_patch(body: &[u8]) -> Result<KeyPatch, Error> {
    let mut fields = Fields::parse(body)?;
    let name = match fields.text("name")? {
        Some(None) => return Err(Error::invalid("`name` must be a string.", "name")),
        given => given.flatten(),
    };
    let Rules { expires_ms, allow, deny, rpm, tpm, concurrency, budget, markup } = Rules::take(&mut fields)?;
    let patch = KeyPatch {
        name,
        project: fields.text("project")?,
        expires_ms,
        rpm,
        tpm,
        concurrency,
        budget,
        markup,
        share: fields.positive("share")?.map(|share| share.map_or(1, NonZeroU32::get)),
        max_priority: fields
            .word("max_priority", &Priority::WORDS, Priority::parse)?
            .map(Option::unwrap_or_default),
        routing: fields.word("routing", &Routing::WORDS, Routing::parse)?,
        explain: fields.flag("explain")?.map(Option::unwrap_or_default),
        tags: fields.pairs("tags")?,
        allow,
        deny,
    };
    fields.finish()?;
    Ok(patch)
}

/// Reads a new key.
///
/// # Errors
/// As [`read_patch`]; also without a name, or when the key would be expired at once.
pub(super) fn read_spec(body: &[u8], now_ms: i64) -> Result<KeySpec, Error> {
    let patch = read_patch(body)?;
    if patch.name.is_none() {
        return Err(Error::invalid("`name` is required: what people call this key.", "name"));
    }
    let spec = patch.apply(KeySpec::default());
    if spec.expires_ms.is_some_and(|end| end <= now_ms) {
        return Err(Error::invalid("`expires_at` lies in the past.", "expires_at"));
    }
    Ok(spec)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::Handling;

    #[test]
    fn every_field_of_a_key_is_read() {
        let body =
            br#"{"name":"a","project":"p","expires_at":"2030-01-01T00:00:00Z","models":{"allow":["gpt-*"],
            "deny":["o1"]},"rpm":1,"tpm":4294967295,"concurrency":null,"tags":{"team":"x"},"budget":null,
            "share":9,"max_priority":"high","routing":"price","explain":true}"#;
        let spec = read_spec(body, 0).unwrap();
        assert_eq!((spec.name.as_str(), spec.project.as_deref()), ("a", Some("p")));
        assert_eq!(spec.expires_ms, Some(1_893_456_000_000));
        assert_eq!((spec.models.allow, spec.models.deny), (vec!["gpt-*".to_owned()], vec!["o1".to_owned()]));
        assert_eq!(spec.limits.tpm.map(std::num::NonZeroU32::get), Some(u32::MAX));
        assert_eq!(spec.limits.concurrency, None);
        assert_eq!(spec.tags, [("team".to_owned(), "x".to_owned())]);
        let handling =
            Handling { share: 9, max_priority: Priority::High, routing: Some(Routing::Price), explain: true };
        assert_eq!(spec.handling, handling);
    }

    #[test]
    fn what_is_wrong_is_named() {
        for (body, param, code) in [
            ("", None, Some("invalid_json")),
            ("[]", None, Some("invalid_json")),
            (r#"{"name":"a"} x"#, None, Some("invalid_json")),
            ("{}", Some("name"), None),
            (r#"{"name":null}"#, Some("name"), None),
            (r#"{"name":7}"#, Some("name"), None),
            (r#"{"name":"a","rmp":1}"#, Some("rmp"), None),
            (r#"{"name":"a","rpm":0}"#, Some("rpm"), None),
            (r#"{"name":"a","rpm":-1}"#, Some("rpm"), None),
            (r#"{"name":"a","tpm":1.5}"#, Some("tpm"), None),
            (r#"{"name":"a","tpm":4294967296}"#, Some("tpm"), None),
            (r#"{"name":"a","concurrency":"9"}"#, Some("concurrency"), None),
            (r#"{"name":"a","expires_at":"tomorrow"}"#, Some("expires_at"), None),
            (r#"{"name":"a","expires_at":"1999-01-01T00:00:00Z"}"#, Some("expires_at"), None),
            (r#"{"name":"a","models":["gpt"]}"#, Some("models"), None),
            (r#"{"name":"a","models":{"allow":["x",1]}}"#, Some("models.allow[1]"), None),
            (r#"{"name":"a","models":{"alow":[]}}"#, Some("models.alow"), None),
            (r#"{"name":"a","max_priority":"urgent"}"#, Some("max_priority"), None),
            (r#"{"name":"a","routing":"fastest"}"#, Some("routing"), None),
            (r#"{"name":"a","explain":"yes"}"#, Some("explain"), None),
            (r#"{"name":"a","tags":{"t":1}}"#, Some("tags.t"), None),
            (r#"{"name":"a","budget":{"limit_usd":"1"}}"#, Some("budget.period"), None),
        ] {
            let error = read_spec(body.as_bytes(), 1_000_000_000_000).unwrap_err();
            assert_eq!((error.param(), error.code()), (param, code), "{body}");
        }
        let error = read_patch(br#"{"rmp":1}"#).unwrap_err().to_string();
        assert!(error.contains("Did you mean `rpm`?"), "{error}");
    }

    #[test]
    fn a_change_tells_null_from_nothing() {
        assert_eq!(read_patch(b"{}").unwrap(), KeyPatch::default());
        let patch = read_patch(br#"{"project":null,"models":null,"tags":null,"rpm":null}"#).unwrap();
        let expected =
            KeyPatch { project: Some(None), rpm: Some(None), tags: Some(Vec::new()), ..KeyPatch::default() };
        assert_eq!(KeyPatch { allow: None, deny: None, ..patch }, expected);
    }
}
