//! What the pages are made of.

use crate::fsck::FsckPage;
use crate::history::History;
use crate::others::Others;
use crate::room::Room;
use hathi_namenode::web::WebParts;
use hathi_nameserver::lag::JournalLag;
use parking_lot::Mutex;
use std::sync::Arc;

/// What the pages show: the NameNode, and what only a reader of the pages wants to know.
pub struct Pages {
    /// The NameNode.
    pub nn: WebParts,
    /// What other daemons say of themselves.
    pub(crate) others: Others,
    /// How far this NameNode follows the journal.
    pub(crate) following: Mutex<JournalLag>,
    /// The last hour.
    pub(crate) history: Mutex<History>,
    /// The directories and their room, as of some seconds ago.
    pub(crate) rooms: Mutex<Vec<Room>>,
    /// The report of fsck.
    pub(crate) fsck: Arc<FsckPage>,
}

impl Pages {
    /// Pages of this NameNode.
    #[must_use]
    pub fn new(nn: WebParts) -> Pages {
        let fsck = FsckPage {
            settings: nn.settings.clone(),
            ns: nn.ns.clone(),
            clock: nn.clock.clone(),
            callers: nn.callers.clone(),
            audit: nn.audit.clone(),
        };
        Pages {
            nn,
            others: Others::default(),
            following: Mutex::default(),
            history: Mutex::default(),
            rooms: Mutex::default(),
            fsck: Arc::new(fsck),
        }
    }
}
