//! Readers, who get at least what was flushed, and nothing that was not written.

use super::namenodes::NameNodes;
use super::talk::node_of;
use super::{World, WritingMutant};
use bytes::Bytes;
use hathi_blockpool::ReplicaState;
use hathi_formats::ids::{BlockId, GenerationStamp};
use hathi_formats::proto::hdfs::{
    GetBlockLocationsRequestProto, GetBlockLocationsResponseProto, LocatedBlockProto, LocatedBlocksProto,
};
use prost::Message;

impl<N: NameNodes> World<N> {
    pub(super) fn read(&mut self, file: usize) {
        let request = GetBlockLocationsRequestProto {
            src: self.files[file].path.clone(),
            offset: 0,
            length: u64::MAX >> 1,
        };
        let body = Bytes::from(request.encode_to_vec());
        let Some(Ok(answer)) = self.namenodes.read("getBlockLocations", body, self.now) else {
            return;
        };
        let answer = GetBlockLocationsResponseProto::decode(answer).expect("an answer can be read");
        let Some(located) = answer.locations else { return };
        self.count("files that were read");
        let open = located.under_construction && !located.is_last_block_complete;
        let last = located.last_block.as_ref().map(|last| last.b.block_id);
        for block in &located.blocks {
            if !(open && Some(block.b.block_id) == last) {
                self.read_complete(block);
            }
        }
        if let Some(last) = located.last_block.as_ref().filter(|_| open) {
            self.read_open(&located, last);
        }
    }

    fn read_complete(&mut self, block: &LocatedBlockProto) {
        let id = BlockId(block.b.block_id as i64);
        let Some(promise) = self.promises.get(&id).filter(|promise| !promise.is_open()).cloned() else {
            return;
        };
        if block.b.num_bytes() < promise.flushed {
            let (shown, flushed) = (block.b.num_bytes(), promise.flushed);
            return self.violate(format!("a reader is shown {shown} of {flushed} bytes of {id}"));
        }
        for located in &block.locs {
            let datanode = &self.datanodes[node_of(&located.id)];
            let replica = datanode.map.get(id).filter(|replica| {
                replica.generation_stamp.0 >= block.b.generation_stamp && replica.state == ReplicaState::Finalized
            });
            let Some(replica) = replica.filter(|_| datanode.up) else {
                continue;
            };
            let Some(bytes) = datanode.verified_bytes(replica) else {
                continue;
            };
            let len = bytes.len().min(promise.content.len());
            if bytes[..len] != promise.content[..len] {
                return self.violate(format!("a reader gets bytes of {id} that nobody wrote"));
            }
        }
    }

    /// `DFSInputStream.readBlockLength`: the first DataNode that knows it tells the length.
    fn read_open(&mut self, located: &LocatedBlocksProto, block: &LocatedBlockProto) {
        let id = BlockId(block.b.block_id as i64);
        let Some(promise) = self.promises.get(&id).filter(|promise| !promise.is_open()).cloned() else {
            return;
        };
        let any_answer = self.is(WritingMutant::FirstAnswerCounts);
        let mut without_replica = 0;
        let mut known = None;
        for location in &block.locs {
            let node = node_of(&location.id);
            let datanode = &self.datanodes[node];
            if !datanode.up {
                continue;
            }
            let Some(replica) = datanode.map.get(id) else {
                without_replica += 1;
                continue;
            };
            if replica.generation_stamp < GenerationStamp(block.b.generation_stamp) {
                continue;
            }
            let visible = replica.visible_length().or(any_answer.then_some(0));
            let is_cut = promise.is_cut(node);
            // One that has less than was logged is passed over as well.
            if let Some(visible) = visible.filter(|visible| any_answer || *visible >= block.b.num_bytes()) {
                // Of a replica that nobody writes any more a reader gets what matches its checksums.
                let mut bytes = match replica.state {
                    ReplicaState::Rbw => datanode.bytes(replica),
                    _ => datanode.verified_bytes(replica).unwrap_or_default(),
                };
                bytes.truncate(visible as usize);
                known = Some((visible, bytes, is_cut));
                break;
            }
        }
        let nobody = without_replica == block.locs.len() && !block.locs.is_empty() && block.b.num_bytes() == 0;
        let Some((visible, bytes, is_cut)) = known.or(nobody.then(|| (0, Vec::new(), false))) else {
            return;
        };
        self.count("open files that were read");
        let owed = match promise.exact {
            // A truncate waits for DataNodes.
            Some(_) => 0,
            // Its DataNode does not know that a loss of power took bytes which were not synced.
            None if is_cut => promise.synced,
            None => promise.flushed,
        };
        if visible < owed {
            let from = located.file_length;
            return self.violate(format!(
                "a reader gets {visible} of {owed} bytes of {id}, behind {from}"
            ));
        }
        let len = bytes.len().min(promise.content.len());
        if bytes[..len] != promise.content[..len] {
            self.violate(format!("a reader gets bytes of the open {id} that nobody wrote"));
        }
    }
}
