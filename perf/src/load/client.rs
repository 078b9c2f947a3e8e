//! The clients: what is asked when, and how long it took.
//!
//! In: connections with something new, the time. Out: streams, requests, connections that come and go;
//! delays since each was meant to begin. Never: a request left out because an earlier one is late: it
//! waits, and its delay runs.

use std::collections::VecDeque;
use std::ops::Range;
use std::sync::Arc;

use hdrhistogram::Histogram;
use smoltcp::socket::tcp::State;

use super::connection::{Connection, Phase};
use super::hosts::{Application, Hosts, NUMBERS, Seen};
use super::{Kind, NS_PER_S, Work};
use crate::open_loop::{Schedule, histogram};
use crate::optimized::Pattern;

/// New connections on their way at a time, where they are opened beforehand.
const OPENING_MAX: usize = 256;
/// New ones begun in a turn, at most.
const BEGIN_MAX: usize = 32;

/// All clients.
pub(super) struct Client {
    work: Work,
    pattern: Arc<Pattern>,
    pub(super) done: Done,
    /// What was meant to begin in this time counts.
    window: Range<u64>,
    schedule: Option<Schedule>,
    /// How many of the schedule have begun, or wait.
    issued: u64,
    /// New connections that wait for others to end, by when they were meant to begin.
    backlog: VecDeque<u64>,
    /// The connection that is opened next.
    next_number: usize,
}

/// What came of what was meant to begin in the time that counts.
pub(super) struct Done {
    /// How many were meant to.
    pub(super) due: u64,
    /// How many of these were answered.
    pub(super) answered: u64,
    /// Answers, and connections closed, that came in this time.
    pub(super) completed: u64,
    /// Since a connection was meant to begin until it was open, in nanoseconds.
    pub(super) opening: Histogram<u64>,
    /// Since a request (or its connection) was meant to begin until its answer was whole.
    pub(super) delays: Histogram<u64>,
}

impl Client {
    pub(super) fn new(work: Work, pattern: Arc<Pattern>) -> Self {
        Client {
            work,
            pattern,
            done: Done {
                due: 0,
                answered: 0,
                completed: 0,
                opening: histogram(),
                delays: histogram(),
            },
            window: 0..0,
            schedule: None,
            issued: 0,
            backlog: VecDeque::new(),
            next_number: 0,
        }
    }

    /// What is meant to begin in this time counts, in nanoseconds.
    pub(super) fn count(&mut self, window: Range<u64>) {
        self.window = window;
    }

    fn meant(&mut self, at: u64) {
        self.done.due += u64::from(self.window.contains(&at));
    }

    fn ask(&self, connection: &mut Connection, meant: u64) {
        connection.since = Some(meant);
        connection.to_send += self.work.request_bytes;
        connection.expected += self.work.answer_bytes;
    }

    fn opened(&mut self, connection: &mut Connection, now: u64) {
        connection.phase = Phase::Open;
        if self.work.kind != Kind::Connect {
            return;
        }
        if let Some(meant) = connection.since {
            if self.window.contains(&meant) {
                self.done.opening.saturating_record((now - meant).max(1));
            }
            self.ask(connection, meant);
        }
    }

    fn answered(&mut self, connection: &mut Connection, now: u64) {
        let Some(meant) = connection.since.take() else { return };
        if self.window.contains(&meant) {
            self.done.answered += 1;
            self.done.delays.saturating_record((now - meant).max(1));
        }
        self.done.completed += u64::from(self.window.contains(&now));
        if self.work.kind == Kind::Connect {
            connection.stack.socket().close();
            connection.phase = Phase::Closing;
            return;
        }
        let next = connection.waiting.pop_front();
        if let Some(meant) =
            next.or((self.work.rate == 0 && self.schedule.is_some()).then_some(now))
        {
            if self.work.rate == 0 {
                self.meant(meant);
            }
            self.ask(connection, meant);
        }
    }
}

impl Application for Client {
    fn step(&mut self, connection: &mut Connection, seen: &mut Seen, now: u64) {
        let received = connection.receive(&self.pattern, false);
        seen.take(connection.number, received);
        let state = connection.state();
        match (connection.phase, state) {
            (Phase::Opening, State::Established) => {
                seen.opened += 1;
                self.opened(connection, now);
            }
            (Phase::Opening, State::Closed) => {
                seen.refused += 1;
                connection.phase = Phase::Done;
            }
            // No server of ours closes first.
            (Phase::Open, State::Closed | State::CloseWait) | (Phase::Closing, State::Closed) => {
                seen.resets += 1;
                connection.phase = Phase::Done;
            }
            (Phase::Open, _) if connection.received >= connection.expected => {
                self.answered(connection, now);
            }
            (Phase::Closing, State::TimeWait) => {
                seen.closed += 1;
                connection.phase = Phase::Done;
            }
            _ => {}
        }
        connection.send(&self.pattern, true);
    }
}

impl Hosts<Client> {
    /// Opens connections until there are as many as are wanted; whether all are open.
    pub(super) fn open_all(&mut self) -> bool {
        let wanted = self.app.work.connections;
        let opening = self.all().filter(|(_, each)| each.phase == Phase::Opening).count();
        for _ in opening..OPENING_MAX.min(opening + BEGIN_MAX) {
            if self.live() < wanted {
                self.open_next(None);
            }
        }
        self.opened_now() >= wanted
    }

    /// Connections that are open now.
    pub(super) fn opened_now(&mut self) -> usize {
        self.all().filter(|(_, each)| each.phase == Phase::Open).count()
    }

    fn open_next(&mut self, meant: Option<u64>) -> bool {
        for _ in 0..NUMBERS {
            let number = self.app.next_number;
            self.app.next_number = (number + 1) % NUMBERS;
            if let Some(place) = self.open(number) {
                self.connection(place).since = meant;
                return true;
            }
        }
        false
    }

    /// The work begins.
    pub(super) fn start(&mut self, now: u64) {
        let Work { kind, rate, .. } = self.app.work;
        self.app.schedule = Some(Schedule::new(now, NS_PER_S, rate));
        let open: Vec<usize> = self.all().map(|(place, _)| place).collect();
        for place in open {
            match kind {
                Kind::Bulk => self.connection(place).to_send = u64::MAX,
                Kind::Request if rate == 0 => {
                    self.app.meant(now);
                    self.ask_at(place, now);
                }
                _ => {}
            }
            self.list(place);
        }
    }

    /// No more is begun; what is under way goes on, but for streams, which end where they are.
    pub(super) fn stop(&mut self) {
        self.app.schedule = None;
        if self.app.work.kind == Kind::Bulk {
            self.all().for_each(|(_, connection)| connection.to_send = connection.sent);
        }
    }

    /// Begins what is due by now.
    pub(super) fn begin_due(&mut self, now: u64) {
        let Work { kind, rate, connections, .. } = self.app.work;
        if kind == Kind::Bulk {
            return;
        }
        if let Some(schedule) = self.app.schedule.filter(|_| rate > 0) {
            while self.app.issued < schedule.due(now) {
                let number = self.app.issued;
                self.app.issued += 1;
                let meant = schedule.time_of(number);
                self.app.meant(meant);
                match kind {
                    Kind::Connect => self.app.backlog.push_back(meant),
                    _ => self.ask_at(usize::try_from(number).unwrap_or(0) % connections, meant),
                }
            }
        }
        if kind == Kind::Connect {
            self.begin_connections(now);
        }
    }

    fn begin_connections(&mut self, now: u64) {
        let Work { rate, connections, .. } = self.app.work;
        for _ in 0..BEGIN_MAX {
            if self.live() >= connections {
                return;
            }
            let unbound = rate == 0 && self.app.schedule.is_some();
            let Some(meant) = self.app.backlog.pop_front().or(unbound.then_some(now)) else {
                return;
            };
            if unbound {
                self.app.meant(meant);
            }
            self.open_next(Some(meant));
        }
    }

    fn ask_at(&mut self, place: usize, meant: u64) {
        let (app, connection) = self.app_and_connection(place);
        if connection.since.is_some() || connection.phase != Phase::Open {
            connection.waiting.push_back(meant);
        } else {
            app.ask(connection, meant);
            self.list(place);
        }
    }

    /// Whether nothing is under way that was meant to begin while it counted.
    pub(super) fn is_quiet(&mut self) -> bool {
        self.app.backlog.is_empty() && self.all().all(|(_, each)| each.since.is_none())
    }

    /// What has not been answered until now has taken at least so long.
    pub(super) fn give_up(&mut self, now: u64) {
        let mut open: Vec<u64> = self.app.backlog.drain(..).collect();
        for (_, connection) in self.all() {
            open.extend(connection.since.take());
            open.extend(connection.waiting.drain(..));
        }
        let Client { window, done, .. } = &mut self.app;
        for meant in open.into_iter().filter(|meant| window.contains(meant)) {
            done.delays.saturating_record((now - meant).max(1));
        }
    }

    /// Closes all that are open.
    pub(super) fn close_all(&mut self) {
        let places: Vec<usize> = self
            .all()
            .filter(|(_, each)| each.phase == Phase::Open)
            .map(|(place, _)| place)
            .collect();
        for place in places {
            let connection = self.connection(place);
            connection.stack.socket().close();
            connection.phase = Phase::Closing;
            self.list(place);
        }
    }

    /// Bytes that all connections have sent.
    pub(super) fn sent(&mut self) -> u64 {
        self.all().map(|(_, each)| each.sent).sum()
    }
}
