//! Which edge a frame is for, where there are several: the owner of its flow.
//!
//! In: frames of both sides, packets that peers delivered, before anybody has looked them up. Out: the
//! number of an edge. Never: a flow whose two directions, fragments or ICMP errors have two owners.
//!
//! What has no 5-tuple (ARP, neighbour discovery, other protocols of the link, malformed) is for the
//! first edge, which tells the others what it learns from it ([`super::stations`]).

use super::Side;
use super::bridge::key_of_first_fragment;
use super::flow_hash::FlowHasher;
use super::fragments::FragmentMemory;
use super::own;
use crate::frame::ip::{ethertype, protocol};
use crate::frame::{
    ETHERNET_LEN, FlowKey, Frame, Parsed, Shard, icmp, parse, parse_plain, parse_quoted,
};
use crate::time::Time;

/// The edge for what is no flow's.
pub const FIRST_EDGE: usize = 0;

/// Finds the owners of frames.
#[derive(Debug)]
pub struct Owners {
    edges: usize,
    /// Owners of TCP packets whose first fragments were seen. Without a clock: what is noted of a
    /// packet that is long over directs fragments of a later one, until its own first has come, to an
    /// edge that does not know them either.
    firsts: FragmentMemory<usize>,
}

impl Owners {
    /// For so many edges.
    #[must_use]
    pub fn new(edges: usize, hasher: FlowHasher) -> Self {
        Owners { edges, firsts: FragmentMemory::new(hasher) }
    }

    /// The edge for a frame that came from a side.
    pub fn of_frame<F: Frame>(&mut self, side: Side, frame: &F) -> usize {
        if let Some(plain) = parse_plain(frame.head(), frame.frame_len()) {
            return Shard::of(&plain.key).owner(self.edges);
        }
        let Ok(parsed) = parse(frame.head(), frame.frame_len()) else { return FIRST_EDGE };
        if !parsed.is_ip() || own::is_ndp(&parsed) {
            return FIRST_EDGE;
        }
        let Some(fragment) = parsed.fragment.filter(|_| parsed.key.protocol == protocol::TCP)
        else {
            return owner_of_whole(&parsed, frame.head(), self.edges);
        };
        // The first one shows the ports; later ones follow it. One that overtook it goes by its
        // addresses: whoever gets it knows as little of it as any.
        if fragment.offset > 0 {
            let noted = self.firsts.find(side, &parsed.key, fragment, Time::ZERO);
            return noted.unwrap_or_else(|| Shard::of(&parsed.key).owner(self.edges));
        }
        let key = key_of_first_fragment(&parsed, frame.head()).unwrap_or(parsed.key);
        let owner = Shard::of(&key).owner(self.edges);
        self.firsts.note(side, &parsed.key, fragment, owner, Time::ZERO);
        owner
    }
}

/// Bytes of a packet that are looked at: more than its headers have, and the start of what an ICMP
/// error quotes. One with longer headers counts as malformed.
const LOOKED_AT: usize = 256;

/// Which of `edges` an IP packet that a peer delivered is for: the one that gets the answers to it.
/// Fragments go by their addresses, as all fragments in packet mode but TCP's do on the LAN.
#[must_use]
pub fn owner_of_packet(packet: &[u8], edges: usize) -> usize {
    // As in a frame, which is what all else is parsed as.
    let mut frame = [0; ETHERNET_LEN + LOOKED_AT];
    let (link, headers) = frame.split_at_mut(ETHERNET_LEN);
    let ethertype = match packet.first().map(|first| first >> 4) {
        Some(4) => ethertype::IPV4,
        Some(6) => ethertype::IPV6,
        _ => return FIRST_EDGE,
    };
    for (to, from) in link.iter_mut().skip(12).zip(ethertype.to_be_bytes()) {
        *to = from;
    }
    for (to, from) in headers.iter_mut().zip(packet) {
        *to = *from;
    }
    let head = frame.get(..ETHERNET_LEN + packet.len().min(LOOKED_AT)).unwrap_or(&[]);
    parse(head, ETHERNET_LEN + packet.len())
        .map_or(FIRST_EDGE, |parsed| owner_of_whole(&parsed, head, edges))
}

/// An ICMP error about a segment goes to the owner of the connection that it quotes.
fn owner_of_whole(parsed: &Parsed, head: &[u8], edges: usize) -> usize {
    let quoted = || -> Option<FlowKey> {
        let quoted = parse_quoted(parsed.l4(head).get(8..)?, parsed.key.vlan)?;
        (quoted.protocol == protocol::TCP).then_some(quoted)
    };
    let quoted = if icmp::is_error(parsed) { quoted() } else { None };
    Shard::of(&quoted.unwrap_or(parsed.key)).owner(edges)
}
