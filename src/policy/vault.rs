//! Reasoning that clients lose, kept for their next turn: most clients send an assistant's message back without its
//! `reasoning_details`, and some vendors refuse a tool turn whose reasoning did not come back.
//!
//! Invariants: what one tenant's answer minted is found by that tenant alone, and only for the provider that minted
//! it; what is found was minted by an upstream and by nobody else; bytes and age are bounded, oldest out first; a
//! message that differs from the one that was answered finds nothing. Kept in this process only.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use sha2::{Digest, Sha256};

use crate::chat::conversation::{Detail, Message};
use crate::wire::translate::Minted;

/// Bytes that an entry takes besides its texts.
const ENTRY_BYTES: usize = 512;

/// Who may have an entry back, and for what.
type Key = [u8; 32];

#[derive(Debug)]
struct Entry {
    call_ids: Vec<String>,
    details: Arc<[Detail<'static>]>,
    bytes: usize,
    until: Instant,
    /// Tells this entry from an older one under the same key, in the order of ages.
    serial: u64,
}

#[derive(Debug, Default)]
struct Entries {
    by_key: HashMap<Key, Entry>,
    ages: VecDeque<(u64, Key)>,
    bytes: usize,
    serial: u64,
}

/// The vault, shared by all cells. Its lock is held for a look-up or an insertion, never across an await.
#[derive(Debug)]
pub struct Vault {
    entries: Mutex<Entries>,
    bytes_max: usize,
    life: Duration,
}

impl Vault {
    /// Holds at most this many bytes, each entry for this long.
    pub fn new(bytes_max: usize, life: Duration) -> Self {
        Self { entries: Mutex::default(), bytes_max, life }
    }

    /// Keeps what an answer of `provider` to `tenant` minted.
    pub fn remember(&self, tenant: &str, provider: &str, minted: Minted, now: Instant) {
        let key = match minted.call_ids.first() {
            Some(id) => key(tenant, provider, "call", id.as_bytes()),
            None => key(tenant, provider, "text", &minted.text_digest),
        };
        let bytes = ENTRY_BYTES
            + minted.details.iter().map(size).sum::<usize>()
            + minted.call_ids.iter().map(String::len).sum::<usize>();
        if bytes > self.bytes_max {
            return;
        }
        let mut entries = self.entries.lock().unwrap_or_else(PoisonError::into_inner);
        entries.make_room(self.bytes_max - bytes, now);
        entries.serial += 1;
        let serial = entries.serial;
        let entry = Entry {
            call_ids: minted.call_ids,
            details: minted.details.into(),
            bytes,
            until: now + self.life,
            serial,
        };
        if let Some(older) = entries.by_key.insert(key, entry) {
            entries.bytes -= older.bytes;
        }
        entries.bytes += bytes;
        entries.ages.push_back((serial, key));
    }

    /// What `provider` minted for `tenant` with this message; nothing when the message is another one.
    pub fn recall(
        &self,
        tenant: &str,
        provider: &str,
        message: &Message<'_>,
        now: Instant,
    ) -> Vec<Detail<'static>> {
        let key = match message.tool_calls.first() {
            Some(call) => key(tenant, provider, "call", call.id.as_bytes()),
            None => key(tenant, provider, "text", &Sha256::digest(message.text().as_bytes())),
        };
        let details = {
            let entries = self.entries.lock().unwrap_or_else(PoisonError::into_inner);
            let found = entries.by_key.get(&key).filter(|entry| entry.until > now);
            let same = |entry: &&Entry| {
                entry.call_ids.iter().map(String::as_str).eq(message.tool_calls.iter().map(|call| &*call.id))
            };
            found.filter(same).map(|entry| Arc::clone(&entry.details))
        };
        details.map(|details| details.to_vec()).unwrap_or_default()
    }

    /// Bytes held.
    pub fn bytes(&self) -> usize {
        self.entries.lock().unwrap_or_else(PoisonError::into_inner).bytes
    }
}

impl Entries {
    /// Lets go what is over, and the oldest until no more than this is held.
    fn make_room(&mut self, bytes_max: usize, now: Instant) {
        while let Some((serial, key)) = self.ages.front().copied() {
            let entry = self.by_key.get(&key).filter(|entry| entry.serial == serial);
            if entry.is_some_and(|entry| entry.until > now) && self.bytes <= bytes_max {
                return;
            }
            self.ages.pop_front();
            if entry.is_some()
                && let Some(gone) = self.by_key.remove(&key)
            {
                self.bytes -= gone.bytes;
            }
        }
    }
}

fn key(tenant: &str, provider: &str, kind: &str, value: &[u8]) -> Key {
    let mut digest = Sha256::new();
    for part in [tenant.as_bytes(), provider.as_bytes(), kind.as_bytes(), value] {
        // The length goes first: no two lists of parts make the same bytes.
        digest.update((part.len() as u64).to_le_bytes());
        digest.update(part);
    }
    digest.finalize().into()
}

fn size(detail: &Detail<'_>) -> usize {
    let texts = [&detail.text, &detail.summary, &detail.data, &detail.signature, &detail.id, &detail.format];
    size_of::<Detail<'_>>() + texts.into_iter().flatten().map(|text| text.len()).sum::<usize>()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::chat::{Conversation, request};

    fn minted(call_ids: &[&str], text: &str, signature: &str) -> Minted {
        Minted {
            call_ids: call_ids.iter().map(|id| (*id).to_owned()).collect(),
            text_digest: Sha256::digest(text).into(),
            details: vec![Detail { signature: Some(signature.to_owned().into()), ..Detail::default() }],
        }
    }

    /// What is recalled for an assistant's message.
    fn recalled(vault: &Vault, tenant: &str, provider: &str, message: &str, now: Instant) -> Vec<String> {
        let body = format!(r#"{{"model":"m","messages":[{message}]}}"#);
        let parsed = request::parse(body.as_bytes()).unwrap();
        let conversation = Conversation::read(&parsed, body.as_bytes()).unwrap();
        let found = vault.recall(tenant, provider, &conversation.messages[0], now);
        found
            .into_iter()
            .filter_map(|detail| detail.signature)
            .map(|signature| signature.to_string())
            .collect()
    }

    const CALLED: &str = r#"{"role":"assistant","content":null,"tool_calls":[{"id":"c1","type":"function","function":{"name":"f","arguments":"{}"}},{"id":"c2","type":"function","function":{"name":"f","arguments":"{}"}}]}"#;
    const SAID: &str =
        r#"{"role":"assistant","content":[{"type":"text","text":"he"},{"type":"text","text":"llo"}]}"#;

    #[test]
    fn a_message_finds_its_reasoning_by_its_calls_or_its_text() {
        let (vault, now) = (Vault::new(1 << 20, Duration::from_secs(60)), Instant::now());
        vault.remember("t", "p", minted(&["c1", "c2"], "", "by calls"), now);
        vault.remember("t", "p", minted(&[], "hello", "by text"), now);
        assert_eq!(recalled(&vault, "t", "p", CALLED, now), ["by calls"]);
        assert_eq!(recalled(&vault, "t", "p", SAID, now), ["by text"]);
        let fewer = CALLED.replace(r#"{"id":"c2","#, r#"{"id":"c3","#);
        assert!(recalled(&vault, "t", "p", &fewer, now).is_empty(), "another message");
    }

    #[test]
    fn nobody_else_finds_it_nor_another_provider_nor_anyone_later() {
        let (vault, now) = (Vault::new(1 << 20, Duration::from_secs(60)), Instant::now());
        vault.remember("t", "p", minted(&["c1", "c2"], "", "s"), now);
        for (tenant, provider) in [("u", "p"), ("t", "q"), ("", "tp"), ("tp", "")] {
            assert!(recalled(&vault, tenant, provider, CALLED, now).is_empty(), "{tenant} {provider}");
        }
        assert!(recalled(&vault, "t", "p", CALLED, now + Duration::from_secs(60)).is_empty());
        assert_eq!(recalled(&vault, "t", "p", CALLED, now + Duration::from_secs(59)), ["s"]);
    }

    #[test]
    fn what_is_held_is_bounded_and_the_oldest_goes_first() {
        let (vault, now) = (Vault::new(8 * 1024, Duration::from_secs(60)), Instant::now());
        for at in 0..100 {
            vault.remember("t", "p", minted(&[&format!("call-{at}")], "", "s"), now);
            vault.remember("t", "p", minted(&["c1", "c2"], "", &at.to_string()), now);
            assert!(vault.bytes() <= 8 * 1024);
        }
        assert_eq!(recalled(&vault, "t", "p", CALLED, now), ["99"]);
        vault.remember("t", "p", minted(&["x"], "", &"s".repeat(9 * 1024)), now);
        assert!(vault.bytes() <= 8 * 1024, "what alone is too large is not kept");
        let entries = vault.entries.lock().unwrap();
        assert_eq!(entries.bytes, entries.by_key.values().map(|entry| entry.bytes).sum::<usize>());
        assert!(entries.ages.len() <= 64, "replaced entries do not pile up: {}", entries.ages.len());
    }
}
