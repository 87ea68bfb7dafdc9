//! Configuration files and what is wrong with them, as the operator meets it at the terminal.

use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use tempfile::TempDir;

use crate::support::{Output, Process};

/// A folder with a configuration file.
fn folder(config: &str) -> TempDir {
    let folder = TempDir::new().unwrap();
    std::fs::write(folder.path().join("gateway.yaml"), config).unwrap();
    folder
}

fn run(command: &str, folder: &Path, variables: &[(&str, &str)]) -> Output {
    Process::run(&[command, "--config", "gateway.yaml"], folder, variables)
}

/// What keeps a start from happening: the exit code and the one line that says why.
fn refusal(folder: &Path, variables: &[(&str, &str)]) -> (Option<i32>, String) {
    let output = run("serve", folder, variables);
    let lines: Vec<_> = output.err.lines().filter(|line| line.starts_with("error: ")).collect();
    assert_eq!(lines.len(), 1, "one clear line: {}", output.err);
    assert!(!output.err.contains("panicked") && !output.err.contains("backtrace"), "{}", output.err);
    (output.code, lines[0].to_owned())
}

const ANY_PORT: [(&str, &str); 2] =
    [("LLM_GATEWAY__SERVER__LISTEN", "127.0.0.1:0"), ("LLM_GATEWAY__OPS__LISTEN", "127.0.0.1:0")];

#[test]
fn every_problem_is_told_at_once_with_its_path_and_a_suggestion() {
    let folder = folder(
        "servr: { listen: '127.0.0.1:0' }\n\
         server: { body_limit: 12, workres: 2, ping_interval: soon, listen: nowhere }\n\
         log: { format: xml }\n\
         providers:\n  opnai: { api_key: 'env:X' }\n  bad: { base_url: 'ftp://x', timeouts: { idle: -1s } }\n\
         models:\n  fast: { targets: [ { model: no-such-model-anywhere } ] }\n",
    );
    for command in ["serve", "check"] {
        let output = run(command, folder.path(), &[("LLM_GATEWAY__SERVER__LISTN", "x")]);
        assert_eq!((output.code, output.out.as_str()), (Some(2), ""), "{output:?}");
        for expected in [
            "servr: unknown key `servr`; did you mean `server`?",
            "server.body_limit: `12` is not a size",
            "server.workres: unknown key `workres`; did you mean `workers`?",
            "server.ping_interval: `soon` is not a duration",
            "server.listen:",
            "log.format:",
            "providers.opnai",
            "providers.bad.base_url:",
            "providers.bad.timeouts.idle:",
            "LLM_GATEWAY__SERVER__LISTN: sets no known key; did you mean `LLM_GATEWAY__SERVER__LISTEN`?",
        ] {
            assert!(output.err.contains(expected), "{command}: {expected} in:\n{}", output.err);
        }
        let problems = output.err.lines().filter(|line| line.starts_with("error: ")).count();
        assert!(
            output.err.ends_with(&format!("{problems} problems; nothing was started\n")),
            "{}",
            output.err
        );
    }
}

#[test]
fn a_file_that_is_no_yaml_or_is_not_there_is_told_with_its_name() {
    let broken = folder("server: { listen\n");
    let output = run("check", broken.path(), &[]);
    assert_eq!(output.code, Some(2));
    assert!(output.err.contains("gateway.yaml: is not valid YAML"), "{}", output.err);
    let output = Process::run(&["serve", "--config", "elsewhere.yaml"], broken.path(), &[]);
    assert_eq!(output.code, Some(2));
    assert!(output.err.contains("elsewhere.yaml: cannot be read"), "{}", output.err);
}

#[test]
fn check_prints_what_holds_with_origins_and_secrets_masked() {
    let folder = folder(
        "server: { listen: '0.0.0.0:1234' }\nadmin_key: an-admin-key-in-plain-text\n\
         providers:\n  openai: { api_key: sk-hidden-literal }\n  groq: { api_key: 'env:MY_GROQ' }\n  \
         vllm: { base_url: 'http://vllm.test/v1', headers: { x-token: hidden-header } }\n",
    );
    let variables = [
        ("LLM_GATEWAY__SERVER__BODY_LIMIT", "5MiB"),
        ("LLM_GATEWAY__SERVER__LISTEN", "127.0.0.1:4321"),
        ("MY_GROQ", "gsk-hidden-variable"),
    ];
    let output = run("check", folder.path(), &variables);
    assert_eq!((output.code, output.err.as_str()), (Some(0), ""));
    for expected in [
        // The environment wins over the file, the file over the default.
        "server.listen = 127.0.0.1:4321  (LLM_GATEWAY__SERVER__LISTEN)",
        "server.body_limit = 5MiB  (LLM_GATEWAY__SERVER__BODY_LIMIT)",
        "ops.listen = 127.0.0.1:9090\n",
        "admin_key = ***",
        "providers.openai.api_key = ***",
        "providers.groq.api_key = env:MY_GROQ",
        "providers.vllm.headers.x-token = ***",
        "warning: providers.openai: api_key: holds a secret in plain text",
    ] {
        assert!(output.out.contains(expected), "{expected} in:\n{}", output.out);
    }
    for secret in ["an-admin-key", "sk-hidden", "gsk-hidden", "hidden-header"] {
        assert!(!output.out.contains(secret), "{secret} in:\n{}", output.out);
    }
}

#[test]
fn a_port_that_is_taken_is_one_clear_line() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let folder = folder("");
    for (key, other) in [("SERVER", "OPS"), ("OPS", "SERVER")] {
        let variable = format!("LLM_GATEWAY__{key}__LISTEN");
        let other = format!("LLM_GATEWAY__{other}__LISTEN");
        let (code, line) = refusal(folder.path(), &[(&variable, &address), (&other, "127.0.0.1:0")]);
        assert_eq!(code, Some(1));
        let named = format!("{}.listen {address}", key.to_lowercase());
        assert!(line.contains(&named) && line.contains("the port is taken"), "{line}");
    }
}

#[test]
fn a_data_folder_that_cannot_be_written_is_one_clear_line() {
    let folder = folder("");
    let mut variables = ANY_PORT.to_vec();
    // A folder below a file can be made by nobody, whatever their rights.
    variables.push(("LLM_GATEWAY__DATA_DIR", "gateway.yaml/data"));
    let (code, line) = refusal(folder.path(), &variables);
    assert_eq!(code, Some(1));
    assert!(line.contains("data_dir gateway.yaml/data cannot be made"), "{line}");
    let output = Process::run(&["keys", "list", "--config", "gateway.yaml"], folder.path(), &variables);
    assert_eq!((output.code, output.err.lines().count()), (Some(1), 1), "{output:?}");
}

#[test]
fn an_admin_key_that_is_empty_is_refused_and_never_stands_for_none() {
    for (config, variables) in [
        ("admin_key: ''\n", vec![]),
        ("admin_key: '   '\n", vec![]),
        ("admin_key: env:ADMIN\n", vec![("ADMIN", "")]),
        ("admin_key: file:empty.key\n", vec![]),
        ("", vec![("LLM_GATEWAY__ADMIN_KEY", "")]),
    ] {
        let folder = folder(config);
        std::fs::write(folder.path().join("empty.key"), "\n").unwrap();
        let variables: Vec<_> = variables.into_iter().chain(ANY_PORT).collect();
        let (code, line) = refusal(folder.path(), &variables);
        assert_eq!(code, Some(2), "{config:?}: {line}");
        assert!(line.contains("admin_key"), "{config:?}: {line}");
    }
}

#[tokio::test]
async fn without_an_admin_key_one_is_made_for_the_owner_alone_and_its_path_is_logged() {
    let folder = folder("");
    let variables = ANY_PORT.map(|(name, value)| (name.to_owned(), value.to_owned()));
    let mut made = Vec::new();
    for _ in 0..2 {
        let mut process = Process::start(&["serve", "--config", "gateway.yaml"], folder.path(), &variables);
        let said = process.logged("the admin key is in this file").await;
        let path = folder.path().join(said["path"].as_str().unwrap());
        assert!(path.ends_with("data/admin.key"), "{}", path.display());
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        let key = std::fs::read_to_string(&path).unwrap().trim().to_owned();
        assert!(key.len() >= 32);
        let ready = process.logged("ready").await;
        let url = format!("http://{}/admin/v1/keys", ready["ops"].as_str().unwrap());
        let status = |key: &str| {
            let request = reqwest::Client::new().get(&url).bearer_auth(key);
            async move { request.send().await.unwrap().status().as_u16() }
        };
        assert_eq!((status(&key).await, status("").await), (200, 401));
        assert!(!process.log().contains(&key), "its path is logged, not the key");
        made.push(key);
    }
    assert_eq!(made[0], made[1], "the next start keeps it");
}

#[tokio::test]
async fn a_provider_without_a_credential_is_one_clear_line_and_the_rest_serves() {
    let folder = folder("providers:\n  openai: {}\n  mine: { base_url: 'http://127.0.0.1:9/v1' }\n");
    let variables = ANY_PORT.map(|(name, value)| (name.to_owned(), value.to_owned()));
    let mut process = Process::start(&["serve", "--config", "gateway.yaml"], folder.path(), &variables);
    process.logged("ready").await;
    let warnings: Vec<_> = process
        .events()
        .into_iter()
        .filter(|event| event["level"] == "WARN" && event.to_string().contains("OPENAI_API_KEY"))
        .collect();
    assert_eq!(warnings.len(), 1, "one clear line: {warnings:#?}");
    let text = warnings[0].to_string();
    assert!(text.contains("openai") && text.contains("credential"), "{text}");
}
