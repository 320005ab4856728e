//! The targets, by what they read.

mod blocks;
mod calls;
mod configuration;
mod datatransfer;
pub(crate) mod editlog;
mod http;
pub(crate) mod image;
mod ipc;
mod journal;
mod operator;
mod protocols;
mod storage;

use crate::{Memory, Target};

pub use protocols::{requests_of, unserved};

/// Memory of a decoder that keeps about what it reads.
const PLAIN: Memory = Memory {
    fixed: 64 << 10,
    per_byte: 64,
};

/// Memory of protobuf messages. Two bytes stand for an element of a list. An element is as large as its type, and the
/// list grows by doubling, and exists twice while it is moved.
const MESSAGES: Memory = Memory {
    fixed: 64 << 10,
    per_byte: 1500,
};

/// Every target.
#[must_use]
pub fn all() -> Vec<Target> {
    [
        editlog::targets(),
        image::targets(),
        storage::targets(),
        journal::targets(),
        blocks::targets(),
        datatransfer::targets(),
        ipc::targets(),
        calls::targets(),
        protocols::targets(),
        configuration::targets(),
        operator::targets(),
        http::targets(),
    ]
    .concat()
}

/// The bytes as text, as files are read.
fn text(bytes: &[u8]) -> std::borrow::Cow<'_, str> {
    String::from_utf8_lossy(bytes)
}

/// Samples made of texts.
fn samples_of(texts: &[&str]) -> Vec<Vec<u8>> {
    texts.iter().map(|text| text.as_bytes().to_vec()).collect()
}

/// The parts of an input. Each part has its length in two bytes before it. The rest of the input is the last part.
struct Parts<'a>(&'a [u8]);

impl<'a> Parts<'a> {
    fn next(&mut self) -> &'a [u8] {
        let Some((len, rest)) = self.0.split_first_chunk::<2>() else {
            return std::mem::take(&mut self.0);
        };
        let len = usize::from(u16::from_be_bytes(*len)).min(rest.len());
        let (part, rest) = rest.split_at(len);
        self.0 = rest;
        part
    }

    fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    fn join(parts: &[&[u8]]) -> Vec<u8> {
        let mut joined = Vec::new();
        for part in parts {
            joined.extend(u16::try_from(part.len()).unwrap_or(u16::MAX).to_be_bytes());
            joined.extend_from_slice(part);
        }
        joined
    }
}
