//! Microsoft Entra's tokens: an application proves itself with its secret, or with a token of the platform it runs on.

use std::io::Read;
use std::path::Path;
use std::sync::Arc;

use super::cache::{Failure, Fresh};
use super::http::Asked;
use crate::config::{EntraIdentity, EntraProof, Secret};

const ASSERTION: &str = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer";
/// Largest token file that is read, bytes.
const FILE_MAX: u64 = 64 * 1024;

const ENDPOINT: Asked<'static> = Asked {
    whom: "Entra's token endpoint",
    mend: "AZURE_TENANT_ID, AZURE_CLIENT_ID and AZURE_CLIENT_SECRET or AZURE_FEDERATED_TOKEN_FILE",
};

/// Fetches a token.
pub async fn fetch(
    identity: EntraIdentity,
    tls: Arc<rustls::ClientConfig>,
) -> Result<Fresh<Secret>, Failure> {
    let EntraIdentity { token_url, client, scope, proof } = identity;
    let mut form =
        vec![("grant_type", "client_credentials"), ("client_id", client.as_str()), ("scope", scope.as_str())];
    let secret = match proof {
        EntraProof::Secret(secret) => secret,
        // The platform renews it: it is read anew each time.
        EntraProof::TokenFile(path) => {
            form.push(("client_assertion_type", ASSERTION));
            let read = tokio::task::spawn_blocking(move || token_file(&path)).await;
            let secret = read.unwrap_or_else(|_| Err(Failure("the token file could not be read".into())))?;
            form.push(("client_assertion", secret.expose()));
            return ENDPOINT.post(&tls, &token_url, &form).await;
        }
    };
    form.push(("client_secret", secret.expose()));
    ENDPOINT.post(&tls, &token_url, &form).await
}

fn token_file(path: &Path) -> Result<Secret, Failure> {
    const NAMED: &str = "the token file that AZURE_FEDERATED_TOKEN_FILE or `credentials` names";
    let failed = |why: &str| Failure(format!("{NAMED} {why}"));
    let file = std::fs::File::open(path).map_err(|_| failed("cannot be opened"))?;
    let mut text = String::new();
    file.take(FILE_MAX).read_to_string(&mut text).map_err(|_| failed("cannot be read"))?;
    match text.trim() {
        "" => Err(failed("is empty")),
        token => Ok(Secret::new(token)),
    }
}
