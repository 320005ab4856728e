//! Requests of data transfer.

use crate::PipelineNodes;
use hathi_formats::datatransfer::DataChecksum;
use hathi_formats::proto::common::TokenProto;
use hathi_formats::proto::hdfs::{
    BaseHeaderProto, ClientOperationHeaderProto, ExtendedBlockProto, OpWriteBlockProto,
    op_write_block_proto::BlockConstructionStage,
};

/// The header of a request. A DataNode that copies a replica for a NameNode has no client's name.
#[must_use]
pub fn header(block: &ExtendedBlockProto, token: Option<&TokenProto>, client_name: &str) -> ClientOperationHeaderProto {
    ClientOperationHeaderProto {
        base_header: BaseHeaderProto {
            block: block.clone(),
            token: token.cloned(),
            trace_info: None,
        },
        client_name: client_name.to_owned(),
    }
}

/// `WRITE_BLOCK` to the first of these DataNodes, which passes the block on to the others. It names no stamp and no
/// lengths, which only clients do.
#[must_use]
pub fn write_block(
    header: ClientOperationHeaderProto,
    nodes: &PipelineNodes,
    stage: BlockConstructionStage,
    checksum: &DataChecksum,
) -> OpWriteBlockProto {
    OpWriteBlockProto {
        header,
        targets: nodes.infos.iter().skip(1).cloned().collect(),
        source: None,
        stage: stage.into(),
        pipeline_size: 0,
        min_bytes_rcvd: 0,
        max_bytes_rcvd: 0,
        latest_generation_stamp: 0,
        requested_checksum: checksum.to_proto(),
        caching_strategy: None,
        storage_type: nodes.storage_types.first().copied(),
        target_storage_types: nodes.storage_types.iter().skip(1).copied().collect(),
        allow_lazy_persist: Some(false),
        pinning: Some(false),
        target_pinnings: Vec::new(),
        storage_id: nodes.storage_ids.first().cloned(),
        target_storage_ids: nodes.storage_ids.iter().skip(1).cloned().collect(),
    }
}

/// The request that a DataNode sends on to the next one: the first target takes the place of the receiver.
#[must_use]
pub fn passed_on(request: &OpWriteBlockProto) -> OpWriteBlockProto {
    fn shift<T: Clone>(of: &mut Vec<T>) -> Option<T> {
        (!of.is_empty()).then(|| of.remove(0))
    }
    let mut next = request.clone();
    shift(&mut next.targets);
    next.storage_type = shift(&mut next.target_storage_types);
    next.storage_id = shift(&mut next.target_storage_ids);
    next.pinning = shift(&mut next.target_pinnings);
    next
}

#[cfg(test)]
mod tests {
    use super::*;
    use hathi_formats::proto::hdfs::{DatanodeIdProto, DatanodeInfoProto};

    #[test]
    fn each_datanode_of_a_pipeline_gets_its_own_storage() {
        let info = |number: i32| DatanodeInfoProto {
            id: DatanodeIdProto {
                datanode_uuid: format!("uuid-{number}"),
                ..DatanodeIdProto::default()
            },
            ..DatanodeInfoProto::default()
        };
        let nodes = PipelineNodes {
            infos: (0..3).map(info).collect(),
            storage_types: vec![1, 2, 3],
            storage_ids: (0..3).map(|number| format!("DS-{number}")).collect(),
        };
        let header = header(&ExtendedBlockProto::default(), None, "client");
        let stage = BlockConstructionStage::PipelineSetupCreate;
        let first = write_block(header, &nodes, stage, &DataChecksum::DEFAULT);
        let place = |request: &OpWriteBlockProto| {
            let targets = request.targets.iter().map(|target| target.id.datanode_uuid.clone());
            (
                request.storage_type,
                request.storage_id.clone(),
                targets.collect::<Vec<_>>(),
            )
        };
        let expected = |kind, id: &str, targets: &[&str]| {
            let targets = targets.iter().map(|target| (*target).to_owned());
            (Some(kind), Some(id.to_owned()), targets.collect::<Vec<_>>())
        };
        assert_eq!(place(&first), expected(1, "DS-0", &["uuid-1", "uuid-2"]));
        let second = passed_on(&first);
        assert_eq!(place(&second), expected(2, "DS-1", &["uuid-2"]));
        let third = passed_on(&second);
        assert_eq!(place(&third), expected(3, "DS-2", &[]));
        assert_eq!(third.header.client_name, "client");
    }
}
