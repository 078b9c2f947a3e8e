//! Checksums that a device completes: what leaves a virtio port arrives with the right one.

use std::time::{Duration, Instant};

use dpdk_wrapper::mbuf::ChecksumStatus;
use dpdk_wrapper::{Burst, PortConfig, RxOffloads, TxOffloads};

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
        assert!(mbuf.complete_on_transmit(frame[23], true, (14, 20), None));
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

/// What a port that is asked for `rx_offloads` says of TCP and UDP that comes from a guest of the
/// same machine, whose checksums are only begun; and what is in the frames.
fn said(name: &str, rx_offloads: RxOffloads) -> Vec<(ChecksumStatus, Vec<u8>)> {
    let folder = std::env::temp_dir().join(format!("tpo-{name}-{}", std::process::id()));
    let path = folder.display();
    let checksums = TxOffloads::TCP_CKSUM | TxOffloads::UDP_CKSUM;
    let config = PortConfig { tx_offloads: checksums, ..PortConfig::default() };
    let mut far = Bench::new("net_vhost", &format!(",iface={path},queues=1"), &config);
    assert!(far.queues.granted.tx_offloads.contains(checksums));
    let config = PortConfig { rx_offloads, ..PortConfig::default() };
    let mut near = Bench::new("net_virtio_user", &format!(",path={path}"), &config);
    assert_eq!(near.queues.granted.rx_offloads, rx_offloads);
    let (until, mut got) = (Instant::now() + AGREED_WITHIN, Vec::new());
    let mut sending: Burst = Burst::new();
    for frame in [begun(TCP, 1_000), begun(UDP, 1_000)] {
        let mut mbuf = far.pool.alloc_copy(&frame).unwrap();
        assert!(mbuf.complete_on_transmit(frame[23], true, (14, 20), None));
        sending.push(mbuf).unwrap();
    }
    while got.len() < 2 {
        assert!(Instant::now() < until, "only {} of 2 have come", got.len());
        far.queues.tx[0].tx_prepare(&mut sending).unwrap();
        far.queues.tx[0].tx_burst(&mut sending);
        let mut received: Burst = Burst::new();
        near.queues.rx[0].rx_burst(&mut received);
        got.extend(received.iter().map(|mbuf| (mbuf.rx_checksums().l4, mbuf.data().to_vec())));
        std::thread::yield_now();
    }
    near.finish();
    far.finish();
    got
}

#[test]
fn a_virtio_port_says_what_is_not_filled_in_only_if_it_is_asked() {
    let checksums = RxOffloads::TCP_CKSUM | RxOffloads::UDP_CKSUM;
    let frames = [begun(TCP, 1_000), begun(UDP, 1_000)];
    let asked = said("asked", checksums);
    assert_eq!(asked, frames.each_ref().map(|f| (ChecksumStatus::Unfilled, f.clone())));
    let unasked = said("unasked", RxOffloads::NONE);
    let whole = frames.each_ref().map(|f| (ChecksumStatus::Unknown, completed(f)));
    assert_eq!(unasked, whole);
}

#[test]
fn a_virtio_port_takes_a_large_segment_in_a_chain() {
    const SIZE: u16 = 1_400;
    let folder = std::env::temp_dir().join(format!("tpo-large-{}", std::process::id()));
    let path = folder.display();
    let vhost = format!(",iface={path},queues=1,tso=1");
    let mut far = Bench::new("net_vhost", &vhost, &PortConfig::default());
    let cuts = TxOffloads::TCP_CKSUM | TxOffloads::TCP_TSO | TxOffloads::MULTI_SEGS;
    let config = PortConfig { tx_offloads: cuts, ..PortConfig::default() };
    let mut near = Bench::new("net_virtio_user", &format!(",path={path}"), &config);
    assert_eq!(near.queues.granted.tx_offloads, cuts);

    let frame = begun(TCP, 7 * usize::from(SIZE));
    let mut parts = frame.chunks(2_000).map(|part| near.pool.alloc_copy(part).unwrap());
    let mut mbuf = parts.next().unwrap();
    parts.for_each(|part| mbuf.chain(part).unwrap());
    assert!(mbuf.complete_on_transmit(TCP, true, (14, 20), Some((20, SIZE))));
    let mut sending: Burst = Burst::new();
    sending.push(mbuf).unwrap();
    let until = Instant::now() + AGREED_WITHIN;
    let got = loop {
        assert!(Instant::now() < until, "nothing has come");
        near.queues.tx[0].tx_prepare(&mut sending).unwrap();
        near.queues.tx[0].tx_burst(&mut sending);
        let mut received: Burst = Burst::new();
        far.queues.rx[0].rx_burst(&mut received);
        if let Some(mbuf) = received.pop() {
            break (mbuf.segment_size(), mbuf.segments().flatten().copied().collect::<Vec<_>>());
        }
        std::thread::yield_now();
    };
    // Whole, with the size to cut it by; but for the checksum, which it gets when it is cut.
    let but_for_sum = |bytes: &[u8]| [&bytes[..50], &bytes[52..]].concat();
    assert_eq!(got.0, SIZE);
    assert!(but_for_sum(&got.1) == but_for_sum(&frame), "other bytes");
    near.finish();
    far.finish();
}
