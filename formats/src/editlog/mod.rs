//! The edit log: ops, their encoding, the framing and checksums of a segment file, and the names of segment files.
//!
//! Mirrors `FSEditLogOp`, `EditLogFileInputStream`, `EditLogFileOutputStream` and `FileJournalManager`'s names.
//! A frame is `u8 opcode | i32 length | i64 txid | body | u32 crc`; the length counts itself, the txid and the body;
//! the checksum covers everything before it.

mod decode;
mod encode;
#[cfg(test)]
mod exact;
mod field;
mod frame;
mod from_xml;
mod kinds;
mod segment;
#[cfg(test)]
mod source;
mod table;
mod token;
mod values;
mod wire;
mod xml;

pub use decode::{OLDEST_LAYOUT, decode_body, decode_frame};
pub use encode::{MAX_WRITTEN_BLOCKS, encode, encode_for_layout};
pub use frame::{Frame, FrameError, Frames, MAX_OP_SIZE_BYTES, MIN_OP_SIZE_BYTES, ScanEnd};
pub use from_xml::EditsXml;
pub use segment::{HeaderError, SEGMENT_HEADER_LEN, SegmentFile, SegmentHeader};
pub use table::{
    AddOp, CacheDirectiveInfo, CachePoolInfo, CloseOp, DelegationKey, DelegationTokenIdentifier, EditOp, OpCode,
    PermissionStatus,
};
pub use token::{DELEGATION_TOKEN_KIND, short_name};
pub use values::{
    AclEntry, AclEntryScope, AclEntryType, RenameOption, RpcIds, XAttr, XAttrNamespace, fs_action_bits,
    fs_action_symbol,
};
pub use wire::{DecodeError, EncodeError, MAX_STRING_UNITS, MAX_TEXT_BYTES, MAX_WRITTEN_OP_BYTES};
pub use xml::XmlWriter;
