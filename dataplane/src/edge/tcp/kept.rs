//! Bytes for a slow host, copied out of the buffers that they came in.
//!
//! In: ranges of a stream, in any order. Out: the same ranges. Never: more memory than the chunks
//! that the range between what is acknowledged and what is granted touches, however the bytes
//! come: a byte's chunk follows from its offset.

use super::queue::Queue;
use crate::copy::{self, Copied};
use crate::packet_driver::receive_memory::CHUNK_BYTES;
use crate::packet_driver::{BufferMut, BufferPool};

/// Chunks of one stream, by offset.
#[derive(Debug, Default)]
pub(super) struct Kept {
    pub(super) chunks: Queue<Option<BufferMut>>,
    /// The offset of the first chunk over the length of one.
    base: u64,
}

impl Kept {
    /// Copies `bytes` to their place; false when a chunk was wanting, and then they are not kept.
    pub(super) fn write(&mut self, pool: &BufferPool, mut offset: u64, mut bytes: &[u8]) -> bool {
        while !bytes.is_empty() {
            let Some(index) = self.index(offset) else { return false };
            while self.chunks.len() <= index {
                self.chunks.push_back(None);
            }
            let Some(slot) = self.chunks.get_mut(index) else { return false };
            if slot.is_none() {
                *slot = pool.alloc(CHUNK_BYTES);
            }
            let Some(chunk) = slot else { return false };
            chunk.set_len(CHUNK_BYTES);
            let within = within(offset);
            let len = bytes.len().min(CHUNK_BYTES - within);
            let (now, later) = bytes.split_at(len);
            let Some(place) = chunk.bytes_mut().get_mut(within..within + len) else { return false };
            copy::bytes(Copied::CopiedOut, place, now);
            bytes = later;
            offset += len as u64;
        }
        true
    }

    /// Bytes from `offset` on, at most `most`, up to the end of a chunk.
    pub(super) fn read(&self, offset: u64, most: usize) -> Option<&[u8]> {
        let chunk = self.chunks.get(self.index(offset)?)?.as_ref()?;
        let within = within(offset);
        chunk.bytes().get(within..CHUNK_BYTES.min(within.saturating_add(most)))
    }

    /// Gives back the chunks that end at or below `offset`.
    pub(super) fn release_below(&mut self, offset: u64) {
        let first = offset / CHUNK_BYTES as u64;
        while self.base < first && self.chunks.pop_front().is_some() {
            self.base += 1;
        }
        self.base = self.base.max(first);
    }

    /// Bytes of the chunks.
    pub(super) fn memory_bytes(&self) -> usize {
        self.chunks.iter().flatten().count() * CHUNK_BYTES
    }

    /// Whether it is empty and has memory all the same.
    pub(super) fn is_spare(&self) -> bool {
        self.chunks.is_spare()
    }

    /// Lets go of everything, and of the memory of the queue.
    pub(super) fn clear(&mut self) {
        self.chunks.release();
    }

    fn index(&self, offset: u64) -> Option<usize> {
        usize::try_from((offset / CHUNK_BYTES as u64).checked_sub(self.base)?).ok()
    }
}

#[expect(clippy::cast_possible_truncation, reason = "a remainder of a chunk's length")]
fn within(offset: u64) -> usize {
    (offset % CHUNK_BYTES as u64) as usize
}
