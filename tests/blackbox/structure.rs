//! The structure of the source: layers, fences, sizes. What ARCHITECTURE.md says is checked here.

use std::collections::HashSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::LazyLock;

/// Modules from the bottom up. A module imports only from lines above its own, never from its own line.
const LAYERS: &[&[&str]] = &[
    &["csv", "error", "json", "money", "request_log", "rfc3339", "stub", "timer", "trace"],
    &["bill", "chat"],
    &["catalog", "wire"],
    &["config", "receipt"],
    &["policy", "telemetry"],
    &["fleet", "journal", "store", "upstream"],
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
    ("actix_http::", &["gateway", "upstream"]),
    ("actix_web::", &["http", "cell", "gateway", "main", "stub"]),
    ("env::var", &["config"]),
    ("unbounded_channel", &[]),
    ("ctx.spawn(", &[]),
    (".unwrap()", &[]),
];

/// Modules that decide and translate: they have no clock.
const CLOCKLESS: &[&str] = &[
    "chat",
    "wire",
    "policy",
    "catalog",
    "json",
    "money",
    "error",
    "receipt",
    "csv",
    "bill",
    "request_log",
    "trace",
];
const CLOCKS: &[&str] = &["SystemTime::now", "Instant::now", "tokio::time", "actix_rt::time"];

/// Vendors that the vocabulary must not know.
const VENDORS: &[&str] = &["groq", "anthropic", "gemini", "mistral", "deepseek", "openrouter"];

/// Modules that never decide by a provider's id: what is odd about a vendor is a quirk of its row.
const VENDORLESS: &[&str] = &["wire", "policy", "upstream", "actors", "dispatch", "http"];

/// Folders of one machine. In halves, so that this file does not hold what it forbids.
const MACHINE_PATHS: &[&str] = &[concat!("/home", "/"), concat!("/root", "/"), concat!("/Users", "/")];

const FILE_LINES_MAX: usize = 500;
const FUNCTION_LINES_MAX: usize = 70;

/// One file of the source, without its inline tests.
struct Source {
    path: String,
    module: String,
    /// How many `super::` lead from this file to the crate's root.
    depth: usize,
    code: Vec<String>,
}

impl Source {
    fn new(path: &str, text: &str) -> Self {
        let module = path.trim_start_matches("src/").split('/').next().unwrap_or("");
        let mut code: Vec<String> = text.lines().map(str::to_owned).collect();
        // Emptied, not cut off: what follows the tests counts, and line numbers stay.
        let tests =
            code.windows(2).position(|pair| pair[0] == "#[cfg(test)]" && pair[1].starts_with("mod tests {"));
        if let Some(start) = tests {
            code[start..].iter_mut().take_while(|line| *line != "}").for_each(String::clear);
        }
        let below = path.trim_start_matches("src/").trim_end_matches(".rs").trim_end_matches("/mod");
        Self {
            path: path.to_owned(),
            module: module.trim_end_matches(".rs").to_owned(),
            depth: below.split('/').count(),
            code,
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
        let own = rank(&self.module);
        for (number, line) in self.code() {
            let at = format!("{}:{number}", self.path);
            for import in imports(line, self.depth).into_iter().filter(|import| *import != self.module) {
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
            if line.contains("crate::{") || line.contains("crate::*") {
                found.push(format!("{at}: name each module that is imported by a line of its own"));
            }
            if VENDORLESS.contains(&self.module.as_str())
                && let Some(vendor) = vendor_decision(line)
            {
                found.push(format!("{at}: `{vendor}` decides; make it a quirk of the provider's row"));
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
        // A stack: a function inside another one does not hide how long the outer one is.
        let mut open: Vec<(usize, usize)> = Vec::new();
        for (at, line) in self.code.iter().enumerate() {
            let indent = line.len() - line.trim_start().len();
            if line.trim_start().starts_with('}') {
                // Deeper ones that are still open were declarations without a body.
                while let Some((start, _)) = open.pop_if(|(_, column)| *column >= indent) {
                    let length = at - start + 1;
                    if length > FUNCTION_LINES_MAX {
                        found.push(format!("{}:{}: a function of {length} lines", self.path, start + 1));
                    }
                }
            }
            let word = line
                .trim_start()
                .trim_start_matches("pub")
                .trim_start_matches("(super)")
                .trim_start_matches("(crate)");
            let word = word.trim_start().trim_start_matches("const ").trim_start_matches("async ");
            if word.starts_with("fn ") && !line.trim_end().ends_with(['}', ';']) {
                open.push((at, indent));
            }
        }
        found
    }
}

fn rank(module: &str) -> Option<usize> {
    LAYERS.iter().position(|layer| layer.contains(&module))
}

/// Top-level modules that a line names, by `crate::` or by climbing to the root with `depth` times `super::`.
fn imports(line: &str, depth: usize) -> Vec<&str> {
    let climb = "super::".repeat(depth);
    let name =
        |rest: &'_ str| rest.find(|c: char| !c.is_ascii_alphanumeric() && c != '_').unwrap_or(rest.len());
    ["crate::", &climb]
        .into_iter()
        .flat_map(|prefix| line.split(prefix).skip(1))
        .map(|rest| &rest[..name(rest)])
        .filter(|module| !module.is_empty())
        .collect()
}

/// Ids that are the names of wire formats, too.
const FORMATS: &[&str] = &["openai", "anthropic", "gemini", "cohere"];

/// The provider id that a line matches on or compares with, if any.
fn vendor_decision(line: &str) -> Option<&str> {
    let ids = provider_ids();
    let quoted = line.split('"').skip(1).step_by(2);
    let decides = line.contains("=>") || line.contains("== \"") || line.contains("!= \"");
    quoted.filter(|_| decides).find(|word| ids.contains(*word))
}

/// The ids of the shipped rows.
fn provider_ids() -> &'static HashSet<String> {
    static IDS: LazyLock<HashSet<String>> = LazyLock::new(|| {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("config/providers.yaml");
        let text = fs::read_to_string(path).expect("the shipped rows");
        let id = |line: &str| {
            let id = line.strip_prefix("  ")?.strip_suffix(':')?;
            (!id.starts_with([' ', '#']) && !FORMATS.contains(&id)).then(|| id.to_owned())
        };
        text.lines().filter_map(id).collect()
    });
    &IDS
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
        const FILES: &[&str] = &["/tests.rs", "/testing.rs", "/recorded.rs", "/conformance.rs", "/golden.rs"];
        const FOLDERS: &[&str] = &["/tests/", "/recorded/", "/conformance/"];
        !FOLDERS.iter().any(|folder| path.contains(folder)) && !FILES.iter().any(|file| path.ends_with(file))
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

/// True when some file of the folder above declares this one as its module.
fn is_declared(path: &Path) -> bool {
    let stem = |path: &Path| path.file_stem().and_then(|stem| stem.to_str()).unwrap_or_default().to_owned();
    let (module, folder) = match (stem(path).as_str(), path.parent()) {
        ("mod", Some(own)) => (stem(own), own.parent()),
        (other, folder) => (other.to_owned(), folder),
    };
    let Some(folder) = folder else { return true };
    let declaring = [folder.join("mod.rs"), folder.join("lib.rs"), folder.with_extension("rs")];
    let mut lines = declaring
        .iter()
        .filter_map(|file| fs::read_to_string(file).ok())
        .flat_map(|text| text.lines().map(|line| line.trim().to_owned()).collect::<Vec<_>>());
    lines.any(|line| line == format!("mod {module};") || line.ends_with(&format!(" mod {module};")))
}

#[test]
fn every_source_file_is_compiled() {
    let mut found = Vec::new();
    files(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src"), &mut found);
    let roots = ["main.rs", "lib.rs"];
    let dead: Vec<_> = found
        .iter()
        .filter(|path| !roots.iter().any(|root| path.ends_with(root)) && !is_declared(path))
        .collect();
    assert!(dead.is_empty(), "no module declares {dead:?}");
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

/// What no Rust file may hold, tests included.
fn hygiene(path: &str, text: &str) -> Vec<String> {
    let mut found = Vec::new();
    let lines = text.lines().count();
    if lines > FILE_LINES_MAX {
        found.push(format!("{path}: {lines} lines, at most {FILE_LINES_MAX}"));
    }
    for (at, line) in text.lines().enumerate() {
        if line.contains(concat!("#[", "ignore")) {
            found.push(format!("{path}:{}: no test is left out by a mark", at + 1));
        }
        if let Some(folder) = MACHINE_PATHS.iter().find(|folder| line.contains(*folder)) {
            found.push(format!("{path}:{}: `{folder}` is a folder of one machine", at + 1));
        }
    }
    found
}

#[test]
fn no_file_is_too_long_leaves_out_a_test_or_names_a_machine() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut found = Vec::new();
    for folder in ["src", "tests"] {
        files(&root.join(folder), &mut found);
    }
    let of = |path: &PathBuf| {
        let relative = path.strip_prefix(root).expect("below the root").display().to_string();
        hygiene(&relative, &fs::read_to_string(path).expect("readable"))
    };
    let problems: Vec<String> = found.iter().flat_map(of).collect();
    assert!(problems.is_empty(), "{}", problems.join("\n"));
}

#[test]
fn each_rule_catches_what_it_is_for() {
    let long = format!("//! x\nfn f() {{\n{}}}\n", "    g();\n".repeat(FUNCTION_LINES_MAX));
    let outer =
        format!("//! x\nfn f() {{\n    fn g() {{\n    }}\n{}}}\n", "    g();\n".repeat(FUNCTION_LINES_MAX));
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
        ("src/http/a.rs", &outer, "a function of 74 lines"),
        ("src/chat/a.rs", "//! x\nuse super::super::wire::sse;\n", "chat must not import wire"),
        ("src/chat/mod.rs", "//! x\nuse super::wire::sse;\n", "chat must not import wire"),
        ("src/wire/a.rs", "//! x\nuse crate::catalog::Price;\n", "wire must not import catalog"),
        ("src/http/a.rs", "//! x\nuse crate::{cell, wire};\n", "by a line of its own"),
        (
            "src/http/a.rs",
            "//! x\n#[cfg(test)]\nmod tests {\n    // y\n}\nuse awc::Client;\n",
            "src/http/a.rs:6: `awc::`",
        ),
        ("src/store/a.rs", "//! x\nuse actix_web::web;\n", "`actix_web::` has no place here"),
        ("src/store/a.rs", "//! x\nfn f() { unbounded_channel(); }\n", "`unbounded_channel` has no place"),
        ("src/actors/a.rs", "//! x\nfn f() { ctx.spawn(g()); }\n", "`ctx.spawn(` has no place here"),
        ("src/wire/a.rs", "//! x\n        \"groq\" => 1,\n", "`groq` decides"),
        ("src/wire/a.rs", "//! x\nfn f() { if id == \"xai\" {} }\n", "`xai` decides"),
    ] {
        let problems = Source::new(path, text).problems().join("\n");
        assert!(problems.contains(expected), "{path}: {problems}");
    }
    assert!(Source::new("src/http/a.rs", "//! x\nuse crate::wire::sse;\n// awc::\n").problems().is_empty());
    for (text, expected) in [
        ("// y\n".repeat(FILE_LINES_MAX + 1), "501 lines"),
        (format!("{}]\n", concat!("#[", "ignore")), "src/a.rs:1: no test is left out"),
        (format!("// y\n// {}x\n", MACHINE_PATHS[0]), "src/a.rs:2: `/home"),
    ] {
        let problems = hygiene("src/a.rs", &text).join("\n");
        assert!(problems.contains(expected), "{expected}: {problems}");
    }
}
