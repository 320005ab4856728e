//! Answers of at-most-once calls, so that a call sent again gets the answer of the first time (Hadoop's `RetryCache`).
//!
//! A logical call is named by (client id, call id); both survive a failover of the client, and edit ops carry them, so
//! a standby fills this cache while it replays.
//!
//! Invariants:
//! - Only successes are kept; a call that failed runs again.
//! - Records lie in the order in which they were put, so the oldest are always at the front.
//! - The index names only records that exist, and at most one per key: the newest.
//! - `bytes() ≤ max_bytes` plus one chunk.
//!
//! Records live end to end in a few large chunks instead of one allocation per call, because every `create` puts one.
//! What is dropped is dropped by whole chunks: an answer is kept for at least the expiry time unless the memory limit
//! pushes it out (Hadoop bounds its cache by a share of the heap likewise).

use foldhash::fast::FixedState;
use hashbrown::HashTable;
use hathi_formats::ids::TxId;
use std::collections::VecDeque;
use std::hash::{BuildHasher, Hasher};

/// Bytes of a chunk: small enough that dropping one (some hundred records) is no long work.
const CHUNK_BYTES: usize = 64 << 10;
/// Bytes of a record before its payload: client id, call id, txid, payload length.
const HEADER_BYTES: usize = 16 + 4 + 8 + 4;
/// Length of a client id that names a caller (`ClientId.BYTE_LENGTH`).
pub const CLIENT_ID_BYTES: usize = 16;

/// Identity of a logical call.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct CallKey {
    /// The caller's client id.
    pub client_id: [u8; CLIENT_ID_BYTES],
    /// The caller's number for this call.
    pub call_id: i32,
}

impl CallKey {
    /// The key of a call. `None` when the ids name no caller: calls from within a NameNode, and retries of no call
    /// (`RetryCache.skipRetryCache`).
    #[must_use]
    pub fn new(client_id: &[u8], call_id: i32) -> Option<CallKey> {
        if call_id < 0 {
            return None;
        }
        let client_id = client_id.try_into().ok()?;
        Some(CallKey { client_id, call_id })
    }
}

/// A remembered answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CachedReply<'a> {
    /// The answer shows this transaction and may leave only when it is synced.
    pub txid: TxId,
    /// The encoded response message.
    pub payload: &'a [u8],
}

/// Limits of a [`RetryCache`].
#[derive(Clone, Copy, Debug)]
pub struct RetryCacheOptions {
    /// `dfs.namenode.enable.retrycache`.
    pub enabled: bool,
    /// `dfs.namenode.retrycache.expirytime.millis`.
    pub expiry_ms: u64,
    /// Memory for records; stands in for `dfs.namenode.retrycache.heap.percent`.
    pub max_bytes: usize,
}

impl Default for RetryCacheOptions {
    fn default() -> Self {
        RetryCacheOptions {
            enabled: true,
            expiry_ms: 600_000,
            max_bytes: 256 << 20,
        }
    }
}

#[derive(Debug)]
struct Chunk {
    bytes: Vec<u8>,
    newest_ms: u64,
}

/// Place of a record: number of its chunk since the start, and offset in the chunk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Place {
    chunk: u32,
    offset: u32,
}

/// The retry cache; see the module.
#[derive(Debug, Default)]
pub struct RetryCache {
    options: RetryCacheOptions,
    chunks: VecDeque<Chunk>,
    /// Number of the first chunk. It wraps around, which is harmless with fewer than 2^32 chunks.
    first_chunk: u32,
    index: HashTable<Place>,
    bytes: usize,
    hits: u64,
}

impl RetryCache {
    /// An empty cache.
    #[must_use]
    pub fn new(options: RetryCacheOptions) -> RetryCache {
        RetryCache {
            options,
            ..RetryCache::default()
        }
    }

    /// The answer to this call, if it succeeded before.
    #[must_use]
    pub fn get(&self, key: &CallKey) -> Option<CachedReply<'_>> {
        let place = self
            .index
            .find(hash_of(key), |&place| self.key_at(place) == Some(*key))?;
        self.reply_at(*place)
    }

    /// Counts a repeated call that was answered from the cache.
    pub fn count_hit(&mut self) {
        self.hits += 1;
    }

    /// Calls answered from here so far (`NameNodeRetryCache.CacheHit`).
    #[must_use]
    pub fn hits(&self) -> u64 {
        self.hits
    }

    /// Keeps the answer of a call that succeeded with transaction `txid`. `now_ms` is monotonic.
    pub fn insert(&mut self, key: CallKey, txid: TxId, payload: &[u8], now_ms: u64) {
        if !self.options.enabled {
            return;
        }
        self.expire(now_ms);
        let Ok(payload_len) = u32::try_from(payload.len()) else {
            return;
        };
        let need = HEADER_BYTES + payload.len();
        if self
            .chunks
            .back()
            .is_none_or(|chunk| chunk.bytes.len() + need > chunk.bytes.capacity())
        {
            let capacity = need.max(CHUNK_BYTES);
            self.chunks.push_back(Chunk {
                bytes: Vec::with_capacity(capacity),
                newest_ms: now_ms,
            });
            self.bytes += capacity;
        }
        let chunk_number = self.first_chunk.wrapping_add(self.chunks.len() as u32 - 1);
        let Some(chunk) = self.chunks.back_mut() else {
            return;
        };
        let place = Place {
            chunk: chunk_number,
            offset: chunk.bytes.len() as u32,
        };
        debug_assert!(
            chunk.bytes.len() + need <= chunk.bytes.capacity(),
            "a chunk never moves: it would hold more than is counted"
        );
        chunk.newest_ms = chunk.newest_ms.max(now_ms);
        chunk.bytes.extend_from_slice(&key.client_id);
        chunk.bytes.extend_from_slice(&key.call_id.to_le_bytes());
        chunk.bytes.extend_from_slice(&txid.0.to_le_bytes());
        chunk.bytes.extend_from_slice(&payload_len.to_le_bytes());
        chunk.bytes.extend_from_slice(payload);

        let (chunks, first_chunk) = (&self.chunks, self.first_chunk);
        let entry = self.index.entry(
            hash_of(&key),
            |&other| key_in(chunks, first_chunk, other) == Some(key),
            |&other| key_in(chunks, first_chunk, other).map_or(0, |key| hash_of(&key)),
        );
        match entry {
            hashbrown::hash_table::Entry::Occupied(mut old) => *old.get_mut() = place,
            hashbrown::hash_table::Entry::Vacant(free) => {
                free.insert(place);
            }
        }
    }

    /// Drops records that are older than the expiry time or beyond the memory limit.
    pub fn expire(&mut self, now_ms: u64) {
        while let Some(front) = self.chunks.front() {
            let expired = front.newest_ms.saturating_add(self.options.expiry_ms) < now_ms;
            let too_much = self.bytes > self.options.max_bytes && self.chunks.len() > 1;
            if !expired && !too_much {
                break;
            }
            self.drop_front();
        }
    }

    /// Forgets the answers of transactions after `last`: their edits may be lost, and then a repetition is to run. Their
    /// records stay in memory until they expire, with nothing that leads to them.
    pub fn forget_after(&mut self, last: TxId) {
        let (chunks, first_chunk) = (&self.chunks, self.first_chunk);
        // order: each answer stays or goes by its own transaction.
        self.index.retain(|&mut place| {
            let chunk = chunks.get(place.chunk.wrapping_sub(first_chunk) as usize);
            let reply = chunk.and_then(|chunk| read_reply(&chunk.bytes, place.offset as usize));
            debug_assert!(reply.is_some(), "the index names a record that was dropped");
            reply.is_some_and(|reply| reply.txid <= last)
        });
    }

    /// Forgets everything, together with the namespace (`FSNamesystem.clear`).
    pub fn clear(&mut self) {
        self.chunks.clear();
        self.index.clear();
        self.first_chunk = 0;
        self.bytes = 0;
    }

    /// Number of remembered calls.
    #[must_use]
    pub fn len(&self) -> usize {
        self.index.len()
    }

    /// Whether no call is remembered.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.index.is_empty()
    }

    /// Memory that the records take, in bytes.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// Panics when an invariant of the module does not hold, or an answer shows a transaction after `applied`.
    pub fn check(&self, applied: TxId) {
        let capacity: usize = self.chunks.iter().map(|chunk| chunk.bytes.capacity()).sum();
        assert_eq!(capacity, self.bytes, "bytes counted and held");
        assert!(
            self.chunks.len() <= 1 || self.bytes <= self.options.max_bytes.saturating_add(self.last_capacity()),
            "{} bytes of answers, {} are allowed and one chunk",
            self.bytes,
            self.options.max_bytes
        );
        let mut records = 0;
        for (at, chunk) in self.chunks.iter().enumerate() {
            let mut offset = 0;
            while offset < chunk.bytes.len() {
                let Some(reply) = read_reply(&chunk.bytes, offset) else {
                    panic!("a record of chunk {at} ends behind it")
                };
                records += 1;
                offset += HEADER_BYTES + reply.payload.len();
            }
            assert_eq!(offset, chunk.bytes.len(), "records fill chunk {at}");
        }
        assert!(self.index.len() <= records, "the index names records that exist");
        // order: each record is looked at by itself.
        for &place in &self.index {
            let key = self.key_at(place);
            let found = key.and_then(|key| self.index.find(hash_of(&key), |&other| self.key_at(other) == Some(key)));
            assert_eq!(found, Some(&place), "a call has one answer, and is found by its key");
            let txid = self.reply_at(place).map(|reply| reply.txid);
            assert!(
                txid.is_some_and(|txid| txid <= applied),
                "an answer shows {txid:?}, and {applied} is applied"
            );
        }
    }

    fn last_capacity(&self) -> usize {
        self.chunks.back().map_or(0, |chunk| chunk.bytes.capacity())
    }

    fn drop_front(&mut self) {
        let Some(chunk) = self.chunks.front() else {
            return;
        };
        let mut offset = 0;
        while offset < chunk.bytes.len() {
            let place = Place {
                chunk: self.first_chunk,
                offset: offset as u32,
            };
            let Some(key) = read_key(&chunk.bytes, offset) else {
                break;
            };
            if let Ok(entry) = self.index.find_entry(hash_of(&key), |&other| other == place) {
                entry.remove();
            }
            let Some(reply) = read_reply(&chunk.bytes, offset) else {
                break;
            };
            offset += HEADER_BYTES + reply.payload.len();
        }
        if let Some(chunk) = self.chunks.pop_front() {
            debug_assert!(chunk.bytes.capacity() <= self.bytes, "the bytes of a chunk are counted");
            self.bytes -= chunk.bytes.capacity().min(self.bytes);
            self.first_chunk = self.first_chunk.wrapping_add(1);
        }
    }

    fn key_at(&self, place: Place) -> Option<CallKey> {
        key_in(&self.chunks, self.first_chunk, place)
    }

    fn reply_at(&self, place: Place) -> Option<CachedReply<'_>> {
        let chunk = self.chunks.get(place.chunk.wrapping_sub(self.first_chunk) as usize)?;
        read_reply(&chunk.bytes, place.offset as usize)
    }
}

fn key_in(chunks: &VecDeque<Chunk>, first_chunk: u32, place: Place) -> Option<CallKey> {
    let chunk = chunks.get(place.chunk.wrapping_sub(first_chunk) as usize)?;
    read_key(&chunk.bytes, place.offset as usize)
}

fn read_key(bytes: &[u8], offset: usize) -> Option<CallKey> {
    let client_id = bytes.get(offset..offset + 16)?.try_into().ok()?;
    let call_id = i32::from_le_bytes(bytes.get(offset + 16..offset + 20)?.try_into().ok()?);
    Some(CallKey { client_id, call_id })
}

fn read_reply(bytes: &[u8], offset: usize) -> Option<CachedReply<'_>> {
    let txid = u64::from_le_bytes(bytes.get(offset + 20..offset + 28)?.try_into().ok()?);
    let len = u32::from_le_bytes(bytes.get(offset + 28..offset + HEADER_BYTES)?.try_into().ok()?) as usize;
    let start = offset + HEADER_BYTES;
    Some(CachedReply {
        txid: TxId(txid),
        payload: bytes.get(start..start + len)?,
    })
}

/// A client numbers its calls in sequence. This many of them lie side by side in the index, in memory that the call
/// before has just touched. Where such a run begins is random.
const RUN_BITS: u32 = 6;

fn hash_of(key: &CallKey) -> u64 {
    // The seed is fixed, so that runs repeat. A client that causes collisions on purpose slows only the look-up of its
    // own calls.
    let mut hasher = FixedState::with_seed(0x6861_7468).build_hasher();
    hasher.write(&key.client_id);
    hasher.write_i32(key.call_id >> RUN_BITS);
    let within = u64::from(key.call_id.cast_unsigned() & ((1 << RUN_BITS) - 1));
    // The table takes the slot from the low bits, and tells neighbours apart by the highest seven.
    (hasher.finish().wrapping_add(within) << 7 >> 7) | (within.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 57 << 57)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(client: u8, call_id: i32) -> CallKey {
        CallKey::new(&[client; 16], call_id).unwrap()
    }

    #[test]
    fn ids_that_name_nobody_have_no_key() {
        assert_eq!(CallKey::new(&[], 3), None);
        assert_eq!(CallKey::new(&[1; 15], 3), None);
        assert_eq!(CallKey::new(&[1; 16], -2), None);
        assert!(CallKey::new(&[1; 16], 0).is_some());
    }

    #[test]
    fn the_newest_answer_of_a_call_is_found_by_both_ids() {
        let mut cache = RetryCache::default();
        cache.insert(key(1, 1), TxId(10), b"one", 0);
        cache.insert(key(1, 2), TxId(11), b"", 0);
        cache.insert(key(2, 1), TxId(12), b"other", 0);
        assert_eq!(
            cache.get(&key(1, 1)),
            Some(CachedReply {
                txid: TxId(10),
                payload: b"one"
            })
        );
        assert_eq!(
            cache.get(&key(1, 2)),
            Some(CachedReply {
                txid: TxId(11),
                payload: b""
            })
        );
        assert_eq!(
            cache.get(&key(2, 1)),
            Some(CachedReply {
                txid: TxId(12),
                payload: b"other"
            })
        );
        assert_eq!(cache.get(&key(2, 2)), None);
        cache.insert(key(1, 1), TxId(20), b"again", 5);
        assert_eq!(cache.get(&key(1, 1)).unwrap().payload, b"again");
        assert_eq!(cache.len(), 3);
    }

    #[test]
    fn answers_go_after_the_expiry_time_and_not_before() {
        let mut cache = RetryCache::new(RetryCacheOptions {
            expiry_ms: 100,
            ..Default::default()
        });
        let big = vec![7; CHUNK_BYTES];
        cache.insert(key(1, 1), TxId(1), &big, 1000);
        cache.insert(key(1, 2), TxId(2), &big, 1050);
        cache.expire(1100);
        assert_eq!(cache.len(), 2);
        cache.expire(1101);
        assert_eq!(cache.get(&key(1, 1)), None);
        assert_eq!(cache.get(&key(1, 2)).unwrap().payload, &big[..]);
        cache.expire(1151);
        assert!(cache.is_empty());
        assert_eq!(cache.bytes(), 0);
    }

    #[test]
    fn memory_is_bounded_and_the_oldest_goes_first() {
        let max_bytes = 4 * CHUNK_BYTES;
        let mut cache = RetryCache::new(RetryCacheOptions {
            max_bytes,
            ..Default::default()
        });
        for call_id in 0..20_000 {
            cache.insert(key(3, call_id), TxId(call_id as u64), &[0; 100], 0);
            assert!(cache.bytes() <= max_bytes + CHUNK_BYTES);
        }
        assert_eq!(cache.get(&key(3, 0)), None);
        assert_eq!(cache.get(&key(3, 19_999)).unwrap().txid, TxId(19_999));
        assert!(cache.len() > 1000);
        cache.clear();
        assert!(cache.is_empty());
    }

    #[test]
    fn safety_n7_answers_up_to_a_transaction_stay_and_later_ones_are_forgotten() {
        let mut cache = RetryCache::default();
        for txid in 1..=2000 {
            cache.insert(key(4, txid), TxId(txid as u64), &[1; 100], txid as u64);
        }
        cache.forget_after(TxId(1500));
        assert_eq!(cache.len(), 1500);
        assert_eq!(cache.get(&key(4, 1500)).unwrap().txid, TxId(1500));
        assert_eq!(cache.get(&key(4, 1501)), None);
        cache.insert(key(4, 1501), TxId(1501), b"anew", 3000);
        assert_eq!(cache.get(&key(4, 1501)).unwrap().payload, b"anew");
        cache.expire(1_000_000);
        assert!(cache.is_empty(), "forgotten records expire like the others");
        assert_eq!(cache.bytes(), 0);
    }

    #[test]
    fn a_disabled_cache_keeps_nothing() {
        let mut cache = RetryCache::new(RetryCacheOptions {
            enabled: false,
            ..Default::default()
        });
        cache.insert(key(1, 1), TxId(1), b"x", 0);
        assert!(cache.is_empty());
    }
}
