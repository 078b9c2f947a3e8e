//! The decompress stage: buffers back to plain, then into messages.
//!
//! In: complete buffers in the order they completed, and changes of sessions between them; with
//! replicas, each has its part of them. Out: messages in that order, and the end of each buffer.
//! Never: more than one buffer's decompression per turn.

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
            // Counted by the decompressor. Its place in the order passes on.
            Err(DecompressError::Damaged) => {
                let _ = delivered.push(Inbound::End);
                true
            }
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
                    let _ = delivered.push(Inbound::End);
                    self.messages = None;
                    return true;
                }
            }
        }
        false
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

    /// Several decompress stages between a dealer and a collector.
    struct Bench {
        stages: Vec<(DecompressStage, Link<Arrived>, Link<Inbound>)>,
        arrived: Dealt<Arrived>,
        delivered: Collected<Inbound>,
    }

    impl Bench {
        fn new(memory: &ReceiveMemory) -> Self {
            let replicas = memory.last.len();
            let (mut arrived, mut delivered) =
                (Dealt::absent(replicas), Collected::absent(replicas));
            let order = order_capacity(replicas, CAPACITY, CAPACITY);
            (arrived.order, delivered.order) = Link::ring(order);
            let stages = memory.last.iter().enumerate().map(|(replica, last)| {
                let decompressor = Decompressor::new(memory.arrivals.clone(), SIZE);
                let decompressor = decompressor.with_last_resort(last.clone());
                let (sender, takes) = Link::ring(CAPACITY);
                let (puts, receiver) = Link::ring(CAPACITY);
                (arrived.links[replica], delivered.links[replica]) = (sender, receiver);
                (DecompressStage::new(decompressor, Disaggregator::default()), takes, puts)
            });
            let stages = stages.collect();
            Bench { stages, arrived, delivered }
        }
    }

    /// A compressed buffer with one message.
    fn buffer(pool: &BufferPool, compressor: &mut Compressor, sequence: u64) -> BufferSlice {
        let data = [7; DATA_LEN];
        let repr = MessageRepr {
            header: MessageHeader {
                kind: MessageKind::Data,
                flow: FlowId(1),
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
    /// sessions in their places.
    #[test]
    fn without_memory_those_ahead_leave_some_to_the_one_whose_turn_it_is() {
        const BUFFERS: u64 = 60;
        for first in 0..3 {
            let memory = ReceiveMemory::new(1 << 20, SIZE, 3);
            let classes = [PoolClass { size: SIZE, count: 8, reserve: 0 }];
            let pool = BufferPool::new(&classes);
            let mut compressor = Compressor::new(pool.clone(), &[Mode::Lz4]);
            let arrivals: Vec<_> =
                std::iter::from_fn(|| memory.arrivals.alloc_reserved(DATA_LEN)).collect();
            let mut bench = Bench::new(&memory);
            let (mut dealt, mut next) = (0, 0);
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
                    while stage.turn(takes, puts) {}
                }
                while let Some(inbound) = bench.delivered.pop() {
                    match inbound {
                        Inbound::Message(message) => {
                            assert_eq!(message.header.sequence, next);
                            next += 1;
                        }
                        Inbound::Session { .. } => assert_eq!(next % 10, 0),
                        Inbound::End => {}
                    }
                }
            }
            assert_eq!(next, BUFFERS);
            drop(arrivals);
            assert_eq!((memory.in_use_bytes(), pool.in_use_bytes()), (0, 0));
        }
    }
}
