//! Acknowledgements of packets. Each DataNode of a pipeline puts its own status before those of the DataNodes behind it.

use hathi_formats::datatransfer::{PipelineAck, UNKNOWN_SEQNO};
use hathi_formats::proto::hdfs::Status;

/// The acknowledgement of the last DataNode of a pipeline.
#[must_use]
pub fn last(seqno: i64, status: Status) -> PipelineAck {
    PipelineAck {
        seqno,
        replies: vec![PipelineAck::plain(status)],
        downstream_ack_time_nanos: 0,
    }
}

/// An acknowledgement from further down the pipeline, passed on by a DataNode that has the packet, too.
#[must_use]
pub fn passed_on(from_below: &PipelineAck) -> PipelineAck {
    let mut ack = last(from_below.seqno, Status::Success);
    ack.replies.extend_from_slice(&from_below.replies);
    ack
}

/// The next DataNode is gone. This answers no packet.
#[must_use]
pub fn next_is_gone() -> PipelineAck {
    let mut ack = last(UNKNOWN_SEQNO, Status::Success);
    ack.replies.push(PipelineAck::plain(Status::Error));
    ack
}

/// The first DataNode of the pipeline that does not have the packet, and its status.
#[must_use]
pub fn first_failure(ack: &PipelineAck) -> Option<(usize, Status)> {
    let statuses = ack.replies.iter().map(|reply| PipelineAck::status_of(*reply));
    statuses.enumerate().find(|(_, status)| *status != Status::Success)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_client_learns_which_datanode_failed() {
        let third = last(7, Status::ErrorChecksum);
        let second = passed_on(&third);
        let first = passed_on(&second);
        assert_eq!(first.seqno, 7);
        assert_eq!(first_failure(&first), Some((2, Status::ErrorChecksum)));
        assert_eq!(first_failure(&passed_on(&last(7, Status::Success))), None);
        assert_eq!(first_failure(&passed_on(&next_is_gone())), Some((2, Status::Error)));
        assert_eq!(passed_on(&next_is_gone()).seqno, UNKNOWN_SEQNO);
    }
}
