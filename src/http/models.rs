//! GET /v1/models and /v1/models/{id}: the catalogue that the caller's key may use, in OpenAI's shape and more.

use std::sync::Arc;

use actix_web::http::StatusCode;
use actix_web::web::{Data, Path, Payload};
use actix_web::{HttpRequest, HttpResponse};
use serde::{Serialize, Serializer};

use super::call_meter::CallMeter;
use super::front::Front;
use super::reply::{Builder, error_response};
use super::unread::holding;
use super::{door, names};
use crate::catalog::{Capabilities, Capability, Offer, Price};
use crate::error::Error;
use crate::money::{Usd, format_units};
use crate::policy::route::{Ask, Now, Router};
use crate::store::Member;

/// Route pattern of the list.
pub const LIST: &str = "/v1/models";
/// Route pattern of one model; ids may hold slashes.
pub const ONE: &str = "/v1/models/{id:.*}";

/// GET /v1/models
pub async fn list(request: HttpRequest, body: Payload, front: Data<Front>) -> HttpResponse {
    let answer = respond(&request, &front, LIST, |seen| {
        let router = seen.router;
        let names = std::iter::once("auto").chain(router.aliases().filter(|name| *name != "auto"));
        let own = names.filter(|name| seen.leads_somewhere(name)).map(Entry::alias);
        // A canonical name that an alias hides is not a model of its own.
        let hidden = |id: &str| router.aliases().any(|name| name == id);
        let models = router.catalog().models().filter(|model| !hidden(&model.id));
        let models = models.filter_map(|model| seen.describe(&model.id, &model.offers));
        to_json(&List { object: "list", data: own.chain(models).collect() })
    });
    holding(answer, body)
}

/// GET /v1/models/{id}
pub async fn one(request: HttpRequest, body: Payload, id: Path<String>, front: Data<Front>) -> HttpResponse {
    let answer = respond(&request, &front, ONE, |seen| {
        let router = seen.router;
        let own = *id == "auto" || router.aliases().any(|name| name == *id);
        let entry = if own {
            seen.leads_somewhere(&id).then(|| Entry::alias(&id))
        } else {
            match router.catalog().model(&id) {
                Some(model) => seen.describe(&id, &model.offers),
                None => seen.pinned(&id),
            }
        };
        entry.ok_or_else(|| router.not_found(&id)).and_then(|entry| to_json(&entry))
    });
    holding(answer, body)
}

/// Authenticates, answers, and counts.
fn respond(
    request: &HttpRequest,
    front: &Front,
    route: &'static str,
    answer: impl FnOnce(&Seen<'_>) -> Result<String, Error>,
) -> HttpResponse {
    let id = door::request_id(request.headers());
    let mut meter = CallMeter::start(&front.outbox, &front.load.in_flight, route, Arc::clone(&id));
    meter.traced(request, front.sampler);
    let now_ms = door::now_ms();
    let today = crate::rfc3339::format_ms(now_ms);
    let today = today.get(..10).unwrap_or_default();
    let key = door::authenticate(request.headers(), &front.keys, now_ms);
    if let Ok(key) = &key {
        meter.caller(&key.caller);
    }
    let answered = key.and_then(|key| {
        let member = Member::of(key, &front.keys);
        answer(&Seen { router: &front.live.load().router, member: &member, today })
    });
    match answered {
        Ok(body) => {
            meter.completed();
            Builder::new(StatusCode::OK).header(&names::REQUEST_ID, &id).finish_with(body)
        }
        Err(error) => {
            meter.failed(&error);
            error_response(&error, Some(&id))
        }
    }
}

/// The catalogue as one key sees it today.
struct Seen<'a> {
    router: &'a Router,
    member: &'a Member,
    today: &'a str,
}

impl Seen<'_> {
    /// True when a call of this alias would find somebody to answer it. `auto` is a way to ask, not a model, and is
    /// always there.
    fn leads_somewhere(&self, name: &str) -> bool {
        if name == "auto" {
            return true;
        }
        let allowed = |model: &str, provider: &str| self.member.may_use(model, provider);
        let ask = Ask { model: name.to_owned(), ..Ask::default() };
        self.router
            .plan(
                &ask,
                &Now {
                    today: self.today,
                    at: std::time::Instant::now(),
                    random: 0,
                    allowed: &allowed,
                    notes: None,
                },
            )
            .is_ok()
    }

    /// `provider/name` with the one offer that it means.
    fn pinned<'m>(&'m self, id: &'m str) -> Option<Entry<'m>> {
        let (provider, name) = id.split_once('/')?;
        let upstream = self.router.upstreams().iter().find(|upstream| &*upstream.id == provider)?;
        let offer = self.router.catalog().offer(&upstream.catalog, name)?;
        let usable = upstream.credentialed && self.is_offered(offer, &upstream.id);
        usable.then(|| Entry::model(id, vec![Place::new(&upstream.id, offer)])).flatten()
    }

    /// Not retired, and allowed for the key.
    fn is_offered(&self, offer: &Offer, provider: &str) -> bool {
        let retired = offer.retires.as_deref().is_some_and(|day| day <= self.today);
        !retired && self.member.may_use(&offer.model, provider)
    }

    /// A model, if the key may use it at a provider that can be reached.
    fn describe<'m>(&'m self, id: &'m str, offers: &'m [Arc<Offer>]) -> Option<Entry<'m>> {
        let mut places = Vec::new();
        for offer in offers {
            let upstreams = self.router.upstreams().iter();
            let reached = upstreams.filter(|one| one.catalog == offer.provider && one.credentialed);
            let open = reached.filter(|upstream| self.is_offered(offer, &upstream.id));
            places.extend(open.map(|upstream| Place::new(&upstream.id, offer)));
        }
        Entry::model(id, places)
    }
}

/// The list.
#[derive(Serialize)]
struct List<'a> {
    object: &'static str,
    data: Vec<Entry<'a>>,
}

/// One model, in OpenAI's shape and more. Written straight to text: the list may hold a thousand of them.
#[derive(Serialize)]
struct Entry<'a> {
    id: &'a str,
    object: &'static str,
    created: u64,
    owned_by: &'a str,
    #[serde(flatten)]
    facts: Option<Facts<'a>>,
}

/// What OpenAI's shape does not have. Figures are those of the best provider; prices those of the cheapest.
#[derive(Serialize)]
struct Facts<'a> {
    context_length: Option<u64>,
    max_output_tokens: Option<u64>,
    pricing: Option<Pricing<'a>>,
    capabilities: Names,
    providers: Vec<Place<'a>>,
}

/// A model at one provider.
#[derive(Serialize)]
struct Place<'a> {
    id: &'a str,
    model: String,
    upstream_model: &'a str,
    context_length: Option<u64>,
    max_output_tokens: Option<u64>,
    pricing: Option<Pricing<'a>>,
    capabilities: Names,
    retires: Option<&'a str>,
    #[serde(skip)]
    blended: Option<Usd>,
}

impl<'a> Place<'a> {
    fn new(provider: &'a str, offer: &'a Offer) -> Self {
        Self {
            id: provider,
            model: format!("{provider}/{}", offer.model),
            upstream_model: &offer.upstream,
            context_length: offer.context_window,
            max_output_tokens: offer.max_output,
            pricing: offer.price.as_deref().map(Pricing),
            capabilities: Names(offer.capabilities),
            retires: offer.retires.as_deref(),
            blended: offer.price.as_ref().and_then(|price| price.blended()),
        }
    }
}

impl<'a> Entry<'a> {
    /// An alias or `auto`: a name of the gateway's own.
    fn alias(id: &'a str) -> Self {
        Self { id, object: "model", created: 0, owned_by: "llm-gateway", facts: None }
    }

    /// A model of the catalogue; `None` when no provider of it is left.
    fn model(id: &'a str, providers: Vec<Place<'a>>) -> Option<Self> {
        let cheapest = providers.iter().min_by_key(|place| place.blended.map_or(i64::MAX, Usd::units))?;
        let (owned_by, pricing) = (cheapest.id, cheapest.pricing);
        let all = providers.iter().flat_map(|place| place.capabilities.0.iter());
        let facts = Facts {
            context_length: providers.iter().filter_map(|place| place.context_length).max(),
            max_output_tokens: providers.iter().filter_map(|place| place.max_output_tokens).max(),
            pricing,
            capabilities: Names(all.fold(Capabilities::NONE, Capabilities::with)),
            providers,
        };
        Some(Self { id, object: "model", created: 0, owned_by, facts: Some(facts) })
    }
}

/// Capabilities as a list of names.
#[derive(Clone, Copy)]
struct Names(Capabilities);

impl Serialize for Names {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(self.0.iter().map(Capability::name))
    }
}

/// USD per token (and per request or search) as decimal strings, under the names that clients know.
#[derive(Clone, Copy)]
struct Pricing<'a>(&'a Price);

impl Serialize for Pricing<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let price = self.0;
        let rates = &price.rates;
        let named = [
            ("prompt", rates.input),
            ("completion", rates.output),
            ("input_cache_read", rates.cache_read),
            ("input_cache_write", rates.cache_write_5m),
            ("input_cache_write_1h", rates.cache_write_1h),
            ("internal_reasoning", rates.reasoning),
            ("audio", rates.audio_input),
            ("image", rates.image_input),
            ("request", price.per_request),
            ("web_search", price.web_search),
        ];
        let known = named.into_iter().filter_map(|(name, rate)| Some((name, rate?)));
        serializer.collect_map(known.map(|(name, rate)| (name, format_units(i128::from(rate.units())))))
    }
}

/// As text; what is written here has string keys and plain numbers only, so that it cannot fail.
fn to_json(value: &impl Serialize) -> Result<String, Error> {
    serde_json::to_string(value).map_err(|_| Error::Internal)
}
