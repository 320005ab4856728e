//! What the two sides say to each other: the messages of [`hathi_formats::qjournal`], and the time in which they are
//! measured.

pub use hathi_formats::qjournal::{
    Answer, INTER_QJOURNAL_PROTOCOL, JOURNAL_EXTENSION_PROTOCOL, LeaseRequest, LeaseState, Manifest, ManifestSegment,
    PrepareRecoveryAnswer, QJOURNAL_PROTOCOL, Request, RequestInfo, SegmentState,
};

/// A time or duration on a process's monotonic clock, in microseconds.
pub type Micros = u64;
