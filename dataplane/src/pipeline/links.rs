//! All links of a pipeline, made for a placement.

use super::placement::{Placement, StageKind};
use crate::frame::Side;
use crate::link::Link;
use crate::packet_driver::OutboundBuffer;
use crate::packet_driver::{Arrived, Inbound, Upstream};

/// Frames that wait between two stages, at most, of either side where sides are apart.
pub(super) const FRAMES: usize = 512;
/// Frames of one side that wait for the edge, at most.
const FRAMES_OF_SIDE: usize = FRAMES / 2;
/// Messages with frames that wait between two stages, at most.
pub(super) const UPSTREAM: usize = 256;
/// Messages that wait between two stages, at most.
const MESSAGES: usize = 1024;
/// Buffers that wait between two stages, at most. Few: what waits here is latency for all that
/// comes behind it.
const BUFFERS: usize = 4;
/// Complete buffers that wait for decompression, at most.
const ARRIVED: usize = 256;

/// One link of the pipeline, as a reader sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LinkLayout {
    /// The stage that puts in.
    pub from: StageKind,
    /// The stage that takes out.
    pub to: StageKind,
    /// Most items that wait.
    pub capacity: usize,
}

const fn layout(from: StageKind, to: StageKind, capacity: usize) -> LinkLayout {
    LinkLayout { from, to, capacity }
}

/// All links, in the order of [`Links::waiting`].
pub const LAYOUT: [LinkLayout; 11] = {
    use StageKind::{Aggregate, Compress, Decompress, Edge, Port, Transmit};
    [
        layout(Port, Edge, FRAMES_OF_SIDE),
        layout(Port, Edge, FRAMES_OF_SIDE),
        layout(Port, Transmit, FRAMES),
        layout(Edge, Aggregate, UPSTREAM),
        layout(Aggregate, Compress, BUFFERS),
        layout(Compress, Transmit, BUFFERS),
        layout(Transmit, Decompress, ARRIVED),
        layout(Decompress, Edge, MESSAGES),
        layout(Edge, Port, FRAMES),
        layout(Edge, Port, FRAMES),
        layout(Transmit, Port, FRAMES),
    ]
};

/// One worker's ends of all links.
#[derive(Debug)]
pub struct Links<F> {
    /// port to edge, by side.
    pub frames: [Link<F>; 2],
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
    /// The workers that receive what this one sends by ring, by the links of [`LAYOUT`].
    receivers: [Option<usize>; LAYOUT.len()],
}

impl<F> Links<F> {
    fn absent() -> Self {
        Links {
            frames: [Link::Absent, Link::Absent],
            datagrams_in: Link::Absent,
            messages: Link::Absent,
            buffers: Link::Absent,
            packed: Link::Absent,
            arrived: Link::Absent,
            delivered: Link::Absent,
            edge_frames: [Link::Absent, Link::Absent],
            datagrams_out: Link::Absent,
            receivers: [None; LAYOUT.len()],
        }
    }

    /// Whether each link of [`LAYOUT`] holds anything, as this worker's end knows.
    #[must_use]
    fn holding(&self) -> [bool; LAYOUT.len()] {
        [
            self.frames[Side::Lan.index()].holds(),
            self.frames[Side::Wan.index()].holds(),
            self.datagrams_in.holds(),
            self.messages.holds(),
            self.buffers.holds(),
            self.packed.holds(),
            self.arrived.holds(),
            self.delivered.holds(),
            self.edge_frames[Side::Lan.index()].holds(),
            self.edge_frames[Side::Wan.index()].holds(),
            self.datagrams_out.holds(),
        ]
    }

    /// Whether nothing is in any link that this worker has an end of.
    #[must_use]
    pub fn are_empty(&self) -> bool {
        !self.holding().contains(&true)
    }

    /// Whether a ring to `worker` (by its place in the placement) holds what this one put in.
    #[must_use]
    pub fn hold_for(&self, worker: usize) -> bool {
        let holding = self.holding();
        self.receivers.iter().zip(holding).any(|(to, holds)| holds && *to == Some(worker))
    }

    /// Items that wait in each link of [`LAYOUT`]; `None` where the receiving end is not here.
    #[must_use]
    pub fn waiting(&self) -> [Option<usize>; LAYOUT.len()] {
        [
            self.frames[Side::Lan.index()].received(),
            self.frames[Side::Wan.index()].received(),
            self.datagrams_in.received(),
            self.messages.received(),
            self.buffers.received(),
            self.packed.received(),
            self.arrived.received(),
            self.delivered.received(),
            self.edge_frames[Side::Lan.index()].received(),
            self.edge_frames[Side::Wan.index()].received(),
            self.datagrams_out.received(),
        ]
    }

    /// The links of every worker of a placement, in the order of its workers.
    #[must_use]
    pub fn for_placement(placement: &Placement) -> Vec<Self> {
        let mut all: Vec<Self> = placement.workers().iter().map(|_| Links::absent()).collect();
        let mut joint = Joint { placement, all: &mut all };
        joint.link(0, |links| &mut links.frames[Side::Lan.index()]);
        joint.link(1, |links| &mut links.frames[Side::Wan.index()]);
        joint.link(2, |links| &mut links.datagrams_in);
        joint.link(3, |links| &mut links.messages);
        joint.link(4, |links| &mut links.buffers);
        joint.link(5, |links| &mut links.packed);
        joint.link(6, |links| &mut links.arrived);
        joint.link(7, |links| &mut links.delivered);
        joint.link(8, |links| &mut links.edge_frames[Side::Lan.index()]);
        joint.link(9, |links| &mut links.edge_frames[Side::Wan.index()]);
        joint.link(10, |links| &mut links.datagrams_out);
        all
    }
}

struct Joint<'a, F> {
    placement: &'a Placement,
    all: &'a mut [Links<F>],
}

impl<F> Joint<'_, F> {
    fn link<T>(&mut self, index: usize, end: impl Fn(&mut Links<F>) -> &mut Link<T>) {
        let layout = LAYOUT[index];
        let limit = layout.capacity;
        let worker_of = |stage| self.placement.worker_of(stage);
        let (Some(from), Some(to)) = (worker_of(layout.from), worker_of(layout.to)) else {
            return;
        };
        if from == to {
            *end(&mut self.all[from]) = Link::direct(limit);
        } else {
            let (sender, receiver) = Link::ring(limit);
            *end(&mut self.all[from]) = sender;
            *end(&mut self.all[to]) = receiver;
            self.all[from].receivers[index] = Some(to);
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
        assert!(matches!(one[0].frames, [Link::Direct { .. }, Link::Direct { .. }]));

        let each = Links::<()>::for_placement(&Placement::one_stage_per_core());
        assert_eq!(each.len(), StageKind::ALL.len());
        assert!(matches!(each[0].frames, [Link::Sender(_), Link::Sender(_)]));
        assert!(matches!(each[1].frames, [Link::Receiver(_), Link::Receiver(_)]));
        assert!(matches!(each[2].frames, [Link::Absent, Link::Absent]));
        assert!(matches!(each[0].datagrams_out, Link::Receiver(_)));
        assert!(matches!(each[4].datagrams_out, Link::Sender(_)));
    }

    #[test]
    fn a_ring_that_holds_something_is_known_to_both_ends_and_names_its_receiver() {
        let placement = Placement::one_stage_per_core();
        let mut each = Links::<()>::for_placement(&placement);
        assert!(each.iter().all(Links::are_empty));
        let transmit = placement.worker_of(StageKind::Transmit).unwrap();
        let port = placement.worker_of(StageKind::Port).unwrap();
        each[transmit].datagrams_out.push(()).unwrap();
        for (worker, links) in each.iter().enumerate() {
            assert_eq!(links.are_empty(), worker != transmit && worker != port);
            for to in 0..each.len() {
                assert_eq!(links.hold_for(to), worker == transmit && to == port);
            }
        }
        each[port].datagrams_out.pop().unwrap();
        assert!(each.iter().all(Links::are_empty));
    }

    #[test]
    fn each_link_is_counted_by_its_receiver() {
        for placement in [Placement::single(0), Placement::one_stage_per_core()] {
            let workers = Links::<()>::for_placement(&placement);
            for (link, layout) in LAYOUT.iter().enumerate() {
                let counts: Vec<_> = workers.iter().map(|links| links.waiting()[link]).collect();
                let receiver = placement.worker_of(layout.to).unwrap();
                assert_eq!(counts[receiver], Some(0), "{layout:?}");
                assert_eq!(counts.iter().flatten().count(), 1, "{layout:?}");
            }
        }
        let mut one = Links::<()>::for_placement(&Placement::single(0)).remove(0);
        one.datagrams_out.push(()).unwrap();
        assert_eq!(one.waiting()[10], Some(1));
        assert_eq!((LAYOUT[10].from, LAYOUT[10].to), (StageKind::Transmit, StageKind::Port));
    }
}
