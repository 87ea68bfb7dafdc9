//! Documents that say what the code does: errors, commands, links.

use std::path::Path;
use std::time::Duration;

use llm_gateway::error::Error;

fn read(path: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(path);
    std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// One of each variant that has a code of its own.
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
        Error::ModelRetired(text()),
        Error::BodyTooLarge(1),
        Error::UnsupportedMediaType(text()),
        Error::RateLimited { limit: text(), retry_after: wait },
        Error::UpstreamRateLimited { message: text(), retry_after: None },
        Error::UpstreamAuth(text()),
        Error::Overloaded { message: text(), retry_after: wait },
        Error::NoCredentials(text()),
        Error::Timeout(text()),
        Error::Internal,
    ];
    let upstream = [
        "upstream_error",
        "upstream_overloaded",
        "upstream_unreachable",
        "upstream_disconnected",
        "upstream_invalid_response",
        "stream_truncated",
    ];
    all.extend(upstream.map(|code| Error::upstream("x", code)));
    all
}

#[test]
fn the_readme_has_every_error_with_its_status_type_and_code() {
    let readme = read("README.md");
    for error in errors() {
        let class = error.class();
        let code = class.code.unwrap_or("");
        let row = readme.lines().find(|line| {
            line.starts_with(&format!("| {} | {} |", class.status, class.kind)) && line.contains(code)
        });
        assert!(row.is_some(), "{} {} {code} is not in the table", class.status, class.kind);
    }
}

#[test]
fn the_readme_names_every_command() {
    let readme = read("README.md");
    let said =
        std::process::Command::new(env!("CARGO_BIN_EXE_llm-gateway")).arg("--help").output().expect("help");
    let help = String::from_utf8(said.stdout).expect("text");
    let commands = help
        .lines()
        .skip_while(|line| !line.starts_with("Commands:"))
        .skip(1)
        .take_while(|line| line.starts_with("  "));
    let mut count = 0;
    for name in commands.filter_map(|line| line.split_whitespace().next()).filter(|name| *name != "help") {
        assert!(readme.contains(&format!("`{name}")), "{name}");
        count += 1;
    }
    assert!(count >= 7, "{help}");
}

#[test]
fn links_between_documents_lead_somewhere() {
    for document in [
        "README.md",
        "ARCHITECTURE.md",
        "CHANGELOG.md",
        "docs/catalog.md",
        "docs/configuration.md",
        "docs/metrics.md",
    ] {
        let folder = Path::new(document).parent().unwrap_or(Path::new(""));
        for link in read(document).split("](").skip(1).filter_map(|rest| rest.split(')').next()) {
            if !link.contains("://") && !link.starts_with('#') {
                let target = Path::new(env!("CARGO_MANIFEST_DIR"))
                    .join(folder)
                    .join(link.split('#').next().unwrap_or(link));
                assert!(target.exists(), "{document}: {link}");
            }
        }
    }
}
