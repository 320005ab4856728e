//! Acknowledgements of packets: one status per DataNode of the pipeline, the nearest first (`PipelineAck`).

use std::io::{self, Read};

use super::{read_delimited, write_delimited};
use crate::proto::hdfs::{PipelineAckProto, Status};

/// Sequence number of acknowledgements that answer no packet: out-of-band notices (`PipelineAck.UNKOWN_SEQNO`).
pub const UNKNOWN_SEQNO: i64 = -2;

/// Congestion as a DataNode reports it (`PipelineAck.ECN`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[allow(missing_docs, reason = "the names are Hadoop's")]
pub enum Ecn {
    #[default]
    Disabled = 0,
    Supported = 1,
    Supported2 = 2,
    Congested = 3,
}

/// Whether the NameNode takes a DataNode for a slow one (`PipelineAck.SLOW`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[allow(missing_docs, reason = "the names are Hadoop's")]
pub enum Slow {
    #[default]
    Disabled = 0,
    Normal = 1,
    Slow = 2,
    Reserved = 3,
}

/// An acknowledgement of one packet by every DataNode from the sender downward.
///
/// Each reply is a header word: status in bits 0 to 3, [`Ecn`] in bits 5 and 6, [`Slow`] in bits 7 and 8.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PipelineAck {
    /// The packet's sequence number, or [`UNKNOWN_SEQNO`].
    pub seqno: i64,
    /// One header word per DataNode, the sender's first.
    pub replies: Vec<u32>,
    /// How long the next DataNode waited for the ones behind it, in nanoseconds.
    pub downstream_ack_time_nanos: u64,
}

impl PipelineAck {
    /// Packs a header word (`PipelineAck.combineHeader`).
    #[must_use]
    pub const fn header(status: Status, ecn: Ecn, slow: Slow) -> u32 {
        (status as u32 & 0xF) | ((ecn as u32) << 5) | ((slow as u32) << 7)
    }

    /// A header word with nothing but a status.
    #[must_use]
    pub const fn plain(status: Status) -> u32 {
        Self::header(status, Ecn::Disabled, Slow::Disabled)
    }

    /// The status in a header word; a number that Hadoop does not define counts as an error.
    #[must_use]
    pub fn status_of(header: u32) -> Status {
        Status::try_from((header & 0xF) as i32).unwrap_or(Status::Error)
    }

    /// The congestion bits of a header word.
    #[must_use]
    pub const fn ecn_of(header: u32) -> Ecn {
        match (header >> 5) & 3 {
            0 => Ecn::Disabled,
            1 => Ecn::Supported,
            2 => Ecn::Supported2,
            _ => Ecn::Congested,
        }
    }

    /// The status of the DataNode at `index`.
    #[must_use]
    pub fn status(&self, index: usize) -> Option<Status> {
        self.replies.get(index).copied().map(Self::status_of)
    }

    /// Whether every DataNode has the packet.
    #[must_use]
    pub fn is_success(&self) -> bool {
        self.replies
            .iter()
            .all(|header| Self::status_of(*header) == Status::Success)
    }

    /// The out-of-band notice in this acknowledgement, if it is one.
    #[must_use]
    pub fn oob_status(&self) -> Option<Status> {
        if self.seqno != UNKNOWN_SEQNO {
            return None;
        }
        self.replies.iter().copied().map(Self::status_of).find(|status| {
            matches!(
                status,
                Status::OobRestart | Status::OobReserved1 | Status::OobReserved2 | Status::OobReserved3
            )
        })
    }

    /// The protobuf message. Statuses are repeated beside the header words, for readers that do not know header words.
    #[must_use]
    pub fn to_proto(&self) -> PipelineAckProto {
        PipelineAckProto {
            seqno: self.seqno,
            reply: self
                .replies
                .iter()
                .map(|header| Self::status_of(*header) as i32)
                .collect(),
            downstream_ack_time_nanos: Some(self.downstream_ack_time_nanos),
            flag: self.replies.clone(),
        }
    }

    /// From the protobuf message. Old peers send only statuses.
    #[must_use]
    pub fn from_proto(proto: PipelineAckProto) -> PipelineAck {
        let replies = if proto.flag.len() == proto.reply.len() {
            proto.flag
        } else {
            proto
                .reply
                .iter()
                .map(|status| Self::plain(Status::try_from(*status).unwrap_or(Status::Error)))
                .collect()
        };
        PipelineAck {
            seqno: proto.seqno,
            replies,
            downstream_ack_time_nanos: proto.downstream_ack_time_nanos.unwrap_or(0),
        }
    }

    /// Reads one.
    pub fn read(reader: &mut impl Read) -> io::Result<PipelineAck> {
        Ok(Self::from_proto(read_delimited(reader)?))
    }

    /// Writes one in one call.
    pub fn write(&self, writer: &mut impl io::Write) -> io::Result<()> {
        write_delimited(writer, &self.to_proto())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn header_words_keep_status_and_congestion_apart() {
        let header = PipelineAck::header(Status::ErrorChecksum, Ecn::Congested, Slow::Slow);
        assert_eq!(header, 2 | 3 << 5 | 2 << 7);
        assert_eq!(PipelineAck::status_of(header), Status::ErrorChecksum);
        assert_eq!(PipelineAck::ecn_of(header), Ecn::Congested);
        assert_eq!(PipelineAck::status_of(14), Status::Error);
    }

    #[test]
    fn an_ack_round_trips() {
        let ack = PipelineAck {
            seqno: 7,
            replies: vec![
                PipelineAck::plain(Status::Success),
                PipelineAck::header(Status::Error, Ecn::Supported, Slow::Normal),
            ],
            downstream_ack_time_nanos: 5,
        };
        let mut bytes = Vec::new();
        ack.write(&mut bytes).unwrap();
        assert_eq!(PipelineAck::read(&mut bytes.as_slice()).unwrap(), ack);
        assert!(!ack.is_success());
        assert_eq!(ack.oob_status(), None);
    }

    #[test]
    fn an_old_peer_sends_statuses_only() {
        let ack = PipelineAck::from_proto(PipelineAckProto {
            seqno: UNKNOWN_SEQNO,
            reply: vec![Status::OobRestart as i32],
            downstream_ack_time_nanos: None,
            flag: vec![],
        });
        assert_eq!(ack.oob_status(), Some(Status::OobRestart));
    }
}
