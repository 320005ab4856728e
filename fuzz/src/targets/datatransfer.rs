//! The data transfer protocol: requests, packets, acknowledgements, responses.

use hathi_formats::datatransfer::{
    Op, OpRequest, PacketBuffer, PacketHeader, PipelineAck, decode_delimited, encode_delimited, encode_op,
    read_delimited, read_request,
};
use hathi_formats::proto::hdfs::{
    BaseHeaderProto, BlockOpResponseProto, CachingStrategyProto, ChecksumProto, ClientOperationHeaderProto,
    DatanodeIdProto, DatanodeInfoProto, ExtendedBlockProto, OpReadBlockProto, OpTransferBlockProto, OpWriteBlockProto,
    Status,
};

use super::MESSAGES;
use crate::{Memory, Target};

/// A buffer for packets holds two packets of the usual size.
const PACKETS: Memory = Memory {
    fixed: 1 << 20,
    per_byte: 64,
};
const PACKET_MAX_BYTES: usize = 16 << 20;

pub fn targets() -> Vec<Target> {
    let target = |name, samples, run, memory| Target {
        name,
        samples,
        run,
        memory,
    };
    vec![
        target("transfer_request", request_samples, request, MESSAGES),
        target("packet", packet_samples, packet, PACKETS),
        target("pipeline_ack", ack_samples, ack, MESSAGES),
        target("transfer_response", response_samples, response, MESSAGES),
    ]
}

fn block_header() -> ClientOperationHeaderProto {
    ClientOperationHeaderProto {
        base_header: BaseHeaderProto {
            block: ExtendedBlockProto {
                pool_id: "BP-1".to_owned(),
                block_id: 1 << 30,
                generation_stamp: 1001,
                num_bytes: Some(10),
            },
            token: None,
            trace_info: None,
        },
        client_name: "DFSClient_1".to_owned(),
    }
}

fn node() -> DatanodeInfoProto {
    DatanodeInfoProto {
        id: DatanodeIdProto {
            ip_addr: "10.0.0.1".to_owned(),
            host_name: "dn1".to_owned(),
            datanode_uuid: "uuid-1".to_owned(),
            xfer_port: 9866,
            info_port: 9864,
            ipc_port: 9867,
            info_secure_port: None,
        },
        ..DatanodeInfoProto::default()
    }
}

fn request_samples() -> Vec<Vec<u8>> {
    vec![
        encode_op(
            Op::WriteBlock,
            &OpWriteBlockProto {
                header: block_header(),
                targets: vec![node(), node()],
                source: Some(node()),
                pipeline_size: 3,
                min_bytes_rcvd: 7,
                latest_generation_stamp: 1002,
                requested_checksum: ChecksumProto {
                    r#type: 2,
                    bytes_per_checksum: 512,
                },
                ..OpWriteBlockProto::default()
            },
        ),
        encode_op(
            Op::ReadBlock,
            &OpReadBlockProto {
                header: block_header(),
                offset: 1,
                len: 9,
                send_checksums: Some(true),
                caching_strategy: Some(CachingStrategyProto::default()),
            },
        ),
        encode_op(
            Op::TransferBlock,
            &OpTransferBlockProto {
                header: block_header(),
                targets: vec![node()],
                ..OpTransferBlockProto::default()
            },
        ),
    ]
}

fn encoded(request: &OpRequest) -> Vec<u8> {
    match request {
        OpRequest::WriteBlock(message) => encode_op(Op::WriteBlock, &**message),
        OpRequest::ReadBlock(message) => encode_op(Op::ReadBlock, message),
        OpRequest::ReplaceBlock(message) => encode_op(Op::ReplaceBlock, message),
        OpRequest::CopyBlock(message) => encode_op(Op::CopyBlock, message),
        OpRequest::BlockChecksum(message) => encode_op(Op::BlockChecksum, message),
        OpRequest::TransferBlock(message) => encode_op(Op::TransferBlock, message),
        OpRequest::RequestShortCircuitFds(message) => encode_op(Op::RequestShortCircuitFds, message),
        OpRequest::ReleaseShortCircuitFds(message) => encode_op(Op::ReleaseShortCircuitFds, message),
        OpRequest::RequestShortCircuitShm(message) => encode_op(Op::RequestShortCircuitShm, message),
        OpRequest::BlockGroupChecksum(message) => encode_op(Op::BlockGroupChecksum, &**message),
        OpRequest::Custom(message) => encode_op(Op::Custom, message),
    }
}

fn request(input: &[u8]) {
    let mut reader = input;
    let mut steps = 0;
    while let Ok(Some(request)) = read_request(&mut reader) {
        steps += 1;
        assert!(steps <= input.len());
        let bytes = encoded(&request);
        assert_eq!(
            read_request(&mut &bytes[..]).expect("what was encoded decodes"),
            Some(request)
        );
    }
}

fn packet_samples() -> Vec<Vec<u8>> {
    let mut samples = Vec::new();
    for (data_len, checksums) in [(0_u32, 0_usize), (10, 4), (600, 8)] {
        let header = PacketHeader {
            offset_in_block: 512,
            seqno: 1,
            last_packet_in_block: data_len == 0,
            data_len,
            sync_block: true,
        };
        let mut bytes = Vec::new();
        header.encode_into(checksums, &mut bytes);
        bytes.resize(bytes.len() + checksums + data_len as usize, 0x5A);
        samples.push(bytes);
    }
    samples.push(samples.concat());
    samples
}

/// The same packets come from a slice, from a stream, and from a stream that is read ahead.
fn packet(input: &[u8]) {
    let (mut rest, mut exactly, mut ahead) = (input, input, input);
    let (mut of_slice, mut of_stream, mut of_rest) = (
        PacketBuffer::new(PACKET_MAX_BYTES),
        PacketBuffer::new(PACKET_MAX_BYTES),
        PacketBuffer::new(PACKET_MAX_BYTES),
    );
    loop {
        let taken = of_slice.fill_from(rest);
        let streamed = of_stream.read_from(&mut exactly).copied();
        let read_ahead = of_rest.read_ahead_from(&mut ahead).copied();
        let Ok(Some(len)) = taken else {
            assert!(streamed.is_err() && read_ahead.is_err());
            return;
        };
        rest = &rest[len..];
        let header = *of_slice.header();
        assert_eq!(streamed.expect("the slice had it"), header);
        assert_eq!(read_ahead.expect("the slice had it"), header);
        for other in [&of_stream, &of_rest] {
            assert_eq!(other.checksums(), of_slice.checksums());
            assert_eq!(other.data(), of_slice.data());
        }
        assert_eq!(of_slice.data().len(), header.data_len as usize);
        assert!(len > 0);
        let _ = header.follows(i64::MAX);
        let mut again = Vec::new();
        header.encode_into(of_slice.checksums().len(), &mut again);
        again.extend_from_slice(of_slice.checksums());
        again.extend_from_slice(of_slice.data());
        let mut buffer = PacketBuffer::new(PACKET_MAX_BYTES);
        assert_eq!(
            buffer.fill_from(&again).expect("what was encoded decodes"),
            Some(again.len())
        );
        assert_eq!(*buffer.header(), header);
    }
}

fn ack_samples() -> Vec<Vec<u8>> {
    let ack = PipelineAck {
        seqno: 7,
        replies: vec![0, PipelineAck::plain(Status::Error), 0x1FF],
        downstream_ack_time_nanos: 1,
    };
    vec![encode_delimited(&ack.to_proto())]
}

fn ack(input: &[u8]) {
    let Ok(ack) = PipelineAck::read(&mut { input }) else {
        return;
    };
    let (_, _) = (ack.is_success(), ack.oob_status());
    for index in 0..=ack.replies.len() {
        assert_eq!(ack.status(index).is_some(), index < ack.replies.len());
    }
    let bytes = encode_delimited(&ack.to_proto());
    assert_eq!(
        PipelineAck::read(&mut &bytes[..]).expect("what was encoded decodes"),
        ack
    );
}

fn response_samples() -> Vec<Vec<u8>> {
    vec![encode_delimited(&BlockOpResponseProto {
        status: Status::Error.into(),
        message: Some("why".to_owned()),
        first_bad_link: Some("10.0.0.1:9866".to_owned()),
        ..BlockOpResponseProto::default()
    })]
}

/// The same response comes from a slice and from a stream.
fn response(input: &[u8]) {
    let sliced = decode_delimited::<BlockOpResponseProto>(input);
    let streamed = read_delimited::<BlockOpResponseProto>(&mut { input });
    match sliced {
        Ok(Some((message, used))) => {
            assert!(used <= input.len());
            assert_eq!(streamed.expect("the slice had it"), message);
            let bytes = encode_delimited(&message);
            let again = decode_delimited(&bytes).expect("what was encoded decodes");
            assert_eq!(again, Some((message, bytes.len())));
        }
        Ok(None) | Err(_) => assert!(streamed.is_err()),
    }
}
