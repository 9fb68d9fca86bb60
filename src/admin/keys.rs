//! Idempotency keys: the same request under the same key is carried out once.
//!
//! That is the state machine's doing, which remembers keys in the store. Here is remembered what
//! each key was for, so that a key which comes with another request is refused rather than taken
//! for the first one, and so that a repetition gets the rollout of the first request even when
//! another one has begun since. This memory ends with the process; the machine's does not.

use std::collections::{HashMap, VecDeque};
use std::sync::{Mutex, PoisonError};

use http::HeaderMap;
use xxhash_rust::xxh3::xxh3_128;

use super::sidecar::AdminError;

/// The header field.
const HEADER: &str = "idempotency-key";

/// Longest key.
const LONGEST: usize = 128;

/// Keys that are remembered, the latest.
const MOST: usize = 1024;

/// What keys were for.
#[derive(Debug, Default)]
pub(super) struct Keys(Mutex<Known>);

#[derive(Debug, Default)]
struct Known {
    uses: HashMap<String, Use>,
    /// Oldest first.
    order: VecDeque<String>,
}

#[derive(Debug)]
struct Use {
    request: u128,
    /// The rollout that came of it.
    rollout: Option<String>,
}

/// The key of a request, if it has one. Quotes, which a structured field has, are taken off.
///
/// # Errors
/// Where it is no key.
pub(super) fn key(headers: &HeaderMap) -> Result<Option<String>, AdminError> {
    let Some(value) = headers.get(HEADER) else { return Ok(None) };
    let text = value.to_str().unwrap_or_default().trim();
    let key = text.strip_prefix('"').and_then(|rest| rest.strip_suffix('"')).unwrap_or(text);
    if key.is_empty() || key.len() > LONGEST || !key.bytes().all(|byte| (b' '..=b'~').contains(&byte)) {
        let line = format!("Idempotency-Key is not 1 to {LONGEST} printable characters");
        return Err(AdminError::Invalid(line));
    }
    Ok(Some(key.to_owned()))
}

impl Keys {
    /// Notes that `key` is for this request, and says which rollout came of it before.
    ///
    /// # Errors
    /// [`AdminError::KeyReused`] where it is for another one.
    pub(super) fn begin(&self, key: &str, path: &str, body: &[u8]) -> Result<Option<String>, AdminError> {
        let request = xxh3_128(&[path.as_bytes(), b"\0", body].concat());
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(used) = known.uses.get(key) {
            return match used.request == request {
                true => Ok(used.rollout.clone()),
                false => Err(AdminError::KeyReused(format!(
                    "Idempotency-Key {key:?} came with another request before: use a new one for each"
                ))),
            };
        }
        if known.order.len() >= MOST
            && let Some(oldest) = known.order.pop_front()
        {
            known.uses.remove(&oldest);
        }
        known.order.push_back(key.to_owned());
        known.uses.insert(key.to_owned(), Use { request, rollout: None });
        Ok(None)
    }

    /// Notes what came of the request under `key`.
    pub(super) fn done(&self, key: &str, rollout: &str) {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(used) = known.uses.get_mut(key) {
            used.rollout = Some(rollout.to_owned());
        }
    }

    /// Forgets `key`: its request was refused, and nothing has changed.
    pub(super) fn forget(&self, key: &str) {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if known.uses.remove(key).is_some() {
            known.order.retain(|other| other != key);
        }
    }
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    fn read(value: &'static [u8]) -> Result<Option<String>, AdminError> {
        let mut headers = HeaderMap::new();
        headers.insert(HEADER, HeaderValue::from_bytes(value).unwrap());
        key(&headers)
    }

    #[test]
    fn a_key_is_read_with_and_without_quotes() {
        assert_eq!(key(&HeaderMap::new()), Ok(None));
        for text in [&b"build-17"[..], b"\"build-17\""] {
            assert_eq!(read(text), Ok(Some("build-17".to_owned())));
        }
        for wrong in [&b""[..], b"\"\"", b"\xff", &[b'a'; LONGEST + 1]] {
            let read = key(&HeaderMap::from_iter([(
                http::HeaderName::from_static(HEADER),
                HeaderValue::from_bytes(wrong).unwrap(),
            )]));
            assert!(matches!(read, Err(AdminError::Invalid(_))), "{read:?}");
        }
    }

    #[test]
    fn a_key_is_for_one_request_until_that_is_refused() {
        let keys = Keys::default();
        assert_eq!(keys.begin("k", "/a", b"1"), Ok(None));
        keys.done("k", "m-1");
        assert_eq!(keys.begin("k", "/a", b"1"), Ok(Some("m-1".to_owned())));
        for (path, body) in [("/a", b"2"), ("/b", b"1")] {
            assert!(matches!(keys.begin("k", path, body), Err(AdminError::KeyReused(_))));
        }
        keys.forget("k");
        assert_eq!(keys.begin("k", "/b", b"2"), Ok(None));
    }

    #[test]
    fn only_the_latest_keys_are_remembered() {
        let keys = Keys::default();
        for n in 0..=MOST {
            keys.begin(&n.to_string(), "/", b"").unwrap();
        }
        assert_eq!(keys.begin("0", "/other", b""), Ok(None));
        assert!(keys.begin(&MOST.to_string(), "/other", b"").is_err());
        let known = keys.0.lock().unwrap();
        assert_eq!((known.uses.len(), known.order.len()), (MOST, MOST));
    }
}
