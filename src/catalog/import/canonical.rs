//! Canonical names: the same model at several providers gets one name; different models never do.
//!
//! Rules first, then a table of exceptions. Dated snapshots stay apart (but for Anthropic, whose undated names are
//! the same model); base and instruct, sizes, distillations and vision or thinking variants stay apart.

/// Names that the rules cannot know: after the rules -> canonical.
const EXCEPTIONS: &[(&str, &str)] = &[
    ("r1", "deepseek-r1"),
    ("v3", "deepseek-v3"),
    ("v3.1", "deepseek-v3.1"),
    ("v3.2", "deepseek-v3.2"),
    ("deepseek-r1-671b", "deepseek-r1"),
    ("deepseek-v4-pro-0813", "deepseek-v4-pro-0813"),
    ("kimi-k2", "kimi-k2"),
    ("llama-4-maverick-17b-128e", "llama-4-maverick"),
    ("llama-4-scout-17b-16e", "llama-4-scout"),
    ("llama-4-maverick-17b", "llama-4-maverick"),
    ("llama-4-scout-17b", "llama-4-scout"),
    ("codestral-latest", "codestral"),
    ("mistral-small-latest", "mistral-small"),
    ("mistral-medium-latest", "mistral-medium"),
    ("mistral-large-latest", "mistral-large"),
];

/// Names that mean another model at this provider than elsewhere: provider, upstream name -> canonical.
const APART: &[(&str, &str, &str)] = &[
    // Azure's never moved on from the first release; Mistral's own means the newest.
    ("azure", "mistral-large-latest", "mistral-large-2402"),
    // The untuned model, for completion of code.
    ("nebius", "qwen/qwen2.5-coder-7b", "qwen2.5-coder-7b-base"),
    // Here the version is part of the name, not of the listing.
    ("bedrock", "anthropic.claude-v2:1", "claude-2.1"),
];

/// Prefixes of Bedrock inference profiles.
const PROFILES: &[&str] = &["us-gov.", "us.", "eu.", "apac.", "global.", "jp.", "au.", "ca."];
/// Bedrock's vendor prefixes.
const VENDORS: &[&str] = &[
    "anthropic.",
    "meta.",
    "mistral.",
    "amazon.",
    "cohere.",
    "deepseek.",
    "openai.",
    "qwen.",
    "zai.",
    "minimax.",
    "moonshot.",
    "moonshotai.",
    "google.",
    "nvidia.",
    "ai21.",
    "writer.",
    "twelvelabs.",
    "xai.",
];
/// Suffixes that say how a model is served or that it follows instructions, not which model it is.
const SUFFIXES: &[&str] = &[
    "-instruct",
    "-versatile",
    "-instant",
    "-fp8",
    "-hf",
    "-maas",
    "-tput",
    "-it",
    "-bf16",
    "-awq",
    "-fp4",
    "-nvfp4",
];
/// Families whose untuned models Fireworks lists without a suffix.
const BASE_FAMILIES: &[&str] = &[
    "llama-",
    "mixtral",
    "mistral-7b",
    "qwen2",
    "qwen1",
    "starcoder",
    "codellama",
    "code-llama",
    "gemma",
    "phi",
    "deepseek-coder",
    "yi-",
];

/// The canonical name of what `provider` calls `upstream`.
pub fn canonical(provider: &str, upstream: &str) -> String {
    let lower = upstream.to_ascii_lowercase();
    // Novita lists a second, community-run offer of some models.
    let lower = lower.strip_suffix("/community").map(|rest| format!("{rest}-community")).unwrap_or(lower);
    let mut name = lower.rsplit('/').next().unwrap_or(&lower).to_owned();
    if provider == "bedrock" {
        name = bedrock(&name);
    }
    if let Some((before, _)) = name.split_once('@') {
        name = before.to_owned();
    }
    if name.starts_with("claude") {
        name = undated(&name);
    }
    if provider == "fireworks" {
        name = points(&name);
    }
    name = family(&name);
    let tuned = ["instruct", "chat", "-it", "-hf"].iter().any(|word| name.contains(word));
    name = unsuffixed(&name);
    if provider == "fireworks" && !tuned && BASE_FAMILIES.iter().any(|family| name.starts_with(family)) {
        name.push_str("-base");
    }
    if let Some((.., to)) = APART.iter().find(|(who, from, _)| *who == provider && *from == lower) {
        return (*to).to_owned();
    }
    let exception = EXCEPTIONS.iter().find(|(from, _)| *from == name);
    exception.map_or(name, |(_, to)| (*to).to_owned())
}

/// Without profile, vendor and version: `us.anthropic.claude-x-v1:0` -> `claude-x`.
fn bedrock(name: &str) -> String {
    let name = PROFILES.iter().find_map(|prefix| name.strip_prefix(prefix)).unwrap_or(name);
    let name = VENDORS.iter().find_map(|prefix| name.strip_prefix(prefix)).unwrap_or(name);
    let Some((before, _)) = name.split_once(':') else { return name.to_owned() };
    let digits = before.trim_end_matches(|c: char| c.is_ascii_digit());
    let bare = digits.strip_suffix("-v").or_else(|| digits.strip_suffix('-'));
    bare.filter(|bare| digits.len() < before.len() && !bare.is_empty()).unwrap_or(before).to_owned()
}

/// Without a trailing `-20YYMMDD`.
fn undated(name: &str) -> String {
    match name.rsplit_once('-') {
        Some((before, date))
            if date.len() == 8 && date.starts_with("20") && date.bytes().all(|b| b.is_ascii_digit()) =>
        {
            before.to_owned()
        }
        _ => name.to_owned(),
    }
}

/// `v3p3` -> `v3.3`.
fn points(name: &str) -> String {
    let bytes = name.as_bytes();
    let digit = |at: Option<usize>| at.and_then(|at| bytes.get(at)).is_some_and(u8::is_ascii_digit);
    let point = |(at, c): (usize, char)| {
        if c == 'p' && digit(at.checked_sub(1)) && digit(Some(at + 1)) { '.' } else { c }
    };
    name.char_indices().map(point).collect()
}

/// One spelling per family: `meta-llama-3_1`, `llama3-1`, `llama-v3.1` -> `llama-3.1`; `qwen-3` -> `qwen3`.
fn family(name: &str) -> String {
    let name = name.strip_prefix("meta-").filter(|rest| rest.starts_with("llama")).unwrap_or(name);
    if let Some(rest) = name.strip_prefix("llama") {
        let rest = rest.trim_start_matches('-');
        let rest = rest
            .strip_prefix('v')
            .filter(|rest| rest.starts_with(|c: char| c.is_ascii_digit()))
            .unwrap_or(rest);
        let mut chars = rest.chars();
        if let (Some(major), Some('-' | '_'), Some(minor), after) =
            (chars.next(), chars.next(), chars.next(), chars.next())
            && major.is_ascii_digit()
            && minor.is_ascii_digit()
            && after == Some('-')
        {
            return format!("llama-{major}.{minor}{}", rest.get(3..).unwrap_or(""));
        }
        return format!("llama-{rest}");
    }
    match name.strip_prefix("qwen-").filter(|rest| rest.starts_with(|c: char| c.is_ascii_digit())) {
        Some(rest) => format!("qwen{rest}"),
        None => name.to_owned(),
    }
}

/// Without suffixes that do not name another model.
fn unsuffixed(name: &str) -> String {
    let mut name = name;
    loop {
        let turbo = name
            .strip_suffix("-turbo")
            .filter(|rest| rest.starts_with("llama-") || rest.contains("-instruct"));
        match SUFFIXES.iter().find_map(|suffix| name.strip_suffix(suffix)).or(turbo) {
            Some(rest) if !rest.is_empty() => name = rest,
            _ => return name.to_owned(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_model_gets_one_name() {
        for (expected, names) in [
            (
                "llama-3.3-70b",
                &[
                    ("groq", "llama-3.3-70b-versatile"),
                    ("together", "meta-llama/Llama-3.3-70B-Instruct-Turbo"),
                    ("fireworks", "accounts/fireworks/models/llama-v3p3-70b-instruct"),
                    ("cerebras", "llama-3.3-70b"),
                    ("bedrock", "us.meta.llama3-3-70b-instruct-v1:0"),
                    ("sambanova", "Meta-Llama-3.3-70B-Instruct"),
                ][..],
            ),
            (
                "claude-haiku-4-5",
                &[
                    ("anthropic", "claude-haiku-4-5-20251001"),
                    ("vertex", "claude-haiku-4-5@20251001"),
                    ("bedrock", "global.anthropic.claude-haiku-4-5-20251001-v1:0"),
                ],
            ),
            (
                "gpt-oss-120b",
                &[
                    ("groq", "openai/gpt-oss-120b"),
                    ("bedrock", "openai.gpt-oss-120b-1:0"),
                    ("cerebras", "gpt-oss-120b"),
                ],
            ),
            (
                "deepseek-r1",
                &[
                    ("bedrock", "us.deepseek.r1-v1:0"),
                    ("together", "deepseek-ai/DeepSeek-R1"),
                    ("lambda", "deepseek-r1-671b"),
                ],
            ),
            (
                "deepseek-v3.1",
                &[("fireworks", "accounts/fireworks/models/deepseek-v3p1"), ("sambanova", "DeepSeek-V3.1")],
            ),
            (
                "qwen3-32b",
                &[("cerebras", "qwen-3-32b"), ("nebius", "Qwen/Qwen3-32B"), ("lambda", "qwen3-32b-fp8")],
            ),
            ("gpt-4o-2024-08-06", &[("openai", "gpt-4o-2024-08-06"), ("azure", "gpt-4o-2024-08-06")]),
            (
                "llama-3.1-8b",
                &[
                    ("cerebras", "llama3.1-8b"),
                    ("groq", "llama-3.1-8b-instant"),
                    ("bedrock", "meta.llama3-1-8b-instruct-v1:0"),
                ],
            ),
        ] {
            for (provider, name) in names {
                assert_eq!(canonical(provider, name), expected, "{provider} {name}");
            }
        }
    }

    #[test]
    fn different_models_keep_their_names_apart() {
        let names = [
            ("together", "deepseek-ai/DeepSeek-R1"),
            ("together", "deepseek-ai/DeepSeek-R1-Distill-Qwen-14B"),
            ("together", "deepseek-ai/DeepSeek-R1-0528"),
            ("fireworks", "accounts/fireworks/models/llama-v3p1-70b"),
            ("fireworks", "accounts/fireworks/models/llama-v3p1-70b-instruct"),
            ("together", "meta-llama/Meta-Llama-3.1-8B-Instruct-Turbo"),
            ("groq", "llama-3.3-70b-versatile"),
            ("openai", "gpt-4o"),
            ("openai", "gpt-4o-2024-08-06"),
            ("openai", "gpt-4o-mini"),
            ("openai", "gpt-3.5-turbo"),
            ("openai", "gpt-4-turbo"),
            ("azure", "mistral-large-latest"),
            ("mistral", "mistral-large-latest"),
            ("nebius", "Qwen/Qwen2.5-Coder-7B"),
            ("fireworks", "accounts/fireworks/models/qwen2p5-coder-7b-instruct"),
            ("novita", "qwen/qwen3-235b-a22b-thinking-2507"),
            ("novita", "qwen/qwen3-235b-a22b-instruct-2507"),
            ("alibaba", "qwen3-vl-235b-a22b-thinking"),
            ("alibaba", "qwen-turbo"),
            ("moonshot", "kimi-k2.6"),
            ("moonshot", "kimi-k2.7-code"),
        ];
        let canonical: std::collections::BTreeSet<String> =
            names.iter().map(|(p, n)| super::canonical(p, n)).collect();
        assert_eq!(canonical.len(), names.len(), "{canonical:?}");
    }
}
