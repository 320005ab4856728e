//! Looks up the protocol and method that a call's header names, without a map of strings.

use crate::ipc::protocols::PROTOCOL_META_INFO_PB;
use crate::ipc::{Method, Protocol};

/// The protocols of a handler, indexed.
#[derive(Debug)]
pub(super) struct ProtocolTable {
    entries: Vec<ProtocolEntry>,
}

#[derive(Debug)]
struct ProtocolEntry {
    protocol: &'static Protocol,
    /// Number of methods of the protocols before it.
    first_row: u16,
    /// Indexes of methods by hash, `None` where a slot is free. Its length is a power of two, and it is at most half
    /// full.
    slots: Vec<Option<u16>>,
}

impl ProtocolTable {
    /// The handler's protocols and the one that every server has.
    pub(super) fn new(protocols: Vec<&'static Protocol>) -> ProtocolTable {
        let mut rows = 0_u16;
        let entries = protocols
            .into_iter()
            .chain([&PROTOCOL_META_INFO_PB])
            .map(|protocol| {
                let mut slots = vec![None; (protocol.methods.len() * 2).next_power_of_two().max(4)];
                for (index, (method, _)) in (0_u16..).zip(protocol.methods) {
                    let mut slot = hash(method.as_bytes()) & (slots.len() - 1);
                    while slots.get(slot).is_some_and(Option::is_some) {
                        slot = (slot + 1) & (slots.len() - 1);
                    }
                    if let Some(free) = slots.get_mut(slot) {
                        *free = Some(index);
                    }
                }
                let first_row = rows;
                rows = rows.saturating_add(u16::try_from(protocol.methods.len()).unwrap_or(u16::MAX));
                ProtocolEntry {
                    protocol,
                    first_row,
                    slots,
                }
            })
            .collect();
        ProtocolTable { entries }
    }

    pub(super) fn protocols(&self) -> impl Iterator<Item = &'static Protocol> {
        self.entries.iter().map(|entry| entry.protocol)
    }

    /// The index of a protocol. `hint` is the index of the connection's last call, which is nearly always right.
    #[inline]
    pub(super) fn protocol(&self, name: &[u8], hint: usize) -> Option<usize> {
        let is = |entry: &ProtocolEntry| entry.protocol.name.as_bytes() == name;
        if self.entries.get(hint).is_some_and(is) {
            return Some(hint);
        }
        self.entries.iter().position(is)
    }

    pub(super) fn get(&self, index: usize) -> Option<&'static Protocol> {
        self.entries.get(index).map(|entry| entry.protocol)
    }

    /// All methods. The place of a method is its row.
    pub(super) fn methods(&self) -> impl Iterator<Item = Method> {
        self.protocols()
            .flat_map(|protocol| (0..protocol.methods.len()).filter_map(|index| Method::at(protocol.id, index)))
    }

    /// A method of the protocol at `index`, and its row.
    #[inline]
    pub(super) fn method(&self, index: usize, name: &[u8]) -> Option<(Method, u16)> {
        let entry = self.entries.get(index)?;
        let mask = entry.slots.len() - 1;
        let mut slot = hash(name) & mask;
        loop {
            let method = (*entry.slots.get(slot)?)?;
            let (known, _) = entry.protocol.methods.get(usize::from(method))?;
            if known.as_bytes() == name {
                let row = entry.first_row.saturating_add(method);
                return Some((Method::at(entry.protocol.id, usize::from(method))?, row));
            }
            slot = (slot + 1) & mask;
        }
    }
}

/// Hash of a method's name, from its length and its first and last eight bytes. It is good enough for a hundred names.
#[inline]
fn hash(name: &[u8]) -> usize {
    let word = |bytes: Option<&[u8; 8]>| bytes.map_or(0, |bytes| u64::from_le_bytes(*bytes));
    let mut short = [0_u8; 8];
    let (first, last) = if name.len() >= 8 {
        (word(name.first_chunk()), word(name.last_chunk()))
    } else {
        for (to, from) in short.iter_mut().zip(name) {
            *to = *from;
        }
        (u64::from_le_bytes(short), 0)
    };
    let mixed = (first ^ last.rotate_left(29) ^ name.len() as u64).wrapping_mul(0x9E37_79B9_7F4A_7C15);
    (mixed >> 40) as usize
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ipc::protocols;

    #[test]
    fn finds_every_method_and_nothing_else() {
        let table = ProtocolTable::new(protocols::ALL.to_vec());
        let rows: Vec<Method> = table.methods().collect();
        for protocol in protocols::ALL {
            let at = table.protocol(protocol.name.as_bytes(), 0).unwrap();
            assert_eq!(table.get(at).unwrap().name, protocol.name);
            for (method, _) in protocol.methods {
                let (found, row) = table.method(at, method.as_bytes()).unwrap();
                assert_eq!(rows[usize::from(row)], found);
                assert_eq!((found.protocol(), found.name()), (*protocol, *method));
            }
            assert_eq!(table.method(at, b""), None);
            assert_eq!(table.method(at, b"noSuchMethod"), None);
        }
        assert_eq!(table.protocol(b"nobody", 3), None);
    }
}
