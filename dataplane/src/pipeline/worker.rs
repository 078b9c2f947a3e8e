//! One worker: the stages that a placement puts on one core, and one turn of its loop.
//!
//! In: the time, the devices, a source of empty frames. Out: whether anything was done, and when
//! there will be something again. Never: a clock (time passes between turns, not within), a sleep.

use super::aggregate::AggregateStage;
use super::compress::CompressStage;
use super::decompress::DecompressStage;
use super::links::{EdgeLinks, Links};
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
        self.turn_and_measure(now, || now, io, source)
    }

    /// The same, with the time asked for once more before a compression, so that what it takes is
    /// known when the next turn begins.
    pub fn turn_and_measure<P, S>(
        &mut self,
        now: Time,
        later: impl FnOnce() -> Time,
        io: &mut P,
        source: &mut S,
    ) -> Turn
    where
        P: PortIo<Frame = F>,
        S: FrameSource<Frame = F>,
    {
        if let Some(compress) = &mut self.compress {
            compress.turn_begins(now);
        }
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
            && let Some((arrived, mut delivered)) = links.of_decompress()
        {
            busy |= decompress.turn(arrived, &mut delivered);
        }
        if let Some(edge) = &mut self.edge
            && let Some(EdgeLinks { frames_in, delivered, messages, frames_out, heard, told }) =
                links.of_edge()
        {
            busy |= edge.turn(now, frames_in, delivered, messages, frames_out, source);
            if heard.len() > 1 {
                busy |= edge.exchange_sightings(now, heard, told);
            }
        }
        if let Some(aggregate) = &mut self.aggregate {
            busy |= aggregate.turn(now, &mut links.messages, &mut links.buffers);
        }
        if let Some(compress) = &mut self.compress
            && let Some((buffers, packed)) = links.of_compress()
        {
            compress.others_end(busy);
            busy |= compress.turn(later, buffers, packed);
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

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;
    use std::sync::Arc;

    use super::*;
    use crate::compression::engine::tests::outbound;
    use crate::compression::{Compressor, Mode};
    use crate::frame::Side;
    use crate::frame::heap::{HeapFrame, HeapSource};
    use crate::packet_driver::{BufferPool, OutboundBuffer, PeerIndex, PeerStatus, PoolClass};
    use crate::pipeline::placement::{Placement, StageKind};
    use crate::time::MICROSECOND_NS;

    const DATA: [u8; 4_000] = [7; 4_000];

    /// A frame from the LAN in each turn.
    struct Busy(HeapSource);

    impl PortIo for Busy {
        type Frame = HeapFrame;

        fn receive(&mut self, side: Side, _: usize, into: &mut VecDeque<HeapFrame>) {
            if side == Side::Lan {
                into.extend(self.0.frame_of(&[0; 60]));
            }
        }

        fn transmit(&mut self, _: Side, _: &mut VecDeque<HeapFrame>) {}
    }

    /// One with other stages and one with nothing else: each compressor hears of its own turns, and
    /// of what the others of its own worker do.
    #[test]
    fn the_compressor_of_every_worker_knows_what_its_core_has_time_for() {
        let pairs = StageKind::ALL.map(|kind| (kind, 0)).into_iter();
        let pairs: Vec<_> = pairs.chain([(StageKind::Compress, 1)]).collect();
        let placement = Placement::new(&pairs).unwrap();
        let pool = BufferPool::new(&[PoolClass { size: 4_096, count: 8, reserve: 0 }]);
        let peers: Arc<[PeerStatus]> = (0..2).map(|_| PeerStatus::default()).collect();
        let workers = Links::for_placement(&placement).into_iter().enumerate();
        let workers = workers.map(|(core, links)| Worker {
            core,
            links,
            port: (core == 0).then(|| PortStage::new(Vec::new(), 4980, 32)),
            edge: None,
            aggregate: None,
            compress: Some(CompressStage::new(
                Compressor::new(pool.clone(), &[Mode::Lz4; 2]),
                Arc::clone(&peers),
                2,
            )),
            transmit: None,
            decompress: None,
        });
        let mut workers: Vec<Worker<HeapFrame>> = workers.collect();
        let mut source = HeapSource::new(4);
        let mut io = Busy(HeapSource::new(400));
        let mut now = Time::ZERO;
        // Turns of 200 us: 50 for other stages, if there is anything, then 150 to compress for one
        // peer.
        for turn in 0..=100 {
            for _ in 0..2 {
                let buffer =
                    OutboundBuffer { compress: turn % 2 == 0, ..outbound(&pool, 1, &DATA) };
                workers[0].links.buffers.push(buffer).unwrap();
            }
            for worker in &mut workers {
                let later = now + 50 * MICROSECOND_NS;
                assert!(worker.turn_and_measure(now, || later, &mut io, &mut source).busy);
                let under_way = worker.compress.as_ref().unwrap().under_way();
                assert_eq!(under_way.is_some(), turn % 2 == 0, "{turn}");
            }
            for _ in 0..2 {
                let packed = workers[0].links.packed.pop().unwrap();
                assert_eq!(packed.bytes.len() < DATA.len(), turn % 2 == 0);
            }
            now = now + 200 * MICROSECOND_NS;
        }
        let free = |core: usize| {
            let compress = workers[core].compress.as_ref().unwrap();
            [0, 1].map(|peer| compress.free_ppm(PeerIndex(peer)))
        };
        // The least that is left is a tenth.
        assert_eq!(free(0), [750_000, 100_000]);
        assert_eq!(free(1), [1_000_000, 250_000]);
    }
}
