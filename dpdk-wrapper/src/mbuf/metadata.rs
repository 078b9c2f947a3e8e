//! What travels with an mbuf beside its bytes: what the device found on receive, and what it is
//! asked to do on transmit.

use super::Mbuf;
use crate::ffi;

/// What the device says of a checksum.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum ChecksumStatus {
    /// It did not look.
    #[default]
    Unknown,
    /// Verified.
    Good,
    /// Wrong.
    Bad,
    /// The field is not filled in, but the data is intact: a frame that never crossed a wire.
    Unfilled,
}

/// What the device says of both checksums of a received packet.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct RxChecksums {
    /// IPv4 header.
    pub ip: ChecksumStatus,
    /// TCP, UDP, SCTP.
    pub l4: ChecksumStatus,
}

/// Version of the IP header.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum IpVersion {
    /// IPv4.
    V4,
    /// IPv6.
    V6,
}

/// A transport protocol whose checksum or segmentation a device does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum L4Protocol {
    /// TCP.
    Tcp,
    /// UDP.
    Udp,
}

/// What the device is asked to do with a packet; the port must have the offloads enabled
/// ([`TxOffloads`](crate::TxOffloads)).
///
/// The headers are prepared as DPDK asks: IP checksum field 0, transport checksum field holding
/// that of the pseudo header (`tx_prepare` does this where the driver needs it).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct TxOffload {
    /// Version of the IP header.
    pub ip: IpVersion,
    /// Length of the Ethernet header with tags, at most 127 bytes.
    pub l2_len: u8,
    /// Length of the IP header with options or extension headers, at most 511 bytes.
    pub l3_len: u16,
    /// Length of the transport header in bytes; needed for segmentation only.
    pub l4_len: u8,
    /// Fill in the IPv4 header checksum.
    pub ip_checksum: bool,
    /// Fill in the checksum of this protocol.
    pub l4_checksum: Option<L4Protocol>,
    /// Cut into packets of that many payload bytes (needs `l4_checksum`); 0 leaves it whole.
    pub segment_size: u16,
}

/// A transmit offload that no device can be asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum TxOffloadError {
    /// A header length does not fit its bits.
    #[error("header lengths of {l2_len} and {l3_len} bytes do not fit: at most 127 and 511")]
    HeaderTooLong {
        /// Asked for.
        l2_len: u8,
        /// Asked for.
        l3_len: u16,
    },
    /// Segmentation without a transport.
    #[error("segmentation needs l4_checksum: it names the protocol to segment")]
    SegmentationWithoutProtocol,
}

const L2_LEN_MAX: u8 = (1 << ffi::SHIM_L2_LEN_BITS) - 1;
const L3_LEN_MAX: u16 = (1 << ffi::SHIM_L3_LEN_BITS) - 1;
// The other two have the width of their Rust types.
const _: () = assert!(ffi::SHIM_L4_LEN_BITS == u8::BITS && ffi::SHIM_TSO_SEGSZ_BITS == u16::BITS);

impl TxOffload {
    /// Nothing asked of the device yet, for these header lengths (bytes).
    #[must_use]
    pub fn new(ip: IpVersion, l2_len: u8, l3_len: u16) -> Self {
        TxOffload {
            ip,
            l2_len,
            l3_len,
            l4_len: 0,
            ip_checksum: false,
            l4_checksum: None,
            segment_size: 0,
        }
    }

    /// The bits of `ol_flags`.
    fn flags(&self) -> u64 {
        let mut flags = match self.ip {
            IpVersion::V4 => ffi::SHIM_MBUF_F_TX_IPV4,
            IpVersion::V6 => ffi::SHIM_MBUF_F_TX_IPV6,
        };
        // An IPv6 header has no checksum to ask for.
        if self.ip_checksum && self.ip == IpVersion::V4 {
            flags |= ffi::SHIM_MBUF_F_TX_IP_CKSUM;
        }
        flags |= match self.l4_checksum {
            Some(L4Protocol::Tcp) => ffi::SHIM_MBUF_F_TX_TCP_CKSUM,
            Some(L4Protocol::Udp) => ffi::SHIM_MBUF_F_TX_UDP_CKSUM,
            None => 0,
        };
        if self.segment_size != 0 {
            flags |= match self.l4_checksum {
                Some(L4Protocol::Tcp) => ffi::SHIM_MBUF_F_TX_TCP_SEG,
                Some(L4Protocol::Udp) => ffi::SHIM_MBUF_F_TX_UDP_SEG,
                None => 0,
            };
        }
        flags
    }

    /// The `tx_offload` word.
    fn word(&self) -> u64 {
        u64::from(self.l2_len) << ffi::SHIM_L2_LEN_OFS
            | u64::from(self.l3_len) << ffi::SHIM_L3_LEN_OFS
            | u64::from(self.l4_len) << ffi::SHIM_L4_LEN_OFS
            | u64::from(self.segment_size) << ffi::SHIM_TSO_SEGSZ_OFS
    }
}

/// Which flags of a two-bit field mean what.
fn status(flags: u64, mask: u64, good: u64, bad: u64, none: u64) -> ChecksumStatus {
    match flags & mask {
        value if value == good => ChecksumStatus::Good,
        value if value == bad => ChecksumStatus::Bad,
        value if value == none => ChecksumStatus::Unfilled,
        _ => ChecksumStatus::Unknown,
    }
}

fn rx_checksums(flags: u64) -> RxChecksums {
    RxChecksums {
        ip: status(
            flags,
            ffi::SHIM_MBUF_F_RX_IP_CKSUM_MASK,
            ffi::SHIM_MBUF_F_RX_IP_CKSUM_GOOD,
            ffi::SHIM_MBUF_F_RX_IP_CKSUM_BAD,
            ffi::SHIM_MBUF_F_RX_IP_CKSUM_NONE,
        ),
        l4: status(
            flags,
            ffi::SHIM_MBUF_F_RX_L4_CKSUM_MASK,
            ffi::SHIM_MBUF_F_RX_L4_CKSUM_GOOD,
            ffi::SHIM_MBUF_F_RX_L4_CKSUM_BAD,
            ffi::SHIM_MBUF_F_RX_L4_CKSUM_NONE,
        ),
    }
}

impl Mbuf {
    /// What the device says of the checksums of a received packet.
    #[must_use]
    #[inline]
    pub fn rx_checksums(&self) -> RxChecksums {
        rx_checksums(self.0.ol_flags())
    }

    /// Forgets what the device says of the checksums of IPv4 headers, of transports, or of both: it
    /// was not asked for it.
    #[inline]
    pub fn forget_rx_checksums(&mut self, ip: bool, l4: bool) {
        let ip = if ip { ffi::SHIM_MBUF_F_RX_IP_CKSUM_MASK } else { 0 };
        let l4 = if l4 { ffi::SHIM_MBUF_F_RX_L4_CKSUM_MASK } else { 0 };
        let flags = self.0.ol_flags();
        if flags & (ip | l4) != 0 {
            self.0.set_ol_flags(flags & !(ip | l4));
        }
    }

    /// The hash that receive-side scaling computed, if it did.
    #[must_use]
    #[inline]
    pub fn rss_hash(&self) -> Option<u32> {
        (self.0.ol_flags() & ffi::SHIM_MBUF_F_RX_RSS_HASH != 0).then(|| self.0.rss_hash())
    }

    /// Payload bytes of each packet that a large receive was put together from, or that a transmit
    /// is to be cut into; 0 for a packet that is one packet.
    #[must_use]
    #[inline]
    pub fn segment_size(&self) -> u16 {
        const SEGMENTED: u64 =
            ffi::SHIM_MBUF_F_RX_LRO | ffi::SHIM_MBUF_F_TX_TCP_SEG | ffi::SHIM_MBUF_F_TX_UDP_SEG;
        if self.0.ol_flags() & SEGMENTED == 0 {
            return 0;
        }
        #[expect(clippy::cast_possible_truncation, reason = "the field has 16 bits")]
        let size = (self.0.tx_offload() >> ffi::SHIM_TSO_SEGSZ_OFS) as u16;
        size
    }

    /// Asks the device for work on transmit, in place of what was asked before.
    ///
    /// # Errors
    ///
    /// [`TxOffloadError`], and nothing changed.
    #[inline]
    pub fn set_tx_offload(&mut self, offload: &TxOffload) -> Result<(), TxOffloadError> {
        let TxOffload { l2_len, l3_len, .. } = *offload;
        if l2_len > L2_LEN_MAX || l3_len > L3_LEN_MAX {
            return Err(TxOffloadError::HeaderTooLong { l2_len, l3_len });
        }
        if offload.segment_size != 0 && offload.l4_checksum.is_none() {
            return Err(TxOffloadError::SegmentationWithoutProtocol);
        }
        self.clear_tx_offload();
        self.0.set_ol_flags(self.0.ol_flags() | offload.flags());
        self.0.set_tx_offload(offload.word());
        Ok(())
    }

    /// Asks the device to complete the checksum of TCP or UDP, given by its IP protocol number, behind
    /// a link and an IP header of these lengths in bytes, and, where `cut` says so, to cut the packet
    /// behind a transport header of this length into packets with so many payload bytes each; false,
    /// and nothing changed, for another protocol and for headers that are too long.
    #[inline]
    pub fn complete_on_transmit(
        &mut self,
        protocol: u8,
        is_ipv4: bool,
        (l2_len, l3_len): (usize, usize),
        cut: Option<(usize, u16)>,
    ) -> bool {
        let l4_checksum = match protocol {
            6 => L4Protocol::Tcp,
            17 => L4Protocol::Udp,
            _ => return false,
        };
        let ip = if is_ipv4 { IpVersion::V4 } else { IpVersion::V6 };
        let (l4_len, segment_size) = cut.unwrap_or_default();
        let (Ok(l2_len), Ok(l3_len), Ok(l4_len)) =
            (u8::try_from(l2_len), u16::try_from(l3_len), u8::try_from(l4_len))
        else {
            return false;
        };
        let offload = TxOffload {
            l4_len,
            l4_checksum: Some(l4_checksum),
            segment_size,
            ..TxOffload::new(ip, l2_len, l3_len)
        };
        self.set_tx_offload(&offload).is_ok()
    }

    /// Asks the device to fill in the IPv4 header checksums of the packets that it is to cut this one
    /// into, if it is to: for a port with that offload ([`TxOffloads::IPV4_CKSUM`]). One without it
    /// takes the header as it is.
    ///
    /// [`TxOffloads::IPV4_CKSUM`]: crate::TxOffloads::IPV4_CKSUM
    #[inline]
    pub fn complete_ip_where_cut(&mut self) {
        const CUT: u64 = ffi::SHIM_MBUF_F_TX_TCP_SEG | ffi::SHIM_MBUF_F_TX_IPV4;
        let flags = self.0.ol_flags();
        if flags & CUT == CUT {
            self.0.set_ol_flags(flags | ffi::SHIM_MBUF_F_TX_IP_CKSUM);
        }
    }

    /// Asks nothing of the device. A received packet that is sent on needs this only if it was put
    /// together from several (large receive): its metadata says so until then.
    #[inline]
    pub fn clear_tx_offload(&mut self) {
        const ASKED: u64 = ffi::SHIM_MBUF_F_TX_OFFLOAD_MASK | ffi::SHIM_MBUF_F_RX_LRO;
        self.0.set_ol_flags(self.0.ol_flags() & !ASKED);
        self.0.set_tx_offload(0);
    }

    /// The transmit work asked for: the raw `ol_flags` bits of transmit.
    #[must_use]
    pub fn tx_flags(&self) -> u64 {
        self.0.ol_flags() & ffi::SHIM_MBUF_F_TX_OFFLOAD_MASK
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_bits_say_four_things_of_a_checksum() {
        let ip = |flags| rx_checksums(flags).ip;
        assert_eq!(ip(0), ChecksumStatus::Unknown);
        assert_eq!(ip(1 << 7), ChecksumStatus::Good);
        assert_eq!(ip(1 << 4), ChecksumStatus::Bad);
        assert_eq!(ip(1 << 4 | 1 << 7), ChecksumStatus::Unfilled);
        let l4 = |flags| rx_checksums(flags).l4;
        assert_eq!(l4(1 << 7), ChecksumStatus::Unknown);
        assert_eq!(l4(1 << 8), ChecksumStatus::Good);
        assert_eq!(l4(1 << 3), ChecksumStatus::Bad);
        assert_eq!(l4(1 << 3 | 1 << 8), ChecksumStatus::Unfilled);
    }

    #[test]
    fn transmit_requests_become_the_bits_of_the_mbuf() {
        let mut offload = TxOffload::new(IpVersion::V4, 14, 20);
        assert_eq!(offload.flags(), 1 << 55);
        assert_eq!(offload.word(), 14 | 20 << 7);
        offload.ip_checksum = true;
        offload.l4_checksum = Some(L4Protocol::Udp);
        assert_eq!(offload.flags(), 1 << 55 | 1 << 54 | 3 << 52);
        offload.l4_checksum = Some(L4Protocol::Tcp);
        offload.l4_len = 32;
        offload.segment_size = 1448;
        assert_eq!(offload.flags(), 1 << 55 | 1 << 54 | 1 << 52 | 1 << 50);
        assert_eq!(offload.word(), 14 | 20 << 7 | 32 << 16 | 1448 << 24);
        offload.ip = IpVersion::V6;
        assert_eq!(offload.flags(), 1 << 56 | 1 << 52 | 1 << 50, "IPv6 has no header checksum");
    }
}
