//! The bytes for the host: slices of buffers from the far side, kept until acknowledged.
//!
//! In: slices at stream offsets, in order or not. Out: any range of what is contiguous, as pieces.
//! Never: a copy.

use super::queue::Queue;
use crate::packet_driver::BufferSlice;

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
pub(super) struct Piece {
    offset: u64,
    bytes: BufferSlice,
}

impl Piece {
    fn end(&self) -> u64 {
        self.offset + self.bytes.len() as u64
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
}

impl SendQueue {
    /// Bytes that wait, those behind gaps included.
    pub(super) fn len(&self) -> u64 {
        self.bytes
    }

    pub(super) fn contiguous_end(&self) -> u64 {
        self.contiguous_end
    }

    pub(super) fn pinned_bytes(&self) -> u64 {
        self.pinned
    }

    pub(super) fn pieces(&self) -> usize {
        self.pieces.len()
    }

    /// The offset behind the last byte that is here.
    pub(super) fn end(&self) -> u64 {
        self.pieces.back().map_or(self.start, Piece::end)
    }

    /// Takes what is new of `bytes` at `offset`.
    pub(super) fn insert(
        &mut self,
        mut offset: u64,
        mut bytes: BufferSlice,
        pieces_max: usize,
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
            self.bytes += bytes.len() as u64;
            self.pinned += bytes.pinned_bytes() as u64;
            self.pieces.push_back(Piece { offset, bytes });
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
            self.bytes += part.len() as u64;
            self.pinned += part.pinned_bytes() as u64;
            self.pieces.insert(at, Piece { offset, bytes: part });
            offset = end;
        }
        self.extend_contiguous();
        Ok(())
    }

    fn extend_contiguous(&mut self) {
        let from = self.pieces.partition_point(|piece| piece.offset < self.contiguous_end);
        for piece in self.pieces.range(from..) {
            if piece.offset != self.contiguous_end {
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
                self.bytes -= front.bytes.len() as u64;
                self.pinned -= front.bytes.pinned_bytes() as u64;
                self.pieces.pop_front();
            } else if front.offset < offset {
                let done = offset - front.offset;
                self.bytes -= done;
                front.bytes.advance(usize::try_from(done).unwrap_or(usize::MAX));
                front.offset = offset;
            } else {
                break;
            }
        }
        self.start = self.start.max(offset);
    }

    /// Lets go of everything, and of the memory of the queue.
    pub(super) fn clear(&mut self) {
        self.pieces.release();
        self.bytes = 0;
        self.pinned = 0;
        self.contiguous_end = self.start;
    }

    /// Whether it is empty and has memory all the same.
    pub(super) fn is_spare(&self) -> bool {
        self.pieces.is_spare()
    }

    /// Gives the memory of an empty queue back.
    pub(super) fn release(&mut self) {
        if self.pieces.is_empty() {
            self.pieces.release();
        }
    }

    /// Pretends that so many bytes have gone through (for tests).
    #[cfg(test)]
    pub(super) fn skip(&mut self, bytes: u64) {
        self.start += bytes;
        self.contiguous_end += bytes;
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
}

impl<'a> Iterator for Payload<'a> {
    type Item = &'a [u8];

    fn next(&mut self) -> Option<&'a [u8]> {
        if self.left == 0 {
            return None;
        }
        let piece = self.queue?.pieces.get(self.index)?;
        let skip = usize::try_from(self.offset.checked_sub(piece.offset)?).ok()?;
        let bytes = piece.bytes.get(skip..)?;
        let bytes = bytes.get(..self.left).unwrap_or(bytes);
        self.left -= bytes.len();
        self.offset += bytes.len() as u64;
        self.index += 1;
        Some(bytes)
    }
}
