//! What either end of a connection has sent, received and compared.
//!
//! In: the socket of its stack. Out: bytes into it, bytes out of it. Never: a byte taken that was not
//! compared.

use std::collections::VecDeque;

use smoltcp::socket::tcp;

use super::stack::Stack;
use crate::optimized::{PATTERN_MARGIN, Pattern};

/// How far a connection is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Phase {
    /// There is none.
    #[default]
    Free,
    /// On its way to be open.
    Opening,
    /// Open.
    Open,
    /// Our end is closed, or about to be.
    Closing,
    /// Over, once what is to be sent is sent.
    Done,
}

/// One connection, at either end.
pub(super) struct Connection {
    pub(super) stack: Stack,
    /// Which: the same number at both ends.
    pub(super) number: usize,
    pub(super) phase: Phase,
    /// Bytes sent, and to be sent up to now.
    pub(super) sent: u64,
    pub(super) to_send: u64,
    /// Bytes received, and how many make an answer whole.
    pub(super) received: u64,
    pub(super) expected: u64,
    /// When what is under way was meant to begin, in nanoseconds.
    pub(super) since: Option<u64>,
    /// What waits for it to end, by the times at which it was meant to begin.
    pub(super) waiting: VecDeque<u64>,
    /// Whether it stands among those that have something to do.
    pub(super) is_listed: bool,
    /// When it has something to do by itself.
    pub(super) due: u64,
}

/// What has come.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Received {
    pub(super) bytes: u64,
    /// Where the first byte is that is not as it was sent.
    pub(super) wrong_at: Option<u64>,
}

/// Contents by connection and direction.
fn content_of(number: usize, from_client: bool) -> usize {
    2 * number + usize::from(from_client)
}

impl Connection {
    pub(super) fn new(stack: Stack) -> Self {
        Connection {
            stack,
            number: 0,
            phase: Phase::Free,
            sent: 0,
            to_send: 0,
            received: 0,
            expected: 0,
            since: None,
            waiting: VecDeque::new(),
            is_listed: false,
            due: u64::MAX,
        }
    }

    /// Begins anew.
    pub(super) fn begin(&mut self, number: usize) {
        (self.number, self.phase) = (number, Phase::Opening);
        (self.sent, self.to_send, self.received, self.expected) = (0, 0, 0, 0);
        (self.since, self.due) = (None, u64::MAX);
        self.waiting.clear();
    }

    /// Puts into the socket what is to be sent and has room.
    pub(super) fn send(&mut self, pattern: &Pattern, from_client: bool) {
        let content = content_of(self.number, from_client);
        let socket = self.stack.socket();
        while self.sent < self.to_send && socket.can_send() {
            let (sent, left) = (self.sent, self.to_send - self.sent);
            let filled = socket.send(|room| {
                let most = room.len().min(PATTERN_MARGIN);
                let len = usize::try_from(left).unwrap_or(usize::MAX).min(most);
                room[..len].copy_from_slice(pattern.at(content, sent, len));
                (len, len)
            });
            match filled {
                Ok(len) if len > 0 => self.sent += len as u64,
                _ => return,
            }
        }
    }

    /// Takes what has come, and compares it.
    pub(super) fn receive(&mut self, pattern: &Pattern, from_client: bool) -> Received {
        let content = content_of(self.number, from_client);
        let mut found = Received::default();
        while self.stack.socket().can_recv() {
            let at = self.received;
            let taken = self.stack.socket().recv(|bytes| {
                let len = bytes.len().min(PATTERN_MARGIN);
                let (bytes, expected) = (&bytes[..len], pattern.at(content, at, len));
                let wrong = (bytes != expected)
                    .then(|| bytes.iter().zip(expected).position(|(a, b)| a != b))
                    .flatten();
                (len, (len, wrong))
            });
            let Ok((len, wrong)) = taken else { break };
            found.wrong_at = found.wrong_at.or(wrong.map(|wrong| at + wrong as u64));
            found.bytes += len as u64;
            self.received += len as u64;
        }
        found
    }

    /// How far the socket is.
    pub(super) fn state(&mut self) -> tcp::State {
        self.stack.socket().state()
    }
}
