//! The names of the headers that are not the standard's, checked when this is compiled: checking and copying a name for
//! each look-up would cost more than the look-up.

use actix_web::http::header::HeaderName;

/// Declares each as a static.
macro_rules! names {
    ($($constant:ident = $name:literal;)*) => {
        $(
            #[doc = concat!("`", $name, "`.")]
            pub static $constant: HeaderName = HeaderName::from_static($name);
        )*
    };
}

names! {
    API_KEY = "x-api-key";
    REQUEST_ID = "x-request-id";
    TRACEPARENT = "traceparent";
    TRACESTATE = "tracestate";

    EXPLAIN = "x-gateway-explain";
    NO_FALLBACK = "x-gateway-no-fallback";
    PRIORITY = "x-gateway-priority";
    PROVIDER_ORDER = "x-gateway-provider-order";
    ROUTING = "x-gateway-routing";
    SESSION_AFFINITY = "x-session-affinity";
    SESSION_ID = "x-session-id";
    STRICT = "x-gateway-strict";
    TAGS = "x-gateway-tags";
    TIMEOUT_MS = "x-gateway-timeout-ms";

    IDEMPOTENCY_KEY = "idempotency-key";
    IDEMPOTENCY = "x-gateway-idempotency";
    IDEMPOTENT_REPLAY = "x-gateway-idempotent-replay";
    ORIGINAL_REQUEST_ID = "x-gateway-original-request-id";

    ATTEMPTS = "x-gateway-attempts";
    DROPPED_PARAMS = "x-gateway-dropped-params";
    MODEL = "x-gateway-model";
    OVERHEAD_US = "x-gateway-overhead-us";
    PROVIDER = "x-gateway-provider";
    RETRY_AFTER_MS = "retry-after-ms";
    SHOULD_RETRY = "x-should-retry";
    ACCEL_BUFFERING = "x-accel-buffering";

    LIMIT_REQUESTS = "x-ratelimit-limit-requests";
    REMAINING_REQUESTS = "x-ratelimit-remaining-requests";
    RESET_REQUESTS = "x-ratelimit-reset-requests";
    LIMIT_TOKENS = "x-ratelimit-limit-tokens";
    REMAINING_TOKENS = "x-ratelimit-remaining-tokens";
    RESET_TOKENS = "x-ratelimit-reset-tokens";
}
