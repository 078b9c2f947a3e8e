//! The connections of flows: whole ones while anything is under way, and what is kept of idle ones.
//!
//! In: connections, and what happens to them. Out: whole connections. Never: memory for a whole one
//! on which nothing happens; an allocation while no more of them are awake at a time than were
//! reserved at the start.

use std::sync::Arc;

use super::tcp::{
    Connection, Finished, HostParameters, InitialNumbers, QueueReserves, Resting, State, TcpConfig,
};
use crate::frame::Frame;
use crate::packet_driver::BufferPool;
use crate::time::Time;

/// Part of all connections that are whole at a time, as far as memory for them is reserved at the
/// start: `1 / AWAKE_SHARE`. What others need, up to all, is taken when they wake and given back
/// when they rest.
const AWAKE_SHARE: usize = 10;
/// The same of few connections.
const AWAKE_MIN: usize = 64;

/// The connection of a flow.
#[derive(Debug)]
pub enum Standby<F> {
    /// Whole.
    Awake(Box<Connection<F>>),
    /// Established, and nothing is under way.
    Resting(Resting),
}

/// Memory for whole connections and their queues.
#[derive(Debug)]
pub struct ConnectionReserve<F> {
    /// Of connections that are over or at rest.
    #[expect(clippy::vec_box, reason = "what is kept is the memory that they are in")]
    spare: Vec<Box<Connection<F>>>,
    most: usize,
    queues: QueueReserves<F>,
}

impl<F: Frame> ConnectionReserve<F> {
    /// Memory for so many flows.
    #[must_use]
    pub fn new(connections: usize, config: &Arc<TcpConfig>) -> Self {
        let most = (connections / AWAKE_SHARE).max(AWAKE_MIN).min(connections);
        let blank = || {
            let numbers = InitialNumbers { sequence: 0, timestamp_offset: 0 };
            Box::new(Connection::connect(Time::ZERO, config, numbers))
        };
        ConnectionReserve {
            spare: (0..most).map(|_| blank()).collect(),
            most,
            queues: QueueReserves::new(connections),
        }
    }

    /// A connection that begins.
    pub fn begin(&mut self, connection: Connection<F>) -> Standby<F> {
        Standby::Awake(self.place(connection))
    }

    fn place(&mut self, connection: Connection<F>) -> Box<Connection<F>> {
        let connection = connection.drawing_on(&self.queues);
        match self.spare.pop() {
            Some(mut spare) => {
                *spare = connection;
                spare
            }
            None => Box::new(connection),
        }
    }

    /// A connection that is over.
    pub fn end(&mut self, connection: Standby<F>) {
        if let Standby::Awake(mut connection) = connection {
            connection.abandon();
            if self.spare.len() < self.most {
                self.spare.push(connection);
            }
        }
    }
}

impl<F: Frame> Standby<F> {
    /// The whole connection.
    pub fn awake(&mut self, reserve: &mut ConnectionReserve<F>) -> &mut Connection<F> {
        if let Standby::Resting(resting) = self {
            *self = reserve.begin(resting.wake());
        }
        match self {
            Standby::Awake(connection) => connection,
            Standby::Resting(_) => unreachable!("it has just been woken"),
        }
    }

    /// Lets it rest if it may.
    pub fn rest(&mut self, now: Time, reserve: &mut ConnectionReserve<F>) {
        if let Some(resting) = self.if_awake().and_then(|connection| connection.at_rest(now)) {
            reserve.end(std::mem::replace(self, Standby::Resting(resting)));
        }
    }

    /// The whole connection, unless it rests.
    pub fn if_awake(&mut self) -> Option<&mut Connection<F>> {
        match self {
            Standby::Awake(connection) => Some(connection),
            Standby::Resting(_) => None,
        }
    }

    fn awake_ref(&self) -> Option<&Connection<F>> {
        match self {
            Standby::Awake(connection) => Some(connection),
            Standby::Resting(_) => None,
        }
    }

    /// As [`Connection::state`].
    #[must_use]
    pub fn state(&self) -> State {
        self.awake_ref().map_or(State::Established, Connection::state)
    }

    /// As [`Connection::finished`].
    #[must_use]
    pub fn finished(&self) -> Option<Finished> {
        self.awake_ref().and_then(Connection::finished)
    }

    /// As [`Connection::wants_transmit`].
    #[must_use]
    pub fn wants_transmit(&self) -> bool {
        self.awake_ref().is_some_and(Connection::wants_transmit)
    }

    /// As [`Connection::next_timeout`].
    #[must_use]
    pub fn next_timeout(&self) -> Time {
        match self {
            Standby::Awake(connection) => connection.next_timeout(),
            Standby::Resting(resting) => resting.next_timeout(),
        }
    }

    /// As [`Connection::host_parameters`].
    #[must_use]
    pub fn host_parameters(&self) -> HostParameters {
        match self {
            Standby::Awake(connection) => connection.host_parameters(),
            Standby::Resting(resting) => resting.host_parameters(),
        }
    }

    /// As [`Connection::unread_bytes`].
    #[must_use]
    pub fn unread_bytes(&self) -> u64 {
        self.awake_ref().map_or(0, Connection::unread_bytes)
    }

    /// As [`Connection::held_frames`].
    #[must_use]
    pub fn held_frames(&self) -> usize {
        self.awake_ref().map_or(0, Connection::held_frames)
    }

    /// As [`Connection::holds_far_stream`].
    #[must_use]
    pub fn holds_far_stream(&self) -> bool {
        self.awake_ref().is_some_and(Connection::holds_far_stream)
    }

    /// As [`Connection::receive_limit`].
    #[must_use]
    pub fn receive_limit(&self) -> u64 {
        match self {
            Standby::Awake(connection) => connection.receive_limit(),
            Standby::Resting(resting) => resting.receive_limit(),
        }
    }

    /// As [`Connection::set_receive_limit`]; true when it has woken up for a new one, so that it may
    /// rest again after its next transmission.
    #[must_use]
    pub fn set_receive_limit(&mut self, offset: u64, reserve: &mut ConnectionReserve<F>) -> bool {
        let rests = self.awake_ref().is_none();
        if rests && offset <= self.receive_limit() {
            return false;
        }
        self.awake(reserve).set_receive_limit(offset);
        rests
    }

    /// As [`Connection::grant`].
    pub fn grant(&mut self, offset: u64) {
        match self {
            Standby::Awake(connection) => connection.grant(offset),
            Standby::Resting(resting) => resting.grant(offset),
        }
    }

    /// As [`Connection::shrink_grant`].
    pub fn shrink_grant(&mut self, offset: u64) -> bool {
        match self {
            Standby::Awake(connection) => connection.shrink_grant(offset),
            Standby::Resting(resting) => resting.shrink_grant(offset),
        }
    }

    /// As [`Connection::keep_all`].
    pub fn keep_all(&mut self, pool: &BufferPool) -> u64 {
        self.if_awake().map_or(0, |connection| connection.keep_all(pool))
    }

    /// As [`Connection::discard_held_frames`].
    pub fn discard_held_frames(&mut self, most: usize) -> usize {
        self.if_awake().map_or(0, |connection| connection.discard_held_frames(most))
    }
}
