//! Credentials that are more than a key: they are fetched, renewed, and made into something new for each request.
//!
//! One [`Credential`] per account serves all cells. What comes out of it for one request is a [`Proof`], which also
//! knows what must not be repeated in an error.

mod aws;
mod aws_http;
mod cache;
mod entra;
mod google;
mod http;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::SystemTime;

use awc::http::header::{AUTHORIZATION, CONTENT_TYPE, HOST, HeaderMap, HeaderName, HeaderValue};
use aws_credential_types::Credentials;
use bytes::Bytes;

use cache::Cache;
pub use cache::Failure;

use super::link::LinkError;
use crate::config::{AwsIdentity, EntraIdentity, GoogleIdentity, Identity, Provider, Secret};

/// The credentials of all accounts that have more than a key, by provider.
#[derive(Clone, Default)]
pub struct Keyring(Arc<BTreeMap<Arc<str>, Credential>>);

impl Keyring {
    /// Those of these accounts. Nothing is fetched yet.
    ///
    /// # Errors
    /// A private key that cannot be used.
    pub fn new<'a>(providers: impl IntoIterator<Item = &'a Arc<Provider>>) -> Result<Self, LinkError> {
        let mut all = BTreeMap::new();
        for provider in providers {
            if let Some(identity) = &provider.identity {
                let credential = Credential::new(identity)
                    .map_err(|why| LinkError(format!("providers.{}.credentials: {why}", provider.id)))?;
                all.insert(Arc::clone(&provider.id), credential);
            }
        }
        Ok(Self(Arc::new(all)))
    }

    /// That of an account.
    pub fn of(&self, provider: &str) -> Option<Credential> {
        self.0.get(provider).cloned()
    }
}

/// An account's credential, shared by all cells.
#[derive(Clone)]
pub enum Credential {
    /// Signs.
    Aws(AwsIdentity, Arc<Cache<Credentials>>),
    /// Gets tokens of Google's.
    Google(GoogleIdentity, Arc<Cache<Secret>>),
    /// Gets tokens of Entra's.
    Entra(EntraIdentity, Arc<Cache<Secret>>),
}

/// What one request is authenticated with.
#[derive(Default)]
pub struct Proof {
    /// Headers of the request.
    pub headers: Vec<(HeaderName, HeaderValue)>,
    /// What must not be repeated.
    secrets: Vec<Secret>,
    source: Option<Source>,
}

/// What a proof was made from, to be told when it is refused.
enum Source {
    Keys(Arc<Cache<Credentials>>, Arc<Credentials>),
    Token(Arc<Cache<Secret>>, Arc<Secret>),
}

/// A request that is to be proven: a POST of this body.
pub struct Unproven<'a> {
    /// Its whole address, as it is sent.
    pub url: &'a str,
    /// Its headers, as far as they are the same for all.
    pub headers: &'a HeaderMap,
    /// Its body.
    pub body: &'a Bytes,
}

impl Credential {
    fn new(identity: &Identity) -> Result<Self, Failure> {
        Ok(match identity {
            Identity::Aws(identity) => Self::Aws(identity.clone(), Arc::default()),
            Identity::Google(identity) => {
                if let GoogleIdentity::Key { key, .. } = identity {
                    google::signing_key(key)?;
                }
                Self::Google(identity.clone(), Arc::default())
            }
            Identity::Entra(identity) => Self::Entra(identity.clone(), Arc::default()),
        })
    }

    /// Proves a request; waits for a token when there is none.
    ///
    /// # Errors
    /// Nothing can be had to prove it with.
    pub async fn prove(
        &self,
        tls: &Arc<rustls::ClientConfig>,
        request: &Unproven<'_>,
    ) -> Result<Proof, Failure> {
        let tls = Arc::clone(tls);
        match self {
            Self::Aws(identity, cache) => {
                let keys = cache.get(|| aws::fetch(identity.clone(), tls)).await?;
                // AWS's own headers are signed wherever they come from, and nothing that a proxy might change.
                let signed = |name: &HeaderName| {
                    *name == HOST || *name == CONTENT_TYPE || name.as_str().starts_with("x-amz")
                };
                let headers = request.headers.iter().filter(|(name, _)| signed(name));
                let headers = headers.filter_map(|(name, value)| Some((name.as_str(), value.to_str().ok()?)));
                let headers: Vec<_> = headers.collect();
                let digest = aws::digest(request.body).await?;
                let signed = aws::Signed { url: request.url, headers: &headers, digest };
                let headers = aws::sign(&keys, identity, signed, SystemTime::now())?;
                Proof::signed(headers, keys, cache)
            }
            Self::Google(identity, cache) => {
                let token = cache.get(|| google::fetch(identity.clone(), tls)).await?;
                Proof::bearer(token, cache)
            }
            Self::Entra(identity, cache) => {
                let token = cache.get(|| entra::fetch(identity.clone(), tls)).await?;
                Proof::bearer(token, cache)
            }
        }
    }
}

impl Proof {
    fn bearer(token: Arc<Secret>, cache: &Arc<Cache<Secret>>) -> Result<Self, Failure> {
        let value = sensitive(&format!("Bearer {}", token.expose()))?;
        Ok(Self {
            headers: vec![(AUTHORIZATION, value)],
            secrets: vec![Secret::clone(&token)],
            source: Some(Source::Token(Arc::clone(cache), token)),
        })
    }

    fn signed(
        headers: Vec<(&'static str, String)>,
        keys: Arc<Credentials>,
        cache: &Arc<Cache<Credentials>>,
    ) -> Result<Self, Failure> {
        // A refusal may quote the request that was signed, of which this is what could be used.
        let mut secrets = vec![Secret::new(keys.access_key_id()), Secret::new(keys.secret_access_key())];
        secrets.extend(keys.session_token().map(Secret::new));
        let mut made = Vec::with_capacity(headers.len());
        for (name, value) in headers {
            secrets.extend(value.rsplit_once("Signature=").map(|(_, signature)| Secret::new(signature)));
            made.push((HeaderName::from_static(name), sensitive(&value)?));
        }
        Ok(Self { headers: made, secrets, source: Some(Source::Keys(Arc::clone(cache), keys)) })
    }

    /// What must not be repeated.
    pub fn secrets(&self) -> &[Secret] {
        &self.secrets
    }

    /// The upstream refused it: what it was made from is given up.
    pub fn refused(&self) {
        match &self.source {
            Some(Source::Keys(cache, keys)) => cache.refused(keys),
            Some(Source::Token(cache, token)) => cache.refused(token),
            None => {}
        }
    }
}

fn sensitive(value: &str) -> Result<HeaderValue, Failure> {
    let bad = |_| Failure("a credential holds characters that cannot travel in a header".into());
    let mut value = HeaderValue::from_str(value).map_err(bad)?;
    value.set_sensitive(true);
    Ok(value)
}

#[cfg(test)]
mod tests;
