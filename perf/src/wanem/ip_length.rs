//! How many IP bytes a frame carries.
//!
//! In: an Ethernet frame, from anywhere. Out: the length that counts against the rate. Never: a
//! change to the frame.

const ETHERNET_HEADER_BYTES: usize = 14;
const VLAN_TAG_BYTES: usize = 4;
/// Stacked tags looked through (IEEE 802.1ad has two).
const VLAN_TAGS_MAX: usize = 2;
const IPV6_HEADER_BYTES: u64 = 40;

const ETHERTYPE_IPV4: u16 = 0x0800;
const ETHERTYPE_IPV6: u16 = 0x86dd;
const ETHERTYPES_VLAN: [u16; 2] = [0x8100, 0x88a8];

/// Length of the IP packet in `frame` by its own header, padding left out; 0 for what is not IP.
///
/// `frame` may be the beginning of a longer frame.
#[must_use]
pub fn ip_length(frame: &[u8]) -> u64 {
    let mut at = ETHERNET_HEADER_BYTES;
    for _ in 0..=VLAN_TAGS_MAX {
        match u16_at(frame, at - 2) {
            Some(ETHERTYPE_IPV4) => return u16_at(frame, at + 2).map_or(0, u64::from),
            Some(ETHERTYPE_IPV6) => {
                let payload = u16_at(frame, at + 4).map(u64::from);
                return payload.map_or(0, |length| IPV6_HEADER_BYTES + length);
            }
            Some(tag) if ETHERTYPES_VLAN.contains(&tag) => at += VLAN_TAG_BYTES,
            _ => return 0,
        }
    }
    0
}

/// Where in a frame of `frame_bytes` damage is done: a byte behind the Ethernet header and a mask
/// of one bit, chosen by `random`. `None` for a frame with nothing behind the header.
#[must_use]
pub fn damage(frame_bytes: usize, random: u64) -> Option<(usize, u8)> {
    let bits = u64::try_from(frame_bytes.checked_sub(ETHERNET_HEADER_BYTES)?).ok()? * 8;
    let bit = random.checked_rem(bits)?;
    let byte = usize::try_from(bit / 8).ok()? + ETHERNET_HEADER_BYTES;
    Some((byte, 1 << (bit % 8)))
}

fn u16_at(frame: &[u8], at: usize) -> Option<u16> {
    let bytes = frame.get(at..at + 2)?;
    Some(u16::from_be_bytes(bytes.try_into().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(ethertypes: &[u16], packet: &[u8]) -> Vec<u8> {
        let mut frame = vec![0; 12];
        for (place, ethertype) in ethertypes.iter().enumerate() {
            if place > 0 {
                frame.extend([0, 7]);
            }
            frame.extend(ethertype.to_be_bytes());
        }
        frame.extend(packet);
        frame
    }

    const IPV4: [u8; 4] = [0x45, 0, 0x05, 0xdc];
    const IPV6: [u8; 6] = [0x60, 0, 0, 0, 0x05, 0xb4];

    #[test]
    fn ip_packets_count_by_their_own_header() {
        assert_eq!(ip_length(&frame(&[0x0800], &IPV4)), 1500);
        assert_eq!(ip_length(&frame(&[0x86dd], &IPV6)), 1500);
        assert_eq!(ip_length(&frame(&[0x8100, 0x0800], &IPV4)), 1500);
        assert_eq!(ip_length(&frame(&[0x88a8, 0x8100, 0x86dd], &IPV6)), 1500);
        // 28 bytes, padded to the shortest frame.
        assert_eq!(ip_length(&frame(&[0x0800], &[&[0x45, 0, 0, 28][..], &[0; 42]].concat())), 28);
    }

    #[test]
    fn what_is_not_ip_counts_nothing() {
        assert_eq!(ip_length(&frame(&[0x0806], &[0; 46])), 0);
        assert_eq!(ip_length(&frame(&[0x8100, 0x8100, 0x8100, 0x0800], &IPV4)), 0);
        let whole = frame(&[0x8100, 0x86dd], &IPV6);
        for length in 0..whole.len() {
            assert_eq!(ip_length(&whole[..length]), 0, "cut at {length}");
        }
    }

    #[test]
    fn damage_spares_the_ethernet_header_and_reaches_every_bit_behind_it() {
        let places: std::collections::HashSet<_> =
            (0..16).filter_map(|random| damage(16, random)).collect();
        assert_eq!(places.len(), 16);
        assert!(
            places.iter().all(|(byte, mask)| (14..16).contains(byte) && mask.is_power_of_two())
        );
        assert_eq!(damage(14, 3), None);
        assert_eq!(damage(0, 3), None);
    }
}
