//! Frames on the heap, from a bounded pool: for tests and the simulator.

use std::sync::Arc;

use crossbeam::queue::ArrayQueue;

use super::checksum::{self, Begun};
use super::{ChecksumStatus, Frame, FrameSource};

/// Bytes kept free in front of a frame for headers.
pub const HEADROOM: usize = 128;
/// Bytes of memory behind the headroom.
pub const ROOM: usize = 2048;

/// A pool of [`HeapFrame`]; clones share it.
#[derive(Clone, Debug)]
pub struct HeapSource {
    free: Arc<Pool>,
}

type Pool = ArrayQueue<Box<Part>>;

/// The memory of one part of a frame.
#[derive(Debug)]
struct Part {
    memory: [u8; HEADROOM + ROOM],
    start: usize,
    end: usize,
    next: Option<Box<Part>>,
}

impl Part {
    fn bytes(&self) -> &[u8] {
        &self.memory[self.start..self.end]
    }
}

impl HeapSource {
    /// A pool of `count` frames, all allocated now.
    #[must_use]
    pub fn new(count: usize) -> Self {
        let free = ArrayQueue::new(count.max(1));
        for _ in 0..count.max(1) {
            let part = Part { memory: [0; HEADROOM + ROOM], start: 0, end: 0, next: None };
            // The queue has room for exactly this many.
            let _ = free.push(Box::new(part));
        }
        HeapSource { free: Arc::new(free) }
    }

    /// Frames that are out, each part of a chain counted: 0 when nothing leaked.
    #[must_use]
    pub fn in_use(&self) -> usize {
        self.free.capacity() - self.free.len()
    }

    /// A frame with these bytes; `None` when the pool is empty or they do not fit.
    #[expect(clippy::disallowed_methods, reason = "a frame from outside the pipeline")]
    pub fn frame_of(&mut self, bytes: &[u8]) -> Option<HeapFrame> {
        let mut frame = self.alloc()?;
        frame.append(bytes.len())?.copy_from_slice(bytes);
        Some(frame)
    }
}

impl FrameSource for HeapSource {
    type Frame = HeapFrame;

    fn alloc(&mut self) -> Option<HeapFrame> {
        let mut part = self.free.pop()?;
        (part.start, part.end) = (HEADROOM, HEADROOM);
        let pool = Arc::clone(&self.free);
        let checksums = ChecksumStatus::Unknown;
        Some(HeapFrame { part: Some(part), checksums, segment_size: 0, pool })
    }

    fn free(&self) -> usize {
        self.free.len()
    }
}

/// A frame on the heap; its memory returns to the pool when it is dropped.
#[derive(Debug)]
pub struct HeapFrame {
    /// Always there but while the frame is taken apart.
    part: Option<Box<Part>>,
    /// What a device that it came from says of its checksums.
    pub checksums: ChecksumStatus,
    segment_size: u16,
    pool: Arc<Pool>,
}

impl Drop for HeapFrame {
    fn drop(&mut self) {
        give_back(self.part.take(), &self.pool);
    }
}

/// Gives a part and all behind it back.
fn give_back(mut part: Option<Box<Part>>, pool: &Pool) {
    while let Some(mut done) = part {
        part = done.next.take();
        // There is always room: the pool was filled to its capacity at the start.
        let _ = pool.push(done);
    }
}

impl HeapFrame {
    fn parts(&self) -> impl Iterator<Item = &Part> {
        std::iter::successors(self.part.as_deref(), |part| part.next.as_deref())
    }
}

impl Frame for HeapFrame {
    fn head(&self) -> &[u8] {
        self.part.as_deref().map_or(&[], Part::bytes)
    }

    fn head_mut(&mut self) -> &mut [u8] {
        self.part.as_deref_mut().map_or(&mut [], |part| &mut part.memory[part.start..part.end])
    }

    fn tail_count(&self) -> usize {
        self.parts().count().saturating_sub(1)
    }

    fn tail(&self, index: usize) -> &[u8] {
        self.parts().nth(index + 1).map_or(&[], Part::bytes)
    }

    fn append(&mut self, len: usize) -> Option<&mut [u8]> {
        let part = self.part.as_deref_mut().filter(|part| part.next.is_none())?;
        let from = part.end;
        if part.memory.len() - from < len {
            return None;
        }
        part.end += len;
        Some(&mut part.memory[from..part.end])
    }

    fn prepend(&mut self, len: usize) -> Option<&mut [u8]> {
        let part = self.part.as_deref_mut()?;
        part.start = part.start.checked_sub(len)?;
        Some(&mut part.memory[part.start..part.start + len])
    }

    fn trim_front(&mut self, len: usize) {
        if let Some(part) = self.part.as_deref_mut() {
            part.start = (part.start + len).min(part.end);
        }
    }

    fn truncate(&mut self, len: usize) {
        let mut left = len;
        let mut part = self.part.as_deref_mut();
        while let Some(this) = part {
            let have = this.end - this.start;
            if left <= have {
                this.end = this.start + left;
                give_back(this.next.take(), &self.pool);
                return;
            }
            left -= have;
            part = this.next.as_deref_mut();
        }
    }

    fn chain(&mut self, mut tail: Self) -> bool {
        let mut last = self.part.as_deref_mut();
        while let Some(part) = last {
            if part.next.is_none() {
                part.next = tail.part.take();
                return true;
            }
            last = part.next.as_deref_mut();
        }
        false
    }

    fn checksum_status(&self) -> ChecksumStatus {
        self.checksums
    }

    fn leave_checksum(&mut self, begun: &Begun) {
        self.segment_size = begun.segment_size;
        if begun.segment_size == 0 {
            checksum::complete(self, begun);
        }
    }

    fn segment_size(&self) -> u16 {
        self.segment_size
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_returns_to_the_pool() {
        let mut source = HeapSource::new(2);
        let a = source.frame_of(b"hello").unwrap();
        let b = source.alloc().unwrap();
        assert!(source.alloc().is_none());
        assert_eq!(a.head(), b"hello");
        drop((a, b));
        assert_eq!(source.in_use(), 0);
    }

    #[test]
    fn grows_and_shrinks_at_both_ends() {
        let mut source = HeapSource::new(1);
        let mut frame = source.frame_of(b"payload").unwrap();
        frame.prepend(2).unwrap().copy_from_slice(b"h:");
        assert_eq!(frame.head(), b"h:payload");
        frame.trim_front(2);
        frame.truncate(3);
        assert_eq!(frame.head(), b"pay");
        assert!(frame.append(ROOM + 1).is_none());
        assert!(frame.prepend(HEADROOM + 1).is_none());
        let mut out = [0; 2];
        assert!(frame.copy_out(1, &mut out));
        assert_eq!(&out, b"ay");
        assert!(!frame.copy_out(2, &mut out));
    }

    #[test]
    fn a_chain_is_one_frame_and_returns_whole() {
        let mut source = HeapSource::new(4);
        let mut frame = source.frame_of(b"one ").unwrap();
        let mut rest = source.frame_of(b"two ").unwrap();
        assert!(rest.chain(source.frame_of(b"three").unwrap()));
        assert!(frame.chain(rest));
        assert_eq!((frame.tail_count(), frame.frame_len(), source.in_use()), (2, 13, 3));
        assert!(frame.append(1).is_none());
        let mut bytes = [0; 11];
        assert!(frame.copy_out(2, &mut bytes));
        assert_eq!(&bytes, b"e two three");
        frame.truncate(6);
        assert_eq!((frame.tail_count(), frame.tail(0), source.in_use()), (1, &b"tw"[..], 2));
        drop(frame);
        assert_eq!(source.in_use(), 0);
    }
}
