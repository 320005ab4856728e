//! Files of tokens (`Credentials`), and a token as the text of a URL (`Token.encodeToUrlString`).

use crate::proto::common::{CredentialsProto, TokenProto};
use prost::Message;

/// `Credentials.TOKEN_STORAGE_MAGIC`
const MAGIC: &[u8; 4] = b"HDTS";
/// `Credentials.SerializedFormat.WRITABLE`
const WRITABLE: u8 = 0;
/// `Credentials.SerializedFormat.PROTOBUF`
const PROTOBUF: u8 = 1;
/// Length of a token's shortest form: four lengths of a byte each.
const TOKEN_BYTES_MIN: usize = 4;

/// Bytes that are no tokens.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CredentialsError {
    /// The file begins with something else.
    #[error("Bad header found in token storage.")]
    Magic,
    /// The form of the file is of a later Hadoop.
    #[error("Unknown version {0} in token storage.")]
    Version(u8),
    /// It ends too early, or a length in it is wrong.
    #[error("the token storage is damaged")]
    Damaged,
}

/// The tokens of a file, by alias. Other secrets in it are not read.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Credentials {
    /// Alias and token.
    pub tokens: Vec<(String, TokenProto)>,
}

impl Credentials {
    /// The bytes of a file in the form that every Hadoop reads.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut out = MAGIC.to_vec();
        out.push(WRITABLE);
        put_vint(&mut out, self.tokens.len());
        for (alias, token) in &self.tokens {
            put_bytes(&mut out, alias.as_bytes());
            put_token(&mut out, token);
        }
        // No other secrets.
        put_vint(&mut out, 0);
        out
    }

    /// Reads a file of either form.
    ///
    /// # Errors
    /// It is none.
    pub fn decode(bytes: &[u8]) -> Result<Credentials, CredentialsError> {
        let rest = bytes.strip_prefix(MAGIC).ok_or(CredentialsError::Magic)?;
        match rest.split_first() {
            Some((&WRITABLE, rest)) => Self::of_writable(rest),
            Some((&PROTOBUF, rest)) => {
                let all = CredentialsProto::decode_length_delimited(rest).map_err(|_| CredentialsError::Damaged)?;
                let tokens = all.tokens.into_iter();
                Ok(Credentials {
                    tokens: tokens.filter_map(|pair| Some((pair.alias, pair.token?))).collect(),
                })
            }
            Some((version, _)) => Err(CredentialsError::Version(*version)),
            None => Err(CredentialsError::Damaged),
        }
    }

    fn of_writable(mut rest: &[u8]) -> Result<Credentials, CredentialsError> {
        let count = take_vint(&mut rest)?;
        if count > rest.len() / TOKEN_BYTES_MIN {
            return Err(CredentialsError::Damaged);
        }
        let mut tokens = Vec::new();
        for _ in 0..count {
            let alias = take_text(&mut rest)?;
            tokens.push((alias, take_token(&mut rest)?));
        }
        Ok(Credentials { tokens })
    }
}

/// Appends a token (`Token.write`).
pub fn put_token(out: &mut Vec<u8>, token: &TokenProto) {
    for part in [
        &token.identifier[..],
        &token.password[..],
        token.kind.as_bytes(),
        token.service.as_bytes(),
    ] {
        put_bytes(out, part);
    }
}

/// Takes a token off the front (`Token.readFields`).
///
/// # Errors
/// There is none.
pub fn take_token(rest: &mut &[u8]) -> Result<TokenProto, CredentialsError> {
    Ok(TokenProto {
        identifier: take_bytes(rest)?.to_vec().into(),
        password: take_bytes(rest)?.to_vec().into(),
        kind: take_text(rest)?,
        service: take_text(rest)?,
    })
}

fn put_bytes(out: &mut Vec<u8>, bytes: &[u8]) {
    put_vint(out, bytes.len());
    out.extend_from_slice(bytes);
}

fn take_bytes<'a>(rest: &mut &'a [u8]) -> Result<&'a [u8], CredentialsError> {
    let len = take_vint(rest)?;
    let (bytes, behind) = rest.split_at_checked(len).ok_or(CredentialsError::Damaged)?;
    *rest = behind;
    Ok(bytes)
}

fn take_text(rest: &mut &[u8]) -> Result<String, CredentialsError> {
    let bytes = take_bytes(rest)?.to_vec();
    String::from_utf8(bytes).map_err(|_| CredentialsError::Damaged)
}

/// `WritableUtils.writeVInt` of a length.
pub(crate) fn put_vint(out: &mut Vec<u8>, len: usize) {
    let len = u32::try_from(len).unwrap_or(u32::MAX);
    if let Ok(short) = u8::try_from(len)
        && short < 128
    {
        return out.push(short);
    }
    let bytes = len.to_be_bytes();
    let digits: Vec<u8> = bytes.iter().copied().skip_while(|byte| *byte == 0).collect();
    // -113 says one byte, -114 two.
    out.push(144_u8.saturating_sub(u8::try_from(digits.len()).unwrap_or(4)));
    out.extend(digits);
}

/// `WritableUtils.readVInt` of a length.
fn take_vint(rest: &mut &[u8]) -> Result<usize, CredentialsError> {
    let (first, behind) = rest.split_first().ok_or(CredentialsError::Damaged)?;
    let digits = match *first {
        short @ 0..128 => {
            *rest = behind;
            return Ok(usize::from(short));
        }
        // Up to four bytes of a positive number.
        long @ 140..=143 => usize::from(144_u8.wrapping_sub(long)),
        _ => return Err(CredentialsError::Damaged),
    };
    let (number, behind) = behind.split_at_checked(digits).ok_or(CredentialsError::Damaged)?;
    *rest = behind;
    let number = number.iter().fold(0_u64, |number, byte| number << 8 | u64::from(*byte));
    usize::try_from(number).map_err(|_| CredentialsError::Damaged)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proto::common::CredentialsKvProto;

    fn token(len: usize) -> TokenProto {
        TokenProto {
            identifier: vec![7; len].into(),
            password: vec![1, 2].into(),
            kind: "K".to_owned(),
            service: "ha-hdfs:ns".to_owned(),
        }
    }

    #[test]
    fn files_of_both_forms_are_read_and_damaged_ones_refused() {
        let all = Credentials {
            tokens: vec![("a".to_owned(), token(3)), ("b".to_owned(), token(300))],
        };
        let bytes = all.encode();
        assert_eq!(&bytes[..9], b"HDTS\0\x02\x01a\x03");
        assert_eq!(Credentials::decode(&bytes), Ok(all.clone()));
        // The last byte says that there are no other secrets.
        for len in 0..bytes.len() - 1 {
            assert!(Credentials::decode(&bytes[..len]).is_err(), "{len}");
        }
        let tokens = all.tokens.iter().map(|(alias, token)| CredentialsKvProto {
            alias: alias.clone(),
            token: Some(token.clone()),
            secret: None,
        });
        let message = CredentialsProto {
            tokens: tokens.collect(),
            secrets: Vec::new(),
        };
        let file = [&b"HDTS\x01"[..], &message.encode_length_delimited_to_vec()].concat();
        assert_eq!(Credentials::decode(&file), Ok(all));
        assert_eq!(Credentials::decode(b"HDTS\x02"), Err(CredentialsError::Version(2)));
        assert_eq!(Credentials::decode(b"PK\x03\x04x"), Err(CredentialsError::Magic));
        let many = [&b"HDTS\0"[..], &[140, 0x7f, 0xff, 0xff, 0xff]].concat();
        assert_eq!(Credentials::decode(&many), Err(CredentialsError::Damaged));
    }
}
