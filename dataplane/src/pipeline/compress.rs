//! The compress stage: whole buffers, at most one per turn, so that a turn stays short
//! (64 KiB take about 0.1 ms).
//!
//! In: buffers of the packet driver. Out: the same buffers, packed where it pays.

use crate::compression::Compressor;
use crate::link::Link;
use crate::packet_driver::OutboundBuffer;

/// State of the compress stage.
#[derive(Debug)]
pub struct CompressStage {
    compressor: Compressor,
}

impl CompressStage {
    /// A stage around a compressor.
    #[must_use]
    pub fn new(compressor: Compressor) -> Self {
        CompressStage { compressor }
    }

    /// Passes on at most one buffer; says whether there was one.
    pub fn turn(
        &mut self,
        buffers: &mut Link<OutboundBuffer>,
        packed: &mut Link<OutboundBuffer>,
    ) -> bool {
        if packed.room() == 0 {
            return false;
        }
        let Some(buffer) = buffers.pop() else { return false };
        // There was room, and this is the link's only producer.
        let _ = packed.push(self.compressor.compress(buffer));
        true
    }
}
