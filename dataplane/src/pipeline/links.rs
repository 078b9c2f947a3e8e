//! All links of a pipeline, made for a placement.

use super::placement::{Placement, StageAt, StageKind};
use crate::frame::Side;
use crate::interceptor::Sighting;
use crate::interceptor::stations::SIGHTINGS_MAX;
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
                // An edge has nothing to tell itself.
                if from != to {
                    all.push(LinkLayout { from, to, capacity, sender, receiver });
                }
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
    link(Edge, Edge, SIGHTINGS_MAX);
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
    /// port to each edge, by side.
    pub frames: Box<[[Link<F>; 2]]>,
    /// port to transmit: our own UDP.
    pub datagrams_in: Link<F>,
    /// Each edge to aggregate.
    pub messages: Box<[Link<Upstream<F>>]>,
    /// Each edge to port, by side.
    pub edge_frames: Box<[[Link<F>; 2]]>,
    /// transmit to port.
    pub datagrams_out: Link<F>,
    /// aggregate to compress.
    pub buffers: Dealt<OutboundBuffer>,
    /// compress to transmit.
    pub packed: Collected<OutboundBuffer>,
    /// transmit to decompress.
    pub arrived: Dealt<Arrived>,
    /// decompress to each edge.
    pub delivered: Box<[Collected<Inbound>]>,
    /// The edge of this worker from each other one, and to each other one.
    sightings: [Box<[Link<Sighting>]>; 2],
    /// Which replica of edge, of compress, and of decompress, is on this worker.
    edge: usize,
    compress: usize,
    decompress: usize,
    /// The workers that receive what this one sends by ring, by the links of [`layout`].
    receivers: Box<[Option<usize>]>,
}

/// Both ends of a replica: what it takes in, where it puts what it makes.
pub type ReplicaLinks<'a, I, O> = (&'a mut Link<I>, &'a mut Link<O>);

/// The ends of an edge.
pub struct EdgeLinks<'a, F> {
    /// Frames from the port stage, by side.
    pub frames_in: &'a mut [Link<F>; 2],
    /// Messages from the far side.
    pub delivered: &'a mut Collected<Inbound>,
    /// Messages for the far side.
    pub messages: &'a mut Link<Upstream<F>>,
    /// Frames to the port stage, by side.
    pub frames_out: &'a mut [Link<F>; 2],
    /// Stations that other edges have seen, by edge.
    pub heard: &'a mut [Link<Sighting>],
    /// Stations that other edges are told of, by edge.
    pub told: &'a mut [Link<Sighting>],
}

/// Where a decompressor puts what each edge is to have.
pub struct ToEdges<'a> {
    delivered: &'a mut [Collected<Inbound>],
    decompress: usize,
}

impl<'a> ToEdges<'a> {
    /// Of the decompressor with this number, by edge.
    pub(super) fn new(delivered: &'a mut [Collected<Inbound>], decompress: usize) -> Self {
        ToEdges { delivered, decompress }
    }

    /// How many edges there are.
    #[must_use]
    pub fn count(&self) -> usize {
        self.delivered.len()
    }

    /// The link to an edge.
    pub fn of(&mut self, edge: usize) -> Option<&mut Link<Inbound>> {
        self.delivered.get_mut(edge)?.of(self.decompress)
    }
}

const HEARD: usize = 0;
const TOLD: usize = 1;

impl<F> Links<F> {
    fn absent(placement: &Placement, worker: usize, links: usize) -> Self {
        use StageKind::{Compress, Decompress, Edge};
        let [edges, compressors, decompressors] =
            [Edge, Compress, Decompress].map(|kind| placement.replicas(kind));
        let frames = || (0..edges).map(|_| [Link::Absent, Link::Absent]).collect();
        let sightings = || (0..edges).map(|_| Link::Absent).collect();
        let at = |kind| placement.replica_at(worker, kind);
        Links {
            frames: frames(),
            datagrams_in: Link::Absent,
            messages: (0..edges).map(|_| Link::Absent).collect(),
            edge_frames: frames(),
            datagrams_out: Link::Absent,
            buffers: Dealt::absent(compressors, 1),
            packed: Collected::absent(compressors),
            arrived: Dealt::absent(decompressors, edges),
            delivered: (0..edges).map(|_| Collected::absent(decompressors)).collect(),
            sightings: [sightings(), sightings()],
            edge: at(Edge).unwrap_or(edges),
            compress: at(Compress).unwrap_or(compressors),
            decompress: at(Decompress).unwrap_or(decompressors),
            receivers: vec![None; links].into_boxed_slice(),
        }
    }

    /// The links of the edge of this worker.
    pub fn of_edge(&mut self) -> Option<EdgeLinks<'_, F>> {
        let [heard, told] = &mut self.sightings;
        Some(EdgeLinks {
            frames_in: self.frames.get_mut(self.edge)?,
            delivered: self.delivered.get_mut(self.edge)?,
            messages: self.messages.get_mut(self.edge)?,
            frames_out: self.edge_frames.get_mut(self.edge)?,
            heard,
            told,
        })
    }

    /// The links of the compressor of this worker.
    pub fn of_compress(&mut self) -> Option<ReplicaLinks<'_, OutboundBuffer, OutboundBuffer>> {
        Some((self.buffers.of(self.compress)?, self.packed.of(self.compress)?))
    }

    /// The links of the decompressor of this worker.
    pub fn of_decompress(&mut self) -> Option<(&mut Link<Arrived>, ToEdges<'_>)> {
        let to = ToEdges::new(&mut self.delivered, self.decompress);
        Some((self.arrived.of(self.decompress)?, to))
    }

    /// Whether each link of [`layout`] holds anything, as this worker's end knows.
    fn holding(&self) -> impl Iterator<Item = bool> {
        of_side(&self.frames, Side::Lan)
            .chain(of_side(&self.frames, Side::Wan))
            .map(Link::holds)
            .chain([self.datagrams_in.holds()])
            .chain(self.messages.iter().map(Link::holds))
            .chain(self.buffers.links.iter().map(Link::holds))
            .chain(self.packed.links.iter().map(Link::holds))
            .chain(self.arrived.links.iter().map(Link::holds))
            .chain(self.of_decompressors().map(Link::holds))
            .chain(of_side(&self.edge_frames, Side::Lan).map(Link::holds))
            .chain(of_side(&self.edge_frames, Side::Wan).map(Link::holds))
            .chain([self.datagrams_out.holds()])
            .chain(self.between_edges().map(|link| link.is_some_and(Link::holds)))
            .chain(self.orders().map(|(from, to)| from.holds() || to.holds()))
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
        of_side(&self.frames, Side::Lan)
            .chain(of_side(&self.frames, Side::Wan))
            .map(Link::received)
            .chain([self.datagrams_in.received()])
            .chain(self.messages.iter().map(Link::received))
            .chain(self.buffers.links.iter().map(Link::received))
            .chain(self.packed.links.iter().map(Link::received))
            .chain(self.arrived.links.iter().map(Link::received))
            .chain(self.of_decompressors().map(Link::received))
            .chain(of_side(&self.edge_frames, Side::Lan).map(Link::received))
            .chain(of_side(&self.edge_frames, Side::Wan).map(Link::received))
            .chain([self.datagrams_out.received()])
            .chain(self.between_edges().map(|link| link.and_then(Link::received)))
            .chain(self.orders().map(|(_, to)| to.received()))
    }

    /// From each decompressor to each edge.
    fn of_decompressors(&self) -> impl Iterator<Item = &Link<Inbound>> {
        let decompressors = 0..self.arrived.links.len();
        decompressors.flat_map(|n| self.delivered.iter().filter_map(move |to| to.links.get(n)))
    }

    /// From each edge to each other one; `None` where neither is here.
    fn between_edges(&self) -> impl Iterator<Item = Option<&Link<Sighting>>> {
        let edges = self.messages.len();
        let pairs = (0..edges).flat_map(move |from| (0..edges).map(move |to| (from, to)));
        pairs.filter(|(from, to)| from != to).map(|(from, to)| {
            if from == self.edge {
                self.sightings[TOLD].get(to)
            } else if to == self.edge {
                self.sightings[HEARD].get(from)
            } else {
                None
            }
        })
    }

    /// The word of who is next, as far as there is any: the ends of the dealer and of the collector.
    fn orders(&self) -> impl Iterator<Item = (&Link<Replica>, &Link<Replica>)> {
        let of_compress = self.buffers.orders.iter().zip([&self.packed.order]);
        let to_edges = self.delivered.iter().map(|edge| &edge.order);
        let of_decompress = self.arrived.orders.iter().zip(to_edges);
        let compressors = self.buffers.links.len();
        let decompressors = self.arrived.links.len();
        of_compress
            .filter(move |_| compressors > 1)
            .chain(of_decompress.filter(move |_| decompressors > 1))
    }

    /// The links of every worker of a placement, in the order of its workers.
    #[must_use]
    pub fn for_placement(placement: &Placement) -> Vec<Self> {
        use StageKind::{Compress, Decompress, Edge};
        let layout = layout(placement);
        let workers = 0..placement.workers().len();
        let mut all: Vec<Self> =
            workers.map(|worker| Links::absent(placement, worker, layout.len())).collect();
        let mut joint = Joint { layout: layout.iter().enumerate(), all: &mut all };
        let [edges, compressors, decompressors] =
            [Edge, Compress, Decompress].map(|kind| placement.replicas(kind));
        for side in Side::BOTH {
            for edge in 0..edges {
                joint.link(|links| &mut links.frames[edge][side.index()]);
            }
        }
        joint.link(|links| &mut links.datagrams_in);
        for edge in 0..edges {
            joint.link(|links| &mut links.messages[edge]);
        }
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
            for edge in 0..edges {
                joint.link(|links| &mut links.delivered[edge].links[replica]);
            }
        }
        for side in Side::BOTH {
            for edge in 0..edges {
                joint.link(|links| &mut links.edge_frames[edge][side.index()]);
            }
        }
        joint.link(|links| &mut links.datagrams_out);
        for from in 0..edges {
            for to in (0..edges).filter(|to| *to != from) {
                joint.ring(
                    |links| &mut links.sightings[TOLD][to],
                    |links| &mut links.sightings[HEARD][from],
                );
            }
        }
        if compressors > 1 {
            joint.ring(|links| &mut links.buffers.orders[0], |links| &mut links.packed.order);
        }
        if decompressors > 1 {
            for edge in 0..edges {
                joint.ring(
                    |links| &mut links.arrived.orders[edge],
                    |links| &mut links.delivered[edge].order,
                );
            }
        }
        all
    }
}

/// The links of one side.
fn of_side<F>(links: &[[Link<F>; 2]], side: Side) -> impl Iterator<Item = &Link<F>> {
    links.iter().map(move |sides| &sides[side.index()])
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

    /// A ring also within one worker, because both stages have an end each.
    fn ring<T>(
        &mut self,
        sends: impl Fn(&mut Links<F>) -> &mut Link<T>,
        receives: impl Fn(&mut Links<F>) -> &mut Link<T>,
    ) {
        let Some((index, layout)) = self.layout.next() else { return };
        let (sender, receiver) = Link::ring(layout.capacity);
        *sends(&mut self.all[layout.sender]) = sender;
        *receives(&mut self.all[layout.receiver]) = receiver;
        self.all[layout.sender].receivers[index] = layout.is_ring().then_some(layout.receiver);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// All on one core; a core for each stage; with two compressors and three decompressors, of
    /// which some share cores with the stages at the other ends of their links; with three edges.
    fn placements() -> Vec<Placement> {
        use StageKind::{Compress, Decompress};
        let one_each = StageKind::ALL.iter().enumerate().map(|(core, kind)| (*kind, core));
        let mut pairs: Vec<_> = one_each.clone().collect();
        pairs.extend([(Compress, 6), (Decompress, 7), (Decompress, 8)]);
        let apart = Placement::new(&pairs).unwrap();
        let mut pairs = StageKind::ALL.map(|kind| (kind, 0)).to_vec();
        pairs.extend([(Compress, 1), (Decompress, 1), (Decompress, 2)]);
        let shared = Placement::new(&pairs).unwrap();
        let edges = Placement::each_apart(3);
        vec![Placement::single(0), Placement::one_stage_per_core(), apart, shared, edges]
    }

    #[test]
    fn rings_join_workers_and_queues_stay_within_one() {
        let one = Links::<()>::for_placement(&Placement::single(0));
        assert_eq!(one.len(), 1);
        assert!(matches!(&*one[0].frames, [[Link::Direct { .. }, Link::Direct { .. }]]));

        let each = Links::<()>::for_placement(&Placement::one_stage_per_core());
        assert_eq!(each.len(), StageKind::ALL.len());
        assert!(matches!(&*each[0].frames, [[Link::Sender(_), Link::Sender(_)]]));
        assert!(matches!(&*each[1].frames, [[Link::Receiver(_), Link::Receiver(_)]]));
        assert!(matches!(&*each[2].frames, [[Link::Absent, Link::Absent]]));
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
        let (arrived, mut delivered) = second.of_decompress().unwrap();
        assert!(matches!((arrived, delivered.of(0)), (Link::Receiver(_), Some(Link::Sender(_)))));
        assert!(matches!(&*third.arrived.links, [Link::Absent, Link::Absent, Link::Receiver(_)]));
        assert!(matches!(
            (&*first.buffers.orders, &first.packed.order),
            ([Link::Sender(_)], Link::Receiver(_))
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
        let (arrived, mut delivered) = each[worker].of_decompress().unwrap();
        assert!(arrived.pop().is_some());
        assert!(delivered.of(0).unwrap().push(Inbound::End).is_ok());
        assert!(each[worker].hold_for(edge));
        assert!(each[edge].delivered[0].pop().is_some());
        assert!(each.iter().all(Links::are_empty));
    }

    #[test]
    fn an_edge_has_links_of_its_own_and_one_to_each_other_one() {
        let placement = Placement::each_apart(3);
        let mut each = Links::<()>::for_placement(&placement);
        let edges: Vec<_> = placement.workers_of(StageKind::Edge).collect();
        let [_, _, third] = edges[..] else { panic!("three edges") };
        let ends = each[third].of_edge().unwrap();
        assert!(matches!(ends.frames_in, [Link::Receiver(_), Link::Receiver(_)]));
        assert!(matches!(ends.frames_out, [Link::Sender(_), Link::Sender(_)]));
        assert!(matches!(ends.messages, Link::Sender(_)));
        assert_eq!(ends.delivered.links.len(), 3);
        assert!(matches!(ends.heard, [Link::Receiver(_), Link::Receiver(_), Link::Absent]));
        let [Link::Sender(_), Link::Sender(_), Link::Absent] = ends.told else {
            panic!("{:?}", ends.told)
        };
        let seen = Sighting {
            address: [10, 0, 0, 1].into(),
            mac: crate::frame::MacAddr([2; 6]),
            vlans: crate::frame::VlanList::default(),
        };
        ends.told[1].push(seen).unwrap();
        assert!(each[third].hold_for(edges[1]) && !each[third].hold_for(edges[0]));
        assert_eq!(each[edges[1]].of_edge().unwrap().heard[2].pop(), Some(seen));
        assert!(each.iter().all(Links::are_empty));
        let port = placement.worker_of(StageKind::Port).unwrap();
        assert!(each[port].of_edge().is_none());
        each[port].frames[2][0].push(()).unwrap();
        assert!(each[port].hold_for(third));
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
