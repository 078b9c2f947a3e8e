//! The bytes for the host: slices of buffers from the far side, kept until acknowledged.
//!
//! In: slices at stream offsets, in order or not. Out: any range of what is contiguous, as pieces.
//! Never: a copy, unless the caller says that the slices' buffers are needed.

use super::kept::Kept;
use super::queue::Queue;
use crate::packet_driver::{BufferPool, BufferSlice};

/// Why bytes from the far side were not taken: the peer broke the protocol on this flow.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DeliverError {
    /// The bytes reach beyond what was granted.
    #[error("data beyond the granted credit")]
    BeyondGrant,
    /// The bytes reach beyond the end of the stream, or the end is before bytes that are there.
    #[error("data beyond the end of the stream")]
    BeyondEnd,
    /// The bytes are in too many pieces.
    #[error("data in too many pieces")]
    TooManyPieces,
    /// The connection is over or not there yet.
    #[error("the connection does not take data")]
    NotOpen,
}

#[derive(Debug)]
enum Bytes {
    /// Still in the buffer that they came in.
    Slice(BufferSlice),
    /// As many as this, copied out.
    Kept(usize),
}

#[derive(Debug)]
pub(super) struct Piece {
    offset: u64,
    bytes: Bytes,
}

impl Piece {
    fn len(&self) -> usize {
        match &self.bytes {
            Bytes::Slice(bytes) => bytes.len(),
            Bytes::Kept(len) => *len,
        }
    }

    fn end(&self) -> u64 {
        self.offset + self.len() as u64
    }

    /// What it keeps of the buffer that it came in.
    fn pinned_bytes(&self) -> u64 {
        match &self.bytes {
            Bytes::Slice(bytes) => bytes.pinned_bytes() as u64,
            Bytes::Kept(_) => 0,
        }
    }

    fn advance(&mut self, n: usize) {
        match &mut self.bytes {
            Bytes::Slice(bytes) => bytes.advance(n),
            Bytes::Kept(len) => *len = len.saturating_sub(n),
        }
        self.offset += n as u64;
    }
}

/// Slices sorted by stream offset, without overlaps; gaps only behind the contiguous part.
#[derive(Debug, Default)]
pub(super) struct SendQueue {
    pub(super) pieces: Queue<Piece>,
    /// All below is acknowledged and gone.
    start: u64,
    /// All of `start..contiguous_end` is here.
    contiguous_end: u64,
    /// Bytes here, those behind gaps included.
    bytes: u64,
    /// Sum of what each slice pins.
    pinned: u64,
    /// What was copied out.
    pub(super) kept: Kept,
}

impl SendQueue {
    /// A queue in which nothing is, of a stream whose bytes below `offset` are acknowledged.
    pub(super) fn starting_at(offset: u64) -> Self {
        let mut queue = SendQueue { start: offset, contiguous_end: offset, ..SendQueue::default() };
        queue.kept.release_below(offset);
        queue
    }

    /// Bytes that wait, those behind gaps included.
    pub(super) fn len(&self) -> u64 {
        self.bytes
    }

    pub(super) fn contiguous_end(&self) -> u64 {
        self.contiguous_end
    }

    pub(super) fn pinned_bytes(&self) -> u64 {
        self.pinned + self.kept.memory_bytes() as u64
    }

    pub(super) fn pieces(&self) -> usize {
        self.pieces.len()
    }

    /// The offset behind the last byte that is here.
    pub(super) fn end(&self) -> u64 {
        self.pieces.back().map_or(self.start, Piece::end)
    }

    /// Takes what is new of `bytes` at `offset`, copied to `keep` if that is given.
    pub(super) fn insert(
        &mut self,
        mut offset: u64,
        mut bytes: BufferSlice,
        pieces_max: usize,
        keep: Option<&BufferPool>,
    ) -> Result<(), DeliverError> {
        if offset < self.contiguous_end {
            let known = usize::try_from(self.contiguous_end - offset).unwrap_or(usize::MAX);
            if known >= bytes.len() {
                return Ok(());
            }
            bytes.advance(known);
            offset = self.contiguous_end;
        }
        if offset >= self.end() && self.pieces.len() < pieces_max && !bytes.is_empty() {
            self.put(self.pieces.len(), offset, bytes, keep);
            self.extend_contiguous();
            return Ok(());
        }
        // Among others: fill each gap that the new bytes cover.
        while !bytes.is_empty() {
            if self.pieces.len() >= pieces_max {
                return Err(DeliverError::TooManyPieces);
            }
            let at = self.pieces.partition_point(|piece| piece.end() <= offset);
            let mut part = bytes.clone();
            match self.pieces.get(at) {
                Some(next) if next.offset <= offset => {
                    let known = usize::try_from(next.end() - offset).unwrap_or(usize::MAX);
                    offset = next.end();
                    bytes.advance(known);
                    continue;
                }
                Some(next) => {
                    part.shorten(usize::try_from(next.offset - offset).unwrap_or(usize::MAX));
                }
                None => {}
            }
            bytes.advance(part.len());
            let end = offset + part.len() as u64;
            self.put(at, offset, part, keep);
            offset = end;
        }
        self.extend_contiguous();
        Ok(())
    }

    /// Puts new bytes before the piece at `at`, or makes the one before that longer by them.
    fn put(&mut self, at: usize, offset: u64, bytes: BufferSlice, keep: Option<&BufferPool>) {
        let len = bytes.len();
        self.bytes += len as u64;
        if !keep.is_some_and(|pool| self.kept.write(pool, offset, &bytes)) {
            self.pinned += bytes.pinned_bytes() as u64;
            self.pieces.insert(at, Piece { offset, bytes: Bytes::Slice(bytes) });
            return;
        }
        let before = at.checked_sub(1).and_then(|before| self.pieces.get_mut(before));
        match before.filter(|before| before.end() == offset).map(|before| &mut before.bytes) {
            Some(Bytes::Kept(kept)) => *kept += len,
            _ => self.pieces.insert(at, Piece { offset, bytes: Bytes::Kept(len) }),
        }
    }

    /// Copies out all that is still in the buffers it came in; how many bytes that were.
    pub(super) fn keep_all(&mut self, pool: &BufferPool) -> u64 {
        let mut copied = 0;
        for piece in self.pieces.iter_mut() {
            if let Bytes::Slice(bytes) = &piece.bytes
                && self.kept.write(pool, piece.offset, bytes)
            {
                self.pinned -= bytes.pinned_bytes() as u64;
                copied += bytes.len() as u64;
                piece.bytes = Bytes::Kept(bytes.len());
            }
        }
        copied
    }

    fn extend_contiguous(&mut self) {
        let from = self.pieces.partition_point(|piece| piece.end() <= self.contiguous_end);
        for piece in self.pieces.range(from..) {
            if piece.offset > self.contiguous_end {
                break;
            }
            self.contiguous_end = piece.end();
        }
    }

    /// Lets go of everything below `offset`, which is at most the contiguous end.
    pub(super) fn acknowledge(&mut self, offset: u64) {
        let offset = offset.min(self.contiguous_end);
        while let Some(front) = self.pieces.front_mut() {
            if front.end() <= offset {
                self.bytes -= front.len() as u64;
                self.pinned -= front.pinned_bytes();
                self.pieces.pop_front();
            } else if front.offset < offset {
                let done = offset - front.offset;
                self.bytes -= done;
                front.advance(usize::try_from(done).unwrap_or(usize::MAX));
            } else {
                break;
            }
        }
        self.start = self.start.max(offset);
        self.kept.release_below(self.start);
    }

    /// Lets go of everything, and of the memory of the queue.
    pub(super) fn clear(&mut self) {
        self.pieces.release();
        self.kept.clear();
        self.bytes = 0;
        self.pinned = 0;
        self.contiguous_end = self.start;
    }

    /// Whether it is empty and has memory all the same.
    pub(super) fn is_spare(&self) -> bool {
        self.pieces.is_spare() || (self.pieces.is_empty() && self.kept.is_spare())
    }

    /// Gives the memory of an empty queue back.
    pub(super) fn release(&mut self) {
        if self.pieces.is_empty() {
            self.pieces.release();
            self.kept.clear();
        }
    }

    /// Pretends that so many bytes have gone through (for tests).
    #[cfg(test)]
    pub(super) fn skip(&mut self, bytes: u64) {
        self.start += bytes;
        self.contiguous_end += bytes;
        self.kept.release_below(self.start);
    }

    /// `len` bytes from `offset` on, all within the contiguous part.
    pub(super) fn range(&self, offset: u64, len: u32) -> Payload<'_> {
        let index = self.pieces.partition_point(|piece| piece.end() <= offset);
        Payload { queue: Some(self), index, offset, left: len as usize }
    }
}

/// The payload of a segment to be sent: slices in order, to be copied once into the frame.
#[derive(Clone, Debug)]
pub struct Payload<'a> {
    queue: Option<&'a SendQueue>,
    index: usize,
    offset: u64,
    left: usize,
}

impl Payload<'_> {
    /// No payload.
    pub const EMPTY: Payload<'static> = Payload { queue: None, index: 0, offset: 0, left: 0 };

    /// Bytes in all remaining slices.
    #[must_use]
    pub fn len(&self) -> usize {
        self.left
    }

    /// Whether no bytes remain.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.left == 0
    }

    /// The first `len` bytes of what remains; what is behind them remains.
    #[must_use]
    pub fn split_to(&mut self, len: usize) -> Self {
        let first = Payload { left: len.min(self.left), ..self.clone() };
        self.left -= first.left;
        self.offset += first.left as u64;
        if let Some(queue) = self.queue {
            let done = |index| queue.pieces.get(index).is_some_and(|p| p.end() <= self.offset);
            self.index += (self.index..).take_while(|index| done(*index)).count();
        }
        first
    }
}

impl<'a> Iterator for Payload<'a> {
    type Item = &'a [u8];

    fn next(&mut self) -> Option<&'a [u8]> {
        if self.left == 0 {
            return None;
        }
        let piece = self.queue?.pieces.get(self.index)?;
        let skip = usize::try_from(self.offset.checked_sub(piece.offset)?).ok()?;
        let queue = self.queue?;
        let bytes = match &piece.bytes {
            Bytes::Slice(bytes) => bytes.get(skip..)?,
            Bytes::Kept(len) => queue.kept.read(self.offset, len.checked_sub(skip)?)?,
        };
        let bytes = bytes.get(..self.left).unwrap_or(bytes);
        self.left -= bytes.len();
        self.offset += bytes.len() as u64;
        self.index += usize::from(self.offset >= piece.end());
        Some(bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::packet_driver::PoolClass;
    use crate::packet_driver::receive_memory::CHUNK_BYTES;
    use proptest::prelude::*;

    const LEN: usize = 20_000;
    const BUFFER: usize = 8_192;

    fn pattern(offset: usize) -> u8 {
        u8::try_from((offset * 7 + offset / 251) % 256).unwrap()
    }

    fn slice(pool: &BufferPool, from: usize, len: usize) -> BufferSlice {
        let mut buffer = pool.alloc(BUFFER).unwrap();
        let bytes: Vec<u8> = (from..from + len).map(pattern).collect();
        buffer.append(len).unwrap().copy_from_slice(&bytes);
        buffer.freeze()
    }

    fn chunks(from: u64, to: u64) -> u64 {
        (to.next_multiple_of(CHUNK_BYTES as u64) - from / CHUNK_BYTES as u64 * CHUNK_BYTES as u64)
            / CHUNK_BYTES as u64
    }

    proptest! {
        /// Whatever is copied out and when, the bytes are the same, and the copies take no more
        /// memory than the chunks that the range touches, however small the slices are.
        #[test]
        fn copies_are_the_same_bytes_in_bounded_memory(
            steps in prop::collection::vec((0..LEN, 1usize..3_000, any::<bool>(), 0u8..10), 1..120),
        ) {
            let class = |size, count| PoolClass { size, count, reserve: 0 };
            let buffers = BufferPool::new(&[class(BUFFER, 400)]);
            // What a grant of these bytes is charged, exactly.
            let kept = BufferPool::new(&[class(CHUNK_BYTES, LEN.div_ceil(CHUNK_BYTES))]);
            let mut queue = SendQueue::default();
            let rest = (0..LEN).step_by(1_000).map(|from| (from, 1_000, true, 0));
            for (from, len, copy, other) in steps.into_iter().chain(rest) {
                let len = len.min(LEN - from);
                let keep = copy.then_some(&kept);
                queue.insert(from as u64, slice(&buffers, from, len), 1 << 16, keep).unwrap();
                match other {
                    1 => { queue.keep_all(&kept); }
                    2 => queue.acknowledge(queue.contiguous_end() / 2),
                    _ => {}
                }
                let held = kept.in_use_bytes() / CHUNK_BYTES;
                prop_assert!(held as u64 <= chunks(queue.start, LEN as u64));
                let (start, end) = (queue.start, queue.contiguous_end());
                let bytes: Vec<u8> = queue
                    .range(start, u32::try_from(end - start).unwrap())
                    .flatten()
                    .copied()
                    .collect();
                let right = (start..end).map(|offset| pattern(usize::try_from(offset).unwrap()));
                prop_assert!(bytes.into_iter().eq(right));
                let mut rest = queue.range(start, u32::try_from(end - start).unwrap());
                let first = rest.split_to(len.min(rest.len()));
                let right = (start..end).map(|offset| pattern(usize::try_from(offset).unwrap()));
                prop_assert!(first.chain(rest).flatten().copied().eq(right));
            }
            queue.keep_all(&kept);
            prop_assert_eq!(buffers.in_use_bytes(), 0, "no buffer is held any more");
            prop_assert_eq!(queue.contiguous_end(), LEN as u64);
            queue.acknowledge(LEN as u64);
            prop_assert_eq!((queue.len(), queue.pieces()), (0, 0));
            queue.release();
            prop_assert_eq!((kept.in_use_bytes(), queue.pinned_bytes()), (0, 0));
        }
    }
}
