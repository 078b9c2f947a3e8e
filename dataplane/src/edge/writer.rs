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

/// Writes the segments of one connection.
pub(super) struct FrameWriter<'a, S: FrameSource> {
    /// Where empty frames come from.
    pub(super) source: &'a mut S,
    /// Finished frames.
    pub(super) frames: &'a mut VecDeque<S::Frame>,
    /// Most finished frames that may wait.
    pub(super) frames_max: usize,
    /// The 5-tuple towards the host.
    pub(super) key: FlowKey,
    /// Addresses and tags of the link.
    pub(super) link: LinkHeader,
    /// DSCP.
    pub(super) dscp: u8,
    /// Whether the port completes the checksums of segments.
    pub(super) device_checksums: bool,
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
}

impl<S: FrameSource> FrameWriter<'_, S> {
    /// Writes the frame; the length of its IP packet.
    fn write(&self, frame: &mut S::Frame, segment: &Segment, payload: Payload<'_>) -> Option<u64> {
        let header_len = segment.header_len();
        let mut rest = frame.append(header_len + payload.len())?;
        segment.emit(self.key.source_port, self.key.destination_port, rest)?;
        rest = &mut rest[header_len..];
        for slice in payload {
            let (into, after) = rest.split_at_mut_checked(slice.len())?;
            copy::bytes(Copied::BufferToFrame, into, slice);
            rest = after;
        }
        let (source, destination) = (self.key.source(), self.key.destination());
        let l4 = frame.head_mut();
        if self.device_checksums {
            checksum::begin(l4, l4.len(), source, destination, protocol::TCP);
        } else {
            checksum::fill_transport(l4, source, destination, protocol::TCP);
        }
        let header = IpHeader {
            source,
            destination,
            protocol: protocol::TCP,
            traffic_class: self.dscp << 2,
            ttl: TTL_DEFAULT,
        };
        prepend_ip(frame, &header).ok()?;
        let ip_len = frame.frame_len() as u64;
        prepend_link(frame, &self.link, header.ethertype()).ok()?;
        if self.device_checksums {
            frame.leave_checksum(&Begun::behind(&self.link, &header));
        }
        Some(ip_len)
    }
}
