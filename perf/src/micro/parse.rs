//! The parser beside etherparse, over the frames of a LAN.
//!
//! Ours finds the 5-tuple, where everything lies, and what is wrong; etherparse, slices of the headers.

use std::hint::black_box;

use dataplane::frame::parse;
use etherparse::{PacketBuilder, SlicedPacket, TcpOptionElement};

use super::{Bench, MicroError};

/// Times that all frames are parsed in one lap.
const TIMES: usize = 32;

pub(super) fn run(bench: &mut Bench) -> Result<(), MicroError> {
    let frames = frames();
    for frame in &frames {
        let wrong = |reason| MicroError::set_up("parse", reason);
        parse(frame, frame.len()).map_err(|error| wrong(format!("{error:?}")))?;
        SlicedPacket::from_ethernet(frame).map_err(|error| wrong(error.to_string()))?;
    }
    let mut ours = || {
        for frame in (0..TIMES).flat_map(|_| &frames) {
            let frame = black_box(frame);
            let _ = black_box(parse(frame, frame.len()));
        }
    };
    let mut etherparse = || {
        for frame in (0..TIMES).flat_map(|_| &frames) {
            let _ = black_box(SlicedPacket::from_ethernet(black_box(frame)));
        }
    };
    bench.compare("parse", TIMES * frames.len(), &mut ours, &mut etherparse)
}

/// TCP, with stamps as hosts send them, and UDP; with data and without, over IPv4 and IPv6, a quarter
/// of it in a VLAN.
pub(crate) fn frames() -> Vec<Vec<u8>> {
    let mut frames = Vec::new();
    for payload in [&[][..], &[7; 1_400][..]] {
        for v6 in [false, true] {
            for tcp in [true, true, true, false] {
                let mut frame = frame(v6, tcp, payload);
                if frames.len() % 4 == 2 {
                    frame.splice(12..12, [0x81, 0x00, 0x00, 0x09]);
                }
                frames.push(frame);
            }
        }
    }
    frames
}

fn frame(v6: bool, tcp: bool, payload: &[u8]) -> Vec<u8> {
    use TcpOptionElement::{Noop, Timestamp};
    let link = PacketBuilder::ethernet2([2, 0, 0, 0, 0, 1], [2, 0, 0, 0, 0, 2]);
    let ip = if v6 {
        link.ipv6([0xfd; 16], [0xfe; 16], 64)
    } else {
        link.ipv4([10, 0, 0, 1], [10, 0, 0, 2], 64)
    };
    let mut frame = Vec::new();
    // A vector takes whatever is written.
    let _ = if tcp {
        let tcp = ip.tcp(40_000, 443, 1, 65_535).ack(1);
        let stamped = tcp.options(&[Noop, Noop, Timestamp(1, 2)]);
        stamped.map(|tcp| tcp.write(&mut frame, payload).is_ok()).unwrap_or(false)
    } else {
        ip.udp(40_000, 443).write(&mut frame, payload).is_ok()
    };
    frame
}
