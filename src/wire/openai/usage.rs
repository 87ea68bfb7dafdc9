//! Usage as OpenAI-compatible vendors report it: found wherever they put it, numbers kept exactly.

use serde_json::{Map, Value};

use crate::chat::Usage;
use crate::json::Members;
use crate::json::scan::Cursor;
use crate::wire::Quirks;
use crate::wire::usage::{COUNT_MAX, Metered, UsageObject, complete, count};

/// What a usage object says, as far as it is counted.
#[derive(Debug, Default, PartialEq, Eq)]
struct Counts {
    prompt_tokens: Option<u64>,
    completion_tokens: Option<u64>,
    total_tokens: Option<u64>,
    prompt_tokens_details: Option<PromptDetails>,
    completion_tokens_details: Option<CompletionDetails>,
    prompt_cache_hit_tokens: Option<u64>,
    cached_tokens: Option<u64>,
    cache_creation_input_tokens: Option<u64>,
    reasoning_tokens: Option<u64>,
    num_search_queries: Option<u64>,
    /// Whether there is one is all that counts.
    cost: bool,
}

#[derive(Debug, Default, PartialEq, Eq)]
struct PromptDetails {
    cached_tokens: Option<u64>,
    cache_write_tokens: Option<u64>,
    audio_tokens: Option<u64>,
    image_tokens: Option<u64>,
}

#[derive(Debug, Default, PartialEq, Eq)]
struct CompletionDetails {
    reasoning_tokens: Option<u64>,
    audio_tokens: Option<u64>,
    image_tokens: Option<u64>,
}

/// Reads a count into its place; `None` where it is not written as a whole number, or given twice.
fn fill(cursor: &mut Cursor<'_>, place: &mut Option<u64>) -> Option<()> {
    if cursor.null()? {
        return place.is_none().then_some(());
    }
    place.replace(cursor.whole()?).is_none().then_some(())
}

impl PromptDetails {
    fn scan(cursor: &mut Cursor<'_>) -> Option<Self> {
        let mut found = Self::default();
        cursor.object(|cursor, name| match name.plain()? {
            "cached_tokens" => fill(cursor, &mut found.cached_tokens),
            "cache_write_tokens" => fill(cursor, &mut found.cache_write_tokens),
            "audio_tokens" => fill(cursor, &mut found.audio_tokens),
            "image_tokens" => fill(cursor, &mut found.image_tokens),
            _ => cursor.skip(),
        })?;
        Some(found)
    }
}

impl CompletionDetails {
    fn scan(cursor: &mut Cursor<'_>) -> Option<Self> {
        let mut found = Self::default();
        cursor.object(|cursor, name| match name.plain()? {
            "reasoning_tokens" => fill(cursor, &mut found.reasoning_tokens),
            "audio_tokens" => fill(cursor, &mut found.audio_tokens),
            "image_tokens" => fill(cursor, &mut found.image_tokens),
            _ => cursor.skip(),
        })?;
        Some(found)
    }
}

impl Counts {
    /// Of the text of an object whose counts are all written as counts, each of them once.
    fn scan(text: &str) -> Option<Self> {
        let mut found = Self::default();
        let mut cursor = Cursor::new(text);
        cursor.object(|cursor, name| match name.plain()? {
            "prompt_tokens" => fill(cursor, &mut found.prompt_tokens),
            "completion_tokens" => fill(cursor, &mut found.completion_tokens),
            "total_tokens" => fill(cursor, &mut found.total_tokens),
            "prompt_tokens_details" | "completion_tokens_details" if cursor.null()? => Some(()),
            "prompt_tokens_details" => {
                found.prompt_tokens_details.replace(PromptDetails::scan(cursor)?).is_none().then_some(())
            }
            "completion_tokens_details" => found
                .completion_tokens_details
                .replace(CompletionDetails::scan(cursor)?)
                .is_none()
                .then_some(()),
            "prompt_cache_hit_tokens" => fill(cursor, &mut found.prompt_cache_hit_tokens),
            "cached_tokens" => fill(cursor, &mut found.cached_tokens),
            "cache_creation_input_tokens" => fill(cursor, &mut found.cache_creation_input_tokens),
            "reasoning_tokens" => fill(cursor, &mut found.reasoning_tokens),
            "num_search_queries" => fill(cursor, &mut found.num_search_queries),
            "cost" => {
                found.cost = true;
                cursor.skip()
            }
            _ => cursor.skip(),
        })?;
        cursor.end()?;
        Some(found)
    }

    /// Of any object: what is no count is as if it were not there.
    fn of(object: &Map<String, Value>) -> Self {
        let at = |name: &str| count(object.get(name));
        let group = |name: &str| object.get(name).filter(|details| details.is_object());
        let detail = |details: &Value, name: &str| count(details.get(name));
        Self {
            prompt_tokens: at("prompt_tokens"),
            completion_tokens: at("completion_tokens"),
            total_tokens: at("total_tokens"),
            prompt_tokens_details: group("prompt_tokens_details").map(|details| PromptDetails {
                cached_tokens: detail(details, "cached_tokens"),
                cache_write_tokens: detail(details, "cache_write_tokens"),
                audio_tokens: detail(details, "audio_tokens"),
                image_tokens: detail(details, "image_tokens"),
            }),
            completion_tokens_details: group("completion_tokens_details").map(|details| CompletionDetails {
                reasoning_tokens: detail(details, "reasoning_tokens"),
                audio_tokens: detail(details, "audio_tokens"),
                image_tokens: detail(details, "image_tokens"),
            }),
            prompt_cache_hit_tokens: at("prompt_cache_hit_tokens"),
            cached_tokens: at("cached_tokens"),
            cache_creation_input_tokens: at("cache_creation_input_tokens"),
            reasoning_tokens: at("reasoning_tokens"),
            num_search_queries: at("num_search_queries"),
            cost: object.contains_key("cost"),
        }
    }

    fn cached(&self) -> Option<u64> {
        let detail = self.prompt_tokens_details.as_ref().and_then(|details| details.cached_tokens);
        detail.or(self.prompt_cache_hit_tokens).or(self.cached_tokens)
    }

    /// `None` when it is missing or contradicts itself.
    fn usage(&self, quirks: &Quirks) -> Option<Usage> {
        let prompt = self.prompt_tokens?;
        let mut completion = self.completion_tokens?;
        let mut total = self.total_tokens.unwrap_or(prompt + completion);
        let (of_prompt, of_completion) = (&self.prompt_tokens_details, &self.completion_tokens_details);
        let reasoning = of_completion.as_ref().and_then(|details| details.reasoning_tokens);
        let reasoning = reasoning.or(self.reasoning_tokens);
        if quirks.completion_excludes_reasoning && total > prompt + completion {
            completion += reasoning.unwrap_or(0);
            total = prompt + completion;
        }
        // Azure's grok reports more cached than prompt tokens: passed on as it is, only the bill clamps it.
        if total < prompt.max(completion) {
            return None;
        }
        let of_prompt = |of: fn(&PromptDetails) -> Option<u64>| of_prompt.as_ref().and_then(of);
        let of_completion = |of: fn(&CompletionDetails) -> Option<u64>| of_completion.as_ref().and_then(of);
        Some(Usage {
            prompt,
            completion,
            total,
            cache_read: self.cached().unwrap_or(0),
            cache_write_5m: of_prompt(|details| details.cache_write_tokens)
                .or(self.cache_creation_input_tokens)
                .unwrap_or(0),
            cache_write_1h: 0,
            reasoning,
            audio_input: of_prompt(|details| details.audio_tokens).unwrap_or(0),
            audio_output: of_completion(|details| details.audio_tokens).unwrap_or(0),
            image_input: of_prompt(|details| details.image_tokens).unwrap_or(0),
            image_output: of_completion(|details| details.image_tokens).unwrap_or(0),
            web_searches: self.num_search_queries.unwrap_or(0),
            billed: None,
        })
    }

    /// Every count is one that is believed.
    fn is_sane(&self) -> bool {
        let Self { prompt_tokens, completion_tokens, total_tokens, prompt_tokens_details, .. } = self;
        let (of_prompt, of_completion) =
            (prompt_tokens_details.as_ref(), self.completion_tokens_details.as_ref());
        let all = [
            *prompt_tokens,
            *completion_tokens,
            *total_tokens,
            self.prompt_cache_hit_tokens,
            self.cached_tokens,
            self.cache_creation_input_tokens,
            self.reasoning_tokens,
            self.num_search_queries,
            of_prompt.and_then(|details| details.cached_tokens),
            of_prompt.and_then(|details| details.cache_write_tokens),
            of_prompt.and_then(|details| details.audio_tokens),
            of_prompt.and_then(|details| details.image_tokens),
            of_completion.and_then(|details| details.reasoning_tokens),
            of_completion.and_then(|details| details.audio_tokens),
            of_completion.and_then(|details| details.image_tokens),
        ];
        all.into_iter().flatten().all(|count| count <= COUNT_MAX)
    }
}

/// Reads a usage object. `None` when it is missing, null, negative or contradicts itself: then the caller
/// estimates and says so.
pub fn read(mut object: Map<String, Value>, quirks: &Quirks) -> Option<Metered> {
    let counts = Counts::of(&object);
    let usage = counts.usage(quirks)?;
    complete(&mut object, &usage, counts.cached());
    Some(Metered { usage, object: UsageObject::Members(object) })
}

/// Reads the text of a usage object that is as most upstreams write it: nothing has to be changed in it, and at most the
/// tokens of reasoning are said once more. `None` for every other one.
fn read_plain(text: &str, quirks: &Quirks) -> Option<Metered> {
    let counts = Counts::scan(text)?;
    let usage = counts.usage(quirks)?;
    let of_completion = counts.completion_tokens_details.as_ref();
    let is_complete = counts.is_sane()
        && !counts.cost
        && counts.completion_tokens == Some(usage.completion)
        && counts.total_tokens == Some(usage.total)
        && counts.cached() == counts.prompt_tokens_details.as_ref().and_then(|details| details.cached_tokens)
        && usage.reasoning == of_completion.and_then(|details| details.reasoning_tokens)
        && counts.reasoning_tokens.is_none_or(|told| usage.reasoning == Some(told));
    if !is_complete {
        return None;
    }
    // Room for what is said once more, and for the cost (`render`).
    let mut owned = String::with_capacity(text.len() + 80);
    owned.push_str(text);
    let mut text = owned;
    if let Some(reasoning) = usage.reasoning.filter(|_| counts.reasoning_tokens.is_none()) {
        text.pop();
        text.push_str(",\"reasoning_tokens\":");
        text.push_str(itoa::Buffer::new().format(reasoning));
        text.push('}');
    }
    Some(Metered { usage, object: UsageObject::Text(text) })
}

/// Where some put it whose stream ends with a choice and its usage.
const IN_CHOICES: &str = "/choices/0/usage";

/// Finds usage in a reply or an event, at the places the row names. `in_choices`: a choice may have some.
pub fn find(members: &Members, text: &str, quirks: &Quirks, in_choices: bool) -> Option<Metered> {
    quirks.usage_pointers.iter().find_map(|pointer| {
        if pointer == IN_CHOICES && !in_choices {
            return None;
        }
        let pointer = pointer.strip_prefix('/')?;
        let end = pointer.bytes().position(|byte| byte == b'/').unwrap_or(pointer.len());
        let (first, rest) = pointer.split_at(end);
        let written = members.get(text, first)?;
        // Cheap and certain: what does not name usage does not hold it.
        if written == "null" || (!rest.is_empty() && !written.contains("\"usage\"")) {
            return None;
        }
        if rest.is_empty()
            && let Some(metered) = read_plain(written, quirks)
        {
            return Some(metered);
        }
        let mut value: Value = serde_json::from_str(written).ok()?;
        match value.pointer_mut(rest)?.take() {
            Value::Object(object) => read(object, quirks),
            _ => None,
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn object(text: &str) -> Map<String, Value> {
        serde_json::from_str(text).unwrap()
    }

    fn counts(text: &str, quirks: &Quirks) -> Option<(u64, u64, u64, u64, Option<u64>)> {
        read(object(text), quirks).map(|m| {
            (m.usage.prompt, m.usage.completion, m.usage.total, m.usage.cache_read, m.usage.reasoning)
        })
    }

    #[test]
    fn numbers_are_kept_and_found_where_vendors_put_them() {
        let plain = Quirks::default();
        let xai = Quirks { completion_excludes_reasoning: true, ..Quirks::default() };
        for (quirks, text, expected) in [
            (&plain, r#"{"prompt_tokens":3,"completion_tokens":4,"total_tokens":9}"#, (3, 4, 9, 0, None)),
            (
                &plain,
                r#"{"prompt_tokens":3,"completion_tokens":4,"prompt_cache_hit_tokens":2}"#,
                (3, 4, 7, 2, None),
            ),
            (
                &xai,
                r#"{"prompt_tokens":32,"completion_tokens":31,"total_tokens":493,"completion_tokens_details":{"reasoning_tokens":430}}"#,
                (32, 461, 493, 0, Some(430)),
            ),
        ] {
            assert_eq!(counts(text, quirks), Some(expected), "{text}");
        }
    }

    #[test]
    fn what_contradicts_itself_is_not_believed() {
        for text in [
            r#"{"prompt_tokens":-3,"completion_tokens":4}"#,
            r#"{"prompt_tokens":3}"#,
            r#"{"prompt_tokens":18446744073709551615,"completion_tokens":4,"total_tokens":5}"#,
            r#"{"prompt_tokens":3,"completion_tokens":"4"}"#,
            r#"{"prompt_tokens":3,"completion_tokens":40,"total_tokens":5}"#,
        ] {
            assert_eq!(counts(text, &Quirks::default()), None, "{text}");
        }
    }

    #[test]
    fn what_needs_no_change_says_the_same_as_when_it_is_taken_apart() {
        let quirks = [Quirks::default(), Quirks { completion_excludes_reasoning: true, ..Quirks::default() }];
        let most = r#"{"prompt_tokens":3,"completion_tokens":4,"total_tokens":7,
            "prompt_tokens_details":{"cached_tokens":2,"audio_tokens":0},"completion_tokens_details":{"reasoning_tokens":1}}"#;
        assert!(quirks.iter().all(|quirks| read_plain(most, quirks).is_some()));
        let plain = r#"{"prompt_tokens":3,"completion_tokens":4,"total_tokens":7}"#;
        let details = [
            "",
            r#","completion_tokens_details":{"reasoning_tokens":2}"#,
            r#","completion_tokens_details":{"reasoning_tokens":2},"reasoning_tokens":2"#,
            r#","completion_tokens_details":{"reasoning_tokens":2},"reasoning_tokens":5"#,
            r#","reasoning_tokens":2"#,
            r#","completion_tokens_details":null,"prompt_tokens_details":{}"#,
            r#","prompt_tokens_details":{"cached_tokens":1,"cache_write_tokens":2,"image_tokens":3},"x":1.50"#,
            r#","cached_tokens":1"#,
            r#","prompt_cache_hit_tokens":1,"prompt_tokens_details":{"cached_tokens":1}"#,
            r#","cost":0.1"#,
            r#","cost":null"#,
            r#","num_search_queries":2,"cache_creation_input_tokens":1"#,
            r#","prompt_tokens_details":{"cached_tokens":-1}"#,
            r#","prompt_tokens_details":{"cached_tokens":99999999999999999}"#,
            r#","prompt_tokens_details":[1]"#,
            r#","total_tokens":9"#,
        ];
        for (quirks, more) in quirks.iter().flat_map(|quirks| details.map(|more| (quirks, more))) {
            let text = plain.replace('}', &format!("{more}}}"));
            for text in [text.clone(), text.replace(r#","total_tokens":7"#, ""), text.replace(":4", ":4.0")] {
                let apart = read(object(&text), quirks).map(shown);
                let members = Members::parse(&format!("{{\"usage\": {text}}}"));
                let found = members.ok().and_then(|found| {
                    find(&found, &format!("{{\"usage\": {text}}}"), quirks, true).map(shown)
                });
                assert_eq!(found, apart, "{text}");
            }
        }
    }

    fn shown(metered: Metered) -> (Usage, Value) {
        let written = crate::wire::usage::render(metered.object, Some(crate::money::Usd::from_units(1)));
        (metered.usage, serde_json::from_slice(&written).unwrap())
    }
}
