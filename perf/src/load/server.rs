//! The servers: each request that is whole is answered; what is closed is closed.
//!
//! In: connections with something new. Out: answers. Never: an answer before all of its request has
//! come and was compared.

use std::sync::Arc;

use smoltcp::socket::tcp::State;

use super::Work;
use super::connection::{Connection, Phase};
use super::hosts::{Application, Seen};
use crate::optimized::Pattern;

/// All servers.
pub(super) struct Server {
    work: Work,
    pattern: Arc<Pattern>,
}

impl Server {
    pub(super) fn new(work: Work, pattern: Arc<Pattern>) -> Self {
        Server { work, pattern }
    }
}

impl Application for Server {
    fn step(&mut self, connection: &mut Connection, seen: &mut Seen, _now: u64) {
        let received = connection.receive(&self.pattern, true);
        seen.take(connection.number, received);
        let requests = connection.received / self.work.request_bytes.max(1);
        connection.to_send = requests * self.work.answer_bytes;
        connection.send(&self.pattern, false);
        let is_open = |connection: &Connection| connection.phase == Phase::Open;
        match connection.state() {
            State::Established if connection.phase == Phase::Opening => {
                connection.phase = Phase::Open;
                seen.opened += 1;
            }
            // The other end has closed, and everything before that was read.
            State::CloseWait if connection.sent == connection.to_send => {
                seen.opened += u64::from(connection.phase == Phase::Opening);
                connection.stack.socket().close();
                connection.phase = Phase::Closing;
            }
            State::Closed => {
                // Before we closed, it was a reset that ended it.
                seen.resets += u64::from(is_open(connection));
                seen.closed += u64::from(connection.phase == Phase::Closing);
                connection.phase = Phase::Done;
            }
            _ => {}
        }
    }
}
