//! Values that are texts of their own: ACLs, actions, extended attributes and tokens.

use super::invalid;
use crate::credentials::{put_token, take_token};
use crate::exceptions::{self, RemoteException};
use crate::host_port::host_and_port;
use crate::limits::{self, ACL_ENTRIES_MAX};
use crate::proto::common::TokenProto;
use crate::proto::hdfs::acl_entry_proto::{AclEntryScopeProto, AclEntryTypeProto};
use crate::proto::hdfs::x_attr_proto::XAttrNamespaceProto;
use crate::proto::hdfs::{AclEntryProto, DatanodeInfoProto, XAttrProto};

/// An action such as `r-x` (`FsAction`), as the sum of 4, 2 and 1.
#[must_use]
pub fn action(text: &str) -> Option<u8> {
    let [read, write, execute] = text.as_bytes() else {
        return None;
    };
    let bit = |is: u8, letter: u8, bit: u8| match is {
        _ if is == letter => Some(bit),
        b'-' => Some(0),
        _ => None,
    };
    Some(bit(*read, b'r', 4)? | bit(*write, b'w', 2)? | bit(*execute, b'x', 1)?)
}

/// The entries of the parameter `aclspec` (`AclEntry.parseAclSpec`), divided by commas:
/// `[default:](user|group|mask|other):[NAME][:rwx]`. With `with_actions` each has an action, and none without.
///
/// # Errors
/// `IllegalArgumentException` for anything else, and if there are too many.
pub fn acl_spec(spec: &str, with_actions: bool) -> Result<Vec<AclEntryProto>, RemoteException> {
    limits::check_count("The ACL", spec.split(',').count(), ACL_ENTRIES_MAX)?;
    spec.split(',')
        .map(|entry| {
            acl_entry(entry, with_actions).ok_or_else(|| invalid("aclspec", format!("Invalid <aclSpec> : {entry}")))
        })
        .collect()
}

fn acl_entry(entry: &str, with_action: bool) -> Option<AclEntryProto> {
    let (scope, entry) = match entry.strip_prefix("default:") {
        Some(rest) => (AclEntryScopeProto::Default, rest),
        None => (AclEntryScopeProto::Access, entry),
    };
    let mut parts = entry.split(':');
    let kind = match parts.next()? {
        "user" => AclEntryTypeProto::User,
        "group" => AclEntryTypeProto::Group,
        "mask" => AclEntryTypeProto::Mask,
        "other" => AclEntryTypeProto::Other,
        _ => return None,
    };
    let name = parts.next().unwrap_or_default();
    let permissions = match (parts.next().filter(|text| !text.is_empty()), with_action) {
        (Some(text), true) => action(text)?,
        (None, false) => 0,
        _ => return None,
    };
    let is_plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-' | '@');
    if parts.next().is_some() || !name.chars().all(is_plain) {
        return None;
    }
    Some(AclEntryProto {
        r#type: kind.into(),
        scope: scope.into(),
        permissions: i32::from(permissions),
        name: (!name.is_empty()).then(|| name.to_owned()),
    })
}

/// An extended attribute by its full name, such as `user.colour` (`XAttrHelper.buildXAttr`).
///
/// # Errors
/// `HadoopIllegalArgumentException` without a namespace or a name behind it.
pub fn xattr(full_name: &str, value: Option<Vec<u8>>) -> Result<XAttrProto, RemoteException> {
    let refused = |why: &str| RemoteException::new(exceptions::HADOOP_ILLEGAL_ARGUMENT, why);
    let prefix = "An XAttr name must be prefixed with user/trusted/security/system/raw, followed by a '.'";
    let (namespace, name) = full_name.split_once('.').ok_or_else(|| refused(prefix))?;
    let namespace = match namespace.to_ascii_lowercase().as_str() {
        "user" => XAttrNamespaceProto::User,
        "trusted" => XAttrNamespaceProto::Trusted,
        "security" => XAttrNamespaceProto::Security,
        "system" => XAttrNamespaceProto::System,
        "raw" => XAttrNamespaceProto::Raw,
        _ => return Err(refused(prefix)),
    };
    if name.is_empty() {
        return Err(refused("XAttr name cannot be empty."));
    }
    Ok(XAttrProto {
        namespace: namespace.into(),
        name: name.to_owned(),
        value: value.map(Into::into),
    })
}

/// How values of extended attributes are written (`XAttrCodec`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Encoding {
    /// In quotes.
    Text,
    /// Behind `0x`.
    Hex,
    /// Behind `0s`.
    Base64,
}

impl Encoding {
    /// The encodings in the parameter `encoding`, in the order of [`Encoding::of`].
    pub const NAMES: &[&str] = &["TEXT", "HEX", "BASE64"];

    /// That of an index into [`Encoding::NAMES`].
    #[must_use]
    pub fn of(index: usize) -> Encoding {
        match index {
            1 => Encoding::Hex,
            2 => Encoding::Base64,
            _ => Encoding::Text,
        }
    }

    pub(super) fn encode(self, value: &[u8]) -> String {
        match self {
            Encoding::Text => format!("\"{}\"", String::from_utf8_lossy(value)),
            Encoding::Hex => value.iter().fold("0x".to_owned(), |mut text, byte| {
                text.push_str(&format!("{byte:02x}"));
                text
            }),
            Encoding::Base64 => format!("0s{}", base64(value, b"+/", true)),
        }
    }
}

/// The parameter `xattr.value`: in quotes, behind `0x` or `0s`, or as it is (`XAttrCodec.decodeValue`).
///
/// # Errors
/// `IllegalArgumentException` for digits that are none.
pub fn decode_xattr(text: &str) -> Result<Vec<u8>, RemoteException> {
    let bad = || invalid("xattr.value", format!("Failed to decode \"{text}\"."));
    if let Some(inner) = text.strip_prefix('"').and_then(|rest| rest.strip_suffix('"')) {
        return Ok(inner.as_bytes().to_vec());
    }
    match (text.get(..2), text.get(2..)) {
        (Some("0x" | "0X"), Some(digits)) => hex(digits).ok_or_else(bad),
        (Some("0s" | "0S"), Some(digits)) => unbase64(digits).ok_or_else(bad),
        _ => Ok(text.as_bytes().to_vec()),
    }
}

fn hex(digits: &str) -> Option<Vec<u8>> {
    let (pairs, rest) = digits.as_bytes().as_chunks::<2>();
    if !rest.is_empty() {
        return None;
    }
    let digit = |byte: u8| char::from(byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
    pairs
        .iter()
        .map(|[high, low]| Some(digit(*high)? << 4 | digit(*low)?))
        .collect()
}

/// Base64, with these characters for 62 and 63.
fn base64(bytes: &[u8], last: &[u8; 2], padded: bool) -> String {
    let digit = |six: u32| {
        let six = u8::try_from(six & 63).unwrap_or_default();
        char::from(match six {
            0..=25 => b'A'.saturating_add(six),
            26..=51 => b'a'.saturating_add(six.saturating_sub(26)),
            52..=61 => b'0'.saturating_add(six.saturating_sub(52)),
            62 => last[0],
            _ => last[1],
        })
    };
    let mut text = String::with_capacity(bytes.len().saturating_mul(4) / 3);
    for chunk in bytes.chunks(3) {
        let byte = |index: usize| u32::from(chunk.get(index).copied().unwrap_or_default());
        let bits = byte(0) << 16 | byte(1) << 8 | byte(2);
        for (index, shift) in [18, 12, 6, 0].into_iter().enumerate() {
            if index <= chunk.len() {
                text.push(digit(bits >> shift));
            } else if padded {
                text.push('=');
            }
        }
    }
    text
}

fn unbase64(text: &str) -> Option<Vec<u8>> {
    let text = text.trim_end_matches('=');
    let mut bytes = Vec::with_capacity(text.len());
    let (mut bits, mut count) = (0_u32, 0_u32);
    for digit in text.bytes() {
        let six = match digit {
            b'A'..=b'Z' => digit.saturating_sub(b'A'),
            b'a'..=b'z' => digit.saturating_sub(b'a').saturating_add(26),
            b'0'..=b'9' => digit.saturating_sub(b'0').saturating_add(52),
            b'+' | b'-' => 62,
            b'/' | b'_' => 63,
            _ => return None,
        };
        bits = bits << 6 | u32::from(six);
        count = count.saturating_add(6);
        if count >= 8 {
            count = count.saturating_sub(8);
            bytes.push((bits >> count & 0xff) as u8);
        }
    }
    Some(bytes)
}

/// A token as the text of a parameter (`Token.encodeToUrlString`).
#[must_use]
pub fn token_url_string(token: &TokenProto) -> String {
    let mut bytes = Vec::new();
    put_token(&mut bytes, token);
    base64(&bytes, b"-_", false)
}

/// The token of such a text (`Token.decodeFromUrlString`). `None` when it is none.
#[must_use]
pub fn token_of_url_string(text: &str) -> Option<TokenProto> {
    let bytes = url_bytes(text)?;
    let mut rest = &bytes[..];
    let token = take_token(&mut rest).ok()?;
    rest.is_empty().then_some(token)
}

/// The bytes of a text in base64, in the alphabet of URLs, with or without padding.
fn url_bytes(text: &str) -> Option<Vec<u8>> {
    let (mut bytes, mut bits, mut held) = (Vec::new(), 0_u32, 0_u32);
    for digit in text.trim_end_matches('=').bytes() {
        let value = match digit {
            b'A'..=b'Z' => digit.wrapping_sub(b'A'),
            b'a'..=b'z' => digit.wrapping_sub(b'a').wrapping_add(26),
            b'0'..=b'9' => digit.wrapping_sub(b'0').wrapping_add(52),
            b'-' | b'+' => 62,
            b'_' | b'/' => 63,
            _ => return None,
        };
        bits = (bits << 6 | u32::from(value)) & 0xFFFF;
        held = held.saturating_add(6);
        if held >= 8 {
            held = held.saturating_sub(8);
            bytes.push((bits >> held & 0xFF) as u8);
        }
    }
    Some(bytes)
}

/// Whether a DataNode is among those that a client wants to avoid (`excludedatanodes`): by address or host name, with
/// or without a port. Hadoop compares only the port of the data transfer, although its client names the one of the web
/// server, to which it was sent.
#[must_use]
pub fn is_excluded(node: &DatanodeInfoProto, excluded: &[&str]) -> bool {
    let id = &node.id;
    excluded.iter().any(|name| {
        [&id.ip_addr, &id.host_name].into_iter().any(|host| {
            let with_port = |port: u32| *name == host_and_port(host, port);
            *name == host || with_port(id.xfer_port) || with_port(id.info_port)
        })
    })
}
