//! Entry points of the fuzz targets (`fuzz/`): every decoder, and a pair that is driven by bytes.
//!
//! In: any bytes. Out: nothing, or a panic that is a bug. The same functions run with random bytes,
//! and with those of the corpora, in the tests below.

use std::net::{IpAddr, Ipv4Addr};

use crate::compression::Decompressor;
use crate::data_mover::wire::{
    Acknowledgement, CloseReason, Cookie, DataView, DatagramHeader, DatagramKind, Exchange, Floor,
    Hello, Near, SubfieldKind, Subfields, parse_digest,
};
use crate::frame::{self, arp::ArpPacket, ndp};
use crate::packet_driver::open::OpenParameters;
use crate::packet_driver::{BufferPool, Disaggregator, MessageKind, PeerIndex, PoolClass};

/// Longest buffer that is decompressed.
const PLAIN_LEN_MAX: usize = 64 * 1024;

/// Datagrams: header, every subfield, key exchanges.
pub fn datagram(bytes: &[u8]) {
    if let Ok(exchange) = Exchange::parse(bytes) {
        let mut out = [0; Exchange::LEN_MAX];
        assert_eq!(exchange.emit(&mut out), Some(bytes.len()));
        assert!(Exchange::macs(bytes).is_some());
    }
    let _ = Cookie::parse(bytes);
    let Ok((header, mut field, rest)) = DatagramHeader::parse(bytes) else { return };
    if header.kind != DatagramKind::Hello {
        let view = DataView::parse(header.kind, field, rest, Near::default());
        let Ok((view, subfields)) = view else { return };
        let total: usize = view.pieces().map(|(_, bytes)| bytes.len()).sum();
        match view.parity {
            None => assert_eq!(total, rest.len()),
            Some((parity, _)) => {
                let (from, to) = parity.cell(parity.cells - 1);
                assert!(total == 0 && from < to && to <= parity.buffer_len);
            }
        }
        field = subfields;
    }
    for subfield in Subfields::new(field).map_while(Result::ok) {
        let body = subfield.body;
        match subfield.kind {
            SubfieldKind::Acknowledgement => {
                if let Ok(ack) = Acknowledgement::parse(body) {
                    let covered = ack.received.iter().chain(ack.complete.iter()).count();
                    assert!(covered <= body.len() * 8);
                }
            }
            SubfieldKind::Floor => {
                let _ = Floor::parse(body).map(|floor| floor.abandoned.iter().count());
            }
            SubfieldKind::Close => {
                let _ = CloseReason::parse(body);
            }
            SubfieldKind::Digest => {
                let _ = parse_digest(body);
            }
            SubfieldKind::Hello => {
                let _ = Hello::parse(body);
            }
            _ => {}
        }
    }
}

fn pool() -> BufferPool {
    BufferPool::new(&[PoolClass { size: PLAIN_LEN_MAX + 64, count: 4, reserve: 0 }])
}

/// Buffers: routing header, decompression, messages.
pub fn buffer(bytes: &[u8]) {
    let pool = pool();
    let Some(mut memory) = pool.alloc(bytes.len().max(1)) else { return };
    memory.set_len(bytes.len());
    memory.bytes_mut().copy_from_slice(bytes);
    let mut decompressor = Decompressor::new(pool.clone(), PLAIN_LEN_MAX);
    let Ok(plain) = decompressor.decompress(&memory.freeze()) else { return };
    let own = IpAddr::from(Ipv4Addr::LOCALHOST);
    for message in Disaggregator::new(&[own]).messages(PeerIndex(0), plain) {
        if matches!(message.header.kind, MessageKind::Open | MessageKind::Accept) {
            let _ = OpenParameters::parse(&message.data);
        }
    }
    assert_eq!(pool.in_use_bytes(), 0);
}

/// A pair of sealed sessions, driven by bytes: loss, repetition, damage, and a peer that does not
/// keep to the protocol.
pub fn pair(bytes: &[u8]) {
    crate::data_mover::fuzz::pair(bytes);
}

/// One end of a pair: strangers who know its public key, and a peer that writes what it likes into
/// its handshakes.
pub fn handshake(bytes: &[u8]) {
    crate::data_mover::fuzz::handshake(bytes);
}

/// An edge between a host and a peer that both send what they like.
pub fn edge(bytes: &[u8]) {
    crate::edge::fuzz::edge(bytes);
}

/// Pieces and parities of any shape, in any order.
pub fn parity(bytes: &[u8]) {
    crate::data_mover::fuzz_parity(bytes);
}

/// Frames of the LAN and of the WAN.
pub fn frame(bytes: &[u8]) {
    let _ = ArpPacket::parse(bytes);
    let _ = ndp::NdpPacket::parse(bytes);
    let _ = frame::parse_quoted(bytes, 0);
    let Ok(parsed) = frame::parse(bytes, bytes.len()) else { return };
    if parsed.is_ip() {
        let _ = (parsed.ip_packet(bytes), parsed.l4(bytes), parsed.tcp_options(bytes));
        let _ = (parsed.ip_header(bytes), frame::icmp::too_big_mtu(&parsed, bytes));
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::Path;

    use proptest::prelude::*;

    use super::*;

    type Target = fn(&[u8]);

    const TARGETS: [(&str, Target); 7] = [
        ("datagram", datagram),
        ("buffer", buffer),
        ("frame", frame),
        ("pair", pair),
        ("parity", parity),
        ("handshake", handshake),
        ("edge", edge),
    ];

    fn corpus(target: &str) -> Vec<Vec<u8>> {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../fuzz/corpus").join(target);
        let files = fs::read_dir(&folder).unwrap();
        files.map(|file| fs::read(file.unwrap().path()).unwrap()).collect()
    }

    #[test]
    fn what_is_in_the_corpora_is_survived() {
        for (target, run) in TARGETS {
            let inputs = corpus(target);
            assert!(!inputs.is_empty(), "{target}");
            inputs.iter().for_each(|input| run(input));
        }
    }

    /// Inputs of a corpus, damaged.
    fn damaged(target: &'static str) -> impl Strategy<Value = Vec<u8>> {
        let inputs = corpus(target);
        let edits = proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..8);
        (0..inputs.len(), edits, 0_usize..4).prop_map(move |(which, edits, cut)| {
            let mut bytes = inputs[which].clone();
            for (at, value) in edits {
                let at = at.index(bytes.len().max(1));
                if let Some(byte) = bytes.get_mut(at) {
                    *byte = value;
                }
            }
            bytes.truncate(bytes.len().saturating_sub(cut));
            bytes
        })
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(512))]

        #[test]
        fn damaged_datagrams_are_survived(bytes in damaged("datagram")) {
            datagram(&bytes);
        }

        #[test]
        fn damaged_buffers_are_survived(bytes in damaged("buffer")) {
            buffer(&bytes);
        }

        #[test]
        fn damaged_parity_is_survived(bytes in damaged("parity")) {
            parity(&bytes);
        }

        #[test]
        fn damaged_frames_are_survived(bytes in damaged("frame")) {
            frame(&bytes);
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(48))]

        #[test]
        fn a_pair_driven_by_any_bytes_is_survived(bytes in proptest::collection::vec(any::<u8>(), 0..600)) {
            pair(&bytes);
        }

        #[test]
        fn a_pair_driven_by_damaged_bytes_is_survived(bytes in damaged("pair")) {
            pair(&bytes);
        }

        #[test]
        fn damaged_handshakes_are_survived(bytes in damaged("handshake")) {
            handshake(&bytes);
        }

        #[test]
        fn an_edge_driven_by_damaged_bytes_is_survived(bytes in damaged("edge")) {
            edge(&bytes);
        }
    }
}
