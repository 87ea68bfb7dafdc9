//! The identities behind `auth: aws`, `google` and `entra`: what tokens and signatures are made from. A key that is sent
//! as it is has none.
//!
//! Which variables they are read from is a convention of each cloud's own tools. Whether what they name can be used is
//! found out when it is used: only what is wrong in itself is a problem here.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::Deserialize;

use super::secret::{self, Outside, Resolved, Secret};
use super::settings::AuthStyle;

/// A bearer token for AWS's model service; goes before a signature.
const AWS_BEARER: &str = "AWS_BEARER_TOKEN_BEDROCK";
/// Variables that say that the AWS chain will find something.
const AWS_CHAIN: [&str; 3] = ["AWS_ACCESS_KEY_ID", "AWS_PROFILE", "AWS_WEB_IDENTITY_TOKEN_FILE"];
const GOOGLE_FILE: &str = "GOOGLE_APPLICATION_CREDENTIALS";
const GOOGLE_TOKENS: &str = "https://oauth2.googleapis.com/token";
const ENTRA_AUTHORITY: &str = "https://login.microsoftonline.com";
const ENTRA_SCOPE: &str = "https://cognitiveservices.azure.com/.default";

/// Who the gateway is at a cloud.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Identity {
    /// Requests are signed (SigV4).
    Aws(AwsIdentity),
    /// Tokens of Google's.
    Google(GoogleIdentity),
    /// Tokens of Microsoft Entra's.
    Entra(EntraIdentity),
}

/// What signatures for AWS are made for. The keys come from AWS's own chain of places.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AwsIdentity {
    /// Region that is signed for.
    pub region: String,
    /// Service that is signed for.
    pub service: String,
    /// Profile of the shared files; `None`: the chain decides.
    pub profile: Option<String>,
}

/// Where Google's tokens come from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum GoogleIdentity {
    /// A service account's key signs for itself.
    Key {
        /// Whose key it is.
        email: String,
        /// The private key, PEM.
        key: Secret,
        /// Id of the key.
        key_id: Option<String>,
        /// Where tokens are given out.
        token_url: String,
    },
    /// A user's permission to act in their name.
    User {
        /// Id of the application it was given to.
        client_id: String,
        /// The application's secret.
        client_secret: Secret,
        /// The permission.
        refresh_token: Secret,
        /// Where tokens are given out.
        token_url: String,
    },
    /// The machine's own service account.
    Instance {
        /// Host of the metadata server.
        host: String,
    },
}

/// An application registered with Microsoft Entra.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EntraIdentity {
    /// Where tokens are given out.
    pub token_url: String,
    /// Id of the application.
    pub client: String,
    /// What the tokens are for.
    pub scope: String,
    /// What proves that it is us.
    pub proof: EntraProof,
}

/// What proves an application's identity.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum EntraProof {
    /// Its secret.
    Secret(Secret),
    /// A token of the platform it runs on, in a file that the platform renews.
    TokenFile(PathBuf),
}

/// What a row says of its identity.
pub struct Asked<'a> {
    /// `credentials`, e.g. `file:PATH`.
    pub credentials: Option<String>,
    /// `api_key`, a reference.
    pub api_key: Option<String>,
    /// Its `vars`, as far as they have values.
    pub vars: &'a BTreeMap<String, String>,
    /// The environment and the secret files.
    pub outside: &'a Outside<'a>,
}

/// What came of it.
pub enum Found {
    /// Tokens or signatures can be made.
    Identity(Identity, Option<String>),
    /// A token that is sent as it is, and what to say of it.
    Token(Secret, Option<String>),
    /// Nothing is set; these variables would mend it.
    Missing(Vec<String>),
    /// A key of the row is wrong.
    Wrong(&'static str, String),
}

/// Reads the identity of a row.
pub fn read(auth: &AuthStyle, asked: &Asked<'_>) -> Found {
    match auth {
        AuthStyle::Aws => aws(asked),
        AuthStyle::Google => google(asked),
        AuthStyle::Entra => entra(asked),
        AuthStyle::Bearer | AuthStyle::Header(_) | AuthStyle::None => Found::Missing(Vec::new()),
    }
}

impl Asked<'_> {
    /// A variable that is set to something.
    fn env(&self, name: &str) -> Option<String> {
        (self.outside.env)(name).map(|value| value.trim().to_owned()).filter(|value| !value.is_empty())
    }

    /// A secret that is named by a reference.
    fn secret(&self, key: &'static str, reference: &str) -> Found {
        match secret::resolve(reference, self.outside) {
            Ok(Resolved::Value(secret, warning)) => {
                Found::Token(secret, warning.map(|warning| format!("{key}: {warning}")))
            }
            Ok(Resolved::NotSet(name)) => Found::Missing(vec![name]),
            Err(message) => Found::Wrong(key, message),
        }
    }

    fn var_or_env(&self, var: &str, name: &str) -> Option<String> {
        self.vars.get(var).cloned().or_else(|| self.env(name))
    }
}

fn names(names: &[&str]) -> Vec<String> {
    names.iter().map(|name| (*name).to_owned()).collect()
}

fn aws(asked: &Asked<'_>) -> Found {
    if let Some(reference) = &asked.api_key {
        return asked.secret("api_key", reference);
    }
    let profile = match asked.credentials.as_deref() {
        Some("instance") => None,
        Some(given) => match given.strip_prefix("profile:") {
            Some(profile) => Some(profile.to_owned()),
            None => {
                return Found::Wrong("credentials", "for `auth: aws` write profile:NAME or instance".into());
            }
        },
        None if asked.env(AWS_BEARER).is_some() => {
            return asked.secret("api_key", &format!("env:{AWS_BEARER}"));
        }
        None if AWS_CHAIN.iter().any(|name| asked.env(name).is_some()) => None,
        None => return Found::Missing([&[AWS_BEARER.to_owned()], &*names(&AWS_CHAIN)].concat()),
    };
    let Some(region) = asked.vars.get("region").cloned() else {
        return Found::Wrong("vars.region", "is needed: it is part of what is signed; e.g. us-east-1".into());
    };
    let service = asked.vars.get("service").cloned().unwrap_or_else(|| "bedrock".to_owned());
    Found::Identity(Identity::Aws(AwsIdentity { region, service, profile }), None)
}

/// A file of Google's with credentials.
#[derive(Deserialize)]
struct GoogleFile {
    r#type: String,
    client_email: Option<String>,
    private_key: Option<String>,
    private_key_id: Option<String>,
    token_uri: Option<String>,
    client_id: Option<String>,
    client_secret: Option<String>,
    refresh_token: Option<String>,
}

fn google(asked: &Asked<'_>) -> Found {
    if let Some(reference) = &asked.api_key {
        return asked.secret("api_key", reference);
    }
    let path = match asked.credentials.as_deref() {
        Some("instance") => {
            let host =
                asked.env("GCE_METADATA_HOST").unwrap_or_else(|| "metadata.google.internal".to_owned());
            return Found::Identity(Identity::Google(GoogleIdentity::Instance { host }), None);
        }
        Some(given) => match given.strip_prefix("file:") {
            Some(path) => path.to_owned(),
            None => {
                return Found::Wrong("credentials", "for `auth: google` write file:PATH or instance".into());
            }
        },
        None => match asked.env(GOOGLE_FILE) {
            Some(path) => path,
            None => return Found::Missing(names(&[GOOGLE_FILE])),
        },
    };
    let file = match (asked.outside.file)(Path::new(&path)) {
        Ok(file) => file,
        Err(why) => return Found::Wrong("credentials", format!("cannot read {path}: {why}")),
    };
    let warning =
        file.world_readable.then(|| format!("credentials: {path} can be read by everyone; chmod 600 {path}"));
    match google_file(&file.text) {
        Ok(identity) => Found::Identity(Identity::Google(identity), warning),
        Err(why) => Found::Wrong("credentials", format!("{path} {why}")),
    }
}

/// Reads a file of Google's; the error never repeats any of it.
fn google_file(text: &str) -> Result<GoogleIdentity, String> {
    let file: GoogleFile = serde_json::from_str(text).map_err(|_| {
        "is not a credentials file of Google's: a JSON object with `type`; download the service account's key anew"
    })?;
    let needed = |field: Option<String>, name: &str| {
        field.filter(|value| !value.is_empty()).ok_or_else(|| format!("has no `{name}`; download it anew"))
    };
    let token_url = file.token_uri.unwrap_or_else(|| GOOGLE_TOKENS.to_owned());
    super::value::url(&token_url).map_err(|why| format!("has a `token_uri` that {why}"))?;
    match file.r#type.as_str() {
        "service_account" => Ok(GoogleIdentity::Key {
            email: needed(file.client_email, "client_email")?,
            key: Secret::new(needed(file.private_key, "private_key")?),
            key_id: file.private_key_id,
            token_url,
        }),
        "authorized_user" => Ok(GoogleIdentity::User {
            client_id: needed(file.client_id, "client_id")?,
            client_secret: Secret::new(needed(file.client_secret, "client_secret")?),
            refresh_token: Secret::new(needed(file.refresh_token, "refresh_token")?),
            token_url,
        }),
        _ => Err("is of a type that this version does not take; \
                  use a service account's key, or `credentials: instance` on Google's own machines"
            .to_owned()),
    }
}

fn entra(asked: &Asked<'_>) -> Found {
    const TENANT: &str = "AZURE_TENANT_ID";
    const CLIENT: &str = "AZURE_CLIENT_ID";
    const SECRET: &str = "AZURE_CLIENT_SECRET";
    const TOKEN_FILE: &str = "AZURE_FEDERATED_TOKEN_FILE";
    let mut warning = None;
    let proof = match (&asked.api_key, asked.credentials.as_deref()) {
        (Some(reference), _) => match asked.secret("api_key", reference) {
            Found::Token(secret, said) => {
                warning = said;
                Some(EntraProof::Secret(secret))
            }
            other => return other,
        },
        (None, Some(given)) => match given.strip_prefix("file:") {
            Some(path) => Some(EntraProof::TokenFile(PathBuf::from(path))),
            None => {
                let message = "for `auth: entra` write file:PATH, the file of a federated token";
                return Found::Wrong("credentials", message.into());
            }
        },
        (None, None) => {
            let secret = asked.env(SECRET).map(|secret| EntraProof::Secret(Secret::new(secret)));
            secret.or_else(|| asked.env(TOKEN_FILE).map(|path| EntraProof::TokenFile(PathBuf::from(path))))
        }
    };
    let tenant = asked.var_or_env("tenant", TENANT);
    let client = asked.var_or_env("client", CLIENT);
    let (Some(tenant), Some(client), Some(proof)) = (&tenant, &client, &proof) else {
        let wanted = [(TENANT, tenant.is_some()), (CLIENT, client.is_some()), (SECRET, proof.is_some())];
        return Found::Missing(
            wanted.iter().filter(|(_, there)| !there).map(|(name, _)| (*name).to_owned()).collect(),
        );
    };
    let authority = asked.var_or_env("authority", "AZURE_AUTHORITY_HOST");
    let authority = match super::value::url(authority.as_deref().unwrap_or(ENTRA_AUTHORITY)) {
        Ok(authority) => authority,
        Err(why) => return Found::Wrong("vars.authority", why),
    };
    if !tenant.bytes().all(|b| b.is_ascii_alphanumeric() || b"-._".contains(&b)) {
        return Found::Wrong("vars.tenant", "is not the id of a directory".into());
    }
    let identity = EntraIdentity {
        token_url: format!("{authority}/{tenant}/oauth2/v2.0/token"),
        client: client.clone(),
        scope: asked.vars.get("scope").cloned().unwrap_or_else(|| ENTRA_SCOPE.to_owned()),
        proof: proof.clone(),
    };
    Found::Identity(Identity::Entra(identity), warning)
}

#[cfg(test)]
mod tests;
