//! Frames: what a packet buffer must offer, parsing, 5-tuples, checksums, header building.
//!
//! In: bytes of a frame. Out: views and plain structs, or headers written into a frame.
//! Never: a lookup, a decision, a copy that the caller did not ask for.

#[expect(clippy::disallowed_methods, reason = "writes headers, never payload")]
pub mod arp;
#[expect(clippy::disallowed_methods, reason = "writes headers, never payload")]
pub mod build;
#[cfg(test)]
mod build_tests;
#[expect(clippy::disallowed_methods, reason = "writes headers, never payload")]
pub mod checksum;
pub mod ecn;
mod flow_key;
pub mod heap;
#[expect(clippy::disallowed_methods, reason = "writes headers, never payload")]
pub mod icmp;
pub mod ip;
mod mac;
#[expect(clippy::disallowed_methods, reason = "writes headers, never payload")]
pub mod ndp;
mod parse;
#[cfg(test)]
mod parse_tests;
mod plain;
mod shard;
mod side;
pub mod vlan;

pub use build::{BuildError, IpHeader, LinkHeader};
pub use flow_key::FlowKey;
pub use mac::{MacAddr, ParseMacError, is_routable_unicast, solicited_node};
pub use parse::{
    ETHERNET_LEN, FragmentInfo, IPV6_EXTENSIONS_MAX, Malformed, Network, Parsed, Transport, parse,
    parse_quoted,
};
pub use plain::{Plain, parse_plain};
pub use shard::Shard;
pub use side::Side;
pub use vlan::{VlanList, VlanTag};

/// What is known of the checksums (IP header and transport) of a received frame. What the device
/// did not look at is verified in software where it matters.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ChecksumStatus {
    /// The device did not look.
    #[default]
    Unknown,
    /// The device verified the transport's and did not look at the IP header's.
    TransportGood,
    /// The device verified both.
    Good,
    /// The device found one of them wrong.
    Bad,
    /// The transport's is not filled in: the frame comes from this machine, where nothing damaged
    /// it, and is to be completed before it leaves ([`checksum::fill_in`]).
    Unfilled,
}

/// One Ethernet frame: a contiguous first part that holds all headers, then further payload
/// slices (empty for most frames; a large receive has several).
///
/// A frame owns its memory: dropping it returns the memory to its pool. It is neither `Clone`
/// nor `Copy`.
pub trait Frame: Sized + Send + 'static {
    /// The first part, beginning with the Ethernet header.
    fn head(&self) -> &[u8];

    /// The first part, to be rewritten in place.
    fn head_mut(&mut self) -> &mut [u8];

    /// Number of payload slices behind the first part.
    fn tail_count(&self) -> usize {
        0
    }

    /// Payload slice `index` behind the first part; empty beyond [`Frame::tail_count`].
    fn tail(&self, index: usize) -> &[u8] {
        let _ = index;
        &[]
    }

    /// Length of all parts, in bytes.
    fn frame_len(&self) -> usize {
        (0..self.tail_count()).fold(self.head().len(), |sum, index| sum + self.tail(index).len())
    }

    /// Grows the first part at its end by `len` bytes and returns them (contents undefined);
    /// `None`, and nothing changed, when there is no tailroom or there are tail slices.
    fn append(&mut self, len: usize) -> Option<&mut [u8]>;

    /// Grows the first part at its front by `len` bytes and returns them (contents undefined);
    /// `None`, and nothing changed, when there is no headroom.
    fn prepend(&mut self, len: usize) -> Option<&mut [u8]>;

    /// Removes `len` bytes from the front of the first part (at most all of it).
    fn trim_front(&mut self, len: usize);

    /// Shortens the frame to `len` bytes; longer than it is changes nothing.
    fn truncate(&mut self, len: usize);

    /// Puts the parts of `tail` behind those of this frame; false, and `tail` is gone, when a frame
    /// has no more parts. Costs little where this frame has one part.
    fn chain(&mut self, tail: Self) -> bool {
        let _ = tail;
        false
    }

    /// What the device knows of the checksums.
    fn checksum_status(&self) -> ChecksumStatus {
        ChecksumStatus::Unknown
    }

    /// Leaves a checksum that was begun to the device that sends the frame, and to cut the frame
    /// into packets if that is asked for too. The port is one that does it:
    /// [`ApplianceConfig`](crate::pipeline::appliance::ApplianceConfig) says so. What has no way to
    /// ask a device completes the checksum here.
    fn leave_checksum(&mut self, begun: &checksum::Begun) {
        checksum::complete(self, begun);
    }

    /// Payload bytes per packet that this frame was put together from (receive) or is to be cut
    /// into (transmit); 0 for a frame that is one packet.
    fn segment_size(&self) -> u16 {
        0
    }

    /// Copies bytes `offset..offset + into.len()` of the frame into `into`; false, and `into`
    /// partly written, when the frame is shorter than that.
    #[expect(clippy::disallowed_methods, reason = "called by crate::copy alone")]
    fn copy_out(&self, offset: usize, into: &mut [u8]) -> bool {
        let mut skip = offset;
        let mut done = 0;
        let parts = 1 + self.tail_count();
        for part in 0..parts {
            let bytes = if part == 0 { self.head() } else { self.tail(part - 1) };
            if skip >= bytes.len() {
                skip -= bytes.len();
                continue;
            }
            let n = (bytes.len() - skip).min(into.len() - done);
            into[done..done + n].copy_from_slice(&bytes[skip..skip + n]);
            done += n;
            skip = 0;
            if done == into.len() {
                break;
            }
        }
        done == into.len()
    }
}

/// Where a stage gets empty frames from: a pool with a fixed size.
pub trait FrameSource {
    /// The frames it gives.
    type Frame: Frame;

    /// An empty frame with headroom for the headers of this project, or `None` when the pool is
    /// exhausted (the caller counts it).
    fn alloc(&mut self) -> Option<Self::Frame>;

    /// Frames that can be had, or fewer: what threads keep for themselves may be left out.
    fn free(&self) -> usize;
}
