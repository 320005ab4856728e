//! Which JournalNodes a journal has, when that is no longer what the configuration said.
//!
//! A membership is written by a writer in its epoch and kept by every JournalNode that was given it; the newest one
//! counts. A journal whose set was never changed has none, and the configuration rules, as in Hadoop.
//!
//! Why two writers can't go apart (as Raft's changes of one server at a time):
//! * a writer comes into office by promises of a majority of a membership, none of whom knows a newer one;
//! * before it changes anything it writes the membership it found anew, in its own epoch, to a majority of it: whatever
//!   half-done change an earlier writer has left is older from then on, and whoever takes that up meets this one;
//! * a change adds or removes one JournalNode, so a majority of before and one of after have one in common;
//! * a change is done, and the next may begin, when a majority of before and one of after keep it *and* have all that
//!   is committed, with a transaction of the newest segment: what later recoveries look at is never only on the old ones.

use hathi_formats::datatransfer::ChecksumType;
use hathi_formats::ids::Epoch;
use hathi_formats::proto::qjournal::MembershipProto;

/// Most JournalNodes of a journal: more only make each write slower.
pub const MEMBERS_MAX: usize = 15;
/// Fewest that a removal may leave: one alone could lose what it acknowledged with its disk.
pub const MEMBERS_MIN: usize = 2;

/// The JournalNodes of a journal.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Membership {
    /// Of the writer who wrote it.
    pub epoch: Epoch,
    /// Grows with every change in this epoch; 0 is what the writer found.
    pub version: u64,
    /// `host:port` of the RPC servers.
    pub members: Vec<String>,
}

impl Membership {
    /// Whether this one counts rather than `other`.
    #[must_use]
    pub fn is_newer_than(&self, other: Option<&Membership>) -> bool {
        other.is_none_or(|other| (self.epoch, self.version) > (other.epoch, other.version))
    }

    /// Whether it can be one at all: what comes from outside is checked before it is kept or followed.
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

    /// As it travels.
    #[must_use]
    pub fn to_proto(&self) -> MembershipProto {
        MembershipProto {
            epoch: self.epoch.0,
            version: self.version,
            members: self.members.clone(),
        }
    }

    /// From the wire, unchecked.
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
