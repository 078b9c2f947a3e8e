//! The header as bytes and as a struct: inverses, and nothing that bytes could do to the parser.

use proptest::prelude::*;

use crate::edge::tcp::segment::{HEADER_LEN_MAX, HEADER_LEN_MIN};
use crate::edge::tcp::{Flags, Options, SackBlock, SackBlocks, Segment, SegmentError, Timestamps};

fn sack_blocks(max: usize) -> impl Strategy<Value = SackBlocks> {
    let block = (any::<u32>(), 1..0x7fff_ffff_u32)
        .prop_map(|(start, len)| SackBlock { start, end: start.wrapping_add(len) });
    prop::collection::vec(block, 0..=max).prop_map(|blocks| {
        let mut sack = SackBlocks::default();
        for block in blocks {
            assert!(sack.push(block));
        }
        sack
    })
}

fn options() -> impl Strategy<Value = Options> {
    let stamps = (any::<u32>(), any::<u32>()).prop_map(|(value, echo)| Timestamps { value, echo });
    let of_syn = (
        proptest::option::of(any::<u16>()),
        proptest::option::of(0..=14_u8),
        any::<bool>(),
        proptest::option::of(stamps.clone()),
    )
        .prop_map(|(mss, window_scale, sack_permitted, timestamps)| Options {
            mss,
            window_scale,
            sack_permitted,
            timestamps,
            ..Options::default()
        });
    let with_stamps = (stamps, sack_blocks(3)).prop_map(|(timestamps, sack)| Options {
        timestamps: Some(timestamps),
        sack,
        ..Options::default()
    });
    let bare = sack_blocks(4).prop_map(|sack| Options { sack, ..Options::default() });
    prop_oneof![of_syn, with_stamps, bare]
}

prop_compose! {
    fn segments()(
        seq: u32, ack: u32, flags: u8, window: u16, urgent: u16, payload_len in 0..9000_u32,
        options in options(),
    ) -> Segment {
        Segment { seq, ack, flags: Flags(flags), window, urgent, options, payload_offset: 0, payload_len }
    }
}

proptest! {
    #[test]
    fn parse_and_emit_are_inverse(segment in segments(), offset in 0..10_000_u32) {
        let mut bytes = [0xaa; HEADER_LEN_MAX];
        let len = segment.emit(0x1234, 0x5678, &mut bytes).unwrap();
        prop_assert_eq!(len, segment.header_len());
        prop_assert_eq!(&bytes[..4], &[0x12, 0x34, 0x56, 0x78]);
        let header_len = u32::try_from(len).unwrap();
        let tcp_len = header_len + segment.payload_len;
        let parsed = Segment::parse(&bytes, offset, tcp_len).unwrap();
        prop_assert_eq!(parsed, Segment { payload_offset: offset + header_len, ..segment });
        // Cut anywhere, it is no segment, and it does not fit into less.
        for cut in 0..len {
            prop_assert_eq!(
                Segment::parse(&bytes[..cut], 0, tcp_len),
                Err(SegmentError::Truncated)
            );
            prop_assert_eq!(segment.emit(1, 2, &mut vec![0; cut]), None);
        }
        prop_assert_eq!(Segment::parse(&bytes, 0, header_len - 1), Err(SegmentError::Truncated));
    }

    #[test]
    fn any_bytes_parse_or_not(
        mut bytes in prop::collection::vec(any::<u8>(), 0..80),
        words in 0..16_u8,
        tcp_len in any::<u32>(),
        offset in any::<u32>(),
    ) {
        if let Some(byte) = bytes.get_mut(12) {
            *byte = words << 4;
        }
        if let Ok(segment) = Segment::parse(&bytes, offset, tcp_len) {
            // What was understood can be written, unless a stranger packed more than we do.
            let mut again = [0; HEADER_LEN_MAX];
            if let Some(len) = segment.emit(0, 0, &mut again) {
                let parsed = Segment::parse(&again, 0, u32::try_from(len).unwrap() + segment.payload_len);
                let expected = Segment {
                    payload_offset: u32::try_from(len).unwrap(),
                    options: Options { authenticated: false, unknown: false, ..segment.options },
                    ..segment
                };
                prop_assert_eq!(parsed, Ok(expected));
            }
        }
    }
}

fn header_with(options: &[u8]) -> Vec<u8> {
    assert_eq!(options.len() % 4, 0);
    let mut bytes = vec![0; HEADER_LEN_MIN];
    bytes[12] = u8::try_from((HEADER_LEN_MIN + options.len()) / 4).unwrap() << 4;
    bytes.extend_from_slice(options);
    bytes
}

fn parse_options(options: &[u8]) -> Result<Options, SegmentError> {
    Segment::parse(&header_with(options), 0, 100).map(|segment| segment.options)
}

#[test]
fn absurd_options_are_errors_and_never_a_loop() {
    let absurd: [&[u8]; 9] = [
        &[2, 0, 5, 180],
        &[2, 1, 5, 180],
        &[2, 5, 5, 180],
        &[1, 1, 1, 2],
        &[3, 4, 7, 0],
        &[4, 3, 0, 0],
        &[5, 3, 0, 0],
        &[8, 4, 0, 0],
        &[77, 255, 0, 0],
    ];
    for options in absurd {
        assert_eq!(parse_options(options), Err(SegmentError::OptionLength), "{options:?}");
    }
}

#[test]
fn options_are_read_as_they_stand() {
    let mss = Options { mss: Some(1460), ..Options::default() };
    assert_eq!(parse_options(&[2, 4, 5, 180]), Ok(mss));
    // Behind the end of the list anything may stand.
    assert_eq!(parse_options(&[2, 4, 5, 180, 0, 255, 255, 2]), Ok(mss));
    let unknown = Options { unknown: true, ..mss };
    assert_eq!(parse_options(&[99, 3, 1, 1, 2, 4, 5, 180]), Ok(unknown));
    let scale = Options { window_scale: Some(14), ..Options::default() };
    assert_eq!(parse_options(&[3, 3, 200, 1]), Ok(scale), "RFC 7323 2.3");
    let md5 = [19, 18, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 1];
    assert!(parse_options(&md5).unwrap().authenticated);
    assert!(parse_options(&[29, 4, 0, 0]).unwrap().authenticated);
    // An inverted block is no block.
    let inverted = [1, 1, 5, 10, 0, 0, 0, 9, 0, 0, 0, 9];
    assert_eq!(parse_options(&inverted), Ok(Options::default()));
}

#[test]
fn a_data_offset_below_the_header_is_an_error() {
    let mut bytes = header_with(&[]);
    bytes[12] = 4 << 4;
    assert_eq!(Segment::parse(&bytes, 0, 20), Err(SegmentError::DataOffset));
}

#[test]
fn what_belongs_to_no_connection_is_refused() {
    let syn = Segment { seq: u32::MAX, flags: Flags::SYN, payload_len: 3, ..Segment::default() };
    let refusal = syn.refusal().unwrap();
    assert_eq!((refusal.seq, refusal.ack), (0, 3));
    assert_eq!(refusal.flags, Flags::RST.with(Flags::ACK));
    let ack = Segment { seq: 5, ack: 9, flags: Flags::ACK, ..Segment::default() };
    let refusal = ack.refusal().unwrap();
    assert_eq!((refusal.seq, refusal.ack, refusal.flags), (9, 0, Flags::RST));
    assert_eq!(refusal.refusal(), None);
}
