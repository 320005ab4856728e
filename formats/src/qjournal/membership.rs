//! The JournalNodes of a journal, as they travel in messages and stand in a file of each JournalNode.

use crate::datatransfer::ChecksumType;
use crate::ids::Epoch;
use crate::proto::qjournal::MembershipProto;

/// Most JournalNodes that a journal may have. More would only make each write slower.
pub const MEMBERS_MAX: usize = 15;

/// The JournalNodes of a journal.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Membership {
    /// Epoch of the writer that wrote it.
    pub epoch: Epoch,
    /// Grows with every change in this epoch. Version 0 is the membership that the writer found.
    pub version: u64,
    /// `host:port` of each JournalNode's RPC server.
    pub members: Vec<String>,
}

impl Membership {
    /// Whether this membership is the valid one of the two.
    #[must_use]
    pub fn is_newer_than(&self, other: Option<&Membership>) -> bool {
        other.is_none_or(|other| (self.epoch, self.version) > (other.epoch, other.version))
    }

    /// Whether it is well-formed. A membership from outside is checked before it is kept or followed.
    #[must_use]
    pub fn is_valid(&self) -> bool {
        let named = |member: &String| {
            let port = member
                .rsplit_once(':')
                .and_then(|(host, port)| (!host.is_empty()).then_some(port));
            port.is_some_and(|port| port.parse::<u16>().is_ok()) && !member.contains(char::is_whitespace)
        };
        let mut sorted: Vec<&String> = self.members.iter().collect();
        sorted.sort_unstable();
        sorted.dedup();
        sorted.len() == self.members.len()
            && (1..=MEMBERS_MAX).contains(&self.members.len())
            && self.members.iter().all(named)
    }

    /// The membership as a protobuf message.
    #[must_use]
    pub fn to_proto(&self) -> MembershipProto {
        MembershipProto {
            epoch: self.epoch.0,
            version: self.version,
            members: self.members.clone(),
        }
    }

    /// Reads a protobuf message without checking it.
    #[must_use]
    pub fn from_proto(proto: MembershipProto) -> Self {
        Membership {
            epoch: Epoch(proto.epoch),
            version: proto.version,
            members: proto.members,
        }
    }

    /// The content of its file: epoch and version, a line per member, and the CRC-32 of all lines before.
    #[must_use]
    pub fn to_text(&self) -> String {
        let mut text = format!("{} {}\n", self.epoch, self.version);
        for member in &self.members {
            text.push_str(member);
            text.push('\n');
        }
        let crc = ChecksumType::Crc32.checksum(text.as_bytes());
        text.push_str(&format!("crc32 {crc:08x}\n"));
        text
    }

    /// From the content of its file; `None` when it is damaged.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let (body, crc) = text.strip_suffix('\n')?.rsplit_once("\ncrc32 ")?;
        let body = format!("{body}\n");
        if u32::from_str_radix(crc, 16).ok()? != ChecksumType::Crc32.checksum(body.as_bytes()) {
            return None;
        }
        let mut lines = body.lines();
        let (epoch, version) = lines.next()?.split_once(' ')?;
        let membership = Membership {
            epoch: Epoch(epoch.parse().ok()?),
            version: version.parse().ok()?,
            members: lines.map(str::to_owned).collect(),
        };
        membership.is_valid().then_some(membership)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_comes_back_and_a_damaged_one_does_not() {
        let membership = Membership {
            epoch: Epoch(7),
            version: 2,
            members: ["jn1:8485", "[::1]:8486"].map(str::to_owned).to_vec(),
        };
        let text = membership.to_text();
        assert_eq!(Membership::parse(&text), Some(membership.clone()));
        for at in 0..text.len() {
            let mut damaged = text.clone().into_bytes();
            damaged[at] ^= 1;
            assert_eq!(
                Membership::parse(&String::from_utf8(damaged).unwrap()),
                None,
                "byte {at}"
            );
            assert_eq!(Membership::parse(&text[..at]), None, "cut at {at}");
        }
        let valid = |members: &[&str]| {
            let members = members.iter().map(|&member| member.to_owned()).collect();
            Membership {
                members,
                ..membership.clone()
            }
            .is_valid()
        };
        assert!(valid(&["a:1"]));
        assert!(!valid(&[]) && !valid(&["a"]) && !valid(&["a:1", "a:1"]) && !valid(&[":1"]) && !valid(&["a b:1"]));
    }
}
