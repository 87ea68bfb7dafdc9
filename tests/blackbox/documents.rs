//! The documents say what the code does: modules, errors, commands, links.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use llm_gateway::error::{Error, Shed};
use llm_gateway::stub::BEHAVIOURS;

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn read(path: impl AsRef<Path>) -> String {
    let path = root().join(path);
    std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// The files below a folder whose names end in `.extension`, what is built or hidden left out.
fn files(folder: &Path, extension: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(root().join(folder)).unwrap() {
        let entry = entry.unwrap();
        let name = entry.file_name().into_string().unwrap();
        let path = folder.join(&name);
        let skipped = name.starts_with('.') || name == "target" || name == "node_modules";
        if entry.file_type().unwrap().is_dir() {
            found.extend(if skipped { Vec::new() } else { files(&path, extension) });
        } else if path.extension().is_some_and(|is| is == extension) {
            found.push(path);
        }
    }
    found
}

/// The cells of the rows of every table with this first row of heads.
fn table(document: &str, heads: &str) -> Vec<Vec<String>> {
    let rows = document.lines().skip_while(|line| !line.starts_with(heads)).skip(2);
    let rows = rows.take_while(|line| line.starts_with('|'));
    let cells = |row: &str| row.trim_matches('|').split('|').map(|cell| cell.trim().to_owned()).collect();
    rows.map(cells).collect()
}

/// What stands between backticks.
fn quoted(cell: &str) -> Vec<&str> {
    cell.split('`').skip(1).step_by(2).collect()
}

/// Codes written in the source: the last text literal of every call of `function`, and what follows `code: `.
fn codes(function: &str) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    for path in files(Path::new("src"), "rs") {
        let text = read(&path);
        let code = text.split("#[cfg(test)]\nmod tests {").next().unwrap_or("");
        if path.ends_with("tests.rs") || path.components().any(|part| part.as_os_str() == "tests") {
            continue;
        }
        for call in code.split(function).skip(1) {
            let call = call.split(';').next().unwrap_or("");
            let mut depth = 1;
            let end = call.char_indices().find(|(_, char)| {
                depth += i32::from(*char == '(') - i32::from(*char == ')');
                depth == 0
            });
            let literals: Vec<&str> = call[..end.map_or(call.len(), |(at, _)| at)].split('"').collect();
            let last = literals.get(literals.len().saturating_sub(2)).copied().unwrap_or("");
            let is_code = !last.is_empty() && last.bytes().all(|b| b.is_ascii_lowercase() || b == b'_');
            if literals.len() > 2 && is_code {
                found.insert(last.to_owned());
            }
        }
    }
    found
}

/// Every variant with a row of its own. A new variant does not compile until it is listed here.
fn errors() -> Vec<Error> {
    let text = || "x".to_owned();
    let wait = Duration::from_secs(1);
    let mut all = vec![
        Error::MissingKey,
        Error::InvalidKey,
        Error::BudgetExceeded(text()),
        Error::Forbidden(text()),
        Error::ModelNotFound { model: text(), suggestion: None },
        Error::NotFound(text()),
        Error::MethodNotAllowed { allow: "GET" },
        Error::RequestTimeout,
        Error::Conflict(text()),
        Error::IdempotencyKeyReused,
        Error::IdempotencyAnswerTooLarge,
        Error::ModelRetired(text()),
        Error::BodyTooLarge(1),
        Error::UnsupportedMediaType(text()),
        Error::RateLimited { limit: text(), retry_after: wait },
        Error::UpstreamRateLimited { message: text(), retry_after: None },
        Error::UpstreamAuth(text()),
        Error::Overloaded { message: text(), retry_after: wait },
        Error::Shed { why: Shed::Memory, message: text(), retry_after: wait },
        Error::NoCredentials(text()),
        Error::Timeout(text()),
        Error::Internal,
    ];
    // Codes live as long as the test: the table wants them static.
    let upstream = codes("Error::upstream(").into_iter().chain(["upstream_overloaded".to_owned()]);
    all.extend(upstream.map(|code| Error::upstream("x", String::leak(code))));
    for error in &all {
        match error {
            Error::MissingKey
            | Error::InvalidKey
            | Error::BudgetExceeded(_)
            | Error::Forbidden(_)
            | Error::ModelNotFound { .. }
            | Error::NotFound(_)
            | Error::MethodNotAllowed { .. }
            | Error::RequestTimeout
            | Error::Conflict(_)
            | Error::IdempotencyKeyReused
            | Error::IdempotencyAnswerTooLarge
            | Error::ModelRetired(_)
            | Error::BodyTooLarge(_)
            | Error::UnsupportedMediaType(_)
            | Error::RateLimited { .. }
            | Error::UpstreamRateLimited { .. }
            | Error::UpstreamAuth(_)
            | Error::Upstream { .. }
            | Error::Overloaded { .. }
            | Error::Shed { .. }
            | Error::NoCredentials(_)
            | Error::Timeout(_)
            | Error::Internal => {}
            // The row of 400 stands for the first; the second has the words of the provider.
            Error::InvalidRequest { .. } | Error::UpstreamRejected { .. } => {
                panic!("these carry codes of others")
            }
        }
    }
    all
}

#[test]
fn the_readme_has_every_error_and_no_other_with_status_type_code_and_whether_sdks_retry() {
    let documented: BTreeSet<_> = table(&read("README.md"), "| status | type | code |")
        .into_iter()
        .filter(|row| row[0] != "400")
        .map(|row| (row[0].clone(), row[1].clone(), quoted(&row[2]).join(","), row[5].clone()))
        .collect();
    let expected = errors().into_iter().map(|error| {
        let class = error.class();
        // What the official SDKs retry unless `x-should-retry` says otherwise.
        let by_status = matches!(class.status, 408 | 409 | 429) || class.status >= 500;
        let retry = if class.client_retry.unwrap_or(by_status) { "yes" } else { "no" };
        (class.status.to_string(), class.kind.to_owned(), class.code.unwrap().to_owned(), retry.to_owned())
    });
    assert_eq!(documented, expected.collect());
}

#[test]
fn the_readme_has_every_code_of_a_400() {
    let readme = read("README.md");
    let rows = table(&readme, "| code | when |");
    let documented: BTreeSet<String> =
        rows.iter().flat_map(|row| quoted(&row[0])).map(str::to_owned).collect();
    let mut expected = codes("invalid_code(");
    expected.extend(codes("code: Some("));
    assert!(expected.len() > 8, "{expected:?}");
    assert_eq!(documented, expected);
}

#[test]
fn the_readme_names_every_command_and_its_subcommands() {
    let commands = |arguments: &[&str]| -> Vec<String> {
        let said = Command::new(env!("CARGO_BIN_EXE_llm-gateway")).args(arguments).arg("--help").output();
        let help = String::from_utf8(said.unwrap().stdout).unwrap();
        let lines = help.lines().skip_while(|line| *line != "Commands:").skip(1);
        let names = lines.take_while(|line| line.starts_with("  ")).map(str::trim);
        let names = names.filter_map(|line| line.split(' ').next()).filter(|name| *name != "help");
        names.map(str::to_owned).collect()
    };
    let mut expected = BTreeSet::new();
    for name in commands(&[]) {
        let below = commands(&[&name]).join("\\|");
        expected.insert(format!("llm-gateway {name} {below}").trim_end().to_owned());
    }
    assert!(expected.len() >= 7, "{expected:?}");
    let readme = read("README.md");
    let rows = readme.lines().filter_map(|line| line.strip_prefix("| `")?.split('`').next());
    let documented: BTreeSet<String> =
        rows.filter(|text| text.starts_with("llm-gateway ")).map(str::to_owned).collect();
    assert_eq!(documented, expected);
}

#[test]
fn the_readme_shows_what_the_demo_prints() {
    let readme = read("README.md");
    let shown = readme.lines().skip_while(|line| !line.starts_with("Models to try")).skip(2);
    let shown: Vec<&str> = shown.take_while(|line| line.starts_with("  ")).map(str::trim).collect();
    for line in shown.iter().filter(|line| **line != "...") {
        let known = |row: &llm_gateway::stub::Row| line.starts_with(row.example) && line.ends_with(row.what);
        assert!(BEHAVIOURS.iter().any(known), "{line}");
    }
    assert!(shown.len() > 5 && readme.contains(&format!("there are {} models", BEHAVIOURS.len())));
}

#[test]
fn the_architecture_names_every_module() {
    let named: BTreeSet<String> = table(&read("ARCHITECTURE.md"), "| module | what it is |")
        .iter()
        .flat_map(|row| quoted(&row[0]))
        .map(str::to_owned)
        .collect();
    let there = std::fs::read_dir(root().join("src")).unwrap().map(|entry| {
        let name = entry.unwrap().file_name().into_string().unwrap();
        name.trim_end_matches(".rs").to_owned()
    });
    assert_eq!(named, there.collect());
}

/// The name that a heading has in links.
fn anchor(heading: &str) -> String {
    let kept = heading.to_lowercase().replace(' ', "-");
    kept.chars().filter(|char| char.is_alphanumeric() || *char == '-' || *char == '_').collect()
}

#[test]
fn links_between_documents_lead_somewhere() {
    let documents = files(Path::new(""), "md");
    assert!(documents.len() >= 6, "{documents:?}");
    let mut links = 0;
    for document in documents {
        let folder = document.parent().unwrap_or(Path::new(""));
        for link in read(&document).split("](").skip(1).filter_map(|rest| rest.split(')').next()) {
            if link.contains("://") {
                continue;
            }
            let (path, heading) = link.split_once('#').unwrap_or((link, ""));
            let target = if path.is_empty() { document.clone() } else { folder.join(path) };
            assert!(root().join(&target).exists(), "{}: {link}", document.display());
            let text = if heading.is_empty() { String::new() } else { read(&target) };
            let mut headings = text.lines().filter(|line| line.starts_with('#'));
            let found = headings.any(|line| anchor(line.trim_start_matches('#').trim()) == heading);
            assert!(heading.is_empty() || found, "{}: {link}", document.display());
            links += 1;
        }
    }
    assert!(links > 15, "{links}");
}
