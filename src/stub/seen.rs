//! What the stub has seen, for tests: how many requests, and the last one.
//!
//! Each worker notes into a slot of its own, so that no request waits for another worker's.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use actix_web::HttpRequest;
use bytes::Bytes;
use serde_json::{Map, Value, json};

/// Headers that may hold a credential: whether they were there is all that is told.
const MASKED: [&str; 3] = ["authorization", "x-api-key", "api-key"];

/// Counters and slots of all workers.
#[derive(Default)]
pub struct Seen {
    count: AtomicU64,
    slots: Mutex<Vec<Arc<Mutex<Slot>>>>,
}

/// The last request of one worker.
#[derive(Default)]
pub struct Slot {
    number: u64,
    /// `name: value` lines; the buffer is used again and again.
    head: Vec<u8>,
    body: Bytes,
}

impl Seen {
    /// A slot for one more worker.
    pub fn slot(&self) -> Arc<Mutex<Slot>> {
        let slot = Arc::default();
        self.slots.lock().unwrap_or_else(PoisonError::into_inner).push(Arc::clone(&slot));
        slot
    }

    /// Notes a request; gives its number, from 1.
    pub fn note(&self, slot: &Mutex<Slot>, request: &HttpRequest, body: &Bytes) -> u64 {
        let number = self.count.fetch_add(1, Ordering::Relaxed) + 1;
        let mut slot = slot.lock().unwrap_or_else(PoisonError::into_inner);
        slot.number = number;
        slot.body = body.clone();
        slot.head.clear();
        for (name, value) in request.headers() {
            let masked = MASKED.contains(&name.as_str());
            let value = if masked { b"present".as_slice() } else { value.as_bytes() };
            for piece in [name.as_str().as_bytes(), b": ", value, b"\n"] {
                slot.head.extend_from_slice(piece);
            }
        }
        number
    }

    /// `{"count": N, "last": {"headers": {...}, "body": ...}}`.
    pub fn report(&self) -> Value {
        let slots = self.slots.lock().unwrap_or_else(PoisonError::into_inner);
        let mut latest = (0, Value::Null);
        for slot in slots.iter() {
            let slot = slot.lock().unwrap_or_else(PoisonError::into_inner);
            if slot.number > latest.0 {
                latest = (slot.number, slot.report());
            }
        }
        json!({"count": self.count.load(Ordering::Relaxed), "last": latest.1})
    }
}

impl Slot {
    fn report(&self) -> Value {
        let mut headers = Map::new();
        for mask in MASKED {
            headers.insert(mask.to_owned(), "absent".into());
        }
        for line in String::from_utf8_lossy(&self.head).lines() {
            let Some((name, value)) = line.split_once(": ") else { continue };
            match headers.get_mut(name) {
                Some(Value::String(earlier)) if earlier != "absent" => {
                    earlier.push_str(", ");
                    earlier.push_str(value);
                }
                _ => {
                    headers.insert(name.to_owned(), value.into());
                }
            }
        }
        let body: Value = serde_json::from_slice(&self.body)
            .unwrap_or_else(|_| String::from_utf8_lossy(&self.body).into_owned().into());
        json!({"headers": headers, "body": body})
    }
}
