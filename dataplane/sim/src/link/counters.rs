//! What a link did to the packets put on it.

use dataplane::counters;
use dataplane::counters::{Counters, Kind};

counters! {
    /// Counters of one direction of a link. Bytes are IP bytes.
    pub enum LinkCounter, "link" {
        PacketsIn: In, "packets_in", "packets", "Packets put on the link.";
        BytesIn: In, "bytes_in", "bytes", "IP bytes put on the link.";
        PacketsDuplicated: In, "packets_duplicated", "packets", "Second copies the link made.";
        BytesDuplicated: In, "bytes_duplicated", "bytes", "IP bytes of the second copies.";
        PacketsOut: Out, "packets_out", "packets", "Packets delivered, second copies included.";
        BytesOut: Out, "bytes_out", "bytes", "IP bytes delivered, second copies included.";
        DownPackets: Drop, "drop_down_packets", "packets", "Packets on, or put on, a link that was cut.";
        DownBytes: Drop, "drop_down_bytes", "bytes", "IP bytes on, or put on, a link that was cut.";
        BlackHolePackets: Drop, "drop_black_hole_packets", "packets", "Packets swallowed by the black hole.";
        BlackHoleBytes: Drop, "drop_black_hole_bytes", "bytes", "IP bytes swallowed by the black hole.";
        OversizePackets: Drop, "drop_oversize_packets", "packets", "Packets longer than the MTU.";
        OversizeBytes: Drop, "drop_oversize_bytes", "bytes", "IP bytes of packets longer than the MTU.";
        QueuePackets: Drop, "drop_queue_packets", "packets", "Packets that found the queue full.";
        QueueBytes: Drop, "drop_queue_bytes", "bytes", "IP bytes that found the queue full.";
        LossPackets: Drop, "drop_loss_packets", "packets", "Packets lost by the loss model.";
        LossBytes: Drop, "drop_loss_bytes", "bytes", "IP bytes lost by the loss model.";
        MemoryPackets: Drop, "drop_memory_packets", "packets", "Packets beyond what the link may hold.";
        MemoryBytes: Drop, "drop_memory_bytes", "bytes", "IP bytes beyond what the link may hold.";
        PacketsCorrupted: Info, "packets_corrupted", "packets", "Packets delivered damaged.";
        PacketsHeldBack: Info, "packets_held_back", "packets", "Packets held back to be overtaken.";
        QueueBytesPeak: Info, "queue_bytes_peak", "bytes", "Most IP bytes that ever waited for serialisation.";
    }
}

/// A number of packets and their IP bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// Packets.
    pub packets: u64,
    /// IP bytes.
    pub bytes: u64,
}

/// What became of packets: the pair of counters they are added to.
#[derive(Clone, Copy)]
pub(super) enum Fate {
    In,
    Duplicated,
    Out,
    Down,
    BlackHole,
    Oversize,
    Queue,
    Loss,
    Memory,
}

impl Fate {
    const fn counters(self) -> (LinkCounter, LinkCounter) {
        match self {
            Fate::In => (LinkCounter::PacketsIn, LinkCounter::BytesIn),
            Fate::Duplicated => (LinkCounter::PacketsDuplicated, LinkCounter::BytesDuplicated),
            Fate::Out => (LinkCounter::PacketsOut, LinkCounter::BytesOut),
            Fate::Down => (LinkCounter::DownPackets, LinkCounter::DownBytes),
            Fate::BlackHole => (LinkCounter::BlackHolePackets, LinkCounter::BlackHoleBytes),
            Fate::Oversize => (LinkCounter::OversizePackets, LinkCounter::OversizeBytes),
            Fate::Queue => (LinkCounter::QueuePackets, LinkCounter::QueueBytes),
            Fate::Loss => (LinkCounter::LossPackets, LinkCounter::LossBytes),
            Fate::Memory => (LinkCounter::MemoryPackets, LinkCounter::MemoryBytes),
        }
    }

    pub(super) fn count(self, counters: &Counters<LinkCounter>, tally: Tally) {
        let (packets, bytes) = self.counters();
        counters.add(packets, tally.packets);
        counters.add(bytes, tally.bytes);
    }
}

/// Whether everything that came in went out, was dropped for a reason, or is still `held`.
#[must_use]
pub fn add_up(counters: &Counters<LinkCounter>, held: Tally) -> bool {
    let balances = |unit: &str, held: u64| {
        let sum = |kinds: &[Kind]| -> u64 {
            counters
                .iter()
                .filter(|(definition, _)| definition.unit == unit)
                .filter(|(definition, _)| kinds.contains(&definition.kind))
                .map(|(_, value)| value)
                .sum()
        };
        sum(&[Kind::In]) == sum(&[Kind::Out, Kind::Drop]) + held
    };
    balances("packets", held.packets) && balances("bytes", held.bytes)
}

impl Tally {
    pub(super) const fn plus(self, other: Tally) -> Tally {
        Tally { packets: self.packets + other.packets, bytes: self.bytes + other.bytes }
    }

    pub(super) const fn minus(self, other: Tally) -> Tally {
        Tally { packets: self.packets - other.packets, bytes: self.bytes - other.bytes }
    }
}
