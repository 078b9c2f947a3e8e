//! Frames of hosts: TCP over IPv4, with timestamps as hosts of today send them, and ARP.
//!
//! In: plain structs. Out: frames of the pool; the other way round. Never: a check of a checksum:
//! nothing is damaged between a host and its appliance.

use dataplane::frame::checksum::{fill_ipv4_header, fill_transport};
use dataplane::frame::ip::protocol;
use dataplane::frame::{Frame, FrameSource};

use super::frame::{MbufFrame, MbufSource};

const ETHERNET: usize = 14;
const IPV4: usize = 20;
const TCP: usize = 32;
const SYN_TCP: usize = 44;
/// Where the TCP header of a frame begins.
const AT_TCP: usize = ETHERNET + IPV4;
/// Room in a frame of the pool.
const ROOM: usize = 2_048;
/// Shift of the windows that hosts offer.
const SCALE: u8 = 10;
/// What a host has room for.
const WINDOW: u16 = 8_192;
const ARP: u16 = 0x0806;
const IP: u16 = 0x0800;

pub(crate) const FIN: u8 = 1;
pub(crate) const SYN: u8 = 2;
pub(crate) const RST: u8 = 4;
pub(crate) const ACK: u8 = 16;

/// One end of a connection, or whoever has an address.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct End {
    pub(crate) mac: [u8; 6],
    pub(crate) ip: [u8; 4],
    pub(crate) port: u16,
}

/// A segment to be sent.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Segment<'a> {
    pub(crate) flags: u8,
    pub(crate) sequence: u32,
    pub(crate) acknowledgement: u32,
    /// The other's latest timestamp.
    pub(crate) echo: u32,
    pub(crate) payload: &'a [u8],
}

/// A segment that came.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Seen<'a> {
    pub(crate) from: End,
    pub(crate) to: End,
    pub(crate) flags: u8,
    pub(crate) sequence: u32,
    pub(crate) acknowledgement: u32,
    /// Not scaled.
    pub(crate) window: u16,
    /// Options of the header.
    options: &'a [u8],
    /// What of it is in the first part of the frame.
    pub(crate) payload: &'a [u8],
}

impl Seen<'_> {
    /// The sender's clock.
    pub(crate) fn stamp(&self) -> u32 {
        // As hosts and our appliances write it, or anywhere.
        let value = match self.options {
            [1, 1, 8, 10, value @ ..] => Some(value),
            options => option(options, 8),
        };
        value.and_then(|value| u32_at(value, 0)).unwrap_or(0)
    }

    /// The shift of its windows.
    pub(crate) fn scale(&self) -> u8 {
        option(self.options, 3).and_then(|value| value.first().copied()).unwrap_or(0)
    }
}

/// Writes a segment.
pub(crate) fn write(
    source: &mut MbufSource,
    from: &End,
    to: &End,
    segment: &Segment<'_>,
) -> Option<MbufFrame> {
    let tcp_len = if segment.flags & SYN == 0 { TCP } else { SYN_TCP };
    let mut frame = source.alloc()?;
    let header = frame.append(AT_TCP + tcp_len)?;
    header[..6].copy_from_slice(&to.mac);
    header[6..12].copy_from_slice(&from.mac);
    header[12..14].copy_from_slice(&IP.to_be_bytes());
    let ip_len = u16::try_from(IPV4 + tcp_len + segment.payload.len()).ok()?;
    let ip = &mut header[ETHERNET..];
    ip[..2].copy_from_slice(&[0x45, 0]);
    ip[2..4].copy_from_slice(&ip_len.to_be_bytes());
    ip[4..12].copy_from_slice(&[0, 0, 0x40, 0, 64, protocol::TCP, 0, 0]);
    ip[12..16].copy_from_slice(&from.ip);
    ip[16..20].copy_from_slice(&to.ip);
    fill_ipv4_header(&mut ip[..IPV4]);
    let tcp = &mut header[AT_TCP..];
    tcp[..2].copy_from_slice(&from.port.to_be_bytes());
    tcp[2..4].copy_from_slice(&to.port.to_be_bytes());
    tcp[4..8].copy_from_slice(&segment.sequence.to_be_bytes());
    tcp[8..12].copy_from_slice(&segment.acknowledgement.to_be_bytes());
    tcp[12] = u8::try_from((tcp_len / 4) << 4).ok()?;
    tcp[13] = segment.flags;
    tcp[14..16].copy_from_slice(&WINDOW.to_be_bytes());
    tcp[16..20].fill(0);
    let stamps = if tcp_len == SYN_TCP {
        // MSS, SACK permitted, no operation and window scale.
        let mss = 1_460_u16.to_be_bytes();
        tcp[20..28].copy_from_slice(&[2, 4, mss[0], mss[1], 1, 1, 4, 2]);
        tcp[40..44].copy_from_slice(&[1, 3, 3, SCALE]);
        &mut tcp[28..40]
    } else {
        &mut tcp[20..32]
    };
    stamps[..4].copy_from_slice(&[1, 1, 8, 10]);
    // A clock that stands still is in order (RFC 7323 5.2).
    stamps[4..8].copy_from_slice(&1_u32.to_be_bytes());
    stamps[8..12].copy_from_slice(&segment.echo.to_be_bytes());
    append_all(&mut frame, source, segment.payload)?;
    if frame.tail_count() == 0 {
        let l4 = &mut frame.head_mut()[AT_TCP..];
        fill_transport(l4, from.ip.into(), to.ip.into(), protocol::TCP);
    }
    Some(frame)
}

/// Puts `bytes` behind the headers, in further segments of the pool where they do not fit.
fn append_all(frame: &mut MbufFrame, source: &mut MbufSource, bytes: &[u8]) -> Option<()> {
    let (first, rest) = bytes.split_at(bytes.len().min(ROOM - frame.frame_len()));
    frame.append(first.len())?.copy_from_slice(first);
    for bytes in rest.chunks(ROOM) {
        let mut tail = source.alloc()?;
        tail.append(bytes.len())?.copy_from_slice(bytes);
        if !frame.chain(tail) {
            return None;
        }
    }
    Some(())
}

/// Reads a segment to `own`'s station; `None` for anything else.
pub(crate) fn read<'a>(bytes: &'a [u8], own: &End) -> Option<Seen<'a>> {
    let (to, from) = (*bytes.first_chunk::<6>()?, *bytes.get(6..)?.first_chunk::<6>()?);
    if to != own.mac || u16_at(bytes, 12)? != IP || bytes.get(ETHERNET + 9) != Some(&protocol::TCP)
    {
        return None;
    }
    let address = |at: usize| -> Option<[u8; 4]> { Some(*bytes.get(at..)?.first_chunk()?) };
    let header_len = usize::from(bytes.get(AT_TCP + 12)? >> 4) * 4;
    let ip_len = usize::from(u16_at(bytes, ETHERNET + 2)?);
    Some(Seen {
        from: End { mac: from, ip: address(26)?, port: u16_at(bytes, AT_TCP)? },
        to: End { mac: to, ip: address(30)?, port: u16_at(bytes, AT_TCP + 2)? },
        flags: *bytes.get(AT_TCP + 13)?,
        sequence: u32_at(bytes, AT_TCP + 4)?,
        acknowledgement: u32_at(bytes, AT_TCP + 8)?,
        window: u16_at(bytes, AT_TCP + 14)?,
        options: bytes.get(AT_TCP + 20..AT_TCP + header_len)?,
        payload: bytes.get(AT_TCP + header_len..bytes.len().min(ETHERNET + ip_len))?,
    })
}

/// The question of `own` who has this address.
pub(crate) fn ask(source: &mut MbufSource, own: &End, target: [u8; 4]) -> Option<MbufFrame> {
    arp(source, own, 1, [0xff; 6], target)
}

/// The answer to the question who has an address of `own`'s network that `is_own`, if it is one.
pub(crate) fn answer_arp(
    source: &mut MbufSource,
    own: &End,
    bytes: &[u8],
    is_own: impl Fn([u8; 4]) -> bool,
) -> Option<MbufFrame> {
    let target = *bytes.get(38..)?.first_chunk()?;
    if u16_at(bytes, 12)? != ARP || bytes.get(21) != Some(&1) || !is_own(target) {
        return None;
    }
    let (mac, ip) = (*bytes.get(22..)?.first_chunk()?, *bytes.get(28..)?.first_chunk()?);
    arp(source, &End { ip: target, ..*own }, 2, mac, ip)
}

fn arp(
    source: &mut MbufSource,
    own: &End,
    operation: u8,
    to: [u8; 6],
    target: [u8; 4],
) -> Option<MbufFrame> {
    let mut frame = source.alloc()?;
    let bytes = frame.append(60)?;
    bytes.fill(0);
    bytes[..6].copy_from_slice(&to);
    bytes[6..12].copy_from_slice(&own.mac);
    bytes[12..14].copy_from_slice(&ARP.to_be_bytes());
    bytes[14..22].copy_from_slice(&[0, 1, 8, 0, 6, 4, 0, operation]);
    bytes[22..28].copy_from_slice(&own.mac);
    bytes[28..32].copy_from_slice(&own.ip);
    bytes[32..38].copy_from_slice(if operation == 1 { &[0; 6] } else { &to });
    bytes[38..42].copy_from_slice(&target);
    Some(frame)
}

/// The value of the option of this kind.
fn option(mut options: &[u8], kind: u8) -> Option<&[u8]> {
    loop {
        let len = if options.first()? == &1 { 1 } else { usize::from(*options.get(1)?) };
        if options[0] == kind {
            return options.get(2..len);
        }
        options = options.get(len.max(1)..)?;
    }
}

/// Sequence numbers are modulo 2^32.
#[expect(clippy::cast_possible_truncation, reason = "that is meant")]
pub(crate) fn low(offset: u64) -> u32 {
    offset as u32
}

fn u16_at(bytes: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_be_bytes(*bytes.get(at..)?.first_chunk()?))
}

fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_be_bytes(*bytes.get(at..)?.first_chunk()?))
}
