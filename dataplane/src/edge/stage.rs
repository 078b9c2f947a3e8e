//! The edge stage: the owner of every flow of this appliance.
//!
//! In: frames of both sides that are not our own UDP, messages from the far side, the time. Out:
//! frames to both sides, messages to the packet driver, and when to be called next. Never: more
//! than its tables hold, a byte acknowledged to a host that the packet driver was not given.

use std::collections::VecDeque;
use std::sync::Arc;

use super::EdgeCounter;
use super::config::EdgeConfig;
use super::credit::{CreditPool, bdp_bytes};
use super::flow::{Carrier, Flow, FlowFacts, Happened, Role};
use super::restart::Restarts;
use super::table::EdgeTable;
use super::tcp::{InitialNumberSource, TcpConfig, TimeWaitTable, Transmitted};
use super::timers::TimerWheel;
use super::writer::FrameWriter;
use crate::counters::Counters;
use crate::frame::{FlowKey, Frame, FrameSource, Side};
use crate::interceptor::Interceptor;
use crate::packet_driver::aggregate::Backlog;
use crate::packet_driver::reset::ResetCause;
use crate::packet_driver::{
    FlowId, Inbound, MessageKind, Outbound, OutboundBody, PeerIndex, Upstream,
};

use crate::time::{MILLISECOND_NS, Time};

/// Frames and messages taken in per turn, at most.
pub(super) const BURST: usize = 64;
/// Messages that may wait for the packet driver while more frames are taken in: beyond it, hosts
/// are left to wait in the port's queue.
const UPSTREAM_BUSY: usize = 512;
/// Flows that may transmit per turn.
const TRANSMIT_PER_TURN: usize = 64;
/// How often neighbours, ageing and peers are looked after.
const HOUSEKEEPING_NS: u64 = MILLISECOND_NS;

/// State of the edge stage.
pub struct EdgeStage<F> {
    pub(super) config: EdgeConfig,
    pub(super) interceptor: Interceptor,
    pub(super) table: EdgeTable<Flow<F>>,
    pub(super) timers: TimerWheel,
    pub(super) credit: CreditPool,
    pub(super) numbers: InitialNumberSource,
    pub(super) time_wait: TimeWaitTable,
    pub(super) restarts: Restarts,
    pub(super) peers: Arc<[PeerStatus]>,
    pub(super) backlog: Backlog,
    /// Bytes of data ever pushed towards the packet driver, by place.
    pub(super) pushed: Box<[u64]>,
    pub(super) next_flow: u64,
    pub(super) half_open: u32,
    /// Flows that may have something to transmit.
    pub(super) ready: VecDeque<u32>,
    /// Flows with bytes in the packet driver's queue: their windows move as it drains.
    pub(super) queued: VecDeque<u32>,
    /// Flows whose host's link address is not known yet.
    pub(super) unresolved: VecDeque<u32>,
    pub(super) upstream: VecDeque<Upstream<F>>,
    /// Frames to go out, by side.
    pub(super) frames: [VecDeque<F>; 2],
    pub(super) counters: Counters<EdgeCounter>,
    pub(super) housekeeping_at: Time,
    pub(super) admitting: bool,
}
