//! Handlers of projects and of sets of tags: one code for both kinds. Every change is in force in this process before
//! the reply goes out.

use actix_web::{HttpRequest, HttpResponse, web};
use serde_json::Value;

use super::super::reply::Fault;
use super::fields::Fields;
use super::keys::{BODY_MAX, by, put_in_force, read_json};
use super::query::Params;
use super::rules::Rules;
use super::{now_ms, store_fault, views};
use crate::error::Error;
use crate::request_log::Logged;
use crate::store::{
    GroupKind, GroupPatch, GroupRecord, GroupSpec, KeyTable, Store, group_json, tags_name, tags_of,
};

type Reply = Result<HttpResponse, Fault>;

pub(super) async fn list(
    kind: GroupKind,
    request: HttpRequest,
    store: web::Data<dyn Store>,
    table: web::Data<KeyTable>,
) -> Reply {
    let mut params = Params::parse(request.query_string())?;
    let (cursor, limit) = (params.text("cursor"), params.limit()?);
    params.finish()?;
    let page = store.groups(kind, cursor.as_deref(), limit).await.map_err(store_fault)?;
    Ok(HttpResponse::Ok().json(views::list(&page, |record| shown(record, &table))))
}

pub(super) async fn get(
    kind: GroupKind,
    name: web::Path<String>,
    store: web::Data<dyn Store>,
    table: web::Data<KeyTable>,
) -> Reply {
    let record = store.group(kind, &name_of(kind, &name)).await.map_err(store_fault)?;
    Ok(HttpResponse::Ok().json(shown(&record, &table)))
}

pub(super) async fn create(
    kind: GroupKind,
    request: HttpRequest,
    body: web::Payload,
    store: web::Data<dyn Store>,
    table: web::Data<KeyTable>,
) -> Reply {
    let body = read_json(&request, body, BODY_MAX).await?;
    let by = by(&request);
    let (name, spec) = read_spec(kind, &body, by.now_ms)?;
    let record = store.create_group(kind, name, spec, by).await.map_err(store_fault)?;
    put_in_force(&table, &**store).await;
    Ok(HttpResponse::Created().json(shown(&record, &table)))
}

pub(super) async fn update(
    kind: GroupKind,
    request: HttpRequest,
    name: web::Path<String>,
    body: web::Payload,
    store: web::Data<dyn Store>,
    table: web::Data<KeyTable>,
) -> Reply {
    let body = read_json(&request, body, BODY_MAX).await?;
    let mut fields = Fields::parse(&body)?;
    let patch = patch(&mut fields)?;
    fields.finish()?;
    let name = name_of(kind, &name);
    let record = store.update_group(kind, &name, patch, by(&request)).await.map_err(store_fault)?;
    put_in_force(&table, &**store).await;
    Ok(HttpResponse::Ok().json(shown(&record, &table)))
}

pub(super) async fn delete(
    kind: GroupKind,
    request: HttpRequest,
    name: web::Path<String>,
    store: web::Data<dyn Store>,
    table: web::Data<KeyTable>,
) -> Reply {
    let name = name_of(kind, &name);
    let record = store.delete_group(kind, &name, by(&request)).await.map_err(store_fault)?;
    put_in_force(&table, &**store).await;
    Ok(HttpResponse::Ok().json(shown(&record, &table)))
}

/// The tags of a path in whatever order are the same set.
fn name_of(kind: GroupKind, written: &str) -> String {
    let tags = if kind == GroupKind::Tags { tags_of(written) } else { Vec::new() };
    if tags.is_empty() { written.to_owned() } else { tags_name(&tags) }
}

fn shown(record: &GroupRecord, table: &KeyTable) -> Value {
    let entry = table.group(record.kind, &record.name);
    views::with_status(group_json(record), entry.and_then(|entry| entry.purse.standing(now_ms())))
}

fn patch(fields: &mut Fields) -> Result<GroupPatch, Error> {
    let Rules { expires_ms, allow, deny, rpm, tpm, concurrency, budget, markup } = Rules::take(fields)?;
    let request_log =
        fields.word("request_log", &Logged::WORDS, Logged::parse)?.map(Option::unwrap_or_default);
    Ok(GroupPatch { expires_ms, allow, deny, rpm, tpm, concurrency, budget, markup, request_log })
}

/// Reads a new group: its name, or the tags that make it.
fn read_spec(kind: GroupKind, body: &[u8], now_ms: i64) -> Result<(String, GroupSpec), Error> {
    let mut fields = Fields::parse(body)?;
    let name = match kind {
        GroupKind::Project => fields
            .text("name")?
            .flatten()
            .ok_or_else(|| Error::invalid("`name` is required: what keys call this project.", "name"))?,
        GroupKind::Tags => {
            let tags = fields.pairs("tags")?.unwrap_or_default();
            // A name is made of these two, so that no text with them in it may pass for several tags.
            let odd = |text: &String| text.contains([',', '=']);
            if let Some((name, _)) = tags.iter().find(|(name, value)| odd(name) || odd(value)) {
                let short: String = name.chars().take(64).collect();
                let message = "Names and values of tags hold no `,` or `=`.";
                return Err(Error::invalid(message, format!("tags.{short}")));
            }
            tags_name(&tags)
        }
    };
    let spec = patch(&mut fields)?.apply(GroupSpec::default());
    fields.finish()?;
    if spec.expires_ms.is_some_and(|end| end <= now_ms) {
        return Err(Error::invalid("`expires_at` lies in the past.", "expires_at"));
    }
    Ok((name, spec))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_set_of_tags_is_named_by_what_it_holds() {
        let (name, _) = read_spec(GroupKind::Tags, br#"{"tags":{"team":"x","env":"y"}}"#, 0).unwrap();
        assert_eq!(name, "env=y,team=x");
        assert_eq!(name_of(GroupKind::Tags, "team=x,env=y"), name);
        assert_eq!(name_of(GroupKind::Project, "team=x,env=y"), "team=x,env=y");
        let smuggled = read_spec(GroupKind::Tags, br#"{"tags":{"a":"1,b=2"}}"#, 0).unwrap_err();
        assert_eq!(smuggled.param(), Some("tags.a"));
    }

    #[test]
    fn a_group_takes_no_field_of_a_key() {
        for (kind, body, param) in [
            (GroupKind::Project, "{}", "name"),
            (GroupKind::Project, r#"{"name":"p","tags":{}}"#, "tags"),
            (GroupKind::Project, r#"{"name":"p","share":2}"#, "share"),
            (GroupKind::Tags, r#"{"tags":{"a":"b"},"name":"p"}"#, "name"),
            (GroupKind::Project, r#"{"name":"p","expires_at":"1970-01-01T00:00:00Z"}"#, "expires_at"),
        ] {
            assert_eq!(read_spec(kind, body.as_bytes(), 1).unwrap_err().param(), Some(param), "{body}");
        }
    }
}
