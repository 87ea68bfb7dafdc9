//! Paths that the API reserves and this version does not serve: said clearly, so that nobody takes silence for
//! success.

use super::super::reply::Fault;
use crate::error::Error;

/// `/projects`.
pub(super) async fn projects() -> Result<actix_web::HttpResponse, Fault> {
    not_yet(
        "This version keeps no limits of projects. Give each key its `project` and its own limits; \
         GET /admin/v1/usage?group_by=project sums them up.",
    )
}

fn not_yet(message: &str) -> Result<actix_web::HttpResponse, Fault> {
    Err(Fault(Error::NotFound(message.to_owned())))
}
