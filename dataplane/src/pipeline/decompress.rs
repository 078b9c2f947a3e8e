//! The decompress stage: buffers back to plain, then into messages.
//!
//! In: complete buffers in the order they completed, and changes of sessions between them.
//! Out: messages in that order. Never: more than one buffer's decompression per turn.

use crate::compression::{DecompressError, Decompressor};
use crate::link::Link;
use crate::packet_driver::{Arrived, Inbound};
use crate::packet_driver::{BufferSlice, Disaggregator, Messages, PeerIndex};

/// State of the decompress stage.
#[derive(Debug)]
pub struct DecompressStage {
    decompressor: Decompressor,
    disaggregator: Disaggregator,
    /// The rest of the buffer that did not fit the link.
    messages: Option<Messages>,
    /// A buffer for whose plain form there was no memory: the far data mover was told that we
    /// have it, so it waits here.
    waiting: Option<(PeerIndex, BufferSlice)>,
}

impl DecompressStage {
    /// A stage around a decompressor and a disaggregator.
    #[must_use]
    pub fn new(decompressor: Decompressor, disaggregator: Disaggregator) -> Self {
        DecompressStage { decompressor, disaggregator, messages: None, waiting: None }
    }

    /// Takes apart at most one buffer; says whether there was anything to do.
    pub fn turn(&mut self, arrived: &mut Link<Arrived>, delivered: &mut Link<Inbound>) -> bool {
        if !self.pass_on(delivered) {
            return false;
        }
        if delivered.room() == 0 {
            return false;
        }
        if let Some((peer, bytes)) = self.waiting.take() {
            return self.unpack(peer, bytes, delivered);
        }
        match arrived.pop() {
            None => false,
            Some(Arrived::Session { peer, change }) => {
                let _ = delivered.push(Inbound::Session { peer, change });
                true
            }
            Some(Arrived::Buffer { peer, bytes }) => self.unpack(peer, bytes, delivered),
        }
    }

    /// Whether no buffer, nor a part of one, waits here.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.messages.is_none() && self.waiting.is_none()
    }

    fn unpack(
        &mut self,
        peer: PeerIndex,
        bytes: BufferSlice,
        delivered: &mut Link<Inbound>,
    ) -> bool {
        match self.decompressor.decompress(&bytes) {
            Ok(plain) => {
                self.messages = Some(self.disaggregator.messages(peer, plain));
                self.pass_on(delivered);
                true
            }
            // Counted by the decompressor.
            Err(DecompressError::Damaged) => true,
            Err(DecompressError::NoMemory) => {
                self.waiting = Some((peer, bytes));
                false
            }
        }
    }

    /// Passes messages on while there is room; says whether none are left.
    fn pass_on(&mut self, delivered: &mut Link<Inbound>) -> bool {
        let Some(messages) = &mut self.messages else { return true };
        while delivered.room() > 0 {
            match messages.next() {
                Some(message) => {
                    let _ = delivered.push(Inbound::Message(message));
                }
                None => {
                    self.messages = None;
                    return true;
                }
            }
        }
        false
    }
}
