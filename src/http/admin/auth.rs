//! The admin's key, checked before anything else of a request is looked at.

use std::fmt;

use actix_web::body::{EitherBody, MessageBody};
use actix_web::dev::{ServiceRequest, ServiceResponse};
use actix_web::http::header::{AUTHORIZATION, HeaderMap};
use actix_web::middleware::Next;
use actix_web::{ResponseError as _, web};
use sha2::{Digest as _, Sha256};
use subtle::ConstantTimeEq as _;

use super::super::reply::Fault;
use crate::config::Secret;
use crate::error::Error;

/// The digest of the admin key. Comparing digests hides the key's length too.
#[derive(Clone)]
pub struct AdminKey([u8; 32]);

impl AdminKey {
    /// Digests the key.
    ///
    /// # Errors
    /// When it is blank: that would be no key at all.
    pub fn new(key: &Secret) -> Result<Self, Error> {
        if key.expose().trim().is_empty() {
            let text = "The admin key is blank. Set admin_key to a long random text, or leave it out to have one made.";
            return Err(Error::invalid(text, "admin_key"));
        }
        Ok(Self(Sha256::digest(key.expose()).into()))
    }

    fn check(&self, headers: &HeaderMap) -> Result<(), Error> {
        let header = headers.get(AUTHORIZATION).ok_or(Error::MissingKey)?;
        let text = header.to_str().map_err(|_| Error::InvalidKey)?.trim();
        let (scheme, presented) = text.split_once(' ').unwrap_or((text, ""));
        let (is_bearer, presented) = (scheme.eq_ignore_ascii_case("bearer"), presented.trim());
        if text.is_empty() || (is_bearer && presented.is_empty()) {
            return Err(Error::MissingKey);
        }
        let digest: [u8; 32] = Sha256::digest(presented).into();
        let same = bool::from(digest.ct_eq(&self.0));
        if same && is_bearer { Ok(()) } else { Err(Error::InvalidKey) }
    }
}

impl fmt::Debug for AdminKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("AdminKey(***)")
    }
}

/// Lets only the admin through.
pub(super) async fn require_admin<B: MessageBody + 'static>(
    key: web::Data<AdminKey>,
    request: ServiceRequest,
    next: Next<B>,
) -> Result<ServiceResponse<EitherBody<B>>, actix_web::Error> {
    match key.check(request.headers()) {
        Ok(()) => next.call(request).await.map(ServiceResponse::map_into_left_body),
        Err(error) => Ok(request.into_response(Fault(error).error_response()).map_into_right_body()),
    }
}
