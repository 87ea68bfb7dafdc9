//! Files and variables in, settings or problems out.

use std::path::Path;

use super::*;

const EXAMPLE: &str = include_str!("../../config/gateway.example.yaml");

/// Assembles with these variables, of which those with our prefix are layers and all can be referred to.
fn assembled(file: Option<&str>, variables: &[(&str, &str)]) -> Result<Loaded, Vec<Problem>> {
    let env = |name: &str| variables.iter().find(|(n, _)| *n == name).map(|(_, value)| (*value).to_owned());
    let secret_file = |path: &Path| match path.to_str() {
        Some("/run/secrets/mistral") => {
            Ok(SecretFile { text: "sk-file-secret\n".into(), world_readable: false })
        }
        _ => Err("No such file or directory".to_owned()),
    };
    let outside = Outside { env: &env, file: &secret_file };
    let owned = variables.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
    assemble(file.map(|text| ("gateway.yaml", text)), owned, &outside)
}

fn problems(file: &str, variables: &[(&str, &str)]) -> Vec<String> {
    assembled(Some(file), variables).err().unwrap_or_default().iter().map(ToString::to_string).collect()
}

fn loaded(file: &str, variables: &[(&str, &str)]) -> Loaded {
    assembled(Some(file), variables).unwrap()
}

/// A file and the start of a problem that it must get.
const BAD_FILES: &[(&str, &str)] = &[
    ("servr: { listen: x }", "servr: unknown key `servr`; did you mean `server`?"),
    ("listen: '127.0.0.1:1'", "listen: unknown key `listen`; did you mean `server.listen`?"),
    ("server: { lisen: 'x:1' }", "server.lisen: unknown key `lisen`; did you mean `listen`?"),
    ("server: 5", "server: must be a table; its keys are listen, workers"),
    ("server: { listen: 8080 }", "server.listen: `8080` is not an address; write host:port"),
    ("server: { workers: 0 }", "server.workers: must be a whole number from 1 to 1024, not `0`, or `auto`"),
    ("server: { keep_alive: 30 }", "server.keep_alive: `30` is not a duration"),
    ("server: { keep_alive: 25h }", "server.keep_alive: `25h` is out of range; allowed are 1ms to 24h"),
    ("server: { body_limit: 2GiB }", "server.body_limit: `2GiB` is out of range; allowed are 1KiB to 1GiB"),
    (
        "server: { fetch_allow: ['10.0.0.1/8'] }",
        "server.fetch_allow: holds an entry that cannot be used: `10.0.0.1/8` has bits beyond its length",
    ),
    (
        "server: { cors_origins: ['https://a.test/'] }",
        "server.cors_origins: holds `https://a.test/`, which is not an origin",
    ),
    ("server: { cors_origins: ['*'] }", "server.cors_origins: holds `*`, which is not an origin"),
    ("server: { cors_origins: 'https://A.test' }", "server.cors_origins: holds `https://A.test`"),
    ("server: { cors_origins: 'http://a.test:80' }", "server.cors_origins: holds `http://a.test:80`"),
    ("fetch_images: true", "fetch_images: unknown key `fetch_images`; did you mean `server.fetch_images`?"),
    ("strict: maybe", "strict: must be true or false, not `maybe`"),
    ("log: { level: inf }", "log.level: `inf` is not known; did you mean `info`?"),
    ("log: { format: xml }", "log.format: `xml` is not known; write one of json, pretty"),
    ("ops: { listen: '127.0.0.1:8080' }", "ops.listen: is the address of `server.listen`"),
    ("admin_key: ''", "admin_key: is empty"),
    ("admin_key: file:/nowhere", "admin_key: cannot read /nowhere: No such file"),
    ("admin_key: 12345678901234567890", "admin_key: must be a text; put it in quotes"),
    ("database: { url: 'mysql://x' }", "database.url: must start with postgres://"),
    ("redis: { url: 'env:NOBODY_SET_IT' }", "redis.url: NOBODY_SET_IT is not set"),
    ("redis: { timeout: 6s }", "redis.timeout: is not between 1ms and 5s"),
    ("redis: { on_loss: hope }", "redis.on_loss: `hope` is not known"),
    ("redis: { prefix: 'a{b}' }", "redis.prefix: has characters other than"),
    ("providers: { mine: {} }", "providers.mine.base_url: is needed: no shipped provider has this id"),
    (
        "providers: { mine: { base_url: 'ftp://x' } }",
        "providers.mine.base_url: must start with https:// or http://",
    ),
    (
        "providers: { mine: { base_url: 'https://a:b@x' } }",
        "providers.mine.base_url: must not hold credentials",
    ),
    ("providers: { mine: { base_url: 'https://x?k=1' } }", "providers.mine.base_url: must not hold a query"),
    ("providers: { 'a/b': { base_url: 'https://x' } }", "providers.a/b: a name has 1 to 64 letters"),
    ("providers: { openai: { wire: smtp } }", "providers.openai.wire: is not a wire format of this version"),
    (
        "providers: { openai: { apikey: sk-hidden } }",
        "providers.openai.apikey: unknown key `apikey`; did you mean `api_key`?",
    ),
    ("providers: { openai: { api_key: file:/nowhere } }", "providers.openai.api_key: cannot read /nowhere"),
    ("providers: { openai: { auth: basic } }", "providers.openai.auth: `basic` is not known; write bearer"),
    (
        "providers: { openai: { timeouts: { idle: 0s } } }",
        "providers.openai.timeouts.idle: `0s` is out of range",
    ),
    (
        "providers: { openai: { headers: { Host: x } } }",
        "providers.openai.headers.Host: the header `Host` is set",
    ),
    (
        "providers: { openai: { headers: { authorization: x } } }",
        "providers.openai.headers.authorization: give the credential as `api_key`",
    ),
    (
        "providers: { openai: { headers: { x-a: 'env:NONE' } } }",
        "providers.openai.headers.x-a: environment variable NONE is not set",
    ),
    (
        "providers: { openai: { quirks: { reasoning_back: drop } } }",
        "providers.openai.quirks.reasoning_back: `drop` is not known",
    ),
    (
        "providers: { azure: { api_key: env:K } }",
        "providers.azure.vars.resource: is needed: set the environment variable AZURE_RESOURCE_NAME",
    ),
    (
        "providers: { azure: { vars: { resource: 'a@b' } } }",
        "providers.azure.vars.resource: holds characters",
    ),
    (
        "providers: { mine: { base_url: 'https://x/{id}' } }",
        "providers.mine.vars.id: is needed: base_url holds {id}",
    ),
    ("models: { fast: {} }", "models.fast.targets: is needed: a list of targets"),
    ("models: { fast: { targets: [] } }", "models.fast.targets: is needed: a list of targets"),
    ("models: { fast: { targets: x } }", "models.fast.targets: must be a list"),
    ("models: { fast: { targets: [{ weight: 2 }] } }", "models.fast.targets[0].model: is needed"),
    (
        "models: { fast: { targets: [{ model: m, weight: 0 }] } }",
        "models.fast.targets[0].weight: must be a whole number from 1 to 1000",
    ),
    (
        "models: { fast: { targets: [{ model: grok/m }] } }",
        "models.fast.targets[0].model: there is no provider `grok`; did you mean `groq`?",
    ),
    (
        "models: { a: { targets: [{ model: b }] }, b: { targets: [{ model: m }] } }",
        "models.a.targets[0].model: `b` is an alias itself",
    ),
    ("models: { auto: { targets: [{ model: m }] } }", "models.auto: `auto` is the router's own"),
    ("a: 1\nb: [", "gateway.yaml: is not valid YAML:"),
    ("server: {}\nserver: {}", "gateway.yaml: is not valid YAML:"),
    ("'a[999999999]': 1", "gateway.yaml: holds the unknown key `a[999999999]`"),
];

#[test]
fn every_bad_file_gets_its_problem_with_path_and_advice() {
    for (file, expected) in BAD_FILES {
        let found = problems(file, &[]);
        assert!(
            found.iter().any(|problem| problem.starts_with(expected)),
            "{file}\nexpected {expected}\nfound {found:#?}"
        );
        assert!(!found.iter().any(|problem| problem.contains("sk-hidden")), "{found:#?}");
    }
}

#[test]
fn a_syntax_error_names_its_line() {
    let found = problems("server:\n  listen: 'x:1'\n bad: {", &[]);
    assert!(found[0].contains("line 3") || found[0].contains("line 4"), "{found:#?}");
}

#[test]
fn all_problems_come_at_once() {
    let file = "server: { listen: x, bodylimit: 1MiB }\nproviders: { mine: { api_key: file:/nowhere } }\nlog: { level: loud }";
    let found = problems(file, &[("LLM_GATEWAY__SERVR__X", "1"), ("LLM_GATEWAY__SERVER__WORKERS", "many")]);
    for expected in [
        "LLM_GATEWAY__SERVR__X: sets no known key",
        "server.listen: `x` is not an address",
        "server.bodylimit: unknown key `bodylimit`; did you mean `body_limit`?",
        "server.workers: must be a whole number from 1 to 1024, not `many`, or `auto` (set by LLM_GATEWAY__SERVER__WORKERS)",
        "providers.mine.base_url: is needed",
        "providers.mine.api_key: cannot read /nowhere",
        "log.level: `loud` is not known",
    ] {
        assert!(found.iter().any(|problem| problem.starts_with(expected)), "{expected}\n{found:#?}");
    }
    assert_eq!(found.len(), 7, "{found:#?}");
}

#[test]
fn the_environment_lies_over_the_file() {
    let file =
        "server: { listen: '127.0.0.1:1', workers: 2 }\nproviders: { my-vllm: { base_url: 'http://a/v1' } }";
    let loaded = loaded(
        file,
        &[
            ("LLM_GATEWAY__SERVER__LISTEN", "127.0.0.1:0"),
            ("LLM_GATEWAY__OPS__LISTEN", "127.0.0.1:0"),
            ("LLM_GATEWAY__STRICT", "true"),
            ("LLM_GATEWAY__CATALOG__AUTO", "a, b"),
            ("LLM_GATEWAY__PROVIDERS__MY_VLLM__BASE_URL", "http://b/v1/"),
            ("LLM_GATEWAY__PROVIDERS__MY_VLLM__TIMEOUTS__IDLE", "5s"),
            ("LLM_GATEWAY_ADMIN_KEY", "not a layer: one underscore"),
        ],
    );
    let settings = &loaded.settings;
    assert_eq!(settings.server.listen, "127.0.0.1:0");
    assert_eq!(settings.server.workers, Some(2));
    assert!(settings.strict);
    assert_eq!(settings.catalog.auto.as_deref(), Some(["a".to_owned(), "b".to_owned()].as_slice()));
    assert_eq!(settings.providers["my-vllm"].base_url, "http://b/v1");
    assert_eq!(settings.providers["my-vllm"].timeouts.idle.as_secs(), 5);
    assert_eq!(loaded.origins["server.listen"], "LLM_GATEWAY__SERVER__LISTEN");
    assert_eq!(loaded.origins["server.workers"], "file");
}

#[test]
fn a_variable_that_names_nothing_is_a_problem() {
    for (variable, expected) in [
        ("LLM_GATEWAY__SERVR__LISTEN", "did you mean `LLM_GATEWAY__SERVER__LISTEN`?"),
        ("LLM_GATEWAY__SERVER", "names a section; add `__` and one of its keys: LISTEN"),
        ("LLM_GATEWAY__MODELS__FAST__TARGETS", "a list of tables can only be given in the file"),
        ("LLM_GATEWAY__", "sets no known key"),
    ] {
        let found = problems("", &[(variable, "sk-hidden")]);
        assert!(found[0].starts_with(variable) && found[0].contains(expected), "{found:#?}");
        assert!(!found[0].contains("sk-hidden"));
    }
}

#[test]
fn without_providers_those_with_a_variable_are_configured() {
    let keys = [
        ("OPENAI_API_KEY", "sk-1"),
        ("GROQ_API_KEY", ""),
        ("HF_TOKEN", "hf"),
        ("AZURE_OPENAI_API_KEY", "az"),
    ];
    for file in [None, Some("log: { level: debug }"), Some("providers:")] {
        let loaded = assembled(file, &keys).unwrap();
        let ids: Vec<&str> = loaded.settings.providers.keys().map(String::as_str).collect();
        assert_eq!(ids, ["huggingface", "openai"]);
        assert!(
            loaded
                .warnings
                .iter()
                .any(|w| w.starts_with("azure is left out") && w.contains("AZURE_RESOURCE_NAME"))
        );
        assert_eq!(loaded.settings.credential_hints["groq"], ["GROQ_API_KEY"]);
        assert_eq!(loaded.settings.credential_hints["anthropic"], ["ANTHROPIC_API_KEY"]);
        assert!(!loaded.settings.credential_hints.contains_key("openai"));
    }
    let exact = loaded("providers: { groq: {} }", &keys);
    assert_eq!(exact.settings.providers.keys().collect::<Vec<_>>(), ["groq"]);
}

#[test]
fn a_variable_can_correct_a_detected_provider() {
    let base = ("LLM_GATEWAY__PROVIDERS__OPENAI__BASE_URL", "http://127.0.0.1:9/v1");
    let loaded = assembled(None, &[("OPENAI_API_KEY", "sk-1"), ("GROQ_API_KEY", "g"), base]).unwrap();
    let providers = &loaded.settings.providers;
    assert_eq!(providers.keys().collect::<Vec<_>>(), ["groq", "openai"]);
    assert_eq!(providers["openai"].base_url, "http://127.0.0.1:9/v1");
    assert!(providers["openai"].has_credential() && providers["openai"].quirks.developer_role);
}

#[test]
fn credentials_come_from_where_they_are_said_to_be() {
    let file = "providers:\n  openai: { api_key: env:MINE }\n  groq: {}\n  mistral: { api_key: file:/run/secrets/mistral }\n  \
                xai: { auth: none }\n  my-vllm: { base_url: 'http://v/v1' }\n  keyed: { base_url: 'http://v/v1', api_key: env:MINE }";
    let loaded = loaded(file, &[("OPENAI_API_KEY", "sk-usual"), ("XAI_API_KEY", "x"), ("MINE", "")]);
    let of = |id: &str| {
        let provider = &loaded.settings.providers[id];
        (provider.auth.clone(), provider.api_key.as_ref().map(|key| key.expose().to_owned()))
    };
    assert_eq!(
        of("openai"),
        (AuthStyle::Bearer, None),
        "the usual variable does not stand in for a named one"
    );
    assert_eq!(of("groq"), (AuthStyle::Bearer, None));
    assert_eq!(of("mistral"), (AuthStyle::Bearer, Some("sk-file-secret".to_owned())));
    assert_eq!(of("xai"), (AuthStyle::None, None));
    assert_eq!(of("my-vllm"), (AuthStyle::None, None));
    assert_eq!(of("keyed"), (AuthStyle::Bearer, None));
    assert_eq!(loaded.settings.credential_hints["openai"], ["MINE"]);
    let without: Vec<&String> = loaded.warnings.iter().filter(|w| w.contains("has no credential")).collect();
    assert_eq!(without.len(), 3, "{without:#?}");
    assert!(without.iter().any(|w| w.starts_with("providers.groq: ") && w.contains("GROQ_API_KEY")));
}

#[test]
fn a_key_travels_as_the_vendor_of_the_format_takes_it() {
    for (wire, expected) in [
        ("openai", AuthStyle::Bearer),
        ("anthropic", AuthStyle::Header("x-api-key".into())),
        ("gemini", AuthStyle::Header("x-goog-api-key".into())),
        ("cohere", AuthStyle::Bearer),
    ] {
        let file = format!("providers: {{ mine: {{ wire: {wire}, base_url: 'http://v', api_key: env:K }} }}");
        let loaded = loaded(&file, &[("K", "secret")]);
        assert_eq!(loaded.settings.providers["mine"].auth, expected, "{wire}");
    }
    let keyless = loaded("providers: { mine: { wire: anthropic, base_url: 'http://v' } }", &[]);
    assert_eq!(keyless.settings.providers["mine"].auth, AuthStyle::None);
}

#[test]
fn placeholders_are_filled_from_vars_or_variables() {
    for (file, variables, expected) in [
        ("azure: { vars: { resource: r1 } }", [("A", "")], "https://r1.openai.azure.com/openai/v1"),
        ("azure: {}", [("AZURE_RESOURCE_NAME", "r2")], "https://r2.openai.azure.com/openai/v1"),
        ("azure: { base_url: 'https://x/v1' }", [("A", "")], "https://x/v1"),
        (
            "databricks: {}",
            [("DATABRICKS_HOST", "https://d.example/")],
            "https://d.example/serving-endpoints",
        ),
        ("databricks: {}", [("DATABRICKS_HOST", "d.example")], "https://d.example/serving-endpoints"),
        ("gpustack: {}", [("GPUSTACK_HOST", "https://g.example:8443")], "https://g.example:8443/v1"),
    ] {
        let loaded = loaded(&format!("providers: {{ {file} }}"), &variables);
        assert_eq!(loaded.settings.providers.values().next().unwrap().base_url, expected, "{file}");
    }
}

#[test]
fn a_placeholder_that_stands_in_an_address_twice_is_missed_once() {
    let problems = problems("providers: { vertex: {} }", &[]);
    assert_eq!(
        problems.iter().filter(|problem| problem.starts_with("providers.vertex.vars.region:")).count(),
        1
    );
}

#[test]
fn given_quirks_replace_the_rows_one_by_one() {
    let loaded = loaded(
        "providers: { mistral: { quirks: { stream_options: 'true', rename_params: { n: num } } } }",
        &[],
    );
    let quirks = &loaded.settings.providers["mistral"].quirks;
    assert!(quirks.stream_options);
    assert_eq!(quirks.tool_choice_required.as_deref(), Some("any"));
    assert_eq!(quirks.rename_params.len(), 2, "seed of the row and n of the file");
}

#[test]
fn secrets_never_appear_in_what_is_shown() {
    let file = "admin_key: sk-hidden-admin\nproviders: { openai: { api_key: sk-hidden-key, headers: { x-org: sk-hidden-header } }, \
                mistral: { api_key: file:/run/secrets/mistral }, groq: { api_key: env:SECRET } }";
    let loaded = loaded(file, &[("SECRET", "sk-hidden-env")]);
    assert_eq!(loaded.settings.providers["openai"].headers["x-org"].expose(), "sk-hidden-header");
    let shown = format!("{loaded:?} {:?} {:?}", loaded.settings.effective, loaded.warnings);
    for secret in ["sk-hidden", "sk-file-secret"] {
        assert!(!shown.contains(secret), "{shown}");
    }
    assert_eq!(loaded.settings.effective["providers"]["groq"]["api_key"], "env:SECRET");
    assert_eq!(loaded.settings.effective["server"]["keep_alive"], "75s");
}

#[test]
fn alias_targets_without_a_provider_are_left_to_the_catalogue() {
    let loaded = loaded(
        "models: { fast: { targets: [{ model: known }, { model: nonsense, weight: 3 }, { model: groq/x }] } }",
        &[],
    );
    let problems = check_aliases(&loaded.settings, &|name| name == "known");
    assert_eq!(problems.len(), 1);
    assert_eq!(problems[0].path, "models.fast.targets[1].model");
    assert!(
        loaded.warnings.iter().any(|w| w.contains("`groq/x` is skipped: provider `groq` is not configured"))
    );
    assert_eq!(loaded.settings.aliases["fast"].targets[1].weight, 3);
}

#[test]
fn the_pool_of_auto_holds_names_of_the_catalogue_and_no_alias_takes_its_name() {
    let loaded = loaded("catalog: { auto: [known, nonsense] }", &[]);
    let problems = check_aliases(&loaded.settings, &|name| name == "known");
    assert_eq!(problems.iter().map(|one| one.path.as_str()).collect::<Vec<_>>(), ["catalog.auto[1]"]);
    let problems = assembled(Some("models: { auto: { targets: [{ model: groq/x }] } }"), &[]).unwrap_err();
    assert!(problems.iter().any(|one| one.path == "models.auto"), "{problems:?}");
}

#[test]
fn bounds_that_contradict_each_other_are_told_and_a_hedge_can_be_switched_off() {
    let row = "providers: { openai: { max_in_flight: 8, min_in_flight: 9, breaker: { cool_down: 9s, cool_down_max: 8s } } }";
    let found = problems(row, &[("OPENAI_API_KEY", "a")]);
    assert!(
        found.iter().any(|one| one == "providers.openai.min_in_flight: is above `max_in_flight`"),
        "{found:?}"
    );
    let long = "providers.openai.breaker.cool_down: is above `breaker.cool_down_max`";
    assert!(found.iter().any(|one| one == long), "{found:?}");
    for (given, hedged) in [
        ("", false),
        ("hedge: true", true),
        ("hedge_after: 1s", true),
        ("hedge: false, hedge_after: 1s", false),
    ] {
        let file = format!("models: {{ fast: {{ targets: [{{ model: openai/m }}], {given} }} }}");
        let loaded = loaded(&file, &[("OPENAI_API_KEY", "a")]);
        assert_eq!(loaded.settings.aliases["fast"].hedge, hedged, "{given}");
    }
}

#[test]
fn several_keys_are_checked_one_by_one() {
    let row = |keys: &str| format!("providers: {{ openai: {{ {keys} }} }}");
    for (keys, problem) in [
        (
            "api_key: env:A, api_keys: [{ key: env:A }]",
            "providers.openai.api_keys: stands beside `api_key`; put that key into the list",
        ),
        (
            "api_keys: [{ name: a }]",
            "providers.openai.api_keys[0].key: is needed: a reference, e.g. env:OPENAI_KEY_2",
        ),
        (
            "api_keys: [{ key: env:A, name: a }, { key: env:B, name: a }]",
            "providers.openai.api_keys[1].name: `a` is another key's name already",
        ),
        (
            "auth: aws, api_keys: [{ key: env:A }]",
            "providers.openai.api_keys: goes with `auth: bearer` or a header; an identity is one only",
        ),
    ] {
        let found = problems(&row(keys), &[("A", "secret-a"), ("B", "secret-b")]);
        assert!(found.iter().any(|one| one == problem), "{keys}: {found:?}");
    }
    let loaded = loaded(&row("api_keys: [{ key: env:A }, { key: env:NOT_SET }]"), &[("A", "secret-a")]);
    assert_eq!(loaded.warnings, ["providers.openai: api_keys[1] is left out until NOT_SET is set"]);
    assert!(loaded.settings.providers["openai"].has_credential());
}

#[test]
fn the_example_file_loads_and_its_general_values_are_the_defaults() {
    let variables = [
        ("OPENAI_API_KEY", "a"),
        ("GROQ_API_KEY", "b"),
        ("AZURE_OPENAI_API_KEY", "c"),
        ("CEREBRAS_KEY_1", "d"),
        ("CEREBRAS_KEY_2", "e"),
        ("CEREBRAS_KEY_3", "f"),
        ("LLM_GATEWAY_ADMIN_KEY", "0123456789abcdef"),
    ];
    let loaded = loaded(EXAMPLE, &variables);
    assert_eq!(loaded.warnings, Vec::<String>::new());
    assert_eq!(loaded.settings.providers.len(), 9);
    let keys: Vec<_> =
        loaded.settings.providers["cerebras"].api_keys.iter().map(|key| (&*key.name, key.weight)).collect();
    assert_eq!(keys, [("team-a", 3), ("team-b", 1), ("spare", 0)]);
    let defaults = assembled(None, &[]).unwrap();
    assert_eq!(format!("{:?}", loaded.settings.server), format!("{:?}", defaults.settings.server));
    assert_eq!(loaded.settings.providers["mistral"].timeouts, loaded.settings.providers["openai"].timeouts);
    assert_eq!(loaded.settings.ops_listen, defaults.settings.ops_listen);
}

#[test]
fn the_real_edge_reads_files_and_reports_those_it_cannot_read() {
    let missing = load(Some(Path::new("/nowhere/gateway.yaml")), &mut Vec::new()).unwrap_err();
    assert_eq!(missing[0].path, "/nowhere/gateway.yaml");
    assert!(missing[0].message.contains("cannot be read"));
    let example = concat!(env!("CARGO_MANIFEST_DIR"), "/config/gateway.example.yaml");
    let problems = load(Some(Path::new(example)), &mut Vec::new()).unwrap_err();
    assert_eq!(problems.len(), 1, "only the secret file is not there: {problems:#?}");
    assert_eq!(problems[0].path, "providers.mistral.api_key");
}
