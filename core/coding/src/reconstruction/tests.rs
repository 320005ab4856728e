use super::*;
use hathi_formats::proto::hdfs::{
    DatanodeInfoProto, DatanodeInfosProto, EcSchemaProto, ErasureCodingPolicyProto, StorageTypesProto,
    StorageUuidsProto,
};

const CELL: u64 = 10;

/// Of a group of `rs` with three and two units.
fn order(bytes: u64, sources: &[u8], targets: usize, left_out: &[u8]) -> BlockEcReconstructionInfoProto {
    let datanodes = |count| DatanodeInfosProto {
        datanodes: vec![DatanodeInfoProto::default(); count],
    };
    BlockEcReconstructionInfoProto {
        block: ExtendedBlockProto {
            pool_id: "BP".to_owned(),
            block_id: (i64::MIN + 32).cast_unsigned(),
            generation_stamp: 7,
            num_bytes: Some(bytes),
        },
        source_dn_infos: datanodes(sources.len()),
        target_dn_infos: datanodes(targets),
        target_storage_uuids: StorageUuidsProto {
            storage_uuids: vec![String::new(); targets],
        },
        target_storage_types: StorageTypesProto {
            storage_types: vec![1; targets],
        },
        live_block_indices: sources.to_vec().into(),
        ec_policy: ErasureCodingPolicyProto {
            id: 64,
            cell_size: Some(CELL as u32),
            schema: Some(EcSchemaProto {
                codec_name: "rs".to_owned(),
                data_units: 3,
                parity_units: 2,
                options: Vec::new(),
            }),
            ..ErasureCodingPolicyProto::default()
        },
        exclude_reconstructed_indices: Some(left_out.to_vec().into()),
    }
}

/// The internal blocks of a group.
fn units(bytes: u64) -> Vec<Vec<u8>> {
    let striping = Striping::of_policy(&order(bytes, &[], 1, &[]).ec_policy).unwrap();
    let coder = Coder::new(crate::Codec::Rs, 3, 2).unwrap();
    let mut units = vec![Vec::new(); 3];
    for byte in 0..bytes {
        units[usize::from(striping.place(byte).index)].push((byte * 7 + byte / 13) as u8);
    }
    let lengths: Vec<usize> = units.iter().map(Vec::len).collect();
    units.iter_mut().for_each(|unit| unit.resize(lengths[0], 0));
    let views: Vec<&[u8]> = units.iter().map(Vec::as_slice).collect();
    let parity = coder.encoder().applied(&views).unwrap();
    for (unit, length) in units.iter_mut().zip(lengths) {
        unit.truncate(length);
    }
    units.extend(parity);
    units
}

/// Carries an order out with buffers of so many bytes, where the sources of these places fail after the first piece.
fn carried_out(
    order: &BlockEcReconstructionInfoProto,
    buffer: usize,
    failing: &[usize],
) -> Result<Vec<Vec<u8>>, OrderError> {
    let units = units(order.block.num_bytes());
    let mut plan = Reconstruction::of_order(order)?;
    let mut made = vec![Vec::new(); plan.targets().len()];
    let mut offset = 0;
    while let Some(piece) = plan.piece(offset, buffer) {
        if offset > 0 {
            for source in plan
                .reading()
                .to_vec()
                .iter()
                .filter(|source| failing.contains(&source.at))
            {
                plan.failed(*source)?;
            }
        }
        let mut inputs: Vec<Vec<u8>> = Vec::new();
        for source in plan.reading() {
            let has = plan.bytes_of(piece, source.index);
            let from = (piece.offset as usize).min(units[usize::from(source.index)].len());
            let mut input = units[usize::from(source.index)][from..from + has].to_vec();
            input.resize(piece.length, 0);
            inputs.push(input);
        }
        inputs.resize(inputs.len() + plan.blanks(), vec![0; piece.length]);
        let views: Vec<&[u8]> = inputs.iter().map(Vec::as_slice).collect();
        let outputs = plan.transform().unwrap().applied(&views).unwrap();
        for ((made, target), output) in made.iter_mut().zip(plan.targets()).zip(outputs) {
            made.extend_from_slice(&output[..plan.bytes_of(piece, target.index)]);
        }
        offset += piece.length as u64;
    }
    let wanted = plan
        .targets()
        .iter()
        .map(|target| units[usize::from(target.index)].clone());
    assert_eq!(made, wanted.collect::<Vec<_>>());
    Ok(made)
}

#[test]
fn what_is_lost_is_made_of_the_rest_whatever_the_length_of_the_group() {
    for bytes in [1, 9, 10, 11, 25, 30, 31, 47, 60, 95] {
        let striping = Striping::of_policy(&order(bytes, &[], 1, &[]).ec_policy).unwrap();
        let with_bytes: Vec<u8> = (0..5).filter(|index| striping.has_bytes(bytes, *index)).collect();
        for lost in &with_bytes {
            for other in &with_bytes {
                let sources: Vec<u8> = with_bytes
                    .iter()
                    .copied()
                    .filter(|at| at != lost && at != other)
                    .collect();
                let targets = if lost == other { 1 } else { 2 };
                for buffer in [1, 4, 10, 1000] {
                    let made = carried_out(&order(bytes, &sources, targets, &[]), buffer, &[]).unwrap();
                    assert_eq!(made.len(), targets, "{lost} and {other} of {bytes}");
                }
            }
        }
    }
}

#[test]
fn another_source_takes_the_place_of_one_that_fails() {
    let four = order(95, &[0, 1, 3, 4], 1, &[]);
    assert!(carried_out(&four, 7, &[1]).is_ok());
    assert_eq!(
        carried_out(&four, 7, &[1, 0]),
        Err(OrderError::TooFewSources { there: 2, needed: 3 })
    );
    // Two DataNodes have the same internal block.
    let twice = order(95, &[0, 0, 1, 3], 2, &[]);
    let plan = Reconstruction::of_order(&twice).unwrap();
    assert_eq!(plan.reading().iter().map(|one| one.at).collect::<Vec<_>>(), [0, 2, 3]);
    assert!(carried_out(&twice, 7, &[0]).is_ok());
    assert!(carried_out(&twice, 7, &[2]).is_err());
    // One that is not read changes nothing.
    let mut plan = Reconstruction::of_order(&four).unwrap();
    let spare = Source { index: 4, at: 3 };
    assert_eq!(plan.failed(spare), Ok(()));
    assert!(plan.failed(plan.reading()[0]).is_err(), "the spare one is gone");
}

#[test]
fn targets_get_what_is_neither_there_nor_left_out() {
    let made = |order: &BlockEcReconstructionInfoProto| -> Vec<(u8, u64)> {
        let plan = Reconstruction::of_order(order).unwrap();
        plan.targets()
            .iter()
            .map(|target| (target.index, target.length))
            .collect()
    };
    assert_eq!(made(&order(95, &[0, 2, 4], 2, &[])), [(1, 30), (3, 35)]);
    assert_eq!(made(&order(95, &[0, 2, 4], 1, &[1])), [(3, 35)]);
    // The second and the third data unit have no bytes.
    assert_eq!(made(&order(10, &[4], 2, &[])), [(0, 10), (3, 10)]);
    let plan = Reconstruction::of_order(&order(95, &[0, 2, 4], 1, &[])).unwrap();
    assert_eq!(plan.internal(1).block_id, (i64::MIN + 33).cast_unsigned());
    assert_eq!((plan.internal(2).num_bytes(), plan.generation_stamp().0), (30, 7));
}

#[test]
fn an_order_that_contradicts_itself_is_refused() {
    let refused = |order: &BlockEcReconstructionInfoProto| Reconstruction::of_order(order).unwrap_err();
    let good = order(95, &[0, 2, 4], 2, &[]);
    for (bytes, block) in [(95, 5), (0, i64::MIN + 32), (95, i64::MIN + 33)] {
        let mut bad = good.clone();
        bad.block.num_bytes = Some(bytes);
        bad.block.block_id = block.cast_unsigned();
        assert_eq!(refused(&bad), OrderError::Group);
    }
    for change in [
        (|order| order.live_block_indices = vec![0, 2, 5].into()) as fn(&mut BlockEcReconstructionInfoProto),
        |order| order.live_block_indices = vec![0, 2].into(),
        |order| order.live_block_indices = vec![0; 1000].into(),
        |order| order.target_dn_infos.datanodes.clear(),
        |order| order.target_dn_infos.datanodes.resize(3, DatanodeInfoProto::default()),
        |order| order.target_storage_uuids.storage_uuids.clear(),
        |order| order.target_storage_types.storage_types.push(1),
        |order| order.exclude_reconstructed_indices = Some(vec![1, 3].into()),
    ] {
        let mut bad = good.clone();
        change(&mut bad);
        assert_eq!(refused(&bad), OrderError::Lists);
    }
    assert_eq!(
        refused(&order(95, &[0, 2], 2, &[])),
        OrderError::TooFewSources { there: 2, needed: 3 }
    );
    assert_eq!(
        refused(&order(95, &[0, 2, 2], 2, &[])),
        OrderError::TooFewSources { there: 2, needed: 3 }
    );
    let mut bad = good.clone();
    bad.ec_policy.schema.get_or_insert_default().data_units = u32::MAX;
    assert_eq!(refused(&bad), OrderError::Policy);
    // The longest group there can be takes no memory for it.
    let longest = Reconstruction::of_order(&order(u64::MAX, &[0, 2, 4], 2, &[])).unwrap();
    assert_eq!(longest.piece(0, 64).map(|piece| piece.length), Some(64));
}
