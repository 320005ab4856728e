//! What a client does with an open block: packets, flushes, its end (`DFSOutputStream`).

use super::{BLOCKS_MAX, Does, Step, Writer};
use crate::writing::datanode::checksum;
use crate::writing::namenodes::NameNodes;
use crate::writing::pipeline::Packet;
use crate::writing::{BLOCK_BYTES, CHUNK, World};
use hathi_formats::ids::Block;
use hathi_formats::proto::hdfs::{FsyncRequestProto, FsyncResponseProto};

impl<N: NameNodes> World<N> {
    pub(super) fn write_something(&mut self, file: usize, writer: &mut Writer) -> Step {
        if writer.block.is_some() && self.notice_failure(writer) {
            return Ok(());
        }
        let Some(block) = &writer.block else {
            writer.does = match self.rng.u32(..8) {
                0 => Does::Complete,
                _ if self.files[file].blocks.len() >= BLOCKS_MAX => Does::Complete,
                _ => Does::AddBlock,
            };
            return Ok(());
        };
        let full = block.sent == BLOCK_BYTES as u64;
        match self.rng.u32(..20) {
            _ if full => writer.does = Does::EndBlock,
            0..11 => self.send_data(file, writer, false),
            11..14 if block.sent > 0 => writer.does = Does::Flush { sync: false },
            14..17 if block.sent > 0 => {
                writer.syncs = true;
                self.send_data(file, writer, true);
                writer.does = Does::Flush { sync: true };
            }
            17 if block.sent > 0 => writer.does = Does::EndBlock,
            _ => {}
        }
        Ok(())
    }

    /// Some bytes more in a packet of their own. It begins where the chunk begins, or goes on within a chunk.
    fn send_data(&mut self, file: usize, writer: &mut Writer, sync: bool) {
        let Some(block) = &mut writer.block else { return };
        let sent = block.sent as usize;
        let within = sent % CHUNK;
        let aligned = self.rng.bool();
        let room = match aligned {
            true => BLOCK_BYTES - sent,
            false => CHUNK - within,
        };
        let len = match sync {
            true => self.rng.usize(0..=room.min(2 * CHUNK)),
            false => self.rng.usize(1..=room.min(2 * CHUNK)),
        };
        let fresh: Vec<u8> = (0..len).map(|_| self.rng.u8(..)).collect();
        let from = if aligned && len > 0 { sent - within } else { sent };
        let data = self.written(block.block.id, block.sent, &fresh, from);
        let mut sums = Vec::new();
        checksum().compute_into(&data, &mut sums);
        block.sent += len as u64;
        let packet = Packet {
            number: block.next_packet,
            offset: from as u64,
            data,
            sums,
            sync,
            last: false,
        };
        self.send(file, writer, packet);
    }

    fn send(&mut self, file: usize, writer: &mut Writer, packet: Packet) {
        let Some(block) = &mut writer.block else { return };
        self.say(|| {
            let (from, end, last) = (packet.offset, packet.end(), packet.last);
            format!(
                "file {file} sends packet {} of {}..{end}, last: {last}",
                packet.number, from
            )
        });
        block.next_packet += 1;
        block.unacknowledged.push_back(packet.clone());
        if !self.hand_over(block.nodes[0], block.block.id, block.pipeline, packet) {
            block.failed.get_or_insert(0);
        }
    }

    /// An acknowledgement, or the place of the DataNode that is to blame for a failure.
    pub(in crate::writing) fn tell_client(&mut self, file: usize, pipeline: u64, news: Result<u64, usize>) {
        let writer = self.files[file].writer.as_mut();
        let Some(block) = writer.and_then(|writer| writer.block.as_mut()) else {
            return;
        };
        if block.pipeline != pipeline {
            return;
        }
        match news {
            Err(place) => {
                block.failed.get_or_insert(place);
            }
            Ok(number) => {
                if block
                    .unacknowledged
                    .front()
                    .is_some_and(|packet| packet.number == number)
                    && let Some(packet) = block.unacknowledged.pop_front()
                {
                    block.acknowledged = block.acknowledged.max(packet.end());
                    block.recoveries = 0;
                    let (id, acknowledged) = (block.block.id, block.acknowledged);
                    self.acknowledged(id, acknowledged);
                }
            }
        }
    }

    pub(super) fn flush(&mut self, file: usize, writer: &mut Writer, sync: bool) -> Step {
        if self.notice_failure(writer) {
            return Ok(());
        }
        let Some(block) = &mut writer.block else { return Ok(()) };
        if !block.unacknowledged.is_empty() {
            return Ok(());
        }
        if block.flushed {
            self.flush_is_done(file, writer, sync);
        } else {
            block.flushed = true;
            writer.does = Does::Fsync { sync };
        }
        Ok(())
    }

    pub(super) fn fsync(&mut self, file: usize, writer: &mut Writer, sync: bool) -> Step {
        let request = FsyncRequestProto {
            src: self.files[file].path.clone(),
            client: Self::name(writer),
            last_block_length: writer.block.as_ref().map(|block| block.acknowledged as i64),
            file_id: None,
        };
        let answer = self.call(file, (writer.client, writer.call), "fsync", &request);
        if self.namenodes.was_repeated(file) {
            self.may_be_named_late(file, writer);
        }
        let _: FsyncResponseProto = answer?;
        self.flush_is_done(file, writer, sync);
        Ok(())
    }

    fn flush_is_done(&mut self, file: usize, writer: &mut Writer, sync: bool) {
        writer.does = Does::Write;
        let Some(block) = &writer.block else { return };
        let (id, length) = (block.block.id, block.acknowledged);
        self.say(|| format!("{length} bytes of {id} are flushed, synced: {sync}"));
        self.count(if sync { "hsyncs" } else { "hflushes" });
        self.flushed(file, id, length);
        if sync {
            self.synced(id, length);
        }
    }

    pub(super) fn end_block(&mut self, file: usize, writer: &mut Writer) -> Step {
        if self.notice_failure(writer) {
            return Ok(());
        }
        let syncs = writer.syncs;
        let Some(block) = &mut writer.block else { return Ok(()) };
        if !block.unacknowledged.is_empty() {
            return Ok(());
        }
        if !block.closing {
            block.closing = true;
            let packet = Packet {
                number: block.next_packet,
                offset: block.sent,
                data: Vec::new(),
                sums: Vec::new(),
                sync: syncs,
                last: true,
            };
            self.send(file, writer, packet);
            return Ok(());
        }
        let last = Block {
            num_bytes: block.sent,
            ..block.block
        };
        if syncs {
            self.synced(last.id, last.num_bytes);
        }
        writer.previous = Some(last);
        writer.block = None;
        writer.does = match self.rng.u32(..3) {
            0 if self.files[file].blocks.len() < BLOCKS_MAX => Does::AddBlock,
            _ => Does::Complete,
        };
        Ok(())
    }
}
