//! At the door: the request's id, the caller's key, the body. In this order, so that nobody without a key makes
//! the gateway read a body.

use std::borrow::Cow;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use actix_web::HttpRequest;
use actix_web::http::header::{
    AUTHORIZATION, CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE, HeaderMap, HeaderName, UPGRADE,
};
use actix_web::web::Payload;
use bytes::{Bytes, BytesMut};
use futures_util::StreamExt;
use tokio::time::Instant;

use super::body_room::BodyRoom;
use super::names;
use crate::chat::Routing;
use crate::error::Error;
use crate::policy::admission::Priority;
use crate::store::{KeyEntry, KeyTable};
use crate::timer::Timer;
use crate::trace::{Parent, STATE_MAX, Sampler, Trace};
use crate::upstream::Traced;

/// Longest client request id that is taken over, characters.
const REQUEST_ID_MAX: usize = 128;
/// Tags of one request at most.
const TAGS_MAX: usize = 8;
/// Longest tag name or value, characters.
const TAG_CHARS_MAX: usize = 64;

/// Names and values.
type Tags = Arc<[(String, String)]>;

/// Milliseconds since the epoch.
pub fn now_ms() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO);
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}

/// The client's request id, if it sent a sane one, else ours.
pub fn request_id(headers: &HeaderMap) -> Arc<str> {
    let sane = |id: &&str| {
        let plain =
            |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b':' | b'-' | b'/');
        (1..=REQUEST_ID_MAX).contains(&id.len()) && id.bytes().all(plain)
    };
    match text(headers, &names::REQUEST_ID).filter(sane) {
        Some(id) => Arc::from(id),
        None => made_up(),
    }
}

/// `req_` and a ULID.
fn made_up() -> Arc<str> {
    const MARK: [u8; 4] = *b"req_";
    let mut id = [0; MARK.len() + ulid::ULID_LEN];
    if let Some((mark, random)) = id.split_first_chunk_mut() {
        *mark = MARK;
        if let Some(random) = random.first_chunk_mut() {
            ulid::Ulid::generate().array_to_str(random);
        }
    }
    Arc::from(std::str::from_utf8(&id).unwrap_or_default())
}

/// A header as text.
pub fn text<'h>(headers: &'h HeaderMap, name: &HeaderName) -> Option<&'h str> {
    headers.get(name).and_then(|value| value.to_str().ok()).map(str::trim_ascii)
}

/// 400 for a header of ours that cannot be understood.
pub fn wrong_header(name: &HeaderName, why: &str) -> Error {
    Error::invalid_code(format!("{name}: {why}."), Some(name.as_str()), "invalid_header")
}

/// A header of ours; an empty one is not given. One that is no text or given twice is refused: who sent it
/// relies on it, and would never learn that it did nothing.
///
/// # Errors
/// 400 naming the header.
pub fn ours<'h>(headers: &'h HeaderMap, name: &HeaderName) -> Result<Option<&'h str>, Error> {
    let mut given = headers.get_all(name);
    let Some(value) = given.next() else { return Ok(None) };
    if given.next().is_some() {
        return Err(wrong_header(name, "send it once"));
    }
    let text = value.to_str().map_err(|_| wrong_header(name, "use printable ASCII"))?.trim_ascii();
    Ok(Some(text).filter(|text| !text.is_empty()))
}

/// The headers with which a request says how it is to be handled. Most requests have none, and then nothing is looked up.
#[derive(Clone, Copy)]
pub struct Wishes<'h>(Option<&'h HeaderMap>);

impl<'h> Wishes<'h> {
    /// Those of a request.
    pub fn of(headers: &'h HeaderMap) -> Self {
        Self(headers.keys().any(|name| is_wish(name.as_str())).then_some(headers))
    }

    /// One of them, as `ours` reads it.
    ///
    /// # Errors
    /// 400 naming the header.
    pub fn get(self, name: &HeaderName) -> Result<Option<&'h str>, Error> {
        debug_assert!(is_wish(name.as_str()), "{name} is none of them");
        self.0.map_or(Ok(None), |headers| ours(headers, name))
    }
}

/// True for the names that begin as those of wishes do.
fn is_wish(name: &str) -> bool {
    name.starts_with("x-gateway-") || name.starts_with("x-session-")
}

/// What `x-gateway-routing` says counts most.
///
/// # Errors
/// 400 naming the header and its words.
pub fn routing(wishes: Wishes<'_>) -> Result<Option<Routing>, Error> {
    let name = &names::ROUTING;
    let Some(word) = wishes.get(name)? else { return Ok(None) };
    let known = Routing::parse(word);
    known.map(Some).ok_or_else(|| wrong_header(name, &format!("write one of {}", Routing::WORDS.join(", "))))
}

/// How urgent `x-gateway-priority` says a call is; without it normal, if the key allows that.
///
/// # Errors
/// 400 naming the header and its words; 403 when it is more than the key allows.
pub fn priority(wishes: Wishes<'_>, most: Priority) -> Result<Priority, Error> {
    let name = &names::PRIORITY;
    let Some(word) = wishes.get(name)? else { return Ok(most.min(Priority::Normal)) };
    let known = Priority::parse(word)
        .ok_or_else(|| wrong_header(name, &format!("write one of {}", Priority::WORDS.join(", "))))?;
    if known <= most {
        return Ok(known);
    }
    let most = most.as_str();
    Err(Error::Forbidden(format!(
        "Your API key allows calls up to the priority `{most}`. Send a lower one in {name}, or ask your operator."
    )))
}

/// True for a header of ours set to `true` or `1`.
///
/// # Errors
/// 400 when it is neither that nor `false` or `0`.
pub fn flag(wishes: Wishes<'_>, name: &HeaderName) -> Result<bool, Error> {
    match wishes.get(name)? {
        Some(yes) if yes.eq_ignore_ascii_case("true") || yes == "1" => Ok(true),
        Some(no) if !no.eq_ignore_ascii_case("false") && no != "0" => {
            Err(wrong_header(name, "write true or false"))
        }
        _ => Ok(false),
    }
}

/// The trace that a request belongs to, and what goes on of it. Whatever is wrong with the headers is as if they were
/// not there: no call fails for it.
pub fn traced(headers: &HeaderMap, sampler: Option<Sampler>) -> Option<Traced> {
    let mut given = headers.get_all(&names::TRACEPARENT);
    let parent = match (given.next(), given.next()) {
        (Some(value), None) => value.to_str().ok().and_then(|text| Parent::parse(text.trim())),
        _ => None,
    };
    let trace = Trace::begin(parent, sampler)?;
    Some(Traced { trace, state: parent.and_then(|_| tracestate(headers)) })
}

/// `tracestate`, its lines joined; none where it is longer than everybody must carry.
fn tracestate(headers: &HeaderMap) -> Option<Arc<str>> {
    let mut lines = headers.get_all(&names::TRACESTATE).map(|line| line.to_str().unwrap_or_default().trim());
    let first = lines.next()?;
    let joined = lines.fold(Cow::Borrowed(first), |joined, line| Cow::Owned(format!("{joined},{line}")));
    (!joined.is_empty() && joined.len() <= STATE_MAX).then(|| Arc::from(&*joined))
}

/// The caller's key: `Authorization: Bearer` first, then `x-api-key`.
///
/// # Errors
/// 401: a missing key where nothing was presented, else an invalid one, whatever was presented.
pub fn authenticate(headers: &HeaderMap, keys: &KeyTable, now_ms: i64) -> Result<Arc<KeyEntry>, Error> {
    let authorization = presented(headers, &AUTHORIZATION);
    let (scheme, token) = authorization.split_once(' ').unwrap_or((authorization, ""));
    let is_bearer = scheme.eq_ignore_ascii_case("bearer");
    let token = if is_bearer { token.trim_ascii() } else { "" };
    let key = if token.is_empty() { presented(headers, &names::API_KEY) } else { token };
    if !key.is_empty() {
        return keys.authenticate(key, now_ms);
    }
    // Credentials of another scheme are something, and not a key.
    if authorization.is_empty() || is_bearer { Err(Error::MissingKey) } else { Err(Error::InvalidKey) }
}

/// What a credential header holds; bytes that are no text stand for a key that cannot be right.
fn presented<'h>(headers: &'h HeaderMap, name: &HeaderName) -> &'h str {
    headers.get(name).map_or("", |value| value.to_str().unwrap_or("not a text").trim_ascii())
}

/// Checks that the body is JSON as it stands, and not too large as announced; gives the bytes announced, if any.
///
/// # Errors
/// 413, 415.
pub fn check_head(headers: &HeaderMap, limit: u64) -> Result<u64, Error> {
    if !is_json(text(headers, &CONTENT_TYPE).unwrap_or("")) {
        let message = "The body must be JSON: send `Content-Type: application/json`.";
        return Err(Error::UnsupportedMediaType(message.to_owned()));
    }
    if text(headers, &CONTENT_ENCODING).is_some_and(|encoding| !encoding.eq_ignore_ascii_case("identity")) {
        let message = "Compressed bodies are not taken: send the body without `Content-Encoding`.";
        return Err(Error::UnsupportedMediaType(message.to_owned()));
    }
    // The server reads such a body to the end of the connection, whatever length it has.
    if text(headers, &UPGRADE).is_some_and(|to| to.eq_ignore_ascii_case("websocket")) {
        let message = "There is no WebSocket here: send the request without `Upgrade`.";
        return Err(Error::invalid_code(message, Some("upgrade"), "invalid_header"));
    }
    let announced = text(headers, &CONTENT_LENGTH).and_then(|length| length.parse::<u64>().ok());
    if announced.is_some_and(|announced| announced > limit) {
        return Err(Error::BodyTooLarge(limit));
    }
    Ok(announced.unwrap_or(0))
}

/// True for the media types of JSON, in whatever case and with whatever parameters.
fn is_json(kind: &str) -> bool {
    const JSON: &str = "application/json";
    kind.eq_ignore_ascii_case(JSON) || {
        let essence = kind.split(';').next().unwrap_or("").trim().to_ascii_lowercase();
        essence == JSON || (essence.starts_with("application/") && essence.ends_with("+json"))
    }
}

/// Room made at once for a body that says how large it will be, bytes at most: what is announced need not come.
const ROOM_AT_ONCE: usize = 1 << 20;

/// Reads the body, of which `announced` bytes are said to come, at most `limit`, within `patience`.
///
/// # Errors
/// 408, 413, 400 when the client broke off, or 503 when there is no room for a large body.
pub async fn read_body(
    payload: &mut Payload,
    (announced, limit): (u64, u64),
    patience: Duration,
    room: &BodyRoom,
    timer: &mut Timer,
) -> Result<Bytes, Error> {
    let mut lease = room.lease();
    let deadline = Instant::now() + patience;
    let limit = usize::try_from(limit).unwrap_or(usize::MAX);
    let mut first = Bytes::new();
    let mut rest = BytesMut::new();
    loop {
        let piece = match timer.by(deadline, payload.next()).await {
            Err(_) => return Err(Error::RequestTimeout),
            Ok(None) => break,
            Ok(Some(Err(_))) => {
                return Err(Error::invalid_code(
                    "The request body ended too early.",
                    None,
                    "incomplete_body",
                ));
            }
            Ok(Some(Ok(piece))) => piece,
        };
        let length = first.len() + rest.len() + piece.len();
        if length > limit {
            return Err(Error::BodyTooLarge(limit as u64));
        }
        lease.cover(length)?;
        // One piece is the usual case and is not copied.
        if first.is_empty() && rest.is_empty() {
            first = piece;
        } else {
            if rest.is_empty() {
                rest.reserve(usize::try_from(announced).unwrap_or(0).min(ROOM_AT_ONCE).max(length));
            }
            rest.extend_from_slice(&std::mem::take(&mut first));
            rest.extend_from_slice(&piece);
        }
    }
    Ok(lease.hold(if rest.is_empty() { first } else { rest.freeze() }))
}

/// `x-gateway-tags: team=search,feature=summary`, and those of the key that it does not name itself.
///
/// # Errors
/// 400 when there are too many, or one is not `name=value`.
pub fn tags(wishes: Wishes<'_>, of_key: &Tags) -> Result<Tags, Error> {
    let Some(given) = wishes.get(&names::TAGS)? else {
        return Ok(Arc::clone(of_key));
    };
    let wrong = |why: &str| wrong_header(&names::TAGS, why);
    let mut tags = Vec::new();
    for pair in given.split(',') {
        let (name, value) =
            pair.split_once('=').ok_or_else(|| wrong("write name=value, separated by commas"))?;
        let (name, value) = (name.trim(), value.trim());
        if name.is_empty() || name.len() > TAG_CHARS_MAX || value.len() > TAG_CHARS_MAX {
            return Err(wrong("names and values have up to 64 characters, names at least one"));
        }
        tags.push((name.to_owned(), value.to_owned()));
    }
    if tags.len() > TAGS_MAX {
        return Err(wrong("at most 8 tags"));
    }
    let given = tags.len();
    for tag in of_key.iter() {
        if !tags.iter().take(given).any(|(name, _)| *name == tag.0) {
            tags.push(tag.clone());
        }
    }
    Ok(Arc::from(tags))
}

/// `x-gateway-timeout-ms`, at most the configured deadline.
///
/// # Errors
/// 400 when it is not a number from 1.
pub fn deadline(wishes: Wishes<'_>, most: Duration) -> Result<Instant, Error> {
    let name = &names::TIMEOUT_MS;
    let wanted = match wishes.get(name)? {
        None => most,
        Some(given) => {
            let ms = given.parse::<u64>().ok().filter(|ms| *ms > 0);
            let ms = ms.ok_or_else(|| wrong_header(name, "write a number of milliseconds from 1"))?;
            Duration::from_millis(ms).min(most)
        }
    };
    Ok(Instant::now() + wanted)
}

/// Where a request came from, for the audit trail.
pub fn peer(request: &HttpRequest) -> String {
    request.peer_addr().map_or_else(|| "unknown".to_owned(), |address| address.ip().to_string())
}
