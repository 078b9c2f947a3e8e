//! Takes buffers apart.
//!
//! In: plain buffers from the far side. Out: messages whose data are slices of the buffer.
//! Never: a copy, a panic or a loop without end, whatever the far side sent.

use std::net::IpAddr;
use std::sync::Arc;

use super::header::{MessageError, MessageRepr, MessageView};
use super::routing::{Packing, ROUTING_HEADER_LEN, RoutingError, RoutingHeader, RoutingView};
use super::{BufferKind, BufferSlice, Message, PeerIndex};
use crate::counters;
use crate::counters::Counters;

counters! {
    /// Counters of taking buffers apart.
    pub enum DisaggregateCounter, "disaggregate" {
        BuffersIn: In, "buffers_in", "buffers", "Plain buffers that came from peers.";
        BuffersOut: Out, "buffers_out", "buffers", "Buffers whose messages were looked at.";
        BuffersMalformed: Drop, "buffers_malformed", "buffers",
            "Buffers whose routing header is wrong or disagrees with their length.";
        BuffersUnknown: Drop, "buffers_unknown", "buffers",
            "Buffers of a type that this version does not know.";
        BuffersPacked: Drop, "buffers_packed", "buffers",
            "Buffers that were to be taken apart while still compressed.";
        MessagesIn: In, "messages_in", "messages", "Messages found in buffers.";
        MessagesOut: Out, "messages_out", "messages", "Messages handed to edges.";
        MessagesUnknown: Drop, "messages_unknown", "messages",
            "Messages of a type that this version does not know, skipped by their length.";
        MessagesMalformed: Drop, "messages_malformed", "messages",
            "Messages with an impossible address or VLAN, or of a type that their buffer must not hold.";
        MessagesNotOurs: Drop, "messages_not_ours", "messages",
            "Messages that name another TPO as their destination.";
        BuffersCut: Info, "buffers_cut", "buffers",
            "Buffers that hold fewer or more messages than announced, or end within one.";
        DataBytesOut: Info, "data_bytes_out", "bytes", "Bytes of data in messages handed to edges.";
    }
}

/// Takes buffers apart. One per worker that does so.
#[derive(Debug, Default)]
pub struct Disaggregator {
    own_addresses: Arc<[IpAddr]>,
    counters: Counters<DisaggregateCounter>,
}

impl Disaggregator {
    /// Refuses messages in full form that name a TPO by none of `own_addresses`; without any, no
    /// address is checked.
    #[must_use]
    pub fn new(own_addresses: &[IpAddr]) -> Self {
        let own_addresses = own_addresses.iter().map(IpAddr::to_canonical).collect();
        Disaggregator { own_addresses, counters: Counters::default() }
    }

    /// The counters.
    #[must_use]
    pub fn counters(&self) -> &Counters<DisaggregateCounter> {
        &self.counters
    }

    /// The messages of a plain buffer; none, and one count, when it is not a buffer at all.
    #[must_use]
    pub fn messages(&self, peer: PeerIndex, buffer: BufferSlice) -> Messages {
        self.counters.increment(DisaggregateCounter::BuffersIn);
        let (kind, left, buffer) = match read_routing(&buffer) {
            Ok(header) => {
                self.counters.increment(DisaggregateCounter::BuffersOut);
                (header.kind, header.messages, buffer)
            }
            Err(reason) => {
                self.counters.increment(reason);
                (BufferKind::Control, 0, BufferSlice::default())
            }
        };
        let mut messages = Messages {
            peer,
            kind,
            at: ROUTING_HEADER_LEN.min(buffer.len()),
            left,
            buffer,
            own_addresses: Arc::clone(&self.own_addresses),
            counters: self.counters.clone(),
        };
        messages.check_end();
        messages
    }
}

fn read_routing(bytes: &[u8]) -> Result<RoutingHeader, DisaggregateCounter> {
    let parsed = RoutingView::new_checked(bytes).and_then(|view| RoutingHeader::parse(&view));
    match parsed {
        Ok(header) if header.packing == Packing::Stored => Ok(header),
        Ok(_) => Err(DisaggregateCounter::BuffersPacked),
        Err(RoutingError::UnknownKind(_) | RoutingError::UnknownPacking(_)) => {
            Err(DisaggregateCounter::BuffersUnknown)
        }
        Err(_) => Err(DisaggregateCounter::BuffersMalformed),
    }
}

/// The messages of one buffer, in its order.
#[derive(Debug)]
pub struct Messages {
    peer: PeerIndex,
    kind: BufferKind,
    buffer: BufferSlice,
    /// Where the next message begins; never beyond the end of the buffer.
    at: usize,
    /// Messages that the routing header announced and that were not looked at yet.
    left: u16,
    own_addresses: Arc<[IpAddr]>,
    counters: Counters<DisaggregateCounter>,
}

impl Messages {
    /// Most messages that are still to come.
    #[must_use]
    pub fn left(&self) -> usize {
        usize::from(self.left)
    }

    // Whether a message may go to an edge; else the reason why not.
    fn admit(&self, repr: &MessageRepr) -> Result<(), DisaggregateCounter> {
        if repr.header.kind.buffer_kind() != self.kind {
            return Err(DisaggregateCounter::MessagesMalformed);
        }
        match repr.destination_tpo {
            Some(named)
                if !self.own_addresses.is_empty() && !self.own_addresses.contains(&named) =>
            {
                Err(DisaggregateCounter::MessagesNotOurs)
            }
            _ => Ok(()),
        }
    }

    // What remains cannot be read: one count, and the end.
    fn give_up(&mut self) {
        self.counters.increment(DisaggregateCounter::BuffersCut);
        self.left = 0;
        self.at = self.buffer.len();
    }

    // Once the last announced message is read, nothing may follow it.
    fn check_end(&mut self) {
        if self.left == 0 && self.at < self.buffer.len() {
            self.give_up();
        }
    }
}

impl Iterator for Messages {
    type Item = Message;

    fn next(&mut self) -> Option<Message> {
        while self.left > 0 {
            let rest = self.buffer.get(self.at..).unwrap_or(&[]);
            let Ok(view) = MessageView::new_checked(rest) else {
                self.give_up();
                return None;
            };
            let data_at = self.at + view.header_len();
            let data_len = usize::from(view.data_len());
            let parsed = MessageRepr::parse(&view).map_err(|error| match error {
                MessageError::UnknownKind(_) => DisaggregateCounter::MessagesUnknown,
                _ => DisaggregateCounter::MessagesMalformed,
            });
            let verdict = parsed.and_then(|repr| self.admit(&repr).map(|()| repr));
            self.at = data_at + data_len;
            self.left -= 1;
            self.counters.increment(DisaggregateCounter::MessagesIn);
            let data = self.buffer.slice(data_at, data_len).unwrap_or_default();
            self.check_end();
            match verdict {
                Ok(repr) => {
                    self.counters.increment(DisaggregateCounter::MessagesOut);
                    self.counters.add(DisaggregateCounter::DataBytesOut, data_len as u64);
                    return Some(Message { peer: self.peer, header: repr.header, data });
                }
                Err(reason) => self.counters.increment(reason),
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::{BufferPool, FlowId, MessageHeader, MessageKind, PoolClass};
    use super::*;
    use crate::frame::FlowKey;

    const OWN: [u8; 4] = [192, 0, 2, 1];

    fn pool() -> BufferPool {
        BufferPool::new(&[PoolClass { size: 4096, count: 2, reserve: 0 }])
    }

    fn message(kind: MessageKind, sequence: u64, tpo: Option<[u8; 4]>, data: &[u8]) -> Vec<u8> {
        let key = FlowKey::new([10, 0, 0, 1].into(), [10, 0, 0, 2].into(), 1, 2, 6, 0);
        let repr = MessageRepr {
            header: MessageHeader {
                kind,
                flow: FlowId(7),
                key: tpo.map(|_| key),
                sequence,
                status: 0,
            },
            data_len: u16::try_from(data.len()).unwrap(),
            destination_tpo: tpo.map(IpAddr::from),
        };
        let mut bytes = vec![0; repr.header_len()];
        repr.emit(&mut bytes);
        bytes.extend_from_slice(data);
        bytes
    }

    fn buffer(pool: &BufferPool, kind: BufferKind, count: u16, parts: &[Vec<u8>]) -> BufferSlice {
        let data = parts.concat();
        let len = u32::try_from(data.len()).unwrap();
        let header = RoutingHeader::stored(kind, count, len);
        let mut buffer = pool.alloc(ROUTING_HEADER_LEN + data.len()).unwrap();
        header.emit(buffer.append(ROUTING_HEADER_LEN).unwrap());
        buffer.append(data.len()).unwrap().copy_from_slice(&data);
        buffer.freeze()
    }

    #[test]
    fn messages_come_out_in_order_as_slices() {
        let pool = pool();
        let parts = [
            message(MessageKind::Data, 0, Some(OWN), b"hello "),
            message(MessageKind::Data, 6, None, b"world"),
        ];
        let driver = Disaggregator::new(&[OWN.into()]);
        let slice = buffer(&pool, BufferKind::Stream, 2, &parts);
        let messages: Vec<_> = driver.messages(PeerIndex(3), slice).collect();
        assert_eq!(messages.len(), 2);
        assert_eq!(&*messages[0].data, b"hello ");
        assert_eq!(&*messages[1].data, b"world");
        assert_eq!(messages[1].header.sequence, 6);
        assert!(messages[0].header.key.is_some() && messages[1].header.key.is_none());
        assert!(messages.iter().all(|m| m.peer == PeerIndex(3) && m.header.flow == FlowId(7)));
        assert_eq!(pool.in_use_bytes(), 4096, "the data are slices of the buffer");
        drop(messages);
        assert_eq!(pool.in_use_bytes(), 0);
        assert_eq!(driver.counters().get(DisaggregateCounter::DataBytesOut), 11);
    }

    #[test]
    fn what_cannot_be_used_is_skipped_and_counted() {
        use DisaggregateCounter::*;
        let pool = pool();
        let mut unknown = message(MessageKind::Data, 0, None, b"from the future");
        unknown[1] = 99;
        let mut impossible = message(MessageKind::Data, 0, Some(OWN), b"");
        impossible[28] = 0xff;
        let parts = [
            unknown,
            message(MessageKind::Data, 1, Some([192, 0, 2, 9]), b"another's"),
            impossible,
            message(MessageKind::Reset, 2, None, b""),
            message(MessageKind::Data, 3, None, b"good"),
        ];
        let driver = Disaggregator::new(&[OWN.into()]);
        let slice = buffer(&pool, BufferKind::Stream, 5, &parts);
        let messages: Vec<_> = driver.messages(PeerIndex(0), slice).collect();
        assert_eq!(messages.len(), 1);
        assert_eq!(&*messages[0].data, b"good");
        let count = |counter| driver.counters().get(counter);
        assert_eq!((count(MessagesIn), count(MessagesOut)), (5, 1));
        assert_eq!((count(MessagesUnknown), count(MessagesNotOurs)), (1, 1));
        assert_eq!((count(MessagesMalformed), count(BuffersCut)), (2, 0));
    }

    #[test]
    fn a_wrong_count_of_messages_ends_the_buffer() {
        for announced in [0, 1, 3] {
            let pool = pool();
            let parts = [
                message(MessageKind::Datagram, 0, None, b"one"),
                message(MessageKind::Datagram, 1, None, b"two"),
            ];
            let driver = Disaggregator::default();
            let slice = buffer(&pool, BufferKind::Datagram, announced, &parts);
            let messages = driver.messages(PeerIndex(0), slice).count();
            assert_eq!(messages, usize::from(announced).min(2));
            assert_eq!(driver.counters().get(DisaggregateCounter::BuffersCut), 1);
        }
    }

    proptest! {
        #[test]
        fn hostile_bytes_yield_nothing_beyond_the_buffer(
            bytes in proptest::collection::vec(any::<u8>(), 0..400),
            kind in 0u8..5,
            count in any::<u16>(),
            versioned in any::<bool>(),
        ) {
            let pool = pool();
            let mut all = vec![0; ROUTING_HEADER_LEN];
            all.extend_from_slice(&bytes);
            let len = u32::try_from(bytes.len()).unwrap().to_be_bytes();
            all[0] = kind;
            all[2..4].copy_from_slice(&count.to_be_bytes());
            all[4..8].copy_from_slice(&len);
            all[8..12].copy_from_slice(&len);
            if let (true, Some(first)) = (versioned, all.get_mut(ROUTING_HEADER_LEN)) {
                *first = 0x13;
            }
            let mut buffer = pool.alloc(all.len()).unwrap();
            buffer.append(all.len()).unwrap().copy_from_slice(&all);
            let driver = Disaggregator::default();
            let data: usize =
                driver.messages(PeerIndex(0), buffer.freeze()).map(|m| m.data.len()).sum();
            prop_assert!(data <= bytes.len());
            let adds_up = |total, parts: &[DisaggregateCounter]| {
                let sum: u64 = parts.iter().map(|c| driver.counters().get(*c)).sum();
                driver.counters().get(total) == sum
            };
            use DisaggregateCounter::*;
            prop_assert!(adds_up(BuffersIn, &[BuffersOut, BuffersMalformed, BuffersUnknown]));
            prop_assert!(adds_up(
                MessagesIn,
                &[MessagesOut, MessagesUnknown, MessagesMalformed, MessagesNotOurs]
            ));
            prop_assert_eq!(pool.in_use_bytes(), 0);
        }
    }
}
