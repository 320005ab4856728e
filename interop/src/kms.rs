//! A KMS for tests: it speaks the REST API of Hadoop's, so Java's client can use it, and forgets its keys when it ends.

use aes::Aes128;
use anyhow::Result;
use bytes::Bytes;
use ctr::Ctr128BE;
use ctr::cipher::{KeyIvInit, StreamCipher};
use hathi_formats::kms::{self, EncryptedKey};
use hathi_net::http::header::{HeaderValue, SET_COOKIE};
use hathi_net::http::{HttpRequest, HttpResponse, HttpServer, StatusCode, json};
use http_body_util::BodyExt;
use parking_lot::Mutex;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use tokio::sync::Semaphore;

/// Bytes of an AES-128 key.
const KEY_LEN: usize = 16;

type Key = [u8; KEY_LEN];

/// Keys by name, each with its versions, the oldest first.
type Keys = BTreeMap<String, Vec<Key>>;

/// Which batches of keys may be encrypted anew.
#[derive(Clone)]
struct Batches {
    /// One for each batch.
    places: Arc<Semaphore>,
    waiting: Arc<AtomicUsize>,
}

/// A batch that waits. Its client may end meanwhile.
struct Waiting<'b>(&'b AtomicUsize);

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}

impl Batches {
    async fn wait(&self) {
        self.waiting.fetch_add(1, Ordering::SeqCst);
        let _waiting = Waiting(&self.waiting);
        if let Ok(place) = self.places.acquire().await {
            place.forget();
        }
    }
}

/// See the module.
pub struct Kms {
    keys: Arc<Mutex<Keys>>,
    batches: Batches,
    server: HttpServer,
}

impl std::fmt::Debug for Kms {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Kms")
            .field("address", &self.server.local_addr())
            .finish()
    }
}

fn random_key() -> Key {
    std::array::from_fn(|_| fastrand::u8(..))
}

/// What is encrypted with a key of the KMS: in counter mode, with the other bits of the vector
/// (`EncryptedKeyVersion.deriveIV`).
fn encrypt(key: &Key, iv: &[u8], bytes: &[u8]) -> Option<Vec<u8>> {
    let iv: Vec<u8> = iv.iter().map(|byte| !byte).collect();
    let mut bytes = bytes.to_vec();
    Ctr128BE::<Aes128>::new_from_slices(key, &iv)
        .ok()?
        .apply_keystream(&mut bytes);
    Some(bytes)
}

impl Kms {
    /// Starts one without keys.
    ///
    /// # Errors
    /// When no port can be had.
    pub fn start() -> Result<Kms> {
        let keys: Arc<Mutex<Keys>> = Arc::default();
        let batches = Batches {
            places: Arc::new(Semaphore::new(Semaphore::MAX_PERMITS)),
            waiting: Arc::default(),
        };
        let shared = (keys.clone(), batches.clone());
        let handler = move |request: HttpRequest| {
            let (keys, batches) = shared.clone();
            async move { respond(&keys, &batches, request).await }
        };
        let server = HttpServer::bind("127.0.0.1:0".parse()?, Arc::new(handler))?;
        Ok(Kms { keys, batches, server })
    }

    /// `hadoop.security.key.provider.path`
    #[must_use]
    pub fn provider(&self) -> String {
        format!("kms://http@{}/kms", self.server.local_addr())
    }

    /// Makes a key, or a new version of it (`hadoop key create`, `hadoop key roll`).
    pub fn roll(&self, name: &str) {
        self.keys.lock().entry(name.to_owned()).or_default().push(random_key());
    }

    /// From now on nobody gets an answer about keys that are to be encrypted anew, until
    /// [`Kms::let_batches_through`].
    pub fn hold_batches(&self) {
        self.batches.places.forget_permits(Semaphore::MAX_PERMITS);
    }

    /// Answers so many questions about batches of keys that are to be encrypted anew.
    pub fn let_batches_through(&self, count: usize) {
        self.batches.places.add_permits(count);
    }

    /// Number of batches that wait for [`Kms::let_batches_through`].
    #[must_use]
    pub fn held_batches(&self) -> usize {
        self.batches.waiting.load(Ordering::SeqCst)
    }
}

/// The key of a version such as `key@0`.
fn version<'k>(keys: &'k Keys, name: &str) -> Option<&'k Key> {
    let (key, number) = name.rsplit_once('@')?;
    keys.get(key)?.get(number.parse::<usize>().ok()?)
}

fn newest(keys: &Keys, name: &str) -> Option<(String, Key)> {
    let versions = keys.get(name)?;
    Some((format!("{name}@{}", versions.len().checked_sub(1)?), *versions.last()?))
}

async fn respond(keys: &Mutex<Keys>, batches: &Batches, request: HttpRequest) -> HttpResponse {
    if request.head.path.ends_with("/_reencryptbatch") {
        batches.wait().await;
    }
    let body = request
        .body
        .collect()
        .await
        .map(|body| body.to_bytes())
        .unwrap_or_default();
    let mut response = match answer(&keys.lock(), request.head.method.as_ref(), &request.head, &body) {
        Some(text) => json(StatusCode::OK, text),
        None => {
            let text = r#"{"RemoteException":{"message":"no such key","exception":"IOException","javaClassName":"java.io.IOException"}}"#;
            json(StatusCode::NOT_FOUND, text.to_owned())
        }
    };
    // Java's client keeps it, and does not say its name again.
    if let Some(user) = request.head.query.get("user.name")
        && let Ok(cookie) = HeaderValue::from_str(&format!(
            "hadoop.auth=\"u={user}&p={user}&t=simple&e=9999999999999&s=x\"; Path=/; HttpOnly"
        ))
    {
        response.headers_mut().insert(SET_COOKIE, cookie);
    }
    response
}

/// `None`: there is no such key.
fn answer(keys: &Keys, method: &str, head: &hathi_net::http::RequestHead, body: &Bytes) -> Option<String> {
    if method == "OPTIONS" {
        return Some("{}".to_owned());
    }
    let path = head.path.strip_prefix("/kms/v1/")?;
    let words: Vec<&str> = path.split('/').collect();
    let operation = head.query.get("eek_op");
    match (words.as_slice(), operation) {
        (["key", name, "_metadata"], _) => Some(match keys.get(*name) {
            Some(versions) => format!(
                r#"{{"name":"{name}","cipher":"AES/CTR/NoPadding","length":128,"description":"","attributes":{{}},"created":1,"versions":{}}}"#,
                versions.len()
            ),
            None => "{}".to_owned(),
        }),
        (["key", name, "_eek"], Some("generate")) => {
            let (version_name, key) = newest(keys, name)?;
            let count = head.query.number("num_keys").unwrap_or(1);
            let made = (0..count).map(|_| {
                let iv = random_key();
                Some(EncryptedKey {
                    key_name: (*name).to_owned(),
                    version_name: version_name.clone(),
                    material: encrypt(&key, &iv, &random_key())?,
                    iv: iv.to_vec(),
                })
            });
            Some(kms::batch(&made.collect::<Option<Vec<_>>>()?))
        }
        (["key", name, "_reencryptbatch"], _) => {
            let (version_name, key) = newest(keys, name)?;
            let old = kms::encrypted_keys(body, name, usize::MAX).ok()?;
            let new = old.into_iter().map(|old| {
                let plain = encrypt(version(keys, &old.version_name)?, &old.iv, &old.material)?;
                Some(EncryptedKey {
                    version_name: version_name.clone(),
                    material: encrypt(&key, &old.iv, &plain)?,
                    ..old
                })
            });
            Some(kms::batch(&new.collect::<Option<Vec<_>>>()?))
        }
        (["keyversion", name, "_eek"], Some("decrypt")) => {
            let asked = kms::decrypt_parts(body).ok()?;
            let plain = encrypt(version(keys, name)?, &asked.0, &asked.1)?;
            Some(kms::decrypted(&plain))
        }
        _ => None,
    }
}
