//! The DataNodes of a pipeline.

use hathi_formats::proto::hdfs::DatanodeInfoProto;

/// The DataNodes that get a block, in the order of the pipeline, with the storage that each one uses.
#[derive(Clone, Debug, Default)]
pub struct PipelineNodes {
    /// The DataNodes.
    pub infos: Vec<DatanodeInfoProto>,
    /// Storage type on each DataNode, as on the wire: newer NameNodes may name others than we know.
    pub storage_types: Vec<i32>,
    /// Storage id on each DataNode.
    pub storage_ids: Vec<String>,
}

impl PipelineNodes {
    /// Number of DataNodes.
    #[must_use]
    pub fn len(&self) -> usize {
        self.infos.len()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.infos.is_empty()
    }

    /// Takes a DataNode out.
    ///
    /// # Panics
    /// When there is no DataNode with this index.
    pub fn remove(&mut self, index: usize) -> DatanodeInfoProto {
        if index < self.storage_types.len() {
            self.storage_types.remove(index);
        }
        if index < self.storage_ids.len() {
            self.storage_ids.remove(index);
        }
        self.infos.remove(index)
    }

    /// Each DataNode by itself.
    pub fn each(&self) -> impl Iterator<Item = PipelineNodes> {
        (0..self.len()).map(|index| self.only(index))
    }

    fn only(&self, index: usize) -> PipelineNodes {
        PipelineNodes {
            infos: self.infos.get(index).cloned().into_iter().collect(),
            storage_types: self.storage_types.get(index).copied().into_iter().collect(),
            storage_ids: self.storage_ids.get(index).cloned().into_iter().collect(),
        }
    }

    /// The DataNode in an answer of `getAdditionalDatanode` that is not one of these.
    ///
    /// Hadoop's NameNodes return these and the new one in any order. Other NameNodes return only the new one.
    #[must_use]
    pub fn added_by(&self, answered: &PipelineNodes) -> Option<PipelineNodes> {
        let known = |node: &DatanodeInfoProto| {
            let uuid = &node.id.datanode_uuid;
            self.infos.iter().any(|other| other.id.datanode_uuid == *uuid)
        };
        let index = answered.infos.iter().position(|node| !known(node))?;
        Some(answered.only(index))
    }

    /// Adds DataNodes at the end.
    pub fn append(&mut self, added: PipelineNodes) {
        self.infos.extend(added.infos);
        self.storage_types.extend(added.storage_types);
        self.storage_ids.extend(added.storage_ids);
    }

    /// `[ip:port, ...]`, for messages.
    #[must_use]
    pub fn names(&self) -> String {
        let names: Vec<String> = self.infos.iter().map(|node| node.id.xfer_address()).collect();
        format!("[{}]", names.join(", "))
    }
}
