//! The content of `dfsadmin -metasave` (`BlockManager.metaSave`): DataNodes, and blocks that need work or get it.

use super::BlockManager;
use crate::datanodes::Datanode;
use hathi_formats::ids::BlockId;
use std::fmt::Write as _;

/// Number of listed blocks of each kind, because the list is made under the namesystem's lock. The total is always
/// told.
const LISTED_MAX: usize = 10_000;

impl BlockManager {
    /// The text, with Hadoop's lines.
    #[must_use]
    pub fn metasave(&self) -> String {
        let mut text = String::new();
        let counts = self.counts();
        // Writing to a string can't fail.
        let _ = writeln!(text, "Live Datanodes: {}", counts.live_datanodes);
        let _ = writeln!(text, "Dead Datanodes: {}", counts.dead_datanodes);
        let waiting: Vec<BlockId> = self.redundancy.low().ids().collect();
        let _ = writeln!(text, "Metasave: Blocks waiting for reconstruction: {}", waiting.len());
        self.list(&mut text, &waiting);
        let missing: Vec<BlockId> = self.redundancy.low().missing(None).collect();
        let _ = writeln!(text, "Metasave: Blocks currently missing: {}", missing.len());
        self.list(&mut text, &missing);
        let postponed: Vec<BlockId> = self.redundancy.postponed().iter().copied().collect();
        let _ = writeln!(
            text,
            "Mis-replicated blocks that have been postponed: {}",
            postponed.len()
        );
        self.list(&mut text, &postponed);
        let pending: Vec<BlockId> = self.redundancy.pending().ids().collect();
        let _ = writeln!(text, "Metasave: Blocks being reconstructed: {}", pending.len());
        self.list(&mut text, &pending);
        let nodes = self.datanodes.nodes();
        let deletions = nodes.map(|(index, node)| (node, self.redundancy.orders().deletions_of(index)));
        let deleting: Vec<(&Datanode, usize)> = deletions.filter(|(_, deletions)| *deletions > 0).collect();
        let _ = writeln!(
            text,
            "Metasave: Blocks {} waiting deletion from {} datanodes.",
            counts.pending_deletion,
            deleting.len()
        );
        for (node, deletions) in deleting {
            let _ = writeln!(text, "{}: {deletions}", node.xfer_address());
        }
        let _ = writeln!(text, "Corrupt Blocks: {}", counts.corrupt);
        let _ = writeln!(
            text,
            "Metasave: Number of datanodes: {}",
            self.datanodes.nodes().count()
        );
        for (_, node) in self.datanodes.nodes() {
            let info = self.datanode_info(node);
            let _ = writeln!(
                text,
                "{} {} {:?} {} blocks, capacity {}, used {}, remaining {}, last contact {} ms",
                node.xfer_address(),
                node.location,
                node.admin_state,
                info.num_blocks(),
                info.capacity(),
                info.dfs_used(),
                info.remaining(),
                node.last_update.wall_ms
            );
        }
        text
    }

    fn list(&self, text: &mut String, ids: &[BlockId]) {
        for id in ids.iter().take(LISTED_MAX) {
            let counts = self.count_replicas(*id);
            let _ = write!(
                text,
                "blk_{id} (replicas: live: {} corrupt: {})",
                counts.live, counts.corrupt
            );
            for (_, storage) in self.storages_of(*id) {
                if let Some(node) = self.datanodes.of(storage) {
                    let _ = write!(text, " {}", node.xfer_address());
                }
            }
            text.push('\n');
        }
        if let Some(more) = ids.len().checked_sub(LISTED_MAX).filter(|more| *more > 0) {
            let _ = writeln!(text, "and {more} more");
        }
    }
}
