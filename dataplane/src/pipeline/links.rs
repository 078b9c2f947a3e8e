//! All links of a pipeline, made for a placement.

use super::placement::{Placement, StageAt, StageKind};
use crate::frame::Side;
use crate::link::replicas::order_capacity;
use crate::link::{Collected, Dealt, Link, Replica};
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
/// Complete buffers that wait for a decompressor, at most.
const ARRIVED: usize = 256;

/// One link of the pipeline, as a reader sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LinkLayout {
    /// The stage that puts in.
    pub from: StageAt,
    /// The stage that takes out.
    pub to: StageAt,
    /// Most items that wait.
    pub capacity: usize,
    /// Index of the worker that puts in.
    sender: usize,
    /// Index of the worker that takes out.
    receiver: usize,
}

impl LinkLayout {
    /// Whether it is between two workers.
    #[must_use]
    pub fn is_ring(&self) -> bool {
        self.sender != self.receiver
    }
}

/// All links of a placement, in the order of [`Links::waiting`].
#[must_use]
pub fn layout(placement: &Placement) -> Vec<LinkLayout> {
    use StageKind::{Aggregate, Compress, Decompress, Edge, Port, Transmit};
    let stages = placement.stages();
    let of = |kind| stages.iter().filter(move |(at, _)| at.kind == kind);
    let mut all = Vec::new();
    let mut link = |from: StageKind, to: StageKind, capacity| {
        for (from, sender) in of(from) {
            for (to, receiver) in of(to) {
                let (from, to, sender, receiver) = (*from, *to, *sender, *receiver);
                all.push(LinkLayout { from, to, capacity, sender, receiver });
            }
        }
    };
    link(Port, Edge, FRAMES_OF_SIDE);
    link(Port, Edge, FRAMES_OF_SIDE);
    link(Port, Transmit, FRAMES);
    link(Edge, Aggregate, UPSTREAM);
    link(Aggregate, Compress, BUFFERS);
    link(Compress, Transmit, BUFFERS);
    link(Transmit, Decompress, ARRIVED);
    link(Decompress, Edge, MESSAGES);
    link(Edge, Port, FRAMES);
    link(Edge, Port, FRAMES);
    link(Transmit, Port, FRAMES);
    // Which replica is next.
    if let replicas @ 2.. = placement.replicas(Compress) {
        link(Aggregate, Transmit, order_capacity(replicas, BUFFERS, BUFFERS));
    }
    if let replicas @ 2.. = placement.replicas(Decompress) {
        link(Transmit, Edge, order_capacity(replicas, ARRIVED, MESSAGES));
    }
    all
}

/// One worker's ends of all links.
#[derive(Debug)]
pub struct Links<F> {
    /// port to edge, by side.
    pub frames: [Link<F>; 2],
    /// port to transmit: our own UDP.
    pub datagrams_in: Link<F>,
    /// edge to aggregate.
    pub messages: Link<Upstream<F>>,
    /// edge to port, by side.
    pub edge_frames: [Link<F>; 2],
    /// transmit to port.
    pub datagrams_out: Link<F>,
    /// aggregate to compress.
    pub buffers: Dealt<OutboundBuffer>,
    /// compress to transmit.
    pub packed: Collected<OutboundBuffer>,
    /// transmit to decompress.
    pub arrived: Dealt<Arrived>,
    /// decompress to edge.
    pub delivered: Collected<Inbound>,
    /// Which replica of compress, and of decompress, is on this worker.
    compress: usize,
    decompress: usize,
    /// The workers that receive what this one sends by ring, by the links of [`layout`].
    receivers: Box<[Option<usize>]>,
}

/// Both ends of a replica: what it takes in, where it puts what it makes.
pub type ReplicaLinks<'a, I, O> = (&'a mut Link<I>, &'a mut Link<O>);

impl<F> Links<F> {
    fn absent(placement: &Placement, worker: usize, links: usize) -> Self {
        use StageKind::{Compress, Decompress};
        let (compressors, decompressors) =
            (placement.replicas(Compress), placement.replicas(Decompress));
        Links {
            frames: [Link::Absent, Link::Absent],
            datagrams_in: Link::Absent,
            messages: Link::Absent,
            edge_frames: [Link::Absent, Link::Absent],
            datagrams_out: Link::Absent,
            buffers: Dealt::absent(compressors),
            packed: Collected::absent(compressors),
            arrived: Dealt::absent(decompressors),
            delivered: Collected::absent(decompressors),
            compress: placement.replica_at(worker, Compress).unwrap_or(compressors),
            decompress: placement.replica_at(worker, Decompress).unwrap_or(decompressors),
            receivers: vec![None; links].into_boxed_slice(),
        }
    }

    /// The links of the compressor of this worker.
    pub fn of_compress(&mut self) -> Option<ReplicaLinks<'_, OutboundBuffer, OutboundBuffer>> {
        Some((self.buffers.of(self.compress)?, self.packed.of(self.compress)?))
    }

    /// The links of the decompressor of this worker.
    pub fn of_decompress(&mut self) -> Option<ReplicaLinks<'_, Arrived, Inbound>> {
        Some((self.arrived.of(self.decompress)?, self.delivered.of(self.decompress)?))
    }

    /// Whether each link of [`layout`] holds anything, as this worker's end knows.
    fn holding(&self) -> impl Iterator<Item = bool> {
        let [lan, wan] = &self.frames;
        let [to_lan, to_wan] = &self.edge_frames;
        [lan.holds(), wan.holds(), self.datagrams_in.holds(), self.messages.holds()]
            .into_iter()
            .chain(self.buffers.links.iter().map(Link::holds))
            .chain(self.packed.links.iter().map(Link::holds))
            .chain(self.arrived.links.iter().map(Link::holds))
            .chain(self.delivered.links.iter().map(Link::holds))
            .chain([to_lan.holds(), to_wan.holds(), self.datagrams_out.holds()])
            .chain(order(&self.buffers, &self.packed).map(|(from, to)| from.holds() || to.holds()))
            .chain(
                order(&self.arrived, &self.delivered).map(|(from, to)| from.holds() || to.holds()),
            )
    }

    /// Whether nothing is in any link that this worker has an end of.
    #[must_use]
    pub fn are_empty(&self) -> bool {
        !self.holding().any(|holds| holds)
    }

    /// Whether a ring to `worker` (by its place in the placement) holds what this one put in.
    #[must_use]
    pub fn hold_for(&self, worker: usize) -> bool {
        self.receivers.iter().zip(self.holding()).any(|(to, holds)| holds && *to == Some(worker))
    }

    /// Items that wait in each link of [`layout`]; `None` where the receiving end is not here.
    pub fn waiting(&self) -> impl Iterator<Item = Option<usize>> {
        let [lan, wan] = &self.frames;
        let [to_lan, to_wan] = &self.edge_frames;
        [lan.received(), wan.received(), self.datagrams_in.received(), self.messages.received()]
            .into_iter()
            .chain(self.buffers.links.iter().map(Link::received))
            .chain(self.packed.links.iter().map(Link::received))
            .chain(self.arrived.links.iter().map(Link::received))
            .chain(self.delivered.links.iter().map(Link::received))
            .chain([to_lan.received(), to_wan.received(), self.datagrams_out.received()])
            .chain(order(&self.buffers, &self.packed).map(|(_, to)| to.received()))
            .chain(order(&self.arrived, &self.delivered).map(|(_, to)| to.received()))
    }

    /// The links of every worker of a placement, in the order of its workers.
    #[must_use]
    pub fn for_placement(placement: &Placement) -> Vec<Self> {
        let layout = layout(placement);
        let workers = 0..placement.workers().len();
        let mut all: Vec<Self> =
            workers.map(|worker| Links::absent(placement, worker, layout.len())).collect();
        let mut joint = Joint { layout: layout.iter().enumerate(), all: &mut all };
        joint.link(|links| &mut links.frames[Side::Lan.index()]);
        joint.link(|links| &mut links.frames[Side::Wan.index()]);
        joint.link(|links| &mut links.datagrams_in);
        joint.link(|links| &mut links.messages);
        let (compressors, decompressors) =
            (placement.replicas(StageKind::Compress), placement.replicas(StageKind::Decompress));
        for replica in 0..compressors {
            joint.link(|links| &mut links.buffers.links[replica]);
        }
        for replica in 0..compressors {
            joint.link(|links| &mut links.packed.links[replica]);
        }
        for replica in 0..decompressors {
            joint.link(|links| &mut links.arrived.links[replica]);
        }
        for replica in 0..decompressors {
            joint.link(|links| &mut links.delivered.links[replica]);
        }
        joint.link(|links| &mut links.edge_frames[Side::Lan.index()]);
        joint.link(|links| &mut links.edge_frames[Side::Wan.index()]);
        joint.link(|links| &mut links.datagrams_out);
        if compressors > 1 {
            joint.order(|links| (&mut links.buffers.order, &mut links.packed.order));
        }
        if decompressors > 1 {
            joint.order(|links| (&mut links.arrived.order, &mut links.delivered.order));
        }
        all
    }
}

/// The word of who is next, if there is any: the ends of the dealer and of the collector.
fn order<'a, I, O>(
    dealt: &'a Dealt<I>,
    collected: &'a Collected<O>,
) -> impl Iterator<Item = (&'a Link<Replica>, &'a Link<Replica>)> {
    (dealt.links.len() > 1).then_some((&dealt.order, &collected.order)).into_iter()
}

/// Joins workers, link after link of the layout.
struct Joint<'a, F, L> {
    layout: L,
    all: &'a mut [Links<F>],
}

impl<'l, F, L: Iterator<Item = (usize, &'l LinkLayout)>> Joint<'_, F, L> {
    fn link<T>(&mut self, end: impl Fn(&mut Links<F>) -> &mut Link<T>) {
        let Some((index, layout)) = self.layout.next() else { return };
        let LinkLayout { sender: from, receiver: to, capacity, .. } = *layout;
        if layout.is_ring() {
            let (sender, receiver) = Link::ring(capacity);
            *end(&mut self.all[from]) = sender;
            *end(&mut self.all[to]) = receiver;
            self.all[from].receivers[index] = Some(to);
        } else {
            *end(&mut self.all[from]) = Link::direct(capacity);
        }
    }

    /// A ring also within one worker, because dealer and collector have an end each.
    fn order(&mut self, ends: impl Fn(&mut Links<F>) -> (&mut Link<Replica>, &mut Link<Replica>)) {
        let Some((index, layout)) = self.layout.next() else { return };
        let (sender, receiver) = Link::ring(layout.capacity);
        *ends(&mut self.all[layout.sender]).0 = sender;
        *ends(&mut self.all[layout.receiver]).1 = receiver;
        self.all[layout.sender].receivers[index] = layout.is_ring().then_some(layout.receiver);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// All on one core; a core for each stage; with two compressors and three decompressors, of
    /// which some share cores with the stages at the other ends of their links.
    fn placements() -> Vec<Placement> {
        use StageKind::{Compress, Decompress};
        let one_each = StageKind::ALL.iter().enumerate().map(|(core, kind)| (*kind, core));
        let mut pairs: Vec<_> = one_each.clone().collect();
        pairs.extend([(Compress, 6), (Decompress, 7), (Decompress, 8)]);
        let apart = Placement::new(&pairs).unwrap();
        let mut pairs = StageKind::ALL.map(|kind| (kind, 0)).to_vec();
        pairs.extend([(Compress, 1), (Decompress, 1), (Decompress, 2)]);
        let shared = Placement::new(&pairs).unwrap();
        vec![Placement::single(0), Placement::one_stage_per_core(), apart, shared]
    }

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
    fn a_replica_has_links_of_its_own() {
        let placements = placements();
        let mut workers = Links::<()>::for_placement(&placements[3]);
        let [first, second, third] = &mut workers[..] else { panic!("three workers") };
        assert!(matches!(&*first.buffers.links, [Link::Direct { .. }, Link::Sender(_)]));
        assert!(matches!(first.of_compress(), Some((Link::Direct { .. }, Link::Direct { .. }))));
        assert!(matches!(second.of_compress(), Some((Link::Receiver(_), Link::Sender(_)))));
        assert!(third.of_compress().is_none());
        assert!(matches!(second.of_decompress(), Some((Link::Receiver(_), Link::Sender(_)))));
        assert!(matches!(&*third.arrived.links, [Link::Absent, Link::Absent, Link::Receiver(_)]));
        assert!(matches!(
            (&first.buffers.order, &first.packed.order),
            (Link::Sender(_), Link::Receiver(_))
        ));
    }

    #[test]
    fn a_ring_that_holds_something_is_known_to_both_ends_and_names_its_receiver() {
        for placement in &placements()[1..3] {
            let mut each = Links::<()>::for_placement(placement);
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
    }

    #[test]
    fn what_is_dealt_wakes_the_replica_and_who_waits_for_it() {
        let placement = &placements()[2];
        let mut each = Links::<()>::for_placement(placement);
        let of = |kind, replica| placement.workers_of(kind).nth(replica).unwrap();
        let (transmit, edge) = (of(StageKind::Transmit, 0), of(StageKind::Edge, 0));
        let session = || Arrived::Session {
            peer: crate::packet_driver::PeerIndex(0),
            change: crate::packet_driver::SessionChange::Down,
        };
        each[transmit].arrived.push(session()).unwrap();
        let replica = (0..3).find(|n| each[transmit].hold_for(of(StageKind::Decompress, *n)));
        let replica = replica.expect("one of them got it");
        assert!(each[transmit].hold_for(edge));
        let worker = of(StageKind::Decompress, replica);
        assert!(!each[worker].are_empty() && !each[edge].are_empty());
        let (arrived, delivered) = each[worker].of_decompress().unwrap();
        assert!(arrived.pop().is_some() && delivered.push(Inbound::End).is_ok());
        assert!(each[worker].hold_for(edge));
        assert!(each[edge].delivered.pop().is_some());
        assert!(each.iter().all(Links::are_empty));
    }

    #[test]
    fn each_link_is_counted_by_its_receiver() {
        for placement in placements() {
            let workers = Links::<()>::for_placement(&placement);
            let layout = layout(&placement);
            assert!(workers.iter().all(|links| links.waiting().count() == layout.len()));
            for (link, layout) in layout.iter().enumerate() {
                let counts: Vec<_> =
                    workers.iter().map(|links| links.waiting().nth(link).unwrap()).collect();
                let receiver = placement.workers_of(layout.to.kind).nth(layout.to.replica).unwrap();
                assert_eq!(counts[receiver], Some(0), "{layout:?}");
                assert_eq!(counts.iter().flatten().count(), 1, "{layout:?}");
            }
        }
        let placement = Placement::single(0);
        let mut one = Links::<()>::for_placement(&placement).remove(0);
        one.datagrams_out.push(()).unwrap();
        let full = one.waiting().position(|waiting| waiting == Some(1)).unwrap();
        let layout = layout(&placement)[full];
        assert_eq!((layout.from.kind, layout.to.kind), (StageKind::Transmit, StageKind::Port));
    }
}
