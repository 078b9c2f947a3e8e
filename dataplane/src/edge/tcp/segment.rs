//! TCP segments: header and options, read from bytes and written to bytes (RFC 9293 3.1).
//!
//! In: the bytes of a TCP header. Out: a plain struct, or the struct as bytes. Ports and the
//! checksum belong to whoever knows the addresses. Never: a decision about the connection.

use super::sequence::before;

/// Bytes of a TCP header without options.
pub const HEADER_LEN_MIN: usize = 20;
/// Bytes of the largest TCP header.
pub const HEADER_LEN_MAX: usize = 60;
/// Most SACK blocks that fit into a header (RFC 2018 section 3).
pub const SACK_BLOCKS_MAX: usize = 4;
/// SACK blocks that fit beside timestamps.
pub const SACK_BLOCKS_WITH_TIMESTAMPS: usize = 3;
/// Largest shift count of the window scale option (RFC 7323 2.3).
pub const WINDOW_SCALE_MAX: u8 = 14;

/// Bytes of the timestamps option with its padding (RFC 7323 appendix A).
pub(super) const TIMESTAMPS_LEN: usize = 12;

const _: () = assert!(
    HEADER_LEN_MIN + TIMESTAMPS_LEN + 4 + 8 * SACK_BLOCKS_WITH_TIMESTAMPS <= HEADER_LEN_MAX,
    "timestamps and their share of SACK blocks fit into one header"
);
const _: () = assert!(
    HEADER_LEN_MIN + 4 + 8 * SACK_BLOCKS_MAX <= HEADER_LEN_MAX,
    "the SACK option with all blocks fits into one header"
);

mod kind {
    pub(super) const END: u8 = 0;
    pub(super) const NOP: u8 = 1;
    pub(super) const MSS: u8 = 2;
    pub(super) const WINDOW_SCALE: u8 = 3;
    pub(super) const SACK_PERMITTED: u8 = 4;
    pub(super) const SACK: u8 = 5;
    pub(super) const TIMESTAMPS: u8 = 8;
    pub(super) const MD5: u8 = 19;
    pub(super) const AO: u8 = 29;
}

/// The control bits (RFC 9293 3.1, RFC 3168).
#[derive(Clone, Copy, Default, PartialEq, Eq)]
pub struct Flags(pub u8);

impl Flags {
    /// No more data from the sender.
    pub const FIN: Flags = Flags(0x01);
    /// Synchronize sequence numbers.
    pub const SYN: Flags = Flags(0x02);
    /// Reset the connection.
    pub const RST: Flags = Flags(0x04);
    /// Push.
    pub const PSH: Flags = Flags(0x08);
    /// The acknowledgment field counts.
    pub const ACK: Flags = Flags(0x10);
    /// The urgent pointer counts.
    pub const URG: Flags = Flags(0x20);
    /// ECN echo.
    pub const ECE: Flags = Flags(0x40);
    /// Congestion window reduced.
    pub const CWR: Flags = Flags(0x80);

    /// Whether all bits of `other` are set.
    #[must_use]
    pub const fn has(self, other: Flags) -> bool {
        self.0 & other.0 == other.0
    }

    /// The bits of both.
    #[must_use]
    pub const fn with(self, other: Flags) -> Flags {
        Flags(self.0 | other.0)
    }
}

impl std::fmt::Debug for Flags {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        const NAMES: [(Flags, &str); 8] = [
            (Flags::SYN, "SYN"),
            (Flags::FIN, "FIN"),
            (Flags::RST, "RST"),
            (Flags::PSH, "PSH"),
            (Flags::ACK, "ACK"),
            (Flags::URG, "URG"),
            (Flags::ECE, "ECE"),
            (Flags::CWR, "CWR"),
        ];
        let mut separator = "";
        for (flag, name) in NAMES {
            if self.has(flag) {
                write!(f, "{separator}{name}")?;
                separator = "|";
            }
        }
        if self.0 == 0 { f.write_str("-") } else { Ok(()) }
    }
}

/// The timestamps option (RFC 7323 section 3).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Timestamps {
    /// The sender's clock.
    pub value: u32,
    /// The clock value of ours that it echoes; meaningless without ACK.
    pub echo: u32,
}

/// One SACK block: sequence numbers `start..end` (RFC 2018 section 3).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SackBlock {
    /// First sequence number of the block.
    pub start: u32,
    /// The sequence number behind the block.
    pub end: u32,
}

/// The blocks of a SACK option.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SackBlocks {
    blocks: [SackBlock; SACK_BLOCKS_MAX],
    count: u8,
}

impl SackBlocks {
    /// The blocks in the order of the option.
    #[must_use]
    pub fn as_slice(&self) -> &[SackBlock] {
        self.blocks.get(..usize::from(self.count)).unwrap_or(&[])
    }

    /// Adds a block; false, and nothing changed, when there are [`SACK_BLOCKS_MAX`] already.
    pub fn push(&mut self, block: SackBlock) -> bool {
        match self.blocks.get_mut(usize::from(self.count)) {
            Some(slot) => {
                *slot = block;
                self.count += 1;
                true
            }
            None => false,
        }
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }
}

/// The options of a segment that this TCP knows; others are skipped.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Options {
    /// Maximum segment size in bytes (RFC 9293 3.7.1).
    pub mss: Option<u16>,
    /// Window scale shift count, at most [`WINDOW_SCALE_MAX`].
    pub window_scale: Option<u8>,
    /// SACK permitted (RFC 2018).
    pub sack_permitted: bool,
    /// Timestamps.
    pub timestamps: Option<Timestamps>,
    /// SACK blocks.
    pub sack: SackBlocks,
    /// An MD5 (RFC 2385) or AO (RFC 5925) option is present: such flows cannot be split. Never
    /// written.
    pub authenticated: bool,
    /// An option this TCP does not know is present. Never written.
    pub unknown: bool,
}

impl Options {
    fn len(&self) -> usize {
        let mut len = 0;
        if self.mss.is_some() {
            len += 4;
        }
        if self.window_scale.is_some() {
            len += 4;
        }
        if self.sack_permitted {
            len += 4;
        }
        if self.timestamps.is_some() {
            len += TIMESTAMPS_LEN;
        }
        if !self.sack.is_empty() {
            len += 4 + 8 * self.sack.as_slice().len();
        }
        len
    }
}

/// Why bytes are not a TCP segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SegmentError {
    /// Fewer bytes than a TCP header, or than the header says it has.
    #[error("the TCP header is cut short")]
    Truncated,
    /// The data offset is less than five words.
    #[error("the TCP data offset is smaller than the header")]
    DataOffset,
    /// An option is longer than the header or has a length that its kind does not allow.
    #[error("a TCP option has an impossible length")]
    OptionLength,
}

/// A TCP segment: its header as a plain struct, and where its payload is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Segment {
    /// Sequence number of the first byte, or of the SYN.
    pub seq: u32,
    /// Acknowledgment number; 0 when ACK is not set.
    pub ack: u32,
    /// Control bits.
    pub flags: Flags,
    /// The window field as it stands, unscaled.
    pub window: u16,
    /// The urgent pointer.
    pub urgent: u16,
    /// Options.
    pub options: Options,
    /// Offset of the payload in the frame, in bytes; 0 in segments to be sent.
    pub payload_offset: u32,
    /// Bytes of payload.
    pub payload_len: u32,
}

impl Segment {
    /// Reads a header. `bytes` begin with the TCP header and hold at least all of it; they are
    /// found at `frame_offset` in the frame, and header and payload together are `tcp_len` bytes
    /// by the IP header (the payload may lie in other parts of the frame).
    ///
    /// # Errors
    /// What is wrong with the bytes; such a segment is dropped and counted.
    pub fn parse(bytes: &[u8], frame_offset: u32, tcp_len: u32) -> Result<Self, SegmentError> {
        let (fixed, _) =
            bytes.split_first_chunk::<HEADER_LEN_MIN>().ok_or(SegmentError::Truncated)?;
        let header_len = usize::from(fixed[12] >> 4) * 4;
        if header_len < HEADER_LEN_MIN {
            return Err(SegmentError::DataOffset);
        }
        let options = bytes.get(HEADER_LEN_MIN..header_len).ok_or(SegmentError::Truncated)?;
        let header_len = u32::try_from(header_len).unwrap_or(u32::MAX);
        let payload_len = tcp_len.checked_sub(header_len).ok_or(SegmentError::Truncated)?;
        Ok(Segment {
            seq: u32::from_be_bytes([fixed[4], fixed[5], fixed[6], fixed[7]]),
            ack: u32::from_be_bytes([fixed[8], fixed[9], fixed[10], fixed[11]]),
            flags: Flags(fixed[13]),
            window: u16::from_be_bytes([fixed[14], fixed[15]]),
            urgent: u16::from_be_bytes([fixed[18], fixed[19]]),
            options: parse_options(options)?,
            payload_offset: frame_offset.checked_add(header_len).ok_or(SegmentError::Truncated)?,
            payload_len,
        })
    }

    /// Bytes of the header with its options.
    #[must_use]
    pub fn header_len(&self) -> usize {
        HEADER_LEN_MIN + self.options.len()
    }

    /// Writes the header to the front of `into`, the checksum as 0; returns its length, or
    /// `None` when it does not fit.
    pub fn emit(&self, source_port: u16, destination_port: u16, into: &mut [u8]) -> Option<usize> {
        let header_len = self.header_len();
        if header_len > HEADER_LEN_MAX {
            return None;
        }
        let header = into.get_mut(..header_len)?;
        let (fixed, options) = header.split_first_chunk_mut::<HEADER_LEN_MIN>()?;
        let words = u8::try_from(header_len / 4).ok()?;
        fixed[0..2].copy_from_slice(&source_port.to_be_bytes());
        fixed[2..4].copy_from_slice(&destination_port.to_be_bytes());
        fixed[4..8].copy_from_slice(&self.seq.to_be_bytes());
        fixed[8..12].copy_from_slice(&self.ack.to_be_bytes());
        fixed[12] = words << 4;
        fixed[13] = self.flags.0;
        fixed[14..16].copy_from_slice(&self.window.to_be_bytes());
        fixed[16..18].fill(0);
        fixed[18..20].copy_from_slice(&self.urgent.to_be_bytes());
        let mut writer = OptionWriter { rest: options };
        writer.options(&self.options)?;
        Some(header_len)
    }

    /// The RST that answers this segment where there is no connection (RFC 9293 3.10.7.1);
    /// `None` for a RST.
    #[must_use]
    pub fn refusal(&self) -> Option<Segment> {
        if self.flags.has(Flags::RST) {
            return None;
        }
        Some(if self.flags.has(Flags::ACK) {
            Segment { seq: self.ack, flags: Flags::RST, ..Segment::default() }
        } else {
            Segment {
                ack: self.seq.wrapping_add(self.sequence_len()),
                flags: Flags::RST.with(Flags::ACK),
                ..Segment::default()
            }
        })
    }

    /// Length in sequence space: payload, SYN and FIN (RFC 9293 SEG.LEN).
    #[must_use]
    pub fn sequence_len(&self) -> u32 {
        self.payload_len
            .saturating_add(u32::from(self.flags.has(Flags::SYN)))
            .saturating_add(u32::from(self.flags.has(Flags::FIN)))
    }
}

fn parse_options(mut rest: &[u8]) -> Result<Options, SegmentError> {
    let mut options = Options::default();
    // What nearly every segment has: nothing, or timestamps as RFC 7323 appendix A has them.
    match *rest {
        [] => return Ok(options),
        [kind::NOP, kind::NOP, kind::TIMESTAMPS, 10, a, b, c, d, e, f, g, h] => {
            let (value, echo) = ([a, b, c, d], [e, f, g, h]);
            options.timestamps = Some(Timestamps {
                value: u32::from_be_bytes(value),
                echo: u32::from_be_bytes(echo),
            });
            return Ok(options);
        }
        _ => {}
    }
    while let Some((&kind, after)) = rest.split_first() {
        match kind {
            kind::END => break,
            kind::NOP => {
                rest = after;
                continue;
            }
            _ => {}
        }
        // RFC 9293 3.1: a length that cannot be is an error, never a loop.
        let len = usize::from(*after.first().ok_or(SegmentError::OptionLength)?);
        if len < 2 {
            return Err(SegmentError::OptionLength);
        }
        let data = rest.get(2..len).ok_or(SegmentError::OptionLength)?;
        parse_option(kind, data, &mut options)?;
        rest = rest.get(len..).unwrap_or(&[]);
    }
    Ok(options)
}

fn parse_option(kind: u8, data: &[u8], options: &mut Options) -> Result<(), SegmentError> {
    match (kind, data) {
        (kind::MSS, &[a, b]) => options.mss = Some(u16::from_be_bytes([a, b])),
        // RFC 7323 2.3: a larger shift count is taken as 14.
        (kind::WINDOW_SCALE, &[shift]) => {
            options.window_scale = Some(shift.min(WINDOW_SCALE_MAX));
        }
        (kind::SACK_PERMITTED, &[]) => options.sack_permitted = true,
        (kind::TIMESTAMPS, &[a, b, c, d, e, f, g, h]) => {
            options.timestamps = Some(Timestamps {
                value: u32::from_be_bytes([a, b, c, d]),
                echo: u32::from_be_bytes([e, f, g, h]),
            });
        }
        (kind::SACK, blocks) if blocks.len() % 8 == 0 && !blocks.is_empty() => {
            options.sack = SackBlocks::default();
            for block in blocks.chunks_exact(8) {
                if let &[a, b, c, d, e, f, g, h] = block {
                    let start = u32::from_be_bytes([a, b, c, d]);
                    let end = u32::from_be_bytes([e, f, g, h]);
                    if before(start, end) {
                        options.sack.push(SackBlock { start, end });
                    }
                }
            }
        }
        (
            kind::MSS | kind::WINDOW_SCALE | kind::SACK_PERMITTED | kind::TIMESTAMPS | kind::SACK,
            _,
        ) => return Err(SegmentError::OptionLength),
        (kind::MD5 | kind::AO, _) => options.authenticated = true,
        _ => options.unknown = true,
    }
    Ok(())
}

/// Writes options one behind the other, each padded to whole words in front.
struct OptionWriter<'a> {
    rest: &'a mut [u8],
}

impl OptionWriter<'_> {
    fn put(&mut self, bytes: &[u8]) -> Option<()> {
        let (place, rest) = std::mem::take(&mut self.rest).split_at_mut_checked(bytes.len())?;
        place.copy_from_slice(bytes);
        self.rest = rest;
        Some(())
    }

    fn options(&mut self, options: &Options) -> Option<()> {
        if let Some(mss) = options.mss {
            let [a, b] = mss.to_be_bytes();
            self.put(&[kind::MSS, 4, a, b])?;
        }
        if options.sack_permitted {
            self.put(&[kind::NOP, kind::NOP, kind::SACK_PERMITTED, 2])?;
        }
        if let Some(timestamps) = options.timestamps {
            self.put(&[kind::NOP, kind::NOP, kind::TIMESTAMPS, 10])?;
            self.put(&timestamps.value.to_be_bytes())?;
            self.put(&timestamps.echo.to_be_bytes())?;
        }
        if let Some(shift) = options.window_scale {
            self.put(&[kind::NOP, kind::WINDOW_SCALE, 3, shift])?;
        }
        let blocks = options.sack.as_slice();
        if !blocks.is_empty() {
            let len = u8::try_from(2 + 8 * blocks.len()).ok()?;
            self.put(&[kind::NOP, kind::NOP, kind::SACK, len])?;
            for block in blocks {
                self.put(&block.start.to_be_bytes())?;
                self.put(&block.end.to_be_bytes())?;
            }
        }
        Some(())
    }
}
