//! Checksums that a device completes: what leaves a virtio port arrives with the right one.

use std::time::{Duration, Instant};

use dpdk_wrapper::{Burst, PortConfig, TxOffloads};

use crate::bench::Bench;

const TCP: u8 = 6;
const UDP: u8 = 17;
/// Until both ends of a virtio device have agreed, at most.
const AGREED_WITHIN: Duration = Duration::from_secs(20);

fn sum(bytes: &[u8]) -> u16 {
    let word = |two: &[u8]| [two[0], two.get(1).copied().unwrap_or(0)];
    let words = bytes.chunks(2).map(|two| u32::from(u16::from_be_bytes(word(two))));
    let mut sum: u32 = words.sum();
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    u16::try_from(sum).unwrap()
}

/// A packet over IPv4, its transport's checksum with the sum of the pseudo header alone.
fn begun(protocol: u8, payload_len: usize) -> Vec<u8> {
    let (header_len, at) = if protocol == TCP { (20, 16) } else { (8, 6) };
    let l4_len = u16::try_from(header_len + payload_len).unwrap();
    let mut frame = vec![2; 12];
    frame.extend([0x08, 0, 0x45, 0]);
    frame.extend((20 + l4_len).to_be_bytes());
    frame.extend([0, 0, 0x40, 0, 64, protocol, 0, 0, 10, 0, 0, 1, 10, 0, 0, 2]);
    let ip_sum = !sum(&frame[14..34]);
    frame[24..26].copy_from_slice(&ip_sum.to_be_bytes());
    let pseudo = [&frame[26..34], &[0, protocol], &l4_len.to_be_bytes()].concat();
    frame.extend((0..usize::from(l4_len)).map(|n| u8::try_from(n % 251).unwrap()));
    if protocol == TCP {
        frame[46] = 5 << 4;
    } else {
        frame[38..40].copy_from_slice(&l4_len.to_be_bytes());
    }
    frame[34 + at..36 + at].copy_from_slice(&sum(&pseudo).to_be_bytes());
    frame
}

/// The same packet with the checksum that it has to have.
fn completed(frame: &[u8]) -> Vec<u8> {
    let at = 34 + if frame[23] == TCP { 16 } else { 6 };
    let mut frame = frame.to_vec();
    let complete = !sum(&frame[34..]);
    frame[at..at + 2].copy_from_slice(&complete.to_be_bytes());
    frame
}

#[test]
fn a_virtio_port_completes_checksums_that_were_begun() {
    let folder = std::env::temp_dir().join(format!("tpo-vhost-{}", std::process::id()));
    let path = folder.display();
    let mut far =
        Bench::new("net_vhost", &format!(",iface={path},queues=1"), &PortConfig::default());
    let checksums = TxOffloads::TCP_CKSUM | TxOffloads::UDP_CKSUM;
    let config = PortConfig { tx_offloads: checksums, ..PortConfig::default() };
    let mut near = Bench::new("net_virtio_user", &format!(",path={path}"), &config);
    assert!(near.queues.granted.tx_offloads.contains(checksums));

    let frames = [(TCP, 1_400), (UDP, 1_400), (TCP, 0), (UDP, 13)].map(|(p, len)| begun(p, len));
    let (until, mut got) = (Instant::now() + AGREED_WITHIN, Vec::new());
    let mut sending: Burst = Burst::new();
    for frame in &frames {
        let mut mbuf = near.pool.alloc_copy(frame).unwrap();
        assert!(mbuf.complete_on_transmit(frame[23], true, 14, 20));
        sending.push(mbuf).unwrap();
    }
    while got.len() < frames.len() {
        assert!(Instant::now() < until, "only {} of {} have come", got.len(), frames.len());
        near.queues.tx[0].tx_prepare(&mut sending).unwrap();
        near.queues.tx[0].tx_burst(&mut sending);
        let mut received: Burst = Burst::new();
        far.queues.rx[0].rx_burst(&mut received);
        got.extend(received.iter().map(|mbuf| mbuf.data().to_vec()));
        std::thread::yield_now();
    }
    assert_eq!(got, frames.each_ref().map(|frame| completed(frame)));
    near.finish();
    far.finish();
}
