//! One worker: the stages that a placement puts on one core, and one turn of its loop.
//!
//! In: the time, the devices, a source of empty frames. Out: whether anything was done, and when
//! there will be something again. Never: a clock (time passes between turns, not within), a sleep.

use super::aggregate::AggregateStage;
use super::compress::CompressStage;
use super::decompress::DecompressStage;
use super::links::Links;
use super::port::{PortIo, PortStage};
use super::transmit::TransmitStage;
use crate::edge::EdgeStage;
use crate::frame::{Frame, FrameSource};
use crate::time::Time;

/// What came of a turn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Turn {
    /// Whether any stage had something to do.
    pub busy: bool,
    /// When the next turn is due: at once after a busy one, else when some stage has something to
    /// do, if nothing comes in until then.
    pub next: Time,
}

/// The stages of one core; those that run elsewhere are `None`.
pub struct Worker<F> {
    /// The core.
    pub core: usize,
    /// Its ends of the links.
    pub links: Links<F>,
    /// Bursts from and to the ports.
    pub port: Option<PortStage<F>>,
    /// Interceptor and edges.
    pub edge: Option<EdgeStage<F>>,
    /// Messages into buffers.
    pub aggregate: Option<AggregateStage<F>>,
    /// Compression.
    pub compress: Option<CompressStage>,
    /// The data mover.
    pub transmit: Option<TransmitStage<F>>,
    /// Decompression.
    pub decompress: Option<DecompressStage>,
}

impl<F: Frame> Worker<F> {
    /// Lets every stage do a bounded amount of work. Compression comes last, because it takes
    /// longest: the next turn reads the time after it.
    pub fn turn<P, S>(&mut self, now: Time, io: &mut P, source: &mut S) -> Turn
    where
        P: PortIo<Frame = F>,
        S: FrameSource<Frame = F>,
    {
        let links = &mut self.links;
        let mut busy = false;
        if let Some(port) = &mut self.port {
            busy |= port.turn(
                io,
                &mut links.frames,
                &mut links.datagrams_in,
                &mut links.edge_frames,
                &mut links.datagrams_out,
            );
        }
        if let Some(transmit) = &mut self.transmit {
            busy |= transmit.turn(
                now,
                &mut links.datagrams_in,
                &mut links.packed,
                &mut links.arrived,
                &mut links.datagrams_out,
                source,
            );
        }
        if let Some(decompress) = &mut self.decompress
            && let Some((arrived, delivered)) = links.of_decompress()
        {
            busy |= decompress.turn(arrived, delivered);
        }
        if let Some(edge) = &mut self.edge {
            busy |= edge.turn(
                now,
                &mut links.frames,
                &mut links.delivered,
                &mut links.messages,
                &mut links.edge_frames,
                source,
            );
        }
        if let Some(aggregate) = &mut self.aggregate {
            busy |= aggregate.turn(now, &mut links.messages, &mut links.buffers);
        }
        if let Some(compress) = &mut self.compress
            && let Some((buffers, packed)) = links.of_compress()
        {
            busy |= compress.turn(buffers, packed);
        }
        // To look at all timers takes a good part of a turn, and after a busy one nobody asks.
        Turn { busy, next: if busy { now } else { self.next_timeout() } }
    }

    /// When some stage has something to do, if nothing comes in until then.
    fn next_timeout(&mut self) -> Time {
        let transmit = self.transmit.as_mut().map(TransmitStage::next_timeout);
        let edge = self.edge.as_ref().map(EdgeStage::next_timeout);
        let aggregate = self.aggregate.as_ref().map(AggregateStage::next_timeout);
        [transmit, edge, aggregate].into_iter().flatten().min().unwrap_or(Time::NEVER)
    }

    /// Whether nothing waits here for another worker: until a frame, an item in a ring or the time
    /// that [`Turn::next`] names, there is nothing to do.
    #[must_use]
    pub fn is_quiet(&self) -> bool {
        self.links.are_empty()
            && self.port.as_ref().is_none_or(PortStage::is_idle)
            && self.aggregate.as_ref().is_none_or(AggregateStage::is_empty)
            && self.decompress.as_ref().is_none_or(DecompressStage::is_empty)
    }
}
