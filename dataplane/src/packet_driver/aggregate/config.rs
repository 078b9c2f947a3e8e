//! Limits of an aggregator, and its counters.

use std::net::IpAddr;

use super::super::{CLASS_COUNT, CLASS_WEIGHTS};
use crate::counters;
use crate::time::{MICROSECOND_NS, MILLISECOND_NS};

/// Limits and settings of an aggregator.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AggregateConfig {
    /// Slots of flows, of all edges: messages name one below this.
    pub flows_max: usize,
    /// Edges that share slots and places for messages evenly.
    pub edges: usize,
    /// Messages that can wait at a time.
    pub messages_max: usize,
    /// Of these, how many only control messages may take.
    pub control_reserve: usize,
    /// Bytes of one buffer, routing header included.
    pub buffer_size_max: usize,
    /// Bytes of one buffer of packets, unless one packet is longer: packets share a buffer, and so
    /// the fate of its datagrams, only as long as it fits into one.
    pub packet_buffer_size_max: usize,
    /// Bytes of one buffer of control messages.
    pub control_size_max: usize,
    /// How long a buffer that is not full may wait for more, in nanoseconds.
    pub flush_deadline_ns: u64,
    /// What a flow may send before the next one's turn, in bytes.
    pub quantum_bytes: u32,
    /// For how long packets of each class are of use to their hosts, in nanoseconds: those that
    /// wait longer are dropped, and what is lost is sent again only while it is in time. 0: they are
    /// sent once, whenever that is.
    pub deadlines_ns: [u64; CLASS_COUNT],
    /// Share of each class while a class before it has data, in buffers.
    pub class_weights: [u32; CLASS_COUNT],
    /// Address of each peer, written to headers in full form; `None` when not known.
    pub peers: Vec<Option<IpAddr>>,
}

impl Default for AggregateConfig {
    fn default() -> Self {
        AggregateConfig {
            flows_max: 4096,
            edges: 1,
            messages_max: 8192,
            control_reserve: 1024,
            buffer_size_max: 64 * 1024,
            packet_buffer_size_max: 1_400,
            control_size_max: 2048,
            flush_deadline_ns: 500 * MICROSECOND_NS,
            quantum_bytes: 16 * 1024,
            deadlines_ns: [DEADLINE_NS; CLASS_COUNT],
            class_weights: CLASS_WEIGHTS,
            peers: vec![None],
        }
    }
}

/// For how long packets are of use, unless configured otherwise, in nanoseconds: a voice that is
/// later is not understood, and a host asks again.
pub const DEADLINE_NS: u64 = 200 * MILLISECOND_NS;
/// A flow that begins anew with so little, in bytes, goes before the bulk of its class.
pub(super) const SPARSE_BYTES_MAX: usize = 1_024;
/// What such a flow may send before it is one of many, in bytes.
pub(super) const SPARSE_QUANTUM_BYTES: i64 = 2_048;
const _: () = assert!(SPARSE_BYTES_MAX as i64 <= SPARSE_QUANTUM_BYTES, "it begins with its share");
/// How long such a flow had nothing to send before, in nanoseconds.
pub(super) const SPARSE_AFTER_NS: u64 = 5 * MILLISECOND_NS;
/// By how much such flows may get ahead of the bulk of their class, in bytes: beyond that, each has
/// half.
pub(super) const SPARSE_AHEAD_BYTES: u64 = 8 * 1024;
/// Smallest quantum in bytes: with less, one frame of a LAN would take several turns.
pub(super) const QUANTUM_BYTES_MIN: u32 = 1500;
/// Smallest buffer in bytes: a frame of a LAN and both headers fit.
pub(super) const BUFFER_SIZE_MIN: usize = 2048;
/// Smallest control buffer in bytes: an OPEN fits.
pub(super) const CONTROL_SIZE_MIN: usize = 256;

counters! {
    /// Counters of putting messages into buffers.
    pub enum AggregateCounter, "aggregate" {
        MessagesIn: In, "messages_in", "messages", "Messages taken from edges.";
        MessagesOut: Out, "messages_out", "messages", "Messages whose last byte is in a buffer.";
        MessagesReset: Drop, "messages_reset", "messages",
            "Messages discarded because their flow was reset.";
        MessagesPeerLost: Drop, "messages_peer_lost", "messages",
            "Messages discarded because their peer was lost.";
        DatagramsFull: Drop, "datagrams_full", "messages",
            "Packets of packet mode dropped because all places are taken.";
        DatagramsExpired: Drop, "datagrams_expired", "messages",
            "Packets of packet mode that waited beyond the deadline of their class.";
        MessagesRefused: Drop, "messages_refused", "messages",
            "Messages that no buffer can carry, such as packets longer than a buffer.";
        MessagesWaited: Info, "messages_waited", "messages",
            "Times that a message of a stream found all places taken, and waited with all behind it.";
        MessagesMerged: Info, "messages_merged", "messages",
            "Messages that made the one before them longer instead of taking a header.";
        DataBytesIn: In, "data_bytes_in", "bytes", "Bytes of data taken from edges.";
        DataBytesOut: Out, "data_bytes_out", "bytes", "Bytes of data copied into buffers.";
        DataBytesDiscarded: Drop, "data_bytes_discarded", "bytes",
            "Bytes of data of messages that were dropped.";
        ControlBuffersOut: Info, "control_buffers_out", "buffers", "Buffers of control messages.";
        BuffersOut: Info, "buffers_out", "buffers", "Buffers handed on, control included.";
        BytesOut: Info, "bytes_out", "bytes", "Bytes of buffers handed on, headers included.";
        NoBuffer: Info, "no_buffer", "buffers",
            "Times that a buffer was to be filled and the pool had none.";
    }
}
