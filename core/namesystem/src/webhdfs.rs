//! The DataNode that a WebHDFS client is sent to (`NamenodeWebHdfsMethods.chooseDatanode`).

use crate::Namesystem;
use hathi_blockmanager::{Now, PlacementRequest};
use hathi_formats::ids::{Block, BlockId, GenerationStamp};
use hathi_formats::proto::hdfs::{DatanodeInfoProto, DatanodeReportTypeProto};
use hathi_formats::webhdfs::is_excluded;

impl Namesystem {
    /// The DataNode that would get the first replica of a block that this writer begins now
    /// (`BlockManager.chooseTarget4WebHDFS`). `excluded` are hosts or `host:port`. `None` if there is none.
    pub fn datanode_for_webhdfs(
        &mut self,
        writer: &str,
        excluded: &[&str],
        block_size: u64,
        now: Now,
    ) -> Option<DatanodeInfoProto> {
        let live = |ns: &Namesystem| ns.blockmanager().datanode_report(DatanodeReportTypeProto::Live);
        let out = match excluded {
            [] => Vec::new(),
            excluded => live(self)
                .iter()
                .filter(|node| is_excluded(node, excluded))
                .filter_map(|node| self.blockmanager().datanode_by_uuid(&node.id.datanode_uuid).ok())
                .collect(),
        };
        let request = PlacementRequest {
            count: 1,
            writer: Some(writer),
            excluded: &out,
            block_size,
            ..PlacementRequest::default()
        };
        let targets = self.blockmanager_mut().choose_targets(&request, now).ok()?;
        debug_assert!(targets.len() <= 1, "one was asked for");
        let nowhere = Block {
            id: BlockId(0),
            num_bytes: 0,
            generation_stamp: GenerationStamp(0),
        };
        let located = self.blockmanager().located_block_on("", nowhere, 0, &targets);
        located.locs.into_iter().next()
    }
}
