//! What DataNodes say and get told.

use super::*;
use crate::calls::{BlockReportWork, lookup};
use hathi_formats::proto::datanode::datanode_command_proto::Type as CommandType;
use hathi_formats::proto::datanode::received_deleted_block_info_proto::BlockStatus;
use hathi_formats::proto::datanode::*;
use hathi_formats::proto::datanode::{ReportBadBlocksRequestProto, ReportBadBlocksResponseProto};
use hathi_formats::proto::datanodelifeline::LifelineResponseProto;
use hathi_formats::proto::hdfs::nnha_status_heartbeat_proto::State;
pub(super) use hathi_formats::wire::put_varint;
