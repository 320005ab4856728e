//! Connections to data transfer ports: operations, with packets where some follow.
//!
//! Without block tokens anybody who reaches a DataNode may write to any block whose id is known, as in Hadoop. So
//! operations that change something name blocks that no NameNode has assigned. Operations that read also name real
//! blocks.

use super::facts::Facts;
use super::messages::{Messages, STRANGE_BLOCK};
use super::{Stream, mutation};
use fastrand::Rng;
use hathi_formats::datatransfer::{DATA_TRANSFER_VERSION, DataChecksum, Op, PacketHeader, decode_delimited};
use hathi_formats::proto::hdfs::{
    BaseHeaderProto, BlockOpResponseProto, CachingStrategyProto, ChecksumProto, ChecksumTypeProto,
    ClientOperationHeaderProto, DatanodeIdProto, DatanodeInfoProto, ExtendedBlockProto, OpBlockChecksumProto,
    OpReadBlockProto, OpTransferBlockProto, OpWriteBlockProto, Status, op_write_block_proto::BlockConstructionStage,
};
use protox::prost::Message;

const OPS: [(Op, &str); 11] = [
    (Op::WriteBlock, "OpWriteBlockProto"),
    (Op::ReadBlock, "OpReadBlockProto"),
    (Op::ReplaceBlock, "OpReplaceBlockProto"),
    (Op::CopyBlock, "OpCopyBlockProto"),
    (Op::BlockChecksum, "OpBlockChecksumProto"),
    (Op::TransferBlock, "OpTransferBlockProto"),
    (Op::RequestShortCircuitFds, "OpRequestShortCircuitAccessProto"),
    (Op::ReleaseShortCircuitFds, "ReleaseShortCircuitAccessRequestProto"),
    (Op::RequestShortCircuitShm, "ShortCircuitShmRequestProto"),
    (Op::BlockGroupChecksum, "OpBlockGroupChecksumProto"),
    (Op::Custom, "OpCustomProto"),
];
/// Data bytes of a packet.
const PACKET_DATA: usize = 4000;
/// Number of strange blocks that are written without mutations, so that some can be appended to and read.
const WRITTEN: u64 = 4096;

/// A connection.
pub(super) fn stream(messages: &Messages, facts: &Facts, rng: &mut Rng) -> Stream {
    let mut pieces = Vec::new();
    for _ in 0..rng.usize(1..4) {
        let (op, mut message) = request(messages, facts, rng);
        if rng.u8(..3) == 0 {
            mutation::bytes(&mut message, rng);
        }
        let mut piece = DATA_TRANSFER_VERSION.to_be_bytes().to_vec();
        piece.push(op.code());
        protox::prost::encoding::encode_varint(message.len() as u64, &mut piece);
        piece.extend(message);
        pieces.push(piece);
        match op {
            Op::WriteBlock => {
                pieces.extend(packets(rng));
                // Such a connection ends with its block.
                break;
            }
            // The final status of a reader, behind its length.
            Op::ReadBlock if rng.bool() => pieces.push(vec![2, 8, rng.u8(..14)]),
            _ => {}
        }
    }
    Stream { pieces }
}

fn request(messages: &Messages, facts: &Facts, rng: &mut Rng) -> (Op, Vec<u8>) {
    match rng.u8(..10) {
        0..3 => (Op::WriteBlock, write(facts, rng).encode_to_vec()),
        3 => (Op::ReadBlock, read(facts, rng).encode_to_vec()),
        4 => {
            let checksum = OpBlockChecksumProto {
                header: base(any_block(facts, rng)),
                block_checksum_options: None,
            };
            (Op::BlockChecksum, checksum.encode_to_vec())
        }
        5 => {
            let transfer = OpTransferBlockProto {
                header: header(strange_block(facts, rng), rng),
                targets: targets(facts, rng),
                target_storage_types: vec![],
                target_storage_ids: vec![],
            };
            (Op::TransferBlock, transfer.encode_to_vec())
        }
        // Any values that the fields' types allow.
        _ => {
            let (op, name) = rng.choice(OPS).unwrap_or((Op::Custom, "OpCustomProto"));
            (op, messages.sample(&format!("hathi.hdfs.{name}"), facts, rng))
        }
    }
}

fn strange_block(facts: &Facts, rng: &mut Rng) -> ExtendedBlockProto {
    ExtendedBlockProto {
        pool_id: facts.block_pool.clone(),
        block_id: STRANGE_BLOCK + rng.u64(..WRITTEN),
        generation_stamp: 1000 + rng.u64(..8),
        num_bytes: (rng.bool()).then(|| rng.u64(..10_000)),
    }
}

fn any_block(facts: &Facts, rng: &mut Rng) -> ExtendedBlockProto {
    match rng.choice(&facts.own_blocks) {
        Some(block) if rng.u8(..4) > 0 => block.clone(),
        _ => strange_block(facts, rng),
    }
}

fn base(block: ExtendedBlockProto) -> BaseHeaderProto {
    BaseHeaderProto {
        block,
        token: None,
        trace_info: None,
    }
}

fn header(block: ExtendedBlockProto, rng: &mut Rng) -> ClientOperationHeaderProto {
    ClientOperationHeaderProto {
        base_header: base(block),
        client_name: if rng.u8(..8) == 0 {
            String::new()
        } else {
            "mallory-1".to_owned()
        },
    }
}

fn targets(facts: &Facts, rng: &mut Rng) -> Vec<DatanodeInfoProto> {
    let target = |rng: &mut Rng| {
        // A port without a listener is a good target, too.
        let port = match rng.choice(&facts.transfer_ports) {
            Some(port) if rng.u8(..3) > 0 => *port,
            _ => 9,
        };
        DatanodeInfoProto {
            id: DatanodeIdProto {
                ip_addr: "127.0.0.1".to_owned(),
                host_name: "127.0.0.1".to_owned(),
                datanode_uuid: "00000000-0000-4000-8000-000000000001".to_owned(),
                xfer_port: u32::from(port),
                info_port: 1,
                ipc_port: 1,
                info_secure_port: None,
            },
            ..DatanodeInfoProto::default()
        }
    };
    (0..rng.choice([0, 0, 0, 1, 2]).unwrap_or(0))
        .map(|_| target(rng))
        .collect()
}

fn write(facts: &Facts, rng: &mut Rng) -> OpWriteBlockProto {
    let stage = match rng.u8(..3) {
        0 => rng.i32(0..9),
        _ => BlockConstructionStage::PipelineSetupCreate as i32,
    };
    OpWriteBlockProto {
        header: header(strange_block(facts, rng), rng),
        targets: targets(facts, rng),
        source: None,
        stage,
        pipeline_size: rng.u32(..4),
        min_bytes_rcvd: rng.u64(..3) * 2000,
        max_bytes_rcvd: rng.u64(..3) * 4000,
        latest_generation_stamp: 1000 + rng.u64(..16),
        requested_checksum: ChecksumProto {
            r#type: ChecksumTypeProto::ChecksumCrc32c as i32,
            bytes_per_checksum: 512,
        },
        caching_strategy: Some(CachingStrategyProto::default()),
        pinning: rng.bool().then_some(true),
        ..OpWriteBlockProto::default()
    }
}

fn read(facts: &Facts, rng: &mut Rng) -> OpReadBlockProto {
    let block = any_block(facts, rng);
    OpReadBlockProto {
        header: header(block, rng),
        offset: rng.choice([0, 1, 511, 512, 100_000, u64::MAX]).unwrap_or(0),
        len: rng.choice([0, 1, 512, 100_000, 1 << 40, u64::MAX]).unwrap_or(1),
        send_checksums: Some(rng.bool()),
        caching_strategy: None,
    }
}

/// Some packets of data and the empty one at the end. Their checksums are right before any mutation.
fn packets(rng: &mut Rng) -> Vec<Vec<u8>> {
    let mut pieces = Vec::new();
    let mut offset = 0;
    let count = rng.i64(0..5);
    for seqno in 0..=count {
        let is_last = seqno == count;
        let len = if is_last { 0 } else { rng.usize(1..PACKET_DATA) };
        let data: Vec<u8> = std::iter::repeat_with(|| rng.u8(..)).take(len).collect();
        let mut checksums = Vec::new();
        DataChecksum::DEFAULT.compute_into(&data, &mut checksums);
        let header = PacketHeader {
            offset_in_block: offset,
            seqno,
            last_packet_in_block: is_last,
            data_len: len as u32,
            sync_block: rng.u8(..8) == 0,
        };
        offset += len as u64;
        let mut packet = Vec::new();
        if rng.u8(..10) == 0 {
            PacketHeader::heartbeat().encode_into(0, &mut packet);
        }
        header.encode_into(checksums.len(), &mut packet);
        packet.extend(checksums);
        packet.extend(data);
        pieces.push(packet);
    }
    pieces
}

/// Whether the first answer is a success or a refusal.
pub(super) fn count(answer: &[u8]) -> (u64, u64) {
    let Ok(Some((response, _))) = decode_delimited::<BlockOpResponseProto>(answer) else {
        return (0, u64::from(!answer.is_empty()));
    };
    let done = response.status == Status::Success as i32;
    (u64::from(done), u64::from(!done))
}
