//! The targets, by what they read.

mod blocks;
mod calls;
mod configuration;
mod datatransfer;
mod editlog;
mod http;
mod image;
mod ipc;
mod journal;
mod operator;
mod protocols;
mod storage;

use crate::{Memory, Target};

pub use protocols::{requests_of, unserved};

/// A decoder that keeps what it reads, once more or less.
const PLAIN: Memory = Memory {
    fixed: 64 << 10,
    per_byte: 64,
};

/// Messages of protobuf: two bytes stand for an element of a list, which is as large as its type, in a list that grows by
/// doubling and is held twice while it moves.
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

/// Bytes as the decoders of texts get them from files that are read as text.
fn text(bytes: &[u8]) -> std::borrow::Cow<'_, str> {
    String::from_utf8_lossy(bytes)
}

/// Bytes that must be text.
fn samples_of(texts: &[&str]) -> Vec<Vec<u8>> {
    texts.iter().map(|text| text.as_bytes().to_vec()).collect()
}

/// The parts of an input that is made of several: each has its length in two bytes before it. What is left at the end is the
/// last part.
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
