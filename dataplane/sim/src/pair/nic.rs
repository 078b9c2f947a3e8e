//! What a device does with checksums and large segments, in bytes.
//!
//! In: frames as they arrive at a port, and as they leave the appliance. Out: what the device says
//! of the checksums of the former; of the latter those packets that go on the cable. Never: a frame
//! on the cable that is longer than its packets may be.

use dataplane::frame::checksum::{self, fill_ipv4_header, fill_transport};
use dataplane::frame::heap::HeapFrame;
use dataplane::frame::ip::protocol;
use dataplane::frame::{ChecksumStatus, Frame, Network, Parsed, Transport, parse};

/// Flags that only the last packet of a segment has: FIN and PSH.
const LAST_ONLY: u8 = 0x09;
/// Where the checksum of TCP and UDP is in its header.
const TCP_SUM_AT: usize = 16;
const UDP_SUM_AT: usize = 6;

/// Looks at a frame that arrives at a port with offloads; `number` is how many did before. Every
/// other sound one is as if a guest of the same machine had sent it: its checksum is not filled in.
pub(super) fn received(frame: &mut HeapFrame, number: u64) {
    let Ok(parsed) = parse(frame.head(), frame.frame_len()) else { return };
    let sum_at = match parsed.transport {
        Transport::Tcp => TCP_SUM_AT,
        Transport::Udp if has_sum(frame, &parsed) => UDP_SUM_AT,
        _ => return,
    };
    if !checksum::frame_ok(frame, &parsed) {
        frame.checksums = ChecksumStatus::Bad;
    } else if number.is_multiple_of(2) {
        frame.checksums = ChecksumStatus::TransportGood;
    } else {
        frame.checksums = ChecksumStatus::Unfilled;
        let at = parsed.l4_offset as usize + sum_at;
        if let Some(field) = frame.head_mut().get_mut(at..at + 2) {
            field.fill(0x5a);
        }
    }
}

fn has_sum(frame: &HeapFrame, parsed: &Parsed) -> bool {
    parsed.l4(frame.head()).get(UDP_SUM_AT..UDP_SUM_AT + 2) != Some(&[0, 0])
}

/// Hands a frame that leaves to the cable, cut into packets if that was asked for.
///
/// # Panics
/// When it is to be cut and is not TCP.
pub(super) fn sent(frame: &HeapFrame, mut take: impl FnMut(&[u8])) {
    let size = usize::from(frame.segment_size());
    if size == 0 {
        assert_eq!(frame.tail_count(), 0, "a frame in parts that is not to be cut");
        take(frame.head());
        return;
    }
    let mut whole = vec![0; frame.frame_len()];
    assert!(frame.copy_out(0, &mut whole));
    let parsed = parse(&whole, whole.len()).expect("what is to be cut is a packet");
    assert_eq!(parsed.transport, Transport::Tcp, "only TCP is cut");
    let (headers, payload) = whole.split_at(parsed.payload_offset as usize);
    let count = payload.len().div_ceil(size);
    for (number, chunk) in payload.chunks(size).enumerate() {
        let is_last = number + 1 == count;
        take(&packet(headers, &parsed, number * size, chunk, is_last));
    }
}

/// The packet with the bytes from `offset` on.
fn packet(headers: &[u8], parsed: &Parsed, offset: usize, chunk: &[u8], is_last: bool) -> Vec<u8> {
    let mut packet = [headers, chunk].concat();
    let (l3, l4) = (parsed.l3_offset as usize, parsed.l4_offset as usize);
    let len = u16::try_from(packet.len() - l3).expect("an IP packet");
    if parsed.network == Network::Ipv4 {
        packet[l3 + 2..l3 + 4].copy_from_slice(&len.to_be_bytes());
        fill_ipv4_header(&mut packet[l3..l4]);
    } else {
        packet[l3 + 4..l3 + 6].copy_from_slice(&(len - 40).to_be_bytes());
    }
    let tcp = &mut packet[l4..];
    let sequence = u32::from_be_bytes([tcp[4], tcp[5], tcp[6], tcp[7]]);
    let offset = u32::try_from(offset).expect("less than an IP packet");
    tcp[4..8].copy_from_slice(&sequence.wrapping_add(offset).to_be_bytes());
    if !is_last {
        tcp[13] &= !LAST_ONLY;
    }
    fill_transport(tcp, parsed.key.source(), parsed.key.destination(), protocol::TCP);
    packet
}
