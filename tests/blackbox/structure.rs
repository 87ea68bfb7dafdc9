//! The structure of the source: layers, fences, sizes. What ARCHITECTURE.md says is checked here.

use std::fs;
use std::path::{Path, PathBuf};

/// Modules from the bottom up. A module imports only from lines above its own, never from its own line.
const LAYERS: &[&[&str]] = &[
    &["error", "json", "money", "rfc3339", "stub"],
    &["chat"],
    &["catalog", "wire"],
    &["config", "receipt"],
    &["policy", "telemetry"],
    &["store", "upstream"],
    &["actors"],
    &["dispatch"],
    &["http"],
    &["cell"],
    &["gateway"],
    &["cli"],
    &["main", "lib"],
];

/// A text that may stand only in these modules; an empty list means nowhere.
const FENCES: &[(&str, &[&str])] = &[
    ("awc::", &["upstream"]),
    ("actix_web::", &["http", "cell", "gateway", "main", "stub"]),
    ("env::var", &["config"]),
    ("unbounded_channel", &[]),
    ("ctx.spawn(", &[]),
    (".unwrap()", &[]),
];

/// Modules that decide and translate: they have no clock.
const CLOCKLESS: &[&str] = &["chat", "wire", "policy", "catalog", "json", "money", "error", "receipt"];
const CLOCKS: &[&str] = &["SystemTime::now", "Instant::now", "tokio::time", "actix_rt::time"];

/// Vendors that the vocabulary must not know.
const VENDORS: &[&str] = &["groq", "anthropic", "gemini", "mistral", "deepseek", "openrouter"];

const FILE_LINES_MAX: usize = 500;
const FUNCTION_LINES_MAX: usize = 70;

/// One file of the source, without its inline tests.
struct Source {
    path: String,
    module: String,
    code: Vec<String>,
    lines: usize,
}

impl Source {
    fn new(path: &str, text: &str) -> Self {
        let module = path.trim_start_matches("src/").split('/').next().unwrap_or("");
        let mut code: Vec<String> = text.lines().map(str::to_owned).collect();
        if let Some(tests) =
            code.windows(2).position(|pair| pair[0] == "#[cfg(test)]" && pair[1] == "mod tests {")
        {
            code.truncate(tests);
        }
        Self {
            path: path.to_owned(),
            module: module.trim_end_matches(".rs").to_owned(),
            code,
            lines: text.lines().count(),
        }
    }

    /// Lines that are code and not a comment, with their numbers.
    fn code(&self) -> impl Iterator<Item = (usize, &str)> {
        self.code
            .iter()
            .enumerate()
            .map(|(at, line)| (at + 1, line.as_str()))
            .filter(|(_, line)| !line.trim_start().starts_with("//"))
    }

    fn problems(&self) -> Vec<String> {
        let mut found = Vec::new();
        if !self.code.first().is_some_and(|line| line.starts_with("//!")) {
            found.push(format!("{}:1: a file starts by saying what it is (//!)", self.path));
        }
        if self.lines > FILE_LINES_MAX {
            found.push(format!("{}: {} lines, at most {FILE_LINES_MAX}", self.path, self.lines));
        }
        let own = rank(&self.module);
        for (number, line) in self.code() {
            let at = format!("{}:{number}", self.path);
            for import in imports(line).filter(|import| *import != self.module) {
                if rank(import).is_some_and(|rank| own.is_some_and(|own| rank >= own)) {
                    found.push(format!("{at}: {} must not import {import}", self.module));
                }
            }
            for (text, allowed) in FENCES {
                if line.contains(text) && !allowed.contains(&self.module.as_str()) {
                    found.push(format!("{at}: `{text}` has no place here"));
                }
            }
            if CLOCKLESS.contains(&self.module.as_str()) && CLOCKS.iter().any(|clock| line.contains(clock)) {
                found.push(format!("{at}: {} has no clock; take the time as a parameter", self.module));
            }
            if self.module == "chat" && VENDORS.iter().any(|vendor| line.to_lowercase().contains(vendor)) {
                found.push(format!("{at}: the vocabulary knows no vendor"));
            }
        }
        found.extend(self.long_functions());
        found
    }

    /// Functions longer than the limit, by their indentation.
    fn long_functions(&self) -> Vec<String> {
        let mut found = Vec::new();
        let mut open: Option<(usize, usize)> = None;
        for (at, line) in self.code.iter().enumerate() {
            let indent = line.len() - line.trim_start().len();
            if let Some((start, column)) = open
                && indent == column
                && line.trim_start().starts_with('}')
            {
                let length = at - start + 1;
                if length > FUNCTION_LINES_MAX {
                    found.push(format!("{}:{}: a function of {length} lines", self.path, start + 1));
                }
                open = None;
            }
            let word = line
                .trim_start()
                .trim_start_matches("pub")
                .trim_start_matches("(super)")
                .trim_start_matches("(crate)");
            let word = word.trim_start().trim_start_matches("const ").trim_start_matches("async ");
            if word.starts_with("fn ") && !line.trim_end().ends_with(['}', ';']) {
                open = Some((at, indent));
            }
        }
        found
    }
}

fn rank(module: &str) -> Option<usize> {
    LAYERS.iter().position(|layer| layer.contains(&module))
}

/// Top-level modules that a line names by `crate::`.
fn imports(line: &str) -> impl Iterator<Item = &str> {
    line.split("crate::").skip(1).map(|rest| {
        let end = rest.find(|c: char| !c.is_ascii_alphanumeric() && c != '_').unwrap_or(rest.len());
        &rest[..end]
    })
}

fn files(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).expect("the source is here") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            files(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
}

/// Every file of the product, tests and what only tests use aside.
fn sources() -> Vec<Source> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut found = Vec::new();
    files(&root.join("src"), &mut found);
    let relative = |path: &Path| path.strip_prefix(root).expect("below the root").display().to_string();
    let product = |path: &str| {
        !path.ends_with("/tests.rs") && !path.contains("/tests/") && !path.ends_with("/testing.rs")
    };
    let read = |path: PathBuf| (relative(&path), fs::read_to_string(&path).expect("readable"));
    let mut sources: Vec<Source> = found
        .into_iter()
        .map(read)
        .filter(|(path, _)| product(path))
        .map(|(path, text)| Source::new(&path, &text))
        .collect();
    sources.sort_by(|a, b| a.path.cmp(&b.path));
    sources
}

#[test]
fn the_source_keeps_to_its_layers_fences_and_sizes() {
    let problems: Vec<String> = sources().iter().flat_map(Source::problems).collect();
    assert!(problems.is_empty(), "{}", problems.join("\n"));
}

#[test]
fn every_module_has_its_layer_and_its_line_in_the_architecture() {
    let text =
        fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("ARCHITECTURE.md")).expect("there");
    for source in sources() {
        let module = &source.module;
        assert!(rank(module).is_some(), "{module} has no layer");
        assert!(text.contains(&format!("`{module}")), "ARCHITECTURE.md does not name {module}");
    }
}

#[test]
fn nothing_is_left_out_of_the_tests_by_a_mark() {
    let mut found = Vec::new();
    for folder in ["src", "tests"] {
        files(&Path::new(env!("CARGO_MANIFEST_DIR")).join(folder), &mut found);
    }
    let mark = concat!("#[", "ignore");
    for path in found {
        assert!(!fs::read_to_string(&path).expect("readable").contains(mark), "{}", path.display());
    }
}

#[test]
fn each_rule_catches_what_it_is_for() {
    let long = format!("//! x\nfn f() {{\n{}}}\n", "    g();\n".repeat(FUNCTION_LINES_MAX));
    let large = format!("//! x\n{}", "// y\n".repeat(FILE_LINES_MAX));
    for (path, text, expected) in [
        ("src/chat/a.rs", "//! x\nuse crate::wire::sse;\n", "chat must not import wire"),
        ("src/store/a.rs", "//! x\nuse crate::upstream::Link;\n", "store must not import upstream"),
        ("src/http/a.rs", "//! x\nuse awc::Client;\n", "`awc::` has no place here"),
        ("src/wire/a.rs", "//! x\nfn f() { std::env::var(\"X\"); }\n", "`env::var` has no place here"),
        ("src/policy/a.rs", "//! x\nfn f() { let t = Instant::now(); }\n", "policy has no clock"),
        ("src/http/a.rs", "//! x\nfn f() { g().unwrap() }\n", "`.unwrap()` has no place here"),
        ("src/chat/a.rs", "//! x\nconst A: &str = \"groq\";\n", "knows no vendor"),
        ("src/http/a.rs", "use std::fmt;\n", "saying what it is"),
        ("src/http/a.rs", &long, "a function of 72 lines"),
        ("src/http/a.rs", &large, "501 lines"),
    ] {
        let problems = Source::new(path, text).problems().join("\n");
        assert!(problems.contains(expected), "{path}: {problems}");
    }
    assert!(Source::new("src/http/a.rs", "//! x\nuse crate::wire::sse;\n// awc::\n").problems().is_empty());
}
