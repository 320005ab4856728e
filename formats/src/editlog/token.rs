//! The identifier of a delegation token as clients carry it: the same bytes as in the edit log.

use super::field::Field;
use super::table::{DelegationTokenIdentifier, Token};
use super::wire::{DecodeError, EncodeError, Input, Output};
use crate::ids::LayoutVersion;
use std::fmt;

/// `DelegationTokenIdentifier.HDFS_DELEGATION_KIND`.
pub const DELEGATION_TOKEN_KIND: &str = "HDFS_DELEGATION_TOKEN";

impl DelegationTokenIdentifier {
    /// The bytes from which its password is made (`TokenIdentifier.getBytes`).
    ///
    /// # Errors
    /// A name is too long for the edit log.
    pub fn to_bytes(&self) -> Result<Vec<u8>, EncodeError> {
        let mut bytes = Vec::new();
        let layout = LayoutVersion::NAMENODE_CURRENT;
        Token::put(
            self,
            &mut Output {
                bytes: &mut bytes,
                layout,
            },
        )?;
        Ok(bytes)
    }

    /// The identifier that a client presents.
    ///
    /// # Errors
    /// These bytes are none, or more than one.
    pub fn from_bytes(bytes: &[u8]) -> Result<DelegationTokenIdentifier, DecodeError> {
        let mut input = Input::new(bytes, LayoutVersion::NAMENODE_CURRENT);
        let token = Token::read(&mut input)?;
        match input.remaining() {
            0 => Ok(token),
            more => Err(input.error(format!("{more} bytes behind a delegation token"))),
        }
    }

    /// What is shown of it in few words (`DelegationTokenIdentifier.toStringStable`).
    #[must_use]
    pub fn stable_text(&self) -> String {
        format!(
            "{DELEGATION_TOKEN_KIND} token {} for {} with renewer {}",
            self.sequence_number,
            self.short_owner(),
            self.renewer
        )
    }

    /// The short name of its owner.
    #[must_use]
    pub fn short_owner(&self) -> &str {
        short_name(&self.owner)
    }
}

/// A Kerberos name without host and realm (`HadoopKerberosName.getShortName` with the default rule).
#[must_use]
pub fn short_name(name: &str) -> &str {
    name.split(['/', '@']).next().unwrap_or(name)
}

impl fmt::Display for DelegationTokenIdentifier {
    /// As `DelegationTokenIdentifier.toString`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "token for {}: {DELEGATION_TOKEN_KIND} owner={}, renewer={}, realUser={}, issueDate={}, maxDate={}, \
             sequenceNumber={}, masterKeyId={}",
            self.short_owner(),
            self.owner,
            self.renewer,
            self.real_user,
            self.issue_date,
            self.max_date,
            self.sequence_number,
            self.master_key_id
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn token() -> DelegationTokenIdentifier {
        DelegationTokenIdentifier {
            owner: "o".to_owned(),
            renewer: "r".to_owned(),
            real_user: String::new(),
            issue_date: 1,
            max_date: 300,
            sequence_number: 5,
            master_key_id: 6,
        }
    }

    #[test]
    fn an_identifier_is_written_as_hadoop_does_and_nothing_may_follow() {
        let bytes = token().to_bytes().unwrap();
        assert_eq!(bytes, [0, 1, b'o', 1, b'r', 0, 1, 0x8e, 1, 44, 5, 6]);
        assert_eq!(DelegationTokenIdentifier::from_bytes(&bytes), Ok(token()));
        for len in 0..bytes.len() {
            assert!(DelegationTokenIdentifier::from_bytes(&bytes[..len]).is_err(), "{len}");
        }
        assert!(DelegationTokenIdentifier::from_bytes(&[&bytes[..], &[0]].concat()).is_err());
        assert!(
            DelegationTokenIdentifier::from_bytes(&[&[1], &bytes[1..]].concat()).is_err(),
            "of another version"
        );
    }
}
