//! All links of a pipeline, made for a placement.

use super::placement::{Placement, StageKind};
use crate::frame::Side;
use crate::link::Link;
use crate::packet_driver::OutboundBuffer;
use crate::packet_driver::{Arrived, Inbound, Upstream};

/// Frames that wait between two stages, at most.
const FRAMES: usize = 512;
/// Messages that wait between two stages, at most.
const MESSAGES: usize = 1024;
/// Buffers that wait between two stages, at most. Few: what waits here is latency for all that
/// comes behind it.
const BUFFERS: usize = 4;
/// Complete buffers that wait for decompression, at most.
const ARRIVED: usize = 64;

/// One worker's ends of all links.
#[derive(Debug)]
pub struct Links<F> {
    /// port to edge.
    pub frames: Link<(Side, F)>,
    /// port to transmit: our own UDP.
    pub datagrams_in: Link<F>,
    /// edge to aggregate.
    pub messages: Link<Upstream<F>>,
    /// aggregate to compress.
    pub buffers: Link<OutboundBuffer>,
    /// compress to transmit.
    pub packed: Link<OutboundBuffer>,
    /// transmit to decompress.
    pub arrived: Link<Arrived>,
    /// decompress to edge.
    pub delivered: Link<Inbound>,
    /// edge to port, by side.
    pub edge_frames: [Link<F>; 2],
    /// transmit to port.
    pub datagrams_out: Link<F>,
}

impl<F> Links<F> {
    fn absent() -> Self {
        Links {
            frames: Link::Absent,
            datagrams_in: Link::Absent,
            messages: Link::Absent,
            buffers: Link::Absent,
            packed: Link::Absent,
            arrived: Link::Absent,
            delivered: Link::Absent,
            edge_frames: [Link::Absent, Link::Absent],
            datagrams_out: Link::Absent,
        }
    }

    /// The links of every worker of a placement, in the order of its workers.
    #[must_use]
    pub fn for_placement(placement: &Placement) -> Vec<Self> {
        use StageKind::{Aggregate, Compress, Decompress, Edge, Port, Transmit};
        let mut all: Vec<Self> = placement.workers().iter().map(|_| Links::absent()).collect();
        let mut joint = Joint { placement, all: &mut all };
        joint.link(Port, Edge, FRAMES, |links| &mut links.frames);
        joint.link(Port, Transmit, FRAMES, |links| &mut links.datagrams_in);
        joint.link(Edge, Aggregate, MESSAGES, |links| &mut links.messages);
        joint.link(Aggregate, Compress, BUFFERS, |links| &mut links.buffers);
        joint.link(Compress, Transmit, BUFFERS, |links| &mut links.packed);
        joint.link(Transmit, Decompress, ARRIVED, |links| &mut links.arrived);
        joint.link(Decompress, Edge, MESSAGES, |links| &mut links.delivered);
        joint.link(Edge, Port, FRAMES, |links| &mut links.edge_frames[Side::Lan.index()]);
        joint.link(Edge, Port, FRAMES, |links| &mut links.edge_frames[Side::Wan.index()]);
        joint.link(Transmit, Port, FRAMES, |links| &mut links.datagrams_out);
        all
    }
}

struct Joint<'a, F> {
    placement: &'a Placement,
    all: &'a mut [Links<F>],
}

impl<F> Joint<'_, F> {
    fn link<T>(
        &mut self,
        from: StageKind,
        to: StageKind,
        limit: usize,
        end: impl Fn(&mut Links<F>) -> &mut Link<T>,
    ) {
        let (Some(from), Some(to)) = (self.placement.worker_of(from), self.placement.worker_of(to))
        else {
            return;
        };
        if from == to {
            *end(&mut self.all[from]) = Link::direct(limit);
        } else {
            let (sender, receiver) = Link::ring(limit);
            *end(&mut self.all[from]) = sender;
            *end(&mut self.all[to]) = receiver;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rings_join_workers_and_queues_stay_within_one() {
        let one = Links::<()>::for_placement(&Placement::single(0));
        assert_eq!(one.len(), 1);
        assert!(matches!(one[0].frames, Link::Direct { .. }));

        let each = Links::<()>::for_placement(&Placement::one_stage_per_core());
        assert_eq!(each.len(), StageKind::ALL.len());
        assert!(matches!(each[0].frames, Link::Sender(_)));
        assert!(matches!(each[1].frames, Link::Receiver(_)));
        assert!(matches!(each[2].frames, Link::Absent));
        assert!(matches!(each[0].datagrams_out, Link::Receiver(_)));
        assert!(matches!(each[4].datagrams_out, Link::Sender(_)));
    }
}
