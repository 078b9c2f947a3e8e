//! The offloads of a port, as sets of DPDK's 64-bit flags: one table for each direction.

use std::fmt;
use std::ops::{BitAnd, BitOr, BitOrAssign, Sub};

use crate::ffi;

macro_rules! offloads {
    ($(#[$doc:meta])* $set:ident { $($(#[$flag_doc:meta])* $name:ident = $value:ident;)* }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Default, PartialEq, Eq, Hash)]
        pub struct $set(u64);

        impl $set {
            $($(#[$flag_doc])* pub const $name: $set = $set(ffi::$value);)*

            /// Every flag with its name.
            pub const TABLE: &'static [(&'static str, $set)] =
                &[$((stringify!($name), $set::$name)),*];

            /// No offload.
            pub const NONE: $set = $set(0);

            /// DPDK's bits, those without a name here included.
            #[must_use]
            pub const fn bits(self) -> u64 {
                self.0
            }

            /// From DPDK's bits.
            #[must_use]
            pub const fn from_bits(bits: u64) -> Self {
                $set(bits)
            }

            /// True when all of `other` are among these.
            #[must_use]
            pub const fn contains(self, other: Self) -> bool {
                self.0 & other.0 == other.0
            }

            /// True when there are none.
            #[must_use]
            pub const fn is_empty(self) -> bool {
                self.0 == 0
            }

            /// The names of those that have one here.
            pub fn names(self) -> impl Iterator<Item = &'static str> {
                Self::TABLE
                    .iter()
                    .filter(move |(_, flag)| self.contains(*flag))
                    .map(|(name, _)| *name)
            }
        }

        impl BitOr for $set {
            type Output = Self;
            fn bitor(self, other: Self) -> Self {
                $set(self.0 | other.0)
            }
        }

        impl BitOrAssign for $set {
            fn bitor_assign(&mut self, other: Self) {
                self.0 |= other.0;
            }
        }

        impl BitAnd for $set {
            type Output = Self;
            fn bitand(self, other: Self) -> Self {
                $set(self.0 & other.0)
            }
        }

        /// Those of the first that are not in the second.
        impl Sub for $set {
            type Output = Self;
            fn sub(self, other: Self) -> Self {
                $set(self.0 & !other.0)
            }
        }

        impl fmt::Debug for $set {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{}({self})", stringify!($set))
            }
        }

        impl fmt::Display for $set {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                if self.is_empty() {
                    return f.write_str("none");
                }
                let mut rest = *self;
                let mut separator = "";
                for (name, flag) in Self::TABLE.iter().filter(|(_, flag)| self.contains(*flag)) {
                    write!(f, "{separator}{name}")?;
                    separator = " ";
                    rest = rest - *flag;
                }
                if !rest.is_empty() {
                    write!(f, "{separator}{:#x}", rest.0)?;
                }
                Ok(())
            }
        }
    };
}

offloads! {
    /// Receive offloads (`RTE_ETH_RX_OFFLOAD_*`).
    RxOffloads {
        /// Remove the VLAN tag.
        VLAN_STRIP = SHIM_ETH_RX_OFFLOAD_VLAN_STRIP;
        /// Verify the IPv4 header checksum.
        IPV4_CKSUM = SHIM_ETH_RX_OFFLOAD_IPV4_CKSUM;
        /// Verify the UDP checksum.
        UDP_CKSUM = SHIM_ETH_RX_OFFLOAD_UDP_CKSUM;
        /// Verify the TCP checksum.
        TCP_CKSUM = SHIM_ETH_RX_OFFLOAD_TCP_CKSUM;
        /// Put TCP segments together (large receive).
        TCP_LRO = SHIM_ETH_RX_OFFLOAD_TCP_LRO;
        /// Receive into chains of mbufs.
        SCATTER = SHIM_ETH_RX_OFFLOAD_SCATTER;
        /// Note the time of arrival.
        TIMESTAMP = SHIM_ETH_RX_OFFLOAD_TIMESTAMP;
        /// Leave the Ethernet CRC in the frame.
        KEEP_CRC = SHIM_ETH_RX_OFFLOAD_KEEP_CRC;
        /// Deliver the RSS hash.
        RSS_HASH = SHIM_ETH_RX_OFFLOAD_RSS_HASH;
    }
}

offloads! {
    /// Transmit offloads (`RTE_ETH_TX_OFFLOAD_*`).
    TxOffloads {
        /// Insert a VLAN tag.
        VLAN_INSERT = SHIM_ETH_TX_OFFLOAD_VLAN_INSERT;
        /// Fill in the IPv4 header checksum.
        IPV4_CKSUM = SHIM_ETH_TX_OFFLOAD_IPV4_CKSUM;
        /// Fill in the UDP checksum.
        UDP_CKSUM = SHIM_ETH_TX_OFFLOAD_UDP_CKSUM;
        /// Fill in the TCP checksum.
        TCP_CKSUM = SHIM_ETH_TX_OFFLOAD_TCP_CKSUM;
        /// Cut large TCP packets into segments.
        TCP_TSO = SHIM_ETH_TX_OFFLOAD_TCP_TSO;
        /// Cut large UDP packets into datagrams.
        UDP_TSO = SHIM_ETH_TX_OFFLOAD_UDP_TSO;
        /// Several threads may transmit on one queue (this crate never does).
        MT_LOCKFREE = SHIM_ETH_TX_OFFLOAD_MT_LOCKFREE;
        /// Send chains of mbufs.
        MULTI_SEGS = SHIM_ETH_TX_OFFLOAD_MULTI_SEGS;
        /// The driver may free sent mbufs in bulk: all mbufs of a queue must come from one pool
        /// and be in one segment.
        MBUF_FAST_FREE = SHIM_ETH_TX_OFFLOAD_MBUF_FAST_FREE;
    }
}

#[cfg(test)]
mod tests {
    use std::ffi::CStr;

    use super::*;

    fn text(name: *const std::ffi::c_char) -> String {
        assert!(!name.is_null());
        // SAFETY: DPDK returns static C strings.
        unsafe { CStr::from_ptr(name) }.to_str().unwrap().to_owned()
    }

    /// The library that is linked gives each bit the name that the table gives it.
    #[test]
    fn the_library_knows_every_port_offload_by_the_same_name() {
        for (name, flag) in RxOffloads::TABLE {
            // SAFETY: looks a bit up in a table.
            assert_eq!(*name, text(unsafe { ffi::rte_eth_dev_rx_offload_name(flag.bits()) }));
        }
        for (name, flag) in TxOffloads::TABLE {
            // SAFETY: as above.
            assert_eq!(*name, text(unsafe { ffi::rte_eth_dev_tx_offload_name(flag.bits()) }));
        }
    }

    /// Likewise for the flags of an mbuf.
    #[test]
    fn the_library_knows_every_mbuf_flag_by_the_same_name() {
        macro_rules! check {
            ($function:ident: $($flag:ident = $value:ident),* $(,)?) => {
                $(assert_eq!(
                    concat!("RTE_MBUF_F_", stringify!($flag)),
                    // SAFETY: looks a mask up in a table.
                    text(unsafe { ffi::$function(ffi::$value) })
                );)*
            };
        }
        check!(rte_get_rx_ol_flag_name:
            RX_VLAN = SHIM_MBUF_F_RX_VLAN,
            RX_VLAN_STRIPPED = SHIM_MBUF_F_RX_VLAN_STRIPPED,
            RX_RSS_HASH = SHIM_MBUF_F_RX_RSS_HASH,
            RX_LRO = SHIM_MBUF_F_RX_LRO,
            RX_IP_CKSUM_BAD = SHIM_MBUF_F_RX_IP_CKSUM_BAD,
            RX_IP_CKSUM_GOOD = SHIM_MBUF_F_RX_IP_CKSUM_GOOD,
            RX_IP_CKSUM_NONE = SHIM_MBUF_F_RX_IP_CKSUM_NONE,
            RX_L4_CKSUM_BAD = SHIM_MBUF_F_RX_L4_CKSUM_BAD,
            RX_L4_CKSUM_GOOD = SHIM_MBUF_F_RX_L4_CKSUM_GOOD,
            RX_L4_CKSUM_NONE = SHIM_MBUF_F_RX_L4_CKSUM_NONE,
        );
        check!(rte_get_tx_ol_flag_name:
            TX_IP_CKSUM = SHIM_MBUF_F_TX_IP_CKSUM,
            TX_IPV4 = SHIM_MBUF_F_TX_IPV4,
            TX_IPV6 = SHIM_MBUF_F_TX_IPV6,
            TX_TCP_CKSUM = SHIM_MBUF_F_TX_TCP_CKSUM,
            TX_UDP_CKSUM = SHIM_MBUF_F_TX_UDP_CKSUM,
            TX_TCP_SEG = SHIM_MBUF_F_TX_TCP_SEG,
            TX_UDP_SEG = SHIM_MBUF_F_TX_UDP_SEG,
        );
    }

    #[test]
    fn sets_combine_and_print() {
        let set = RxOffloads::IPV4_CKSUM | RxOffloads::RSS_HASH | RxOffloads::from_bits(1 << 40);
        assert!(set.contains(RxOffloads::RSS_HASH) && !set.contains(RxOffloads::TCP_LRO));
        assert_eq!(set.to_string(), "IPV4_CKSUM RSS_HASH 0x10000000000");
        assert_eq!((set - RxOffloads::RSS_HASH - RxOffloads::from_bits(1 << 40)).bits(), 2);
        assert_eq!(TxOffloads::NONE.to_string(), "none");
    }
}
