//! The client of a KMS, Hadoop's key management server (`KMSClientProvider`, `LoadBalancingKMSClientProvider`).
//!
//! Several hosts with the same keys are asked in turns. When one does not answer, the next one is asked.

use std::fmt::Debug;
use std::future::Future;
use std::pin::Pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use hathi_conf::{ConfError, Configuration, TimeUnit};
use hathi_formats::kms::{self, EncryptedKey, MalformedAnswer, UnusableProvider};
use hyper::header::{CONTENT_TYPE, HeaderValue};
use hyper::{HeaderMap, Method};

use crate::http::{HttpError, exchange};
use crate::ipc::UserInfo;

/// Key of the provider's address.
pub const PROVIDER_PATH: &str = "hadoop.security.key.provider.path";
/// An answer about so many keys is shorter.
const ANSWER_MAX_BYTES: usize = 16 << 20;

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    /// The address of the provider.
    #[error(transparent)]
    Provider(#[from] UnusableProvider),
    /// A value of the configuration.
    #[error(transparent)]
    Configuration(#[from] ConfError),
    /// No host answers.
    #[error("{0}")]
    Http(#[from] HttpError),
    /// The KMS refuses.
    #[error("{0}")]
    Refused(String),
    /// The answer is another one than was asked for.
    #[error(transparent)]
    Malformed(#[from] MalformedAnswer),
}

/// An answer under way.
pub type Asked<'a, T> = Pin<Box<dyn Future<Output = Result<T, KeyError>> + Send + 'a>>;

/// Where keys of encryption zones are (`KeyProviderCryptoExtension`).
pub trait KeyProvider: Debug + Send + Sync {
    /// The cipher of a key. `None` if there is no such key.
    fn cipher<'a>(&'a self, key_name: &'a str) -> Asked<'a, Option<String>>;
    /// New keys, encrypted with the newest version of this one; at least one and at most `count`.
    fn generate<'a>(&'a self, key_name: &'a str, count: usize) -> Asked<'a, Vec<EncryptedKey>>;
    /// The same keys of one zone, encrypted with its newest version, in this order.
    fn reencrypt<'a>(&'a self, key_name: &'a str, keys: &'a [EncryptedKey]) -> Asked<'a, Vec<EncryptedKey>>;
    /// A key in the clear.
    fn decrypt<'a>(&'a self, key: &'a EncryptedKey) -> Asked<'a, Vec<u8>>;
}

/// A KMS of one or more hosts.
#[derive(Debug)]
pub struct Kms {
    addresses: Vec<String>,
    /// `user.name=…`, and `doAs=…` if it is asked in another's name.
    identity: String,
    timeout: Duration,
    /// Number of attempts.
    attempts: usize,
    pause: Duration,
    pause_max: Duration,
    /// The host that is asked first the next time.
    turn: AtomicUsize,
}

/// `hadoop.security.kms.client.*`
#[derive(Clone, Debug)]
pub struct KmsOptions {
    timeout: Duration,
    /// Number of attempts; `None` for one at each host.
    retries: Option<usize>,
    pause: Duration,
    pause_max: Duration,
}

impl KmsOptions {
    /// Those of a configuration.
    ///
    /// # Errors
    /// When a value does not parse.
    pub fn of(conf: &Configuration) -> Result<KmsOptions, ConfError> {
        let millis = |key: &str, default: u64| conf.get_duration(key, Duration::from_millis(default), TimeUnit::Millis);
        let seconds = Duration::from_secs(60);
        let retries = conf.get_usize("hadoop.security.kms.client.failover.max.retries", 0)?;
        Ok(KmsOptions {
            timeout: conf.get_duration("hadoop.security.kms.client.timeout", seconds, TimeUnit::Seconds)?,
            retries: Some(retries).filter(|retries| *retries > 0),
            pause: millis("hadoop.security.kms.client.failover.sleep.base.millis", 100)?,
            pause_max: millis("hadoop.security.kms.client.failover.sleep.max.millis", 2000)?,
        })
    }
}

impl Kms {
    /// The KMS at an address such as `kms://http@host1;host2:9600/kms`, asked as this user.
    ///
    /// # Errors
    /// When the address can't be used.
    pub fn new(options: &KmsOptions, provider: &str, user: &UserInfo) -> Result<Kms, KeyError> {
        let addresses = kms::addresses(provider)?;
        let identity = match &user.real_user {
            None => format!("user.name={}", kms::encode(&user.user)),
            Some(real) => format!("user.name={}&doAs={}", kms::encode(real), kms::encode(&user.user)),
        };
        Ok(Kms {
            attempts: options.retries.unwrap_or(0).max(addresses.len()),
            turn: AtomicUsize::new(fastrand::usize(..addresses.len())),
            addresses,
            identity,
            timeout: options.timeout,
            pause: options.pause,
            pause_max: options.pause_max,
        })
    }

    /// Asks one host after the other, until one answers or refuses.
    async fn ask(&self, method: Method, resource: &str, parameters: &str, body: String) -> Result<Bytes, KeyError> {
        let first = self.turn.fetch_add(1, Ordering::Relaxed);
        let mut pause = self.pause;
        for attempt in 0.. {
            let host = (first.wrapping_add(attempt)) % self.addresses.len();
            let Some(address) = self.addresses.get(host) else {
                continue;
            };
            let url = format!("{address}/{resource}?{}{parameters}", self.identity);
            let mut headers = HeaderMap::new();
            headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
            let body = Bytes::from(body.clone());
            match exchange(method.clone(), &url, headers, body, self.timeout, ANSWER_MAX_BYTES).await {
                Ok(answer) => return Ok(answer),
                Err(error) if attempt + 1 < self.attempts && is_of_the_host(&error) => {
                    tracing::warn!(%error, "a KMS does not answer");
                    // Only who has asked them all waits.
                    if (attempt + 1) % self.addresses.len() == 0 {
                        tokio::time::sleep(pause).await;
                        pause = (pause * 2).min(self.pause_max);
                    }
                }
                Err(error) => return Err(told(error)),
            }
        }
        unreachable!("the last attempt returns")
    }
}

/// Whether another host may answer.
fn is_of_the_host(error: &HttpError) -> bool {
    match error {
        HttpError::Url(_) => false,
        HttpError::Io { .. } | HttpError::Timeout { .. } => true,
        HttpError::Status { status, message, .. } => status.is_server_error() && kms::failure(message).is_none(),
    }
}

fn told(error: HttpError) -> KeyError {
    if let HttpError::Status { message, .. } = &error
        && let Some(failure) = kms::failure(message)
    {
        return KeyError::Refused(failure);
    }
    KeyError::Http(error)
}

impl KeyProvider for Kms {
    fn cipher<'a>(&'a self, key_name: &'a str) -> Asked<'a, Option<String>> {
        Box::pin(async move {
            let resource = format!("key/{}/_metadata", kms::encode(key_name));
            let answer = self.ask(Method::GET, &resource, "", String::new()).await?;
            Ok(kms::cipher(&answer)?)
        })
    }

    fn generate<'a>(&'a self, key_name: &'a str, count: usize) -> Asked<'a, Vec<EncryptedKey>> {
        Box::pin(async move {
            let resource = format!("key/{}/_eek", kms::encode(key_name));
            let parameters = format!("&eek_op=generate&num_keys={count}");
            let answer = self.ask(Method::GET, &resource, &parameters, String::new()).await?;
            let keys = kms::encrypted_keys(&answer, key_name, count)?;
            if keys.is_empty() {
                return Err(KeyError::Refused(format!("the KMS made no key for {key_name}")));
            }
            Ok(keys)
        })
    }

    fn reencrypt<'a>(&'a self, key_name: &'a str, keys: &'a [EncryptedKey]) -> Asked<'a, Vec<EncryptedKey>> {
        Box::pin(async move {
            let resource = format!("key/{}/_reencryptbatch", kms::encode(key_name));
            let answer = self.ask(Method::POST, &resource, "", kms::batch(keys)).await?;
            let again = kms::encrypted_keys(&answer, key_name, keys.len())?;
            if again.len() != keys.len() {
                return Err(KeyError::Refused("the KMS left some keys out".to_owned()));
            }
            Ok(again)
        })
    }

    fn decrypt<'a>(&'a self, key: &'a EncryptedKey) -> Asked<'a, Vec<u8>> {
        Box::pin(async move {
            let resource = format!("keyversion/{}/_eek", kms::encode(&key.version_name));
            let body = kms::decrypt_request(key);
            let answer = self.ask(Method::POST, &resource, "&eek_op=decrypt", body).await?;
            Ok(kms::material(&answer)?)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::{HttpRequest, HttpResponse, HttpServer, StatusCode, json};
    use hathi_conf::Environment;
    use std::sync::Arc;

    fn user() -> UserInfo {
        UserInfo {
            user: "hdfs".to_owned(),
            ..UserInfo::default()
        }
    }

    /// A KMS that has one key, and says what it was asked.
    async fn answer(request: HttpRequest) -> HttpResponse {
        let asked = format!("{} {}", request.head.method, request.head.path);
        if !request.head.raw_query.contains("user.name=hdfs") {
            return json(StatusCode::UNAUTHORIZED, "{}".to_owned());
        }
        match asked.as_str() {
            "GET /kms/v1/key/a%20key/_metadata" | "GET /kms/v1/key/a key/_metadata" => {
                json(StatusCode::OK, r#"{"cipher":"AES/CTR/NoPadding"}"#.to_owned())
            }
            "GET /kms/v1/key/none/_metadata" => json(StatusCode::OK, "{}".to_owned()),
            _ => {
                let refused = r#"{"RemoteException":{"message":"no","exception":"AuthorizationException"}}"#;
                json(StatusCode::FORBIDDEN, refused.to_owned())
            }
        }
    }

    #[tokio::test]
    async fn another_host_is_asked_when_one_does_not_answer_but_not_when_one_refuses() {
        let (_socket, dead) = crate::refusing_address();
        let server = HttpServer::bind("127.0.0.1:0".parse().unwrap(), Arc::new(answer)).unwrap();
        let live = server.local_addr();
        let conf = Configuration::new(Environment::default());
        let mut kms = Kms::new(&KmsOptions::of(&conf).unwrap(), "kms://http@h:1/kms", &user()).unwrap();
        kms.addresses = vec![format!("http://{dead}/kms/v1"), format!("http://{live}/kms/v1")];
        kms.attempts = 2;
        for _ in 0..3 {
            assert_eq!(kms.cipher("a key").await.unwrap().as_deref(), Some("AES/CTR/NoPadding"));
        }
        assert_eq!(kms.cipher("none").await.unwrap(), None);
        let refused = kms.generate("a key", 3).await.unwrap_err();
        assert_eq!(refused.to_string(), "AuthorizationException: no");
        kms.addresses.pop();
        assert!(matches!(kms.cipher("a key").await, Err(KeyError::Http(_))));
    }
}
