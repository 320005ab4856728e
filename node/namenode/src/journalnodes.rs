//! The JournalNodes of the configuration.

use crate::settings::Settings;
use hathi_conf::JournalUri;
use hathi_formats::qjournal::Envelope;
use hathi_journalclient::JournalNodes;

/// The JournalNodes of the shared edits. `None` when the shared edits are in a directory, or there are none.
#[must_use]
pub fn configured(settings: &Settings) -> Option<JournalNodes> {
    let Some(JournalUri::Quorum {
        journal_nodes,
        journal_id,
    }) = settings.shared.clone()
    else {
        return None;
    };
    let nameservice = Some(settings.nameservice_id.clone()).filter(|id| !id.is_empty());
    let envelope = Envelope {
        journal_id,
        name_service_id: nameservice,
    };
    Some(JournalNodes::new(journal_nodes, envelope, &settings.user))
}

/// No JournalNode.
#[must_use]
pub fn none(settings: &Settings) -> JournalNodes {
    let envelope = Envelope {
        journal_id: String::new(),
        name_service_id: None,
    };
    JournalNodes::new(Vec::new(), envelope, &settings.user)
}
