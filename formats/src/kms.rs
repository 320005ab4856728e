//! What a KMS (Hadoop's key management server) is asked and answers, as JSON, and its address in the configuration.
//!
//! Mirrors `KMSUtil`, `KMSRESTConstants` and the addresses of `KMSClientProvider.Factory`.

use base64::Engine as _;
use base64::alphabet::URL_SAFE;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use serde_json::{Value, json};

/// Hosts of one key provider.
const HOSTS_MAX: usize = 64;
/// Bytes of a key or an initialization vector.
const KEY_MAX_BYTES: usize = 4096;

/// Java writes base64 without padding, in the alphabet of addresses. Padding is read as well.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &URL_SAFE,
    GeneralPurposeConfig::new()
        .with_encode_padding(false)
        .with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// A key for a file, encrypted with a version of a zone's key (`EncryptedKeyVersion`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EncryptedKey {
    /// Name of the zone's key.
    pub key_name: String,
    /// The version of it with which this one is encrypted.
    pub version_name: String,
    /// Of the encryption of the key, and of the file.
    pub iv: Vec<u8>,
    /// The key, encrypted.
    pub material: Vec<u8>,
}

/// An answer that is no answer of a KMS.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the KMS's answer is not what it should be: {0}")]
pub struct MalformedAnswer(&'static str);

fn parsed(body: &[u8]) -> Result<Value, MalformedAnswer> {
    serde_json::from_slice(body).map_err(|_| MalformedAnswer("no JSON"))
}

fn text<'v>(value: &'v Value, member: &'static str) -> Result<&'v str, MalformedAnswer> {
    value.get(member).and_then(Value::as_str).ok_or(MalformedAnswer(member))
}

fn binary(value: &Value, member: &'static str) -> Result<Vec<u8>, MalformedAnswer> {
    let text = text(value, member)?;
    // commons-codec reads both alphabets.
    let text = text.replace('+', "-").replace('/', "_");
    let bytes = BASE64.decode(text).map_err(|_| MalformedAnswer(member))?;
    if bytes.len() > KEY_MAX_BYTES {
        return Err(MalformedAnswer(member));
    }
    Ok(bytes)
}

fn encrypted_key(value: &Value, key_name: &str) -> Result<EncryptedKey, MalformedAnswer> {
    let inner = value
        .get("encryptedKeyVersion")
        .ok_or(MalformedAnswer("encryptedKeyVersion"))?;
    Ok(EncryptedKey {
        key_name: key_name.to_owned(),
        version_name: text(value, "versionName")?.to_owned(),
        iv: binary(value, "iv")?,
        material: binary(inner, "material")?,
    })
}

/// The keys in an answer to `_eek?eek_op=generate` or `_reencryptbatch`.
///
/// # Errors
/// When it is something else, or has more than `max` keys.
pub fn encrypted_keys(body: &[u8], key_name: &str, max: usize) -> Result<Vec<EncryptedKey>, MalformedAnswer> {
    let value = parsed(body)?;
    let all = value.as_array().ok_or(MalformedAnswer("no list of keys"))?;
    if all.len() > max {
        return Err(MalformedAnswer("more keys than were asked for"));
    }
    all.iter().map(|value| encrypted_key(value, key_name)).collect()
}

/// The cipher in an answer to `_metadata`. `None`: there is no such key.
///
/// # Errors
/// When it is something else.
pub fn cipher(body: &[u8]) -> Result<Option<String>, MalformedAnswer> {
    let value = parsed(body)?;
    if value.is_null() || value.as_object().is_some_and(serde_json::Map::is_empty) {
        return Ok(None);
    }
    text(&value, "cipher").map(|cipher| Some(cipher.to_owned()))
}

/// The key in an answer to `_eek?eek_op=decrypt`.
///
/// # Errors
/// When it is something else.
pub fn material(body: &[u8]) -> Result<Vec<u8>, MalformedAnswer> {
    binary(&parsed(body)?, "material")
}

/// The body of `_eek?eek_op=decrypt`.
#[must_use]
pub fn decrypt_request(key: &EncryptedKey) -> String {
    json!({
        "name": key.key_name,
        "iv": BASE64.encode(&key.iv),
        "material": BASE64.encode(&key.material),
    })
    .to_string()
}

/// Initialization vector and encrypted key in the body of `_eek?eek_op=decrypt`.
///
/// # Errors
/// When it is something else.
pub fn decrypt_parts(body: &[u8]) -> Result<(Vec<u8>, Vec<u8>), MalformedAnswer> {
    let value = parsed(body)?;
    Ok((binary(&value, "iv")?, binary(&value, "material")?))
}

/// The answer to `_eek?eek_op=decrypt`.
#[must_use]
pub fn decrypted(material: &[u8]) -> String {
    json!({ "versionName": "EK", "material": BASE64.encode(material) }).to_string()
}

/// The body of `_reencryptbatch`, and what [`encrypted_keys`] reads.
#[must_use]
pub fn batch(keys: &[EncryptedKey]) -> String {
    let all = keys.iter().map(|key| {
        json!({
            "versionName": key.version_name,
            "iv": BASE64.encode(&key.iv),
            "encryptedKeyVersion": { "versionName": "EEK", "material": BASE64.encode(&key.material) },
        })
    });
    Value::Array(all.collect()).to_string()
}

/// What a KMS says of a failure: `RemoteException` as in WebHDFS.
#[must_use]
pub fn failure(body: &str) -> Option<String> {
    let value: Value = serde_json::from_str(body).ok()?;
    let exception = value.get("RemoteException")?;
    let class = exception.get("exception")?.as_str()?;
    let message = exception.get("message").and_then(Value::as_str).unwrap_or_default();
    Some(format!("{class}: {message}"))
}

/// Why `hadoop.security.key.provider.path` can't be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{path}: {why}")]
pub struct UnusableProvider {
    path: String,
    why: &'static str,
}

/// The addresses (`http://host:port/kms/v1`) of a key provider such as `kms://http@host1;host2:9600/kms`.
///
/// # Errors
/// When it is of another kind, or needs TLS.
pub fn addresses(provider: &str) -> Result<Vec<String>, UnusableProvider> {
    let unusable = |why| UnusableProvider {
        path: provider.to_owned(),
        why,
    };
    let rest = provider
        .strip_prefix("kms://")
        .ok_or_else(|| unusable("the key provider must be a KMS: kms://http@host:port/kms"))?;
    if rest.starts_with("https@") {
        return Err(unusable("there is no HTTPS, also not to a KMS; use kms://http@"));
    }
    let rest = rest
        .strip_prefix("http@")
        .ok_or_else(|| unusable("the key provider must be reached by HTTP: kms://http@host:port/kms"))?;
    let (authority, path) = rest.split_once('/').unwrap_or((rest, ""));
    let (hosts, port) = match authority.rsplit_once(':') {
        Some((hosts, port)) if port.parse::<u16>().is_ok() => (hosts, format!(":{port}")),
        Some(_) => return Err(unusable("its port is no number")),
        None => (authority, String::new()),
    };
    let hosts: Vec<&str> = hosts
        .split(';')
        .map(str::trim)
        .filter(|host| !host.is_empty())
        .collect();
    if hosts.is_empty() || hosts.len() > HOSTS_MAX {
        return Err(unusable("it names no host, or too many"));
    }
    let path = path.trim_end_matches('/');
    let separator = if path.is_empty() { "" } else { "/" };
    let address = |host: &&str| format!("http://{host}{port}{separator}{path}/v1");
    Ok(hosts.iter().map(address).collect())
}

/// A name as one part of a path.
#[must_use]
pub fn encode(name: &str) -> String {
    let mut out = String::with_capacity(name.len());
    for byte in name.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            out.push(char::from(byte));
        } else {
            out.push_str(&format!("%{byte:02X}"));
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_and_paths_become_addresses_and_what_needs_tls_is_refused_by_name() {
        let two = addresses("kms://http@one.example;two.example:9600/kms").unwrap();
        assert_eq!(
            two,
            ["http://one.example:9600/kms/v1", "http://two.example:9600/kms/v1"]
        );
        assert_eq!(addresses("kms://http@h/kms/").unwrap(), ["http://h/kms/v1"]);
        for (provider, word) in [
            ("kms://https@h:9600/kms", "HTTPS"),
            ("jceks://file/k.jceks", "must be a KMS"),
            ("kms://h:9600/kms", "HTTP"),
            ("kms://http@:9600/kms", "no host"),
            ("kms://http@h:port/kms", "port"),
        ] {
            let refused = addresses(provider).unwrap_err().to_string();
            assert!(refused.contains(word) && refused.starts_with(provider), "{refused}");
        }
    }

    #[test]
    fn what_hadoops_kms_answers_is_read() {
        // As Hadoop 3.5's KMS answers.
        let generated = br#"[{"versionName":"k@0","iv":"AAECAwQFBgcICQoLDA0ODw","encryptedKeyVersion":
            {"versionName":"EEK","material":"_-8"}}]"#;
        let keys = encrypted_keys(generated, "k", 1).unwrap();
        assert_eq!(keys[0].iv, (0..16).collect::<Vec<u8>>());
        assert_eq!(keys[0].material, [0xFF, 0xEF]);
        assert_eq!(encrypted_keys(batch(&keys).as_bytes(), "k", 1).unwrap(), keys);
        assert!(encrypted_keys(generated, "k", 0).is_err(), "more than were asked for");
        let metadata = br#"{"name":"k","cipher":"AES/CTR/NoPadding","length":128,"versions":1}"#;
        assert_eq!(cipher(metadata).unwrap().as_deref(), Some("AES/CTR/NoPadding"));
        assert_eq!(cipher(b"{}").unwrap(), None);
        assert_eq!(
            material(br#"{"versionName":"EK","material":"/+8="}"#).unwrap(),
            [0xFF, 0xEF]
        );
        for wrong in [&b""[..], b"[]", b"{\"material\":7}", b"{\"material\":\"!\"}"] {
            assert!(material(wrong).is_err());
        }
        let refused =
            r#"{"RemoteException":{"message":"no","exception":"AuthorizationException","javaClassName":"x"}}"#;
        assert_eq!(failure(refused).as_deref(), Some("AuthorizationException: no"));
        assert_eq!(encode("a key@0/ü"), "a%20key%400%2F%C3%BC");
    }
}
