//! A frame from its number, and back.
//!
//! In: the number of a frame in its direction. Out: all of its headers. Never: a table: what a
//! number stands for is computed, so that a million flows cost the generator no memory, and the
//! sink knows from the number in a frame what the whole frame has to be.
//!
//! The first frames of a direction go through all flows in order, one each; from then on the flow
//! is drawn.

use super::size::Sizes;

/// Bytes of a frame that differ from frame to frame: headers and number. What is behind them is
/// the same in all frames ([`filler`]).
pub const HEAD_LEN: usize = 60;
/// Most flows.
pub const FLOWS_MAX: u64 = 1 << 20;

const ETHERNET_LEN: usize = 14;
const IP_LEN: usize = 20;
const UDP_AT: usize = ETHERNET_LEN + IP_LEN;
const NUMBER_AT: usize = UDP_AT + 8;
const CHECK_AT: usize = NUMBER_AT + 8;
/// Behind the two station addresses, which a forwarder may replace.
const COMPARED_FROM: usize = 12;
/// Hosts behind either port.
const HOSTS_BITS: u32 = 10;
const PORT_FIRST: u16 = 1024;
const NET_A: u32 = 0x0a01_0000;
const NET_B: u32 = 0x0a02_0000;
const STATION_A: [u8; 6] = [0x02, 0, 0, 0, 0x0a, 1];
const STATION_B: [u8; 6] = [0x02, 0, 0, 0, 0x0a, 2];

const _: () = assert!(CHECK_AT + 8 <= HEAD_LEN);
const _: () = assert!(FLOWS_MAX <= 1 << (2 * HOSTS_BITS), "each flow has hosts of its own");

/// Which way a frame goes through the device under test.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// Into the first port: what begins flows.
    Forth,
    /// Into the second port: answers of the same flows.
    Back,
}

impl Way {
    /// Both.
    pub const BOTH: [Way; 2] = [Way::Forth, Way::Back];

    /// Forth is 0.
    #[must_use]
    pub fn index(self) -> usize {
        usize::from(self == Way::Back)
    }
}

/// What a frame that came back is found to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Seen {
    /// As it was sent, station addresses aside; its number.
    Sound(u64),
    /// Ours, but not as it was sent.
    Changed,
    /// Not one of ours: the device under test says something of its own.
    Foreign,
}

/// A stream of frames.
#[derive(Clone, Copy, Debug)]
pub struct Content {
    seed: u64,
    flows: u64,
    sizes: Sizes,
}

impl Content {
    /// Frames of `flows` flows (1 to [`FLOWS_MAX`]); the same seed makes the same frames.
    #[must_use]
    pub fn new(seed: u64, flows: u64, sizes: Sizes) -> Self {
        Content { seed, flows: flows.clamp(1, FLOWS_MAX), sizes }
    }

    /// How many flows there are.
    #[must_use]
    pub fn flows(&self) -> u64 {
        self.flows
    }

    /// Bytes of a frame.
    #[must_use]
    #[inline]
    pub fn len(&self, number: u64) -> usize {
        self.sizes.of(number)
    }

    /// The headers of a frame.
    #[must_use]
    #[inline]
    #[expect(clippy::cast_possible_truncation, reason = "fields are taken out of words")]
    pub fn head(&self, way: Way, number: u64) -> [u8; HEAD_LEN] {
        let drawn = mix(self.seed ^ (number << 1 | way.index() as u64));
        let flow = match number < self.flows {
            true => number,
            false => ((u128::from(drawn) * u128::from(self.flows)) >> 64) as u64,
        };
        let ports = mix(self.seed ^ !flow);
        let port = |bits: u64| (bits as u16).max(PORT_FIRST);
        let hosts = (1 << HOSTS_BITS) - 1;
        let a = (NET_A + 1 + (flow as u32 & hosts), port(ports), STATION_A);
        let b = (NET_B + 1 + ((flow >> HOSTS_BITS) as u32 & hosts), port(ports >> 16), STATION_B);
        let (source, destination) = if way == Way::Forth { (a, b) } else { (b, a) };

        let ip_len = (self.len(number) - ETHERNET_LEN) as u16;
        let mut head = [0; HEAD_LEN];
        head[..6].copy_from_slice(&destination.2);
        head[6..12].copy_from_slice(&source.2);
        head[12..14].copy_from_slice(&[0x08, 0x00]);
        head[14..24].copy_from_slice(&[0x45, 0, 0, 0, 0, 0, 0x40, 0, 64, 17]);
        head[16..18].copy_from_slice(&ip_len.to_be_bytes());
        head[26..30].copy_from_slice(&source.0.to_be_bytes());
        head[30..34].copy_from_slice(&destination.0.to_be_bytes());
        let checksum = ip_checksum(ip_len, source.0, destination.0);
        head[24..26].copy_from_slice(&checksum.to_be_bytes());
        head[34..36].copy_from_slice(&source.1.to_be_bytes());
        head[36..38].copy_from_slice(&destination.1.to_be_bytes());
        // Without a checksum (RFC 768: zero), as tunnels send it.
        head[38..40].copy_from_slice(&(ip_len - IP_LEN as u16).to_be_bytes());
        head[NUMBER_AT..CHECK_AT].copy_from_slice(&number.to_be_bytes());
        head[CHECK_AT..CHECK_AT + 8].copy_from_slice(&drawn.to_be_bytes());
        head
    }

    /// The number of a frame; `None` for one that is not ours.
    #[must_use]
    #[inline]
    pub fn number(&self, way: Way, frame: &[u8]) -> Option<u64> {
        let number = u64::from_be_bytes(*frame.get(NUMBER_AT..)?.first_chunk()?);
        let drawn = mix(self.seed ^ (number << 1 | way.index() as u64));
        (frame.get(CHECK_AT..CHECK_AT + 8) == Some(&drawn.to_be_bytes())).then_some(number)
    }

    /// Compares a frame with what its number says.
    #[must_use]
    pub fn check(&self, way: Way, frame: &[u8]) -> Seen {
        let Some(number) = self.number(way, frame) else { return Seen::Foreign };
        let head = self.head(way, number);
        let rest = (HEAD_LEN..).zip(frame.iter().skip(HEAD_LEN));
        let sound = frame.len() == self.len(number)
            && frame[COMPARED_FROM..HEAD_LEN] == head[COMPARED_FROM..]
            && rest.into_iter().all(|(at, byte)| *byte == filler(at));
        if sound { Seen::Sound(number) } else { Seen::Changed }
    }
}

/// The byte at this offset of every frame, behind its headers.
#[must_use]
#[expect(clippy::cast_possible_truncation, reason = "a pattern that does not repeat every 256")]
pub fn filler(at: usize) -> u8 {
    (at ^ ((at >> 8) * 0x5b)) as u8
}

/// RFC 1071, of a header whose other words are always the same.
#[expect(clippy::cast_possible_truncation, reason = "folded to 16 bits")]
fn ip_checksum(ip_len: u16, source: u32, destination: u32) -> u16 {
    const CONSTANT: u32 = 0x4500 + 0x4000 + 0x4011;
    let halves = |word: u32| (word >> 16) + (word & 0xffff);
    let sum = CONSTANT + u32::from(ip_len) + halves(source) + halves(destination);
    !(halves(halves(sum)) as u16)
}

/// SplitMix64 (Steele, Lea, Flood 2014).
#[inline]
fn mix(word: u64) -> u64 {
    let mut mixed = word.wrapping_add(0x9e37_79b9_7f4a_7c15);
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ (mixed >> 31)
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use dataplane::frame::heap::HeapSource;
    use dataplane::frame::{Frame, Transport, checksum, parse};

    use super::*;

    fn whole(content: &Content, way: Way, number: u64) -> Vec<u8> {
        let mut frame = content.head(way, number).to_vec();
        frame.extend((HEAD_LEN..content.len(number)).map(filler));
        frame
    }

    #[test]
    fn frames_are_sound_and_checked_by_their_number() {
        let content = Content::new(7, 100, Sizes::Mix);
        let mut frames = HeapSource::new(1);
        for way in Way::BOTH {
            for number in (0..300).chain([u64::MAX >> 1]) {
                let bytes = whole(&content, way, number);
                let frame = frames.frame_of(&bytes).unwrap();
                let parsed = parse(frame.head(), bytes.len()).unwrap();
                assert_eq!(parsed.transport, Transport::Udp);
                assert!(checksum::frame_ok(&frame, &parsed));
                assert_eq!(content.check(way, &bytes), Seen::Sound(number));
                let other = if way == Way::Forth { Way::Back } else { Way::Forth };
                assert_eq!(content.check(other, &bytes), Seen::Foreign, "it came back at once");
            }
        }
    }

    #[test]
    fn every_byte_counts_but_those_of_the_stations() {
        let content = Content::new(7, 100, Sizes::Mix);
        // The number decides about the length: 6 is a long one.
        let bytes = whole(&content, Way::Forth, 6);
        for at in 0..bytes.len() {
            let mut changed = bytes.clone();
            changed[at] ^= 1;
            let sound = content.check(Way::Forth, &changed) == Seen::Sound(6);
            assert_eq!(sound, at < COMPARED_FROM, "byte {at}");
        }
        assert_eq!(content.check(Way::Forth, &bytes[..1000]), Seen::Changed);
        assert_eq!(content.check(Way::Forth, &bytes[..40]), Seen::Foreign);
    }

    #[test]
    fn the_first_frames_are_one_of_each_flow_and_later_ones_are_of_these() {
        let content = Content::new(3, 5000, Sizes::Fixed(64));
        let key = |way, number| {
            let head = content.head(way, number);
            parse(&head, head.len()).unwrap().key
        };
        let flows: HashSet<_> = (0..5000).map(|number| key(Way::Forth, number)).collect();
        assert_eq!(flows.len(), 5000);
        let drawn: HashSet<_> = (5000..50_000).map(|number| key(Way::Forth, number)).collect();
        assert!(drawn.is_subset(&flows) && drawn.len() > 4990);
        assert!((5000..9000).all(|number| flows.contains(&key(Way::Back, number).reversed())));
    }
}
