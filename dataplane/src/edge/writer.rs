//! Segments of a connection as frames.
//!
//! In: a TCP header and its payload slices. Out: a finished frame in the queue of the LAN port;
//! the payload is copied once, here. Never: a frame without room for it in the queue.

use std::collections::VecDeque;

use super::tcp::{Emit, Payload, Segment};
use crate::copy::{self, Copied};
use crate::frame::build::{TTL_DEFAULT, prepend_ip, prepend_link};
use crate::frame::checksum::Begun;
use crate::frame::ip::protocol;
use crate::frame::{FlowKey, Frame, FrameSource, IpHeader, LinkHeader, checksum};

/// Bytes that one part of a chain of frames has, TCP header and payload. Every frame of a pool has
/// room for as many.
const PART_BYTES: usize = 2_048;
/// Parts of the longest run, a whole IP packet.
pub(super) const PARTS_MAX: usize = (1 << 16) / PART_BYTES;

/// Writes the segments of one connection.
pub(super) struct FrameWriter<'a, S: FrameSource> {
    /// Where empty frames come from.
    pub(super) source: &'a mut S,
    /// Finished frames.
    pub(super) frames: &'a mut VecDeque<S::Frame>,
    /// Most finished frames that may wait.
    pub(super) frames_max: usize,
    /// Room for parts of a run.
    pub(super) parts: &'a mut Vec<S::Frame>,
    /// The 5-tuple towards the host.
    pub(super) key: FlowKey,
    /// Addresses and tags of the link.
    pub(super) link: LinkHeader,
    /// DSCP.
    pub(super) dscp: u8,
    /// Whether the port completes the checksums of segments.
    pub(super) device_checksums: bool,
    /// Payload bytes of a run, at most; 0 where the port cuts none.
    pub(super) cut_bytes_max: u32,
    /// Frames that runs leave for others.
    pub(super) frames_spare: usize,
    /// Set when there was no empty frame.
    pub(super) starved: bool,
    /// Length of the IP packets written so far.
    pub(super) ip_bytes: u64,
}

impl<S: FrameSource> Emit for FrameWriter<'_, S> {
    fn emit(&mut self, segment: &Segment, payload: Payload<'_>) -> bool {
        if self.frames.len() >= self.frames_max {
            return false;
        }
        let Some(mut frame) = self.source.alloc() else {
            self.starved = true;
            return false;
        };
        let Some(ip_len) = self.write(&mut frame, segment, payload) else { return false };
        self.ip_bytes += ip_len;
        self.frames.push_back(frame);
        true
    }

    fn run_bytes_max(&self) -> u32 {
        self.cut_bytes_max
    }

    fn emit_run(&mut self, segment: &Segment, payload: Payload<'_>, size: u16) -> bool {
        if self.frames.len() >= self.frames_max || self.source.free() <= self.frames_spare {
            return false;
        }
        let packets = payload.len().div_ceil(usize::from(size.max(1))) as u64;
        let written = self.write_run(segment, payload, size);
        self.parts.clear();
        let Some((frame, ip_len)) = written else { return false };
        // As many bytes as the packets have that it is cut into.
        let headers = ip_len - u64::from(segment.payload_len);
        self.ip_bytes += ip_len + (packets - 1) * headers;
        self.frames.push_back(frame);
        true
    }
}

impl<S: FrameSource> FrameWriter<'_, S> {
    /// Writes the frame; the length of its IP packet.
    fn write(&self, frame: &mut S::Frame, segment: &Segment, payload: Payload<'_>) -> Option<u64> {
        let header_len = segment.header_len();
        let room = frame.append(header_len + payload.len())?;
        segment.emit(self.key.source_port, self.key.destination_port, room)?;
        fill(room.get_mut(header_len..)?, payload)?;
        let (source, destination) = (self.key.source(), self.key.destination());
        let l4 = frame.head_mut();
        if self.device_checksums {
            checksum::begin(l4, l4.len(), source, destination, protocol::TCP);
        } else {
            checksum::fill_transport(l4, source, destination, protocol::TCP);
        }
        let (header, ip_len) = self.prepend(frame)?;
        if self.device_checksums {
            frame.leave_checksum(&Begun::behind(&self.link, &header));
        }
        Some(ip_len)
    }

    /// Writes a frame of several parts that is to be cut; it, and the length of its IP packet.
    fn write_run(
        &mut self,
        segment: &Segment,
        mut payload: Payload<'_>,
        size: u16,
    ) -> Option<(S::Frame, u64)> {
        let header_len = segment.header_len();
        let mut frame = self.source.alloc()?;
        let first = payload.split_to(PART_BYTES - header_len);
        let room = frame.append(header_len + first.len())?;
        segment.emit(self.key.source_port, self.key.destination_port, room)?;
        fill(room.get_mut(header_len..)?, first)?;
        while !payload.is_empty() {
            let mut part = self.source.alloc()?;
            let bytes = payload.split_to(PART_BYTES);
            fill(part.append(bytes.len())?, bytes)?;
            self.parts.push(part);
        }
        // From the back, so that no chain is walked along.
        let mut rest = self.parts.pop();
        while let Some(mut part) = self.parts.pop() {
            if !rest.is_none_or(|rest| part.chain(rest)) {
                return None;
            }
            rest = Some(part);
        }
        if !rest.is_none_or(|rest| frame.chain(rest)) {
            return None;
        }
        let (source, destination) = (self.key.source(), self.key.destination());
        checksum::begin(frame.head_mut(), 0, source, destination, protocol::TCP);
        let (header, ip_len) = self.prepend(&mut frame)?;
        frame.leave_checksum(&Begun::behind(&self.link, &header).cut(header_len, size));
        Some((frame, ip_len))
    }

    /// Writes the headers in front of a segment; that of IP, and the length of its packet.
    fn prepend(&self, frame: &mut S::Frame) -> Option<(IpHeader, u64)> {
        let header = IpHeader {
            source: self.key.source(),
            destination: self.key.destination(),
            protocol: protocol::TCP,
            traffic_class: self.dscp << 2,
            ttl: TTL_DEFAULT,
        };
        prepend_ip(frame, &header).ok()?;
        let ip_len = frame.frame_len() as u64;
        prepend_link(frame, &self.link, header.ethertype()).ok()?;
        Some((header, ip_len))
    }
}

/// Copies a payload to where it belongs, which has its length.
fn fill(mut into: &mut [u8], payload: Payload<'_>) -> Option<()> {
    for slice in payload {
        let (room, after) = into.split_at_mut_checked(slice.len())?;
        copy::bytes(Copied::BufferToFrame, room, slice);
        into = after;
    }
    Some(())
}
