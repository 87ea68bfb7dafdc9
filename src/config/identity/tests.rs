//! Rows and variables in, identities out.

use super::*;
use crate::config::{Loaded, Problem, Provider, SecretFile, assemble};

const KEY_FILE: &str = r#"{"type":"service_account","client_email":"gw@p.test","private_key":"hidden-pem","private_key_id":"k1"}"#;

fn assembled(file: Option<&str>, variables: &[(&str, &str)]) -> Result<Loaded, Vec<Problem>> {
    let env = |name: &str| variables.iter().find(|(n, _)| *n == name).map(|(_, value)| (*value).to_owned());
    let secret_file = |path: &Path| {
        let text = match path.to_str() {
            Some("/key.json") => KEY_FILE,
            Some("/user.json") => {
                r#"{"type":"authorized_user","client_id":"i","client_secret":"hidden-a","refresh_token":"hidden-b"}"#
            }
            Some("/federated.json") => r#"{"type":"external_account","client_secret":"hidden"}"#,
            Some("/broken.json") => "hidden",
            Some("/evil.json") => {
                r#"{"type":"service_account","client_email":"a","private_key":"hidden","token_uri":"file:///x"}"#
            }
            _ => return Err("No such file".to_owned()),
        };
        Ok(SecretFile { text: text.into(), world_readable: path.to_str() == Some("/user.json") })
    };
    let outside = Outside { env: &env, file: &secret_file };
    assemble(file.map(|text| ("gateway.yaml", text)), [], &outside)
}

/// How the only provider of a file is authenticated.
fn shown(provider: &Provider) -> String {
    let identity = match (&provider.identity, &provider.api_key) {
        (None, Some(key)) => format!("token {}", key.expose()),
        (None, None) => format!("needs {}", provider.env.join(" ")),
        (Some(Identity::Aws(aws)), _) => format!("aws {} {} {:?}", aws.region, aws.service, aws.profile),
        (Some(Identity::Google(GoogleIdentity::Key { email, token_url, .. })), _) => {
            format!("key {email} {token_url}")
        }
        (Some(Identity::Google(GoogleIdentity::User { client_id, .. })), _) => format!("user {client_id}"),
        (Some(Identity::Google(GoogleIdentity::Instance { host })), _) => format!("instance {host}"),
        (Some(Identity::Entra(EntraIdentity { token_url, client, scope, proof })), _) => {
            let proof = match proof {
                EntraProof::Secret(secret) => secret.expose().to_owned(),
                EntraProof::TokenFile(path) => path.display().to_string(),
            };
            format!("entra {token_url} {client} {scope} {proof}")
        }
    };
    assert_eq!(provider.has_credential(), !identity.starts_with("needs"), "{identity}");
    identity
}

const REGION: (&str, &str) = ("AWS_REGION", "eu-west-1");
const BEARER: (&str, &str) = ("AWS_BEARER_TOKEN_BEDROCK", "hidden-token");
const TENANT: (&str, &str) = ("AZURE_TENANT_ID", "t1");
const CLIENT: (&str, &str) = ("AZURE_CLIENT_ID", "c1");
const SECRET: (&str, &str) = ("AZURE_CLIENT_SECRET", "hidden-secret");

const NEEDS_AWS: &str =
    "needs AWS_BEARER_TOKEN_BEDROCK AWS_ACCESS_KEY_ID AWS_PROFILE AWS_WEB_IDENTITY_TOKEN_FILE";

/// A row, the variables that are set, and the identity of it.
type Case = (&'static str, &'static [(&'static str, &'static str)], &'static str);

const CASES: &[Case] = &[
    ("bedrock: {}", &[REGION], NEEDS_AWS),
    ("bedrock: {}", &[REGION, ("AWS_PROFILE", " ")], NEEDS_AWS),
    ("bedrock: {}", &[REGION, ("AWS_ACCESS_KEY_ID", "AK")], "aws eu-west-1 bedrock None"),
    ("bedrock: {}", &[REGION, ("AWS_PROFILE", "x")], "aws eu-west-1 bedrock None"),
    ("bedrock: {}", &[REGION, ("AWS_WEB_IDENTITY_TOKEN_FILE", "/t")], "aws eu-west-1 bedrock None"),
    ("bedrock: {}", &[REGION, ("AWS_ACCESS_KEY_ID", "AK"), BEARER], "token hidden-token"),
    ("bedrock: { api_key: env:MINE }", &[REGION, BEARER, ("MINE", "hidden-mine")], "token hidden-mine"),
    ("bedrock: { api_key: env:MINE }", &[REGION, BEARER], "needs MINE"),
    ("bedrock: { credentials: instance }", &[REGION, BEARER], "aws eu-west-1 bedrock None"),
    ("bedrock: { credentials: 'profile:dev' }", &[REGION], "aws eu-west-1 bedrock Some(\"dev\")"),
    (
        "bedrock: { credentials: instance, vars: { region: us-gov-west-1 } }",
        &[REGION],
        "aws us-gov-west-1 bedrock None",
    ),
    ("bedrock: { credentials: instance }", &[("AWS_DEFAULT_REGION", "d")], "aws d bedrock None"),
    (
        "bedrock: { credentials: instance }",
        &[REGION, ("AWS_DEFAULT_REGION", "d")],
        "aws eu-west-1 bedrock None",
    ),
    ("bedrock-mantle: { credentials: instance }", &[REGION], "aws eu-west-1 bedrock-mantle None"),
    ("vertex: { vars: { region: r, project: p } }", &[], "needs GOOGLE_APPLICATION_CREDENTIALS"),
    (
        "vertex: { vars: { region: r, project: p } }",
        &[("GOOGLE_APPLICATION_CREDENTIALS", "/key.json")],
        "key gw@p.test https://oauth2.googleapis.com/token",
    ),
    ("vertex: { vars: { region: r, project: p }, credentials: 'file:/user.json' }", &[], "user i"),
    (
        "vertex: { vars: { region: r, project: p }, credentials: instance }",
        &[],
        "instance metadata.google.internal",
    ),
    ("vertex: { vars: { region: r, project: p }, api_key: env:T }", &[("T", "hidden-t")], "token hidden-t"),
    (
        "azure: { auth: entra, vars: { resource: r } }",
        &[("AZURE_OPENAI_API_KEY", "k"), TENANT],
        "needs AZURE_CLIENT_ID AZURE_CLIENT_SECRET",
    ),
    (
        "azure: { auth: entra, vars: { resource: r } }",
        &[TENANT, CLIENT, SECRET],
        "entra https://login.microsoftonline.com/t1/oauth2/v2.0/token c1 \
             https://cognitiveservices.azure.com/.default hidden-secret",
    ),
    (
        "azure: { auth: entra, vars: { resource: r } }",
        &[
            TENANT,
            CLIENT,
            ("AZURE_FEDERATED_TOKEN_FILE", "/t"),
            ("AZURE_AUTHORITY_HOST", "https://login.test/"),
        ],
        "entra https://login.test/t1/oauth2/v2.0/token c1 https://cognitiveservices.azure.com/.default /t",
    ),
    (
        "azure: { auth: entra, api_key: env:S, vars: { resource: r, tenant: t2, client: c2, scope: 'api://x/.default' } }",
        &[("S", "hidden-s"), TENANT, CLIENT, SECRET],
        "entra https://login.microsoftonline.com/t2/oauth2/v2.0/token c2 api://x/.default hidden-s",
    ),
];

#[test]
fn identities_come_from_the_usual_variables_or_from_what_the_row_says() {
    for (row, variables, expected) in CASES {
        let loaded = assembled(Some(&format!("providers: {{ {row} }}")), variables);
        let loaded = loaded.unwrap_or_else(|problems| panic!("{row}: {problems:?}"));
        let provider = loaded.settings.providers.values().next().unwrap();
        assert_eq!(shown(provider), *expected, "{row} {variables:?}");
        let said = format!("{loaded:?} {}", loaded.settings.effective);
        assert!(!said.contains("hidden"), "{said}");
        assert_eq!(
            loaded.warnings.iter().any(|warning| warning.contains("is not called until")),
            expected.starts_with("needs"),
            "{row}: {:?}",
            loaded.warnings
        );
    }
}

#[test]
fn what_cannot_be_an_identity_is_a_problem_that_quotes_nothing_of_it() {
    let vertex = |rest: &str| format!("vertex: {{ vars: {{ region: r, project: p }}, {rest} }}");
    for (row, expected) in [
        (
            "bedrock: { credentials: instance }".to_owned(),
            "bedrock.vars.region: is needed: set the environment variable AWS_REGION or AWS_DEFAULT_REGION",
        ),
        (
            "mine: { base_url: 'http://x', auth: aws, credentials: instance }".into(),
            "mine.vars.region: is needed: it is part of what is signed",
        ),
        (
            "bedrock: { credentials: 'file:/x', vars: { region: r } }".into(),
            "bedrock.credentials: for `auth: aws` write profile:NAME or instance",
        ),
        (
            "bedrock: { credentials: hidden-key, vars: { region: r } }".into(),
            "bedrock.credentials: is not known; write file:PATH",
        ),
        (
            vertex("credentials: 'profile:x'"),
            "vertex.credentials: for `auth: google` write file:PATH or instance",
        ),
        (
            vertex("credentials: 'file:/none.json'"),
            "vertex.credentials: cannot read /none.json: No such file",
        ),
        (
            vertex("credentials: 'file:/broken.json'"),
            "vertex.credentials: /broken.json is not a credentials file of Google's",
        ),
        (
            vertex("credentials: 'file:/federated.json'"),
            "vertex.credentials: /federated.json is of a type that this version does not take",
        ),
        (
            vertex("credentials: 'file:/evil.json'"),
            "vertex.credentials: /evil.json has a `token_uri` that must start with https://",
        ),
        (
            "azure: { auth: entra, credentials: instance, vars: { resource: r } }".into(),
            "azure.credentials: for `auth: entra` write file:PATH",
        ),
        (
            "azure: { auth: entra, api_key: hidden, vars: { resource: r, client: c, tenant: 'a/b' } }".into(),
            "azure.vars.tenant: is not the id of a directory",
        ),
    ] {
        let problems = assembled(Some(&format!("providers: {{ {row} }}")), &[]).unwrap_err();
        let problems: Vec<String> = problems.iter().map(ToString::to_string).collect();
        assert!(
            problems.iter().any(|one| one.starts_with(&format!("providers.{expected}"))),
            "{row}: {problems:#?}"
        );
        assert_eq!(problems.len(), 1, "{problems:#?}");
        assert!(!problems[0].contains("hidden"), "{problems:#?}");
    }
}

#[test]
fn without_a_file_clouds_are_there_only_when_their_variables_are_set() {
    let google = [
        ("GOOGLE_APPLICATION_CREDENTIALS", "/key.json"),
        ("GOOGLE_CLOUD_PROJECT", "p"),
        ("GOOGLE_CLOUD_LOCATION", "global"),
    ];
    for (variables, expected) in [
        (&[][..], &[][..]),
        (&[REGION], &[]),
        (&[TENANT, CLIENT, SECRET], &[]),
        (&[REGION, ("AWS_PROFILE", "x")], &["bedrock", "bedrock-mantle"]),
        (&[BEARER], &[]),
        (&[REGION, BEARER], &["bedrock", "bedrock-mantle"]),
        (&google[..1], &[]),
        (&google, &["vertex"]),
    ] {
        let loaded = assembled(None, variables).unwrap();
        let providers = loaded.settings.providers;
        assert_eq!(providers.keys().map(String::as_str).collect::<Vec<_>>(), expected, "{variables:?}");
        assert!(providers.values().all(|provider| provider.has_credential()));
    }
    let hints = assembled(None, &[]).unwrap().settings.credential_hints;
    assert_eq!(hints["vertex"], ["GOOGLE_APPLICATION_CREDENTIALS"]);
    assert_eq!(hints["bedrock"][0], "AWS_BEARER_TOKEN_BEDROCK");
    let left_out = assembled(None, &[BEARER]).unwrap().warnings;
    assert!(left_out.iter().any(|one| one.starts_with("bedrock is left out") && one.contains("AWS_REGION")));
}

#[test]
fn addresses_of_clouds_follow_the_region() {
    let vertex = |region: &str| {
        format!("vertex: {{ credentials: instance, vars: {{ region: {region}, project: p }} }}")
    };
    for (row, expected) in [
        (vertex("us-east5"), "https://us-east5-aiplatform.googleapis.com/v1/projects/p/locations/us-east5"),
        (vertex("global"), "https://aiplatform.googleapis.com/v1/projects/p/locations/global"),
        (vertex("eu"), "https://aiplatform.eu.rep.googleapis.com/v1/projects/p/locations/eu"),
        (
            "vertex: { credentials: instance, base_url: 'http://x/v1', vars: { region: global, project: p } }".into(),
            "http://x/v1",
        ),
        (
            "bedrock: { credentials: instance, vars: { region: us-east-1 } }".into(),
            "https://bedrock-runtime.us-east-1.amazonaws.com",
        ),
        (
            "bedrock-mantle: { credentials: instance, vars: { region: us-east-1 } }".into(),
            "https://bedrock-mantle.us-east-1.api.aws/v1",
        ),
        (
            "azure-anthropic: { api_key: env:K, vars: { resource: r } }".into(),
            "https://r.services.ai.azure.com/anthropic",
        ),
    ] {
        let loaded = assembled(Some(&format!("providers: {{ {row} }}")), &[]).unwrap();
        assert_eq!(loaded.settings.providers.values().next().unwrap().base_url, expected, "{row}");
    }
}

#[test]
fn the_models_of_a_cloud_are_asked_in_the_formats_and_under_the_paths_of_their_makers() {
    let file = "providers: { vertex: { credentials: instance, vars: { region: global, project: p } }, \
                bedrock: { credentials: instance, vars: { region: r } }, bedrock-mantle: { credentials: instance, vars: { region: r } } }";
    let loaded = assembled(Some(file), &[]).unwrap();
    for (provider, model, expected) in [
        (
            "vertex",
            "gemini-2.5-pro",
            "gemini /publishers/google/models/gemini-2.5-pro:streamGenerateContent?alt=sse",
        ),
        (
            "vertex",
            "claude-sonnet-4-5@20250929",
            "anthropic /publishers/anthropic/models/claude-sonnet-4-5@20250929:streamRawPredict",
        ),
        (
            "vertex",
            "meta/llama-4-maverick-17b-128e-instruct-maas",
            "openai /endpoints/openapi/chat/completions",
        ),
        (
            "bedrock",
            "us.anthropic.claude-opus-4-v1:0",
            "bedrock-converse /model/us.anthropic.claude-opus-4-v1%3A0/converse-stream",
        ),
        ("bedrock-mantle", "openai.gpt-oss-120b", "openai /chat/completions"),
    ] {
        let route = loaded.settings.providers[provider].route(model, crate::chat::Facts::default());
        assert_eq!(format!("{} {}", route.wire.name(), route.path(model, true)), expected);
    }
}
