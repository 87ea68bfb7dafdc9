//! Which of the ledger's models a bill means: bills write snapshots (`gpt-5-mini-2025-08-07`) and names for people
//! (`Claude Sonnet 4.5`), the ledger canonical names.

/// The first spelling of `name` that `known` has, as `known` calls it; else the name as it is.
pub fn canonical(name: &str, known: &dyn Fn(&str) -> Option<String>) -> String {
    let plain = folded(name);
    let spellings = [name, &plain, undated(name), undated(&plain)];
    spellings.into_iter().find_map(known).unwrap_or_else(|| name.to_owned())
}

/// In small letters, with a hyphen for each blank and point.
fn folded(name: &str) -> String {
    name.trim().to_lowercase().replace([' ', '.'], "-")
}

/// Without the day of a snapshot at its end: `-2025-08-07`, `-20250807`.
fn undated(name: &str) -> &str {
    for digits in ["dddd-dd-dd", "dddddddd"] {
        let Some(at) = name.len().checked_sub(digits.len() + 1) else { continue };
        let Some((rest, end)) = name.split_at_checked(at) else { continue };
        let is_day = end.strip_prefix('-').is_some_and(|day| {
            day.bytes().zip(digits.bytes()).all(|(byte, form)| match form {
                b'd' => byte.is_ascii_digit(),
                other => byte == other,
            })
        });
        if is_day {
            return rest;
        }
    }
    name
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_known_by_its_spellings() {
        let known = |name: &str| match name {
            "gpt-5-mini" | "gpt-5-mini-2025-08-07" => Some("gpt-5-mini".to_owned()),
            "claude-sonnet-4-5" => Some("claude-sonnet-4-5".to_owned()),
            "llama-3.3-70b-versatile" => Some("llama-3.3-70b".to_owned()),
            "gpt-4o-2024-05-13" => Some("gpt-4o-2024-05-13".to_owned()),
            "gpt-4o" => Some("gpt-4o".to_owned()),
            _ => None,
        };
        for (name, expected) in [
            ("gpt-5-mini", "gpt-5-mini"),
            ("gpt-5-mini-2025-08-07", "gpt-5-mini"),
            ("gpt-5-mini-2026-01-01", "gpt-5-mini"),
            ("claude-sonnet-4-5-20250929", "claude-sonnet-4-5"),
            ("Claude Sonnet 4.5", "claude-sonnet-4-5"),
            ("llama-3.3-70b-versatile", "llama-3.3-70b"),
            // A snapshot that is a model of its own stays one.
            ("gpt-4o-2024-05-13", "gpt-4o-2024-05-13"),
            ("gpt-4o-2024-08-06", "gpt-4o"),
            ("Brand New 1.0", "Brand New 1.0"),
            ("-20250807", "-20250807"),
            ("東京-東京", "東京-東京"),
            ("", ""),
        ] {
            assert_eq!(canonical(name, &known), expected, "{name}");
        }
    }
}
