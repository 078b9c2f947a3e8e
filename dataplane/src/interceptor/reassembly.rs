//! Fragments of split flows, put together again: a host whose path to us cuts its segments would
//! otherwise stall.
//!
//! In: fragments ([`super::Action::Fragment`]). Out: the whole packet, in the frame of its first
//! fragment, to be classified anew. Never: more frames held than its limits say, longer than its
//! timeout; overlapping fragments (RFC 5722).

use crate::copy::{self, Copied};
use crate::counters::Counters;
use crate::frame::{FlowKey, Frame, Network, Parsed, checksum};
use crate::time::{SECOND_NS, Time};

/// Packets that are put together at the same time.
pub const PACKETS_MAX: usize = 32;
/// Fragments of one packet.
pub const FRAGMENTS_MAX: usize = 8;
/// How long the rest of a packet may take, in nanoseconds. The host sends it again long before
/// the 60 seconds of RFC 8200, section 4.5.
pub const TIMEOUT_NS: u64 = 2 * SECOND_NS;

crate::counters! {
    /// Counters of reassembly.
    pub enum ReassemblyCounter, "reassembly" {
        Fragments: In, "fragments", "frames", "Fragments of split flows.";
        Merged: Out, "merged", "frames", "Fragments that became part of a whole packet.";
        Packets: Info, "packets", "packets", "Whole packets made of fragments.";
        Held: Info, "held", "frames", "Fragments held at present.";
        Duplicate: Drop, "duplicate", "frames", "Fragments that were there already.";
        Overlap: Drop, "overlap", "frames", "Fragments of packets whose fragments overlap.";
        TooMany: Drop, "too_many", "frames", "Fragments of packets cut into too many.";
        TooLong: Drop, "too_long", "frames", "Fragments of packets that do not fit into one frame.";
        TimedOut: Drop, "timed_out", "frames", "Fragments whose rest did not come in time.";
        Evicted: Drop, "evicted", "frames", "Fragments that gave way to those of newer packets.";
    }
}

#[derive(Debug)]
struct Piece<F> {
    frame: F,
    /// Place of the first byte in the packet's payload.
    start: usize,
    /// Place of the first byte in the frame.
    at: usize,
    len: usize,
    more: bool,
}

impl<F> Piece<F> {
    fn end(&self) -> usize {
        self.start + self.len
    }
}

#[derive(Debug)]
struct Packet<F> {
    key: FlowKey,
    identification: u32,
    since: Time,
    /// In order of their place; empty when this is free.
    pieces: Vec<Piece<F>>,
}

/// Puts fragments together.
#[derive(Debug)]
pub struct Reassembly<F> {
    packets: Vec<Packet<F>>,
    counters: Counters<ReassemblyCounter>,
}

impl<F: Frame> Default for Reassembly<F> {
    fn default() -> Self {
        let packet = || Packet {
            key: FlowKey::from_bits((0, 0), (0, 0), 0, 0),
            identification: 0,
            since: Time::ZERO,
            pieces: Vec::with_capacity(FRAGMENTS_MAX),
        };
        Reassembly {
            packets: (0..PACKETS_MAX).map(|_| packet()).collect(),
            counters: Counters::default(),
        }
    }
}

impl<F: Frame> Reassembly<F> {
    /// The counters: fragments = merged + dropped + held.
    #[must_use]
    pub fn counters(&self) -> &Counters<ReassemblyCounter> {
        &self.counters
    }

    /// Takes a fragment; returns the whole packet if it was the last that was missing.
    pub fn add(&mut self, frame: F, parsed: &Parsed, now: Time) -> Option<F> {
        let fragment = parsed.fragment?;
        self.counters.increment(ReassemblyCounter::Fragments);
        self.expire(now);
        let piece = Piece {
            frame,
            start: usize::from(fragment.offset),
            at: parsed.l4_offset as usize,
            len: parsed.payload_end.saturating_sub(parsed.l4_offset) as usize,
            more: fragment.more,
        };
        let index = self.packet_of(&parsed.key, fragment.identification, now)?;
        let packet = self.packets.get_mut(index)?;
        let outcome = packet.insert(piece);
        match outcome {
            Ok(()) if packet.is_whole() => {}
            Ok(()) => {
                self.note_held();
                return None;
            }
            Err(ReassemblyCounter::Duplicate) => {
                self.counters.increment(ReassemblyCounter::Duplicate);
                return None;
            }
            Err(reason) => {
                // The one that was not put in, and all that were there.
                self.counters.add(reason, packet.pieces.len() as u64 + 1);
                packet.pieces.clear();
                self.note_held();
                return None;
            }
        }
        let count = packet.pieces.len() as u64;
        let whole = packet.merge(parsed.network);
        packet.pieces.clear();
        self.note_held();
        if whole.is_some() {
            self.counters.add(ReassemblyCounter::Merged, count);
            self.counters.increment(ReassemblyCounter::Packets);
        } else {
            self.counters.add(ReassemblyCounter::TooLong, count);
        }
        whole
    }

    /// Lets go of the fragments whose rest did not come in time. Call it some times a second.
    pub fn expire(&mut self, now: Time) {
        for packet in &mut self.packets {
            if !packet.pieces.is_empty() && now.since_ns(packet.since) >= TIMEOUT_NS {
                self.counters.add(ReassemblyCounter::TimedOut, packet.pieces.len() as u64);
                packet.pieces.clear();
            }
        }
        self.note_held();
    }

    fn note_held(&self) {
        let held = self.packets.iter().map(|packet| packet.pieces.len() as u64).sum();
        self.counters.set(ReassemblyCounter::Held, held);
    }

    /// The place of a packet: its own, else a free one, else the oldest one's.
    fn packet_of(&mut self, key: &FlowKey, identification: u32, now: Time) -> Option<usize> {
        let own = |packet: &Packet<F>| {
            !packet.pieces.is_empty()
                && packet.identification == identification
                && packet.key == *key
        };
        if let Some(index) = self.packets.iter().position(own) {
            return Some(index);
        }
        let free = self.packets.iter().position(|packet| packet.pieces.is_empty());
        let index = free.or_else(|| {
            (0..).zip(&self.packets).min_by_key(|(_, packet)| packet.since).map(|(index, _)| index)
        })?;
        let packet = self.packets.get_mut(index)?;
        self.counters.add(ReassemblyCounter::Evicted, packet.pieces.len() as u64);
        packet.pieces.clear();
        packet.key = *key;
        packet.identification = identification;
        packet.since = now;
        Some(index)
    }
}

impl<F: Frame> Packet<F> {
    fn insert(&mut self, piece: Piece<F>) -> Result<(), ReassemblyCounter> {
        let same = |other: &Piece<F>| {
            (other.start, other.len, other.more) == (piece.start, piece.len, piece.more)
        };
        if self.pieces.iter().any(same) {
            return Err(ReassemblyCounter::Duplicate);
        }
        if self.pieces.len() >= FRAGMENTS_MAX {
            return Err(ReassemblyCounter::TooMany);
        }
        let place = self.pieces.partition_point(|other| other.start < piece.start);
        let before = place.checked_sub(1).and_then(|before| self.pieces.get(before));
        let after = self.pieces.get(place);
        // A last fragment that is not the last overlaps with what lies beyond the end.
        let overlaps = before.is_some_and(|before| before.end() > piece.start || !before.more)
            || after.is_some_and(|after| piece.end() > after.start || !piece.more);
        if overlaps {
            return Err(ReassemblyCounter::Overlap);
        }
        self.pieces.insert(place, piece);
        Ok(())
    }

    fn is_whole(&self) -> bool {
        let mut end = 0;
        for piece in &self.pieces {
            if piece.start != end {
                return false;
            }
            end = piece.end();
        }
        self.pieces.last().is_some_and(|last| !last.more)
    }

    /// The whole packet in the frame of its first fragment; `None` when it does not fit there.
    #[expect(clippy::disallowed_methods, reason = "fields of the header")]
    fn merge(&mut self, network: Network) -> Option<F> {
        let mut pieces = self.pieces.drain(..);
        let first = pieces.next()?;
        let (mut frame, l4) = (first.frame, first.at);
        frame.truncate(first.at + first.len);
        for piece in pieces {
            let data = piece.frame.head().get(piece.at..piece.at + piece.len)?;
            copy::bytes(Copied::Reassembled, frame.append(data.len())?, data);
        }
        let parsed = crate::frame::parse(frame.head(), frame.frame_len()).ok()?;
        let l3 = parsed.l3_offset as usize;
        let ip_len = frame.frame_len().checked_sub(l3)?;
        let header = frame.head_mut().get_mut(l3..l4)?;
        match network {
            Network::Ipv4 => {
                header.get_mut(2..4)?.copy_from_slice(&u16::try_from(ip_len).ok()?.to_be_bytes());
                header.get_mut(6..8)?.fill(0);
                checksum::fill_ipv4_header(header);
            }
            _ => {
                let payload_len = u16::try_from(ip_len.checked_sub(40)?).ok()?;
                header.get_mut(4..6)?.copy_from_slice(&payload_len.to_be_bytes());
                // The fragment header, last of the headers, stays as that of a packet of one
                // fragment (RFC 6946).
                let at = header.len().checked_sub(8)?;
                header.get_mut(at + 2..at + 4)?.fill(0);
            }
        }
        Some(frame)
    }
}

#[cfg(test)]
mod tests {
    use std::net::IpAddr;

    use proptest::prelude::*;

    use super::*;
    use crate::counters::Kind;
    use crate::frame::build::{IpHeader, prepend_ip, prepend_link};
    use crate::frame::heap::{HeapFrame, HeapSource};
    use crate::frame::ip::protocol::TCP;
    use crate::frame::{LinkHeader, Transport, parse};

    /// A sound TCP segment with `len` bytes of payload, from its header on.
    fn segment(len: usize, addresses: (IpAddr, IpAddr)) -> Vec<u8> {
        let mut bytes = vec![0, 1, 0, 2, 0, 0, 0, 9, 0, 0, 0, 0, 0x50, 0x10, 1, 0, 0, 0, 0, 0];
        bytes.extend((0..251u8).cycle().take(len));
        checksum::fill_transport(&mut bytes, addresses.0, addresses.1, TCP);
        bytes
    }

    fn addresses(v4: bool) -> (IpAddr, IpAddr) {
        if v4 {
            ([10, 0, 0, 1].into(), [10, 0, 0, 2].into())
        } else {
            ("fd77::1".parse().unwrap(), "fd77::2".parse().unwrap())
        }
    }

    /// Bytes `from..to` of a packet as a fragment; `more` as it says.
    fn fragment(
        source: &mut HeapSource,
        v4: bool,
        identification: u8,
        packet: &[u8],
        (from, to, more): (usize, usize, bool),
    ) -> HeapFrame {
        let mut frame = source.frame_of(&packet[from..to]).unwrap();
        let (source, destination) = addresses(v4);
        if !v4 {
            let field = (u16::try_from(from).unwrap() | u16::from(more)).to_be_bytes();
            let header = [TCP, 0, field[0], field[1], 0, 0, 0, identification];
            frame.prepend(8).unwrap().copy_from_slice(&header);
        }
        let protocol = if v4 { TCP } else { 44 };
        let header = IpHeader { source, destination, protocol, traffic_class: 0, ttl: 64 };
        prepend_ip(&mut frame, &header).unwrap();
        if v4 {
            let field = u16::try_from(from / 8).unwrap() | if more { 0x2000 } else { 0 };
            let ip = frame.head_mut();
            ip[5] = identification;
            ip[6..8].copy_from_slice(&field.to_be_bytes());
            checksum::fill_ipv4_header(&mut ip[..20]);
        }
        prepend_link(&mut frame, &LinkHeader::default(), header.ethertype()).unwrap();
        frame
    }

    struct Bench {
        source: HeapSource,
        reassembly: Reassembly<HeapFrame>,
        packet: Vec<u8>,
    }

    impl Bench {
        fn new(len: usize) -> Self {
            Bench {
                source: HeapSource::new(512),
                reassembly: Reassembly::default(),
                packet: segment(len, addresses(true)),
            }
        }

        fn add(
            &mut self,
            identification: u8,
            range: (usize, usize, bool),
            ms: u64,
        ) -> Option<HeapFrame> {
            let frame = fragment(&mut self.source, true, identification, &self.packet, range);
            let parsed = parse(frame.head(), frame.frame_len()).unwrap();
            let whole = self.reassembly.add(frame, &parsed, Time::from_ms(ms));
            let counters = self.reassembly.counters();
            let drops = counters.iter().filter(|(definition, _)| definition.kind == Kind::Drop);
            let gone = drops.map(|(_, n)| n).sum::<u64>() + counters.get(ReassemblyCounter::Merged);
            let held = counters.get(ReassemblyCounter::Held);
            assert_eq!(counters.get(ReassemblyCounter::Fragments), gone + held);
            assert_eq!(self.source.in_use() as u64, held + u64::from(whole.is_some()));
            whole
        }

        fn count(&self, counter: ReassemblyCounter) -> u64 {
            self.reassembly.counters().get(counter)
        }
    }

    proptest! {
        #[test]
        fn any_cut_in_any_order_makes_the_packet_again(
            v4 in any::<bool>(),
            len in 20..1400usize,
            mut cuts in prop::collection::btree_set(1..175usize, 1..FRAGMENTS_MAX),
            order in any::<[u8; FRAGMENTS_MAX]>(),
        ) {
            let mut source = HeapSource::new(64);
            let packet = segment(len, addresses(v4));
            cuts.retain(|cut| cut * 8 < packet.len());
            prop_assume!(!cuts.is_empty());
            let starts: Vec<_> = std::iter::once(0).chain(cuts.iter().map(|cut| cut * 8)).collect();
            let ends = starts[1..].iter().copied().chain([packet.len()]);
            let mut pieces: Vec<_> = starts.iter().copied().zip(ends)
                .map(|(from, to)| (from, to, to < packet.len())).collect();
            pieces.sort_by_key(|piece| order[starts.iter().position(|at| *at == piece.0).unwrap()]);
            let mut reassembly = Reassembly::default();
            let mut whole = None;
            for piece in &pieces {
                prop_assert!(whole.is_none());
                let frame = fragment(&mut source, v4, 7, &packet, *piece);
                let parsed = parse(frame.head(), frame.frame_len()).unwrap();
                whole = reassembly.add(frame, &parsed, Time::ZERO);
            }
            let whole = whole.unwrap();
            let parsed = parse(whole.head(), whole.frame_len()).unwrap();
            prop_assert_eq!((parsed.transport, parsed.fragment), (Transport::Tcp, None));
            prop_assert!(checksum::frame_ok(&whole, &parsed));
            prop_assert_eq!(parsed.l4(whole.head()), &packet[..]);
            prop_assert_eq!(source.in_use(), 1);
        }
    }

    #[test]
    fn duplicates_change_nothing() {
        let mut bench = Bench::new(100);
        assert!(bench.add(1, (0, 64, true), 0).is_none());
        assert!(bench.add(1, (0, 64, true), 0).is_none());
        assert!(bench.add(1, (64, 120, false), 0).is_some());
        assert_eq!(bench.count(ReassemblyCounter::Duplicate), 1);
    }

    #[test]
    fn overlaps_discard_the_packet() {
        for overlapping in [(56, 120, false), (0, 72, true), (64, 120, true)] {
            let mut bench = Bench::new(100);
            assert!(bench.add(1, (0, 64, true), 0).is_none());
            if overlapping == (64, 120, true) {
                // Bytes behind the end.
                assert!(bench.add(2, (64, 104, false), 0).is_none());
                assert!(bench.add(2, (104, 120, true), 0).is_none());
            } else {
                assert!(bench.add(1, overlapping, 0).is_none());
            }
            assert_eq!(bench.count(ReassemblyCounter::Overlap), 2);
        }
    }

    #[test]
    fn too_many_too_long_too_late() {
        let mut bench = Bench::new(1400);
        for n in 0..=FRAGMENTS_MAX {
            assert!(bench.add(1, (n * 8, n * 8 + 8, true), 0).is_none());
        }
        assert_eq!(bench.count(ReassemblyCounter::TooMany), FRAGMENTS_MAX as u64 + 1);

        let mut bench = Bench::new(4000);
        assert!(bench.add(1, (0, 1400, true), 0).is_none());
        assert!(bench.add(1, (1400, 2800, true), 0).is_none());
        assert!(bench.add(1, (2800, 4020, false), 0).is_none());
        assert_eq!(bench.count(ReassemblyCounter::TooLong), 3);

        let mut bench = Bench::new(100);
        assert!(bench.add(1, (0, 64, true), 0).is_none());
        assert!(bench.add(1, (64, 120, false), 2000).is_none());
        assert_eq!(bench.count(ReassemblyCounter::TimedOut), 1);
        bench.reassembly.expire(Time::from_ms(4000));
        assert_eq!((bench.count(ReassemblyCounter::TimedOut), bench.source.in_use()), (2, 0));
    }

    #[test]
    fn the_oldest_gives_way() {
        let mut bench = Bench::new(100);
        for n in 0..=u8::try_from(PACKETS_MAX).unwrap() {
            assert!(bench.add(n, (0, 64, true), u64::from(n)).is_none());
        }
        assert_eq!(bench.count(ReassemblyCounter::Evicted), 1);
        assert!(bench.add(1, (64, 120, false), 40).is_some());
        assert!(bench.add(0, (64, 120, false), 40).is_none());
    }
}
