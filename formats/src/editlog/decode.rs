//! Bytes into ops.

use super::frame::Frame;
use super::table::{EditOp, OpCode};
use super::wire::{DecodeError, Input};
use crate::ids::LayoutVersion;

/// The oldest layout whose op bodies are decoded.
pub const OLDEST_LAYOUT: LayoutVersion = *LayoutVersion::NAMENODE_READ.end();

/// Decodes the op of a frame. Offsets in errors count from the start of the body.
pub fn decode_frame(frame: &Frame<'_>, layout: LayoutVersion) -> Result<EditOp, DecodeError> {
    decode_body(frame.code, frame.body, layout)
}

/// Decodes an op's body as written by a NameNode of layout -60 to -67. Bytes left over are an error.
pub fn decode_body(code: OpCode, body: &[u8], layout: LayoutVersion) -> Result<EditOp, DecodeError> {
    let mut input = Input::new(body, layout);
    if !LayoutVersion::NAMENODE_READ.contains(&layout) {
        return Err(input.error(format!("layout {layout} is not between {OLDEST_LAYOUT} and -67")));
    }
    let op = EditOp::read(code, &mut input).map_err(|error| DecodeError {
        problem: format!("{}: {}", code.name().unwrap_or("unknown op"), error.problem),
        ..error
    })?;
    match input.remaining() {
        0 => Ok(op),
        left => Err(input.error(format!("{left} bytes left over after {:?}", op.code()))),
    }
}
