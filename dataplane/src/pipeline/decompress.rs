//! The decompress stage: buffers back to plain, then into messages.
//!
//! In: complete buffers in the order they completed, and changes of sessions between them; with
//! replicas, each has its part of them. Out: messages in that order, each to the edge that owns its
//! flow; changes, and the end of each buffer, to all edges. Never: more than one buffer's
//! decompression per turn.

use super::links::ToEdges;
use crate::compression::{DecompressError, Decompressor};
use crate::frame::Shard;
use crate::interceptor::owner::{FIRST_EDGE, owner_of_packet};
use crate::link::Link;
use crate::packet_driver::{
    Arrived, BufferSlice, Disaggregator, Inbound, Message, MessageHeader, MessageKind, Messages,
    PeerIndex, SessionChange,
};

/// State of the decompress stage.
#[derive(Debug)]
pub struct DecompressStage {
    decompressor: Decompressor,
    disaggregator: Disaggregator,
    /// The rest of the buffer that did not fit the links.
    messages: Option<Messages>,
    /// The next of its messages: its edge's link was full.
    held: Option<(usize, Inbound)>,
    /// What all edges are being told, and how many of them were.
    telling: Option<(Told, usize)>,
    /// A buffer for whose plain form there was no memory: the far data mover was told that we
    /// have it, so it waits here.
    waiting: Option<(PeerIndex, BufferSlice)>,
}

/// What is for all edges.
#[derive(Clone, Copy, Debug)]
enum Told {
    Session(PeerIndex, SessionChange),
    /// The end of a peer's list of flows.
    HeldEnd(PeerIndex, MessageHeader),
    /// The end of a buffer.
    End,
}

impl Told {
    fn inbound(self) -> Inbound {
        match self {
            Told::Session(peer, change) => Inbound::Session { peer, change },
            Told::HeldEnd(peer, header) => {
                Inbound::Message(Message { peer, header, data: BufferSlice::default() })
            }
            Told::End => Inbound::End,
        }
    }
}

impl DecompressStage {
    /// A stage around a decompressor and a disaggregator.
    #[must_use]
    pub fn new(decompressor: Decompressor, disaggregator: Disaggregator) -> Self {
        DecompressStage {
            decompressor,
            disaggregator,
            messages: None,
            held: None,
            telling: None,
            waiting: None,
        }
    }

    /// Takes apart at most one buffer; says whether there was anything to do.
    pub fn turn(&mut self, arrived: &mut Link<Arrived>, edges: &mut ToEdges<'_>) -> bool {
        if !self.pass_on(edges) {
            return false;
        }
        if let Some((peer, bytes)) = self.waiting.take() {
            return self.unpack(peer, bytes, edges);
        }
        match arrived.pop() {
            None => false,
            Some(Arrived::Session { peer, change }) => {
                self.telling = Some((Told::Session(peer, change), 0));
                self.pass_on(edges);
                true
            }
            Some(Arrived::Buffer { peer, bytes }) => self.unpack(peer, bytes, edges),
        }
    }

    /// Whether no buffer, nor a part of one, waits here.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        let has_rest = self.messages.is_some() || self.held.is_some() || self.telling.is_some();
        !has_rest && self.waiting.is_none()
    }

    fn unpack(&mut self, peer: PeerIndex, bytes: BufferSlice, edges: &mut ToEdges<'_>) -> bool {
        match self.decompressor.decompress(&bytes) {
            Ok(plain) => self.messages = Some(self.disaggregator.messages(peer, plain)),
            // Counted by the decompressor. Its place in the order passes on.
            Err(DecompressError::Damaged) => self.telling = Some((Told::End, 0)),
            Err(DecompressError::NoMemory) => {
                self.waiting = Some((peer, bytes));
                return false;
            }
        }
        self.pass_on(edges);
        true
    }

    /// Passes on what is at hand while there is room; says whether nothing is left.
    fn pass_on(&mut self, edges: &mut ToEdges<'_>) -> bool {
        loop {
            // An edge that does not exist has nothing to get.
            if self.held.is_some()
                && let Some((edge, inbound)) = self.held.take()
                && let Some(link) = edges.of(edge)
                && let Err(inbound) = link.push(inbound)
            {
                self.held = Some((edge, inbound));
                return false;
            }
            if self.telling.is_some() && !self.tell(edges) {
                return false;
            }
            let Some(messages) = &mut self.messages else { return true };
            match messages.next() {
                None => {
                    self.messages = None;
                    self.telling = Some((Told::End, 0));
                }
                Some(message) if message.header.kind == MessageKind::HeldEnd => {
                    self.telling = Some((Told::HeldEnd(message.peer, message.header), 0));
                }
                Some(message) => {
                    let edge = owner_of(&message, edges.count());
                    if let Some(link) = edges.of(edge)
                        && let Err(inbound) = link.push(Inbound::Message(message))
                    {
                        self.held = Some((edge, inbound));
                        return false;
                    }
                }
            }
        }
    }

    /// Tells all edges what they are to be told, while there is room; says whether that is done.
    fn tell(&mut self, edges: &mut ToEdges<'_>) -> bool {
        while let Some((told, edge)) = &mut self.telling {
            let Some(link) = edges.of(*edge) else {
                self.telling = None;
                break;
            };
            if link.push(told.inbound()).is_err() {
                return false;
            }
            *edge += 1;
        }
        true
    }
}

/// Which of `edges` a message is for: the owner of its flow, whose shard is in the flow's id.
fn owner_of(message: &Message, edges: usize) -> usize {
    if edges == 1 {
        return FIRST_EDGE;
    }
    match message.header.kind {
        MessageKind::Datagram => owner_of_packet(&message.data, edges),
        MessageKind::Held => {
            message.header.key.map_or(FIRST_EDGE, |key| Shard::of(&key).owner(edges))
        }
        _ => message.header.flow.shard().owner(edges),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::compression::{Compressor, Mode, Surroundings};
    use crate::link::replicas::order_capacity;
    use crate::link::{Collected, Dealt};
    use crate::packet_driver::header::MessageRepr;
    use crate::packet_driver::routing::{ROUTING_HEADER_LEN, RoutingHeader};
    use crate::packet_driver::{
        BufferKind, BufferPool, Class, FlowId, Lane, MessageHeader, MessageKind, OutboundBuffer,
        PoolClass, ReceiveMemory, SessionChange, SessionNumber,
    };

    const PEER: PeerIndex = PeerIndex(0);
    const SIZE: usize = 16 * 1024;
    const DATA_LEN: usize = 8_000;
    const CAPACITY: usize = 8;

    /// Several decompress stages between a dealer and as many collectors as there are edges.
    struct Bench {
        stages: Vec<(DecompressStage, Link<Arrived>, Vec<Collected<Inbound>>)>,
        arrived: Dealt<Arrived>,
        delivered: Vec<Collected<Inbound>>,
    }

    impl Bench {
        fn new(memory: &ReceiveMemory, edges: usize) -> Self {
            let replicas = memory.last.len();
            let collected = || (0..edges).map(|_| Collected::absent(replicas)).collect();
            let mut arrived = Dealt::absent(replicas, edges);
            let mut delivered: Vec<_> = collected();
            let order = order_capacity(replicas, CAPACITY, CAPACITY);
            for (sends, edge) in arrived.orders.iter_mut().zip(&mut delivered) {
                (*sends, edge.order) = Link::ring(order);
            }
            let stages = memory.last.iter().enumerate().map(|(replica, last)| {
                let decompressor = Decompressor::new(memory.arrivals.clone(), SIZE);
                let decompressor = decompressor.with_last_resort(last.clone());
                let (sender, takes) = Link::ring(CAPACITY);
                arrived.links[replica] = sender;
                let mut puts: Vec<Collected<Inbound>> = collected();
                for edge in 0..edges {
                    (puts[edge].links[replica], delivered[edge].links[replica]) =
                        Link::ring(CAPACITY);
                }
                (DecompressStage::new(decompressor, Disaggregator::default()), takes, puts)
            });
            let stages = stages.collect();
            Bench { stages, arrived, delivered }
        }
    }

    /// The flow of a message with this number: one in every shard's middle.
    fn flow_of(sequence: u64) -> FlowId {
        FlowId(sequence << 16 | ((sequence * 7_919) & 0xffff))
    }

    /// A compressed buffer with one message.
    fn buffer(pool: &BufferPool, compressor: &mut Compressor, sequence: u64) -> BufferSlice {
        let data = [7; DATA_LEN];
        let repr = MessageRepr {
            header: MessageHeader {
                kind: MessageKind::Data,
                flow: flow_of(sequence),
                key: None,
                sequence,
                status: 0,
            },
            data_len: u16::try_from(DATA_LEN).unwrap(),
            destination_tpo: None,
        };
        let len = u32::try_from(repr.header_len() + DATA_LEN).unwrap();
        let header = RoutingHeader::stored(BufferKind::Stream, 1, len);
        let mut bytes = pool.alloc(SIZE).unwrap();
        header.emit(bytes.append(ROUTING_HEADER_LEN).unwrap());
        repr.emit(bytes.append(repr.header_len()).unwrap());
        bytes.append(DATA_LEN).unwrap().copy_from_slice(&data);
        let buffer = OutboundBuffer {
            peer: PEER,
            session: SessionNumber(1),
            lane: Lane::new(Class(0), false),
            kind: BufferKind::Stream,
            deadline: None,
            compress: true,
            bytes: bytes.freeze(),
        };
        let packed = compressor.compress(buffer, &Surroundings::default()).bytes;
        assert!(packed.len() < DATA_LEN / 2);
        packed
    }

    /// There is no memory but what each has as a last resort, and those that are ahead take what
    /// they can: whose turn it is gets what it needs, and all comes in order, with the changes of
    /// sessions in their places; and so where each message goes to one of three edges.
    #[test]
    fn without_memory_those_ahead_leave_some_to_the_one_whose_turn_it_is() {
        const BUFFERS: u64 = 60;
        for (first, edges) in [(0, 1), (1, 1), (2, 1), (0, 3), (1, 3), (2, 3)] {
            let memory = ReceiveMemory::new(1 << 20, SIZE, 3);
            let classes = [PoolClass { size: SIZE, count: 8, reserve: 0 }];
            let pool = BufferPool::new(&classes);
            let mut compressor = Compressor::new(pool.clone(), &[Mode::Lz4]);
            let arrivals: Vec<_> =
                std::iter::from_fn(|| memory.arrivals.alloc_reserved(DATA_LEN)).collect();
            let mut bench = Bench::new(&memory, edges);
            let mut dealt = 0;
            // What each edge got, and how often it was told that the session is over.
            let mut got = vec![(Vec::new(), 0); edges];
            for _ in 0..1_000 {
                while dealt < BUFFERS && bench.arrived.room() >= 2 && pool.in_use_bytes() < 6 * SIZE
                {
                    let bytes = buffer(&pool, &mut compressor, dealt);
                    bench.arrived.push(Arrived::Buffer { peer: PEER, bytes }).unwrap();
                    dealt += 1;
                    if dealt % 10 == 0 {
                        let change = SessionChange::Down;
                        bench.arrived.push(Arrived::Session { peer: PEER, change }).unwrap();
                    }
                }
                // This one goes ahead as far as it can, before the others.
                for replica in [first, (first + 1) % 3, (first + 2) % 3] {
                    let (stage, takes, puts) = &mut bench.stages[replica];
                    while stage.turn(takes, &mut ToEdges::new(puts, replica)) {}
                }
                for (delivered, (sequences, changes)) in bench.delivered.iter_mut().zip(&mut got) {
                    while let Some(inbound) = delivered.pop() {
                        match inbound {
                            Inbound::Message(message) => {
                                assert_eq!(message.header.sequence / 10, *changes);
                                sequences.push(message.header.sequence);
                            }
                            Inbound::Session { .. } => *changes += 1,
                            Inbound::End => {}
                        }
                    }
                }
            }
            for (edge, (sequences, changes)) in got.iter().enumerate() {
                let own = |sequence: &u64| flow_of(*sequence).shard().owner(edges) == edge;
                assert_eq!(*sequences, (0..BUFFERS).filter(own).collect::<Vec<_>>());
                assert!(*changes == BUFFERS / 10 && sequences.len() as u64 > BUFFERS / 6);
            }
            drop(arrivals);
            assert_eq!((memory.in_use_bytes(), pool.in_use_bytes()), (0, 0));
        }
    }
}
