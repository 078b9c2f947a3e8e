//! Writes messages into one buffer.
//!
//! The data of a stream that continue where the buffer ends only make its last message longer, so
//! that bulk costs one header a buffer, not one a frame; a stretch that is too long for the room
//! is cut, so that buffers of bulk are full.

use std::net::IpAddr;

use super::super::header::{MESSAGE_DATA_MAX, MessageRepr, header_len};
use super::super::routing::{ROUTING_HEADER_LEN, RoutingHeader};
use super::super::{
    BufferKind, BufferMut, BufferSlice, MessageHeader, MessageKind, Outbound, OutboundBody,
};
use crate::copy::{self, Copied};
use crate::frame::Frame;

/// A stretch is not cut for fewer bytes than this.
const CUT_LEN_MIN: usize = 64;

/// What became of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Written {
    /// All of it is in the buffer.
    Whole,
    /// Its first bytes of data are; the message has been shortened by them.
    Part,
    /// It does not fit.
    Nothing,
}

/// The last message of the buffer, when it is a stretch of a stream.
#[derive(Clone, Copy, Debug)]
struct Stretch {
    header_at: usize,
    repr: MessageRepr,
}

impl Stretch {
    fn continues(&self, header: &MessageHeader) -> bool {
        let last = &self.repr.header;
        let end = last.sequence.wrapping_add(u64::from(self.repr.data_len));
        header.kind == MessageKind::Data && header.flow == last.flow && header.sequence == end
    }
}

pub(super) struct Writer {
    buffer: BufferMut,
    len_max: usize,
    messages: u16,
    last: Option<Stretch>,
}

impl Writer {
    /// Writes to `buffer`, at most `len_max` bytes in all.
    pub(super) fn new(mut buffer: BufferMut, len_max: usize) -> Self {
        buffer.set_len(ROUTING_HEADER_LEN);
        let len_max = len_max.min(buffer.capacity());
        Writer { buffer, len_max, messages: 0, last: None }
    }

    pub(super) fn messages(&self) -> u16 {
        self.messages
    }

    fn room(&self) -> usize {
        self.len_max.saturating_sub(self.buffer.len())
    }

    /// Writes `message`, or as much of it as fits. `destination` is its TPO's address.
    pub(super) fn write<F: Frame>(
        &mut self,
        message: &mut Outbound<F>,
        destination: Option<IpAddr>,
    ) -> Written {
        let extended = self.extend(message);
        if extended > 0 && message.body.is_empty() {
            return Written::Whole;
        }
        let Some(len) = self.len_that_fits(message) else {
            return if extended > 0 { Written::Part } else { Written::Nothing };
        };
        self.begin(message, destination, len);
        if message.body.is_empty() { Written::Whole } else { Written::Part }
    }

    // Makes the last message longer by the data of `message`; by how many bytes.
    fn extend<F: Frame>(&mut self, message: &mut Outbound<F>) -> usize {
        let Some(mut last) = self.last.filter(|last| last.continues(&message.header)) else {
            return 0;
        };
        let rest = MESSAGE_DATA_MAX - usize::from(last.repr.data_len);
        let len = message.body.len().min(self.room()).min(rest);
        if len == 0 || !self.copy(message, len) {
            return 0;
        }
        last.repr.data_len = data_len(usize::from(last.repr.data_len) + len);
        if let Some(header) = self.buffer.bytes_mut().get_mut(last.header_at..) {
            last.repr.emit_data_len(header);
        }
        self.last = Some(last);
        len
    }

    // How much of the data goes into a message of its own; `None` when it has to wait.
    fn len_that_fits<F: Frame>(&self, message: &Outbound<F>) -> Option<usize> {
        let len = message.body.len();
        let room = self.room().checked_sub(header_len(&message.header))?.min(MESSAGE_DATA_MAX);
        if len <= room {
            return Some(len);
        }
        (message.header.kind == MessageKind::Data && room >= CUT_LEN_MIN).then_some(room)
    }

    fn begin<F: Frame>(
        &mut self,
        message: &mut Outbound<F>,
        destination: Option<IpAddr>,
        len: usize,
    ) {
        let header = message.header;
        let destination_tpo = destination.filter(|_| header.key.is_some());
        let repr = MessageRepr { header, data_len: data_len(len), destination_tpo };
        let header_at = self.buffer.len();
        if let Some(place) = self.buffer.append(repr.header_len()) {
            repr.emit(place);
        }
        self.copy(message, len);
        self.messages = self.messages.saturating_add(1);
        self.last = (header.kind == MessageKind::Data).then_some(Stretch { header_at, repr });
    }

    // Moves the first `len` bytes of data from the message to the buffer.
    fn copy<F: Frame>(&mut self, message: &mut Outbound<F>, len: usize) -> bool {
        let Some(place) = self.buffer.append(len) else { return false };
        let copied = match &message.body {
            OutboundBody::Empty => len == 0,
            OutboundBody::Inline { bytes, .. } => match bytes.get(..len) {
                Some(bytes) => {
                    copy::bytes(Copied::Made, place, bytes);
                    true
                }
                None => false,
            },
            OutboundBody::Frame { frame, offset, .. } => {
                len == 0 || copy::of_frame(Copied::FrameToBuffer, frame, *offset as usize, place)
            }
        };
        debug_assert!(copied, "the range was checked when the message was taken in");
        message.body.advance(len);
        message.header.sequence = message.header.sequence.wrapping_add(len as u64);
        copied
    }

    /// The finished buffer.
    pub(super) fn finish(mut self, kind: BufferKind) -> BufferSlice {
        let len = u32::try_from(self.buffer.len() - ROUTING_HEADER_LEN).unwrap_or(u32::MAX);
        RoutingHeader::stored(kind, self.messages, len).emit(self.buffer.bytes_mut());
        self.buffer.freeze()
    }
}

fn data_len(len: usize) -> u16 {
    debug_assert!(len <= MESSAGE_DATA_MAX);
    u16::try_from(len).unwrap_or(u16::MAX)
}
