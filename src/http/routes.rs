//! The public routes, in one table; what is not in it is a 404 or a 405 in the contract's shape.

use actix_web::web::{self, Payload, ServiceConfig};
use actix_web::{HttpRequest, HttpResponse};

use super::unread::holding;
use super::{chat, cors, door, models, reply};
use crate::error::Error;

/// Registers the public routes.
pub fn public(config: &mut ServiceConfig) {
    config
        .service(web::resource(chat::ROUTE).post(chat::completions).default_service(web::to(post_only)))
        .service(web::resource(models::LIST).get(models::list).default_service(web::to(get_only)))
        .service(web::resource(models::ONE).get(models::one).default_service(web::to(get_only)))
        .default_service(web::to(not_found));
}

/// 405 where only POST is.
pub async fn post_only(request: HttpRequest, body: Payload) -> HttpResponse {
    only(&request, body, "POST")
}

/// 405 where only GET is.
pub async fn get_only(request: HttpRequest, body: Payload) -> HttpResponse {
    only(&request, body, "GET")
}

/// The answer to a browser that asks first, else 405.
fn only(request: &HttpRequest, body: Payload, allow: &'static str) -> HttpResponse {
    match cors::preflight(request, allow) {
        Some(answer) => holding(answer, body),
        None => refuse(request, body, &Error::MethodNotAllowed { allow }),
    }
}

/// 404 for a path that is not there.
pub async fn not_found(request: HttpRequest, body: Payload) -> HttpResponse {
    let message = "There is nothing at this path. The API is under /v1, e.g. POST /v1/chat/completions.";
    refuse(&request, body, &Error::NotFound(message.to_owned()))
}

fn refuse(request: &HttpRequest, body: Payload, error: &Error) -> HttpResponse {
    holding(reply::error_response(error, Some(&door::request_id(request.headers()))), body)
}
