//! Datagrams on their way: the clear header and the data mover field, and the length of the rest.
//!
//! In: datagrams. Out: datagrams of the same length whose payload is zeros. Never: an allocation
//! per datagram.

use dataplane::data_mover::wire::DatagramHeader;

/// The longest datagram.
const DATAGRAM_LEN_MAX: usize = 9_216;

/// A datagram that is kept.
#[derive(Clone, Copy, Debug)]
pub(super) struct Kept {
    from: u64,
    len: u16,
    head_len: u16,
}

/// The datagrams on their way in one direction, in a ring of bytes: what was kept longest ago is
/// overwritten, so that what the link loses needs no word.
#[derive(Debug)]
pub(super) struct Wire {
    ring: Box<[u8]>,
    next: u64,
    /// Where a datagram is put together again: zeros behind the longest head so far.
    whole: Box<[u8]>,
    dirty: usize,
}

impl Wire {
    /// Room for the heads of so many full-size datagrams on their way.
    pub(super) fn new(datagrams_max: usize) -> Self {
        let bytes = (datagrams_max * 96).max(1 << 20).next_power_of_two();
        Wire {
            ring: vec![0; bytes].into_boxed_slice(),
            next: 0,
            whole: vec![0; DATAGRAM_LEN_MAX].into_boxed_slice(),
            dirty: 0,
        }
    }

    fn place(&self, at: u64) -> usize {
        usize::try_from(at % self.ring.len() as u64).unwrap_or(0)
    }

    /// Keeps a datagram.
    pub(super) fn keep(&mut self, datagram: &[u8]) -> Kept {
        let header = DatagramHeader::parse(datagram).expect("a session wrote it").0;
        let head = &datagram[..header.clear_len()];
        let mut from = self.next;
        if self.place(from) + head.len() > self.ring.len() {
            // It does not fit before the end: it begins at the start.
            from += (self.ring.len() - self.place(from)) as u64;
        }
        let place = self.place(from);
        self.ring[place..place + head.len()].copy_from_slice(head);
        self.next = from + head.len() as u64;
        let short = |len: usize| u16::try_from(len).expect("a datagram is shorter than 64 KiB");
        Kept { from, len: short(datagram.len()), head_len: short(head.len()) }
    }

    /// The datagram.
    ///
    /// # Panics
    /// When more datagrams were on their way than there is room for.
    pub(super) fn whole(&mut self, kept: Kept) -> &mut [u8] {
        assert!(self.next - kept.from <= self.ring.len() as u64, "overwritten on its way");
        let head_len = usize::from(kept.head_len);
        let place = self.place(kept.from);
        if self.dirty > head_len {
            self.whole[head_len..self.dirty].fill(0);
        }
        self.dirty = head_len;
        self.whole[..head_len].copy_from_slice(&self.ring[place..place + head_len]);
        &mut self.whole[..usize::from(kept.len)]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use dataplane::data_mover::wire::{DatagramKind, SessionId};

    #[test]
    fn a_datagram_comes_back_with_its_head_and_its_length() {
        let mut wire = Wire::new(1);
        for round in 0..40_000_u32 {
            let field_len = u8::try_from(round % 50).unwrap();
            let mut datagram = vec![7; 8 + usize::from(field_len) + 20];
            let (kind, session) = (DatagramKind::Session, SessionId(1));
            let header =
                DatagramHeader { kind, key_epoch: 0, field_len: u16::from(field_len), session };
            header.emit(&mut datagram).unwrap();
            let kept = wire.keep(&datagram);
            let back = wire.whole(kept);
            assert_eq!(back.len(), datagram.len());
            let head_len = 8 + usize::from(field_len);
            assert_eq!(back[..head_len], datagram[..head_len]);
            assert!(back[head_len..].iter().all(|byte| *byte == 0));
        }
    }
}
