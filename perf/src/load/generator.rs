//! Both LANs, from the first question for a neighbour to the last connection closed.
//!
//! In: two ports, what is to be carried, a clock. Out: a report. Never: a wait without an end.

use std::sync::Arc;

use super::client::Client;
use super::hosts::{Application, Hosts, NUMBERS, Seen, Side};
use super::link::Wire;
use super::report::{Connections, Report, percentiles, spread};
use super::server::Server;
use super::{Kind, Limits, NS_PER_MS, NS_PER_S, Work};
use crate::optimized::pattern;

/// How long what should come about may take: neighbours found, connections open.
const PATIENCE_NS: u64 = 30 * NS_PER_S;
/// How long what is under way at the end may take.
const DRAIN_NS: u64 = 5 * NS_PER_S;
const SLICE_NS: u64 = 50 * NS_PER_MS;
/// Turns between two looks at something that takes a while.
const TURNS: usize = 64;

/// How long.
#[derive(Clone, Copy, Debug)]
pub struct Plan {
    /// Nanoseconds of work that does not count.
    pub warm_up_ns: u64,
    /// Nanoseconds that do.
    pub measured_ns: u64,
}

/// Why there is nothing to report.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LoadError {
    /// The other LAN cannot be reached.
    #[error(
        "nobody answers for the other LAN within 30 s: {0} get no answer to ARP; is what is between the ports up, and does it pass what no rule takes?"
    )]
    NoNeighbour(&'static str),
    /// Connections do not come about.
    #[error("{open} of {wanted} connections are open after 30 s, {refused} were refused")]
    NotOpen {
        /// That are.
        open: usize,
        /// That should be.
        wanted: usize,
        /// That the other end did not want.
        refused: u64,
    },
    /// More than can be told apart.
    #[error("{0} connections are more than there are ends for: at most {NUMBERS}")]
    TooMany(usize),
}

/// The generator.
pub struct Generator<W> {
    wires: [W; 2],
    clients: Hosts<Client>,
    servers: Hosts<Server>,
    work: Work,
    busy_ns: u64,
    /// When the latest turn began.
    latest: u64,
}

impl<W: Wire> Generator<W> {
    /// Hosts at two ports: clients at the first, servers at the second.
    ///
    /// # Errors
    /// [`LoadError::TooMany`].
    pub fn new(wires: [W; 2], work: Work, limits: Limits) -> Result<Self, LoadError> {
        if work.connections > NUMBERS {
            return Err(LoadError::TooMany(work.connections));
        }
        // A stream is a request that never ends.
        let work = match work.kind {
            Kind::Bulk => Work { request_bytes: 1, answer_bytes: 0, ..work },
            _ => work,
        };
        let pattern = Arc::new(pattern(work.text));
        let client = Client::new(work, Arc::clone(&pattern));
        let server = Server::new(work, pattern);
        Ok(Generator {
            wires,
            clients: Hosts::new(Side::Client, limits, client),
            servers: Hosts::new(Side::Server, limits, server),
            work,
            busy_ns: 0,
            latest: 0,
        })
    }

    /// One turn of everything.
    pub fn turn(&mut self, now: u64) {
        self.clients.begin_due(now);
        let [first, second] = &mut self.wires;
        let moved = turn(first, &mut self.clients, now) | turn(second, &mut self.servers, now);
        if moved && self.latest > 0 {
            self.busy_ns += now - self.latest;
        }
        self.latest = now;
    }

    /// Does it all. `clock` says nanoseconds, `told` hears `measuring` and `measured`.
    ///
    /// # Errors
    /// [`LoadError`].
    #[expect(clippy::cast_precision_loss, reason = "figures for people")]
    pub fn run(
        &mut self,
        plan: Plan,
        clock: &mut impl FnMut() -> u64,
        told: &mut impl FnMut(&str),
    ) -> Result<Report, LoadError> {
        self.meet(clock)?;
        if self.work.kind != Kind::Connect {
            self.open(clock)?;
        }
        let began = clock();
        let from = began + plan.warm_up_ns;
        self.clients.app.count(from..from + plan.measured_ns);
        self.clients.start(began);
        self.until(from, clock);
        told("measuring");
        let (mut slices, busy_ns) = (Vec::new(), self.busy_ns);
        let (before, from) = (self.servers.seen.bytes, self.latest);
        let mut slice = (self.latest, before);
        while self.latest < from + plan.measured_ns {
            self.until((slice.0 + SLICE_NS).min(from + plan.measured_ns), clock);
            let (at, bytes) = (self.latest, self.servers.seen.bytes);
            slices.push(gbps(bytes - slice.1, at - slice.0));
            slice = (at, bytes);
        }
        let (bytes, took_ns) = (self.servers.seen.bytes - before, self.latest - from);
        let busy_ns = self.busy_ns - busy_ns;
        told("measured");
        self.end(clock);
        let done = &self.clients.app.done;
        let seconds = took_ns as f64 / NS_PER_S as f64;
        Ok(Report {
            seconds,
            bytes,
            gbps: gbps(bytes, took_ns),
            spread_gbps: spread(&mut slices),
            due: done.due,
            answered: done.answered,
            answers_per_second: done.completed as f64 / seconds,
            opening_us: percentiles(&done.opening),
            delay_us: percentiles(&done.delays),
            busy_share: busy_ns as f64 / took_ns.max(1) as f64,
            connections: self.connections(),
            frame_bytes_max: [self.clients.seen, self.servers.seen].map(|s| s.frame_bytes_max),
        })
    }

    /// Connections so far, and what went wrong with them.
    pub fn connections(&mut self) -> Connections {
        let (near, far) = (self.clients.seen, self.servers.seen);
        let sum = |of: fn(&Seen) -> u64| of(&near) + of(&far);
        // While there are connections, some of it may be on its way.
        let missing = self.clients.sent().saturating_sub(far.bytes);
        Connections {
            opened: near.opened,
            closed: near.closed,
            refused: near.refused,
            resets: sum(|seen| seen.resets),
            left: self.clients.live() + self.servers.live(),
            missing_bytes: if self.work.kind == Kind::Bulk { missing } else { 0 },
            wrong: sum(|seen| seen.wrong),
            damaged: sum(|seen| seen.damaged),
            strays: sum(|seen| seen.strays),
            frames_lost: self.wires.iter().map(Wire::frames_lost).sum(),
        }
    }

    /// Where the first byte was that was not as it had been sent: the connection, the offset.
    #[must_use]
    pub fn first_wrong(&self) -> Option<(usize, u64)> {
        self.clients.seen.first_wrong.or(self.servers.seen.first_wrong)
    }

    fn until(&mut self, end: u64, clock: &mut impl FnMut() -> u64) {
        loop {
            let now = clock();
            self.turn(now);
            if now >= end {
                return;
            }
        }
    }

    /// Turns until something is so, or for so long; whether it is.
    fn wait(
        &mut self,
        ns: u64,
        clock: &mut impl FnMut() -> u64,
        is_so: &mut dyn FnMut(&mut Self, u64) -> bool,
    ) -> bool {
        let end = clock() + ns;
        loop {
            let mut now = clock();
            for _ in 0..TURNS {
                self.turn(now);
                now = clock();
            }
            if is_so(self, now) {
                return true;
            }
            if now >= end {
                return false;
            }
        }
    }

    /// Both LANs find each other.
    fn meet(&mut self, clock: &mut impl FnMut() -> u64) -> Result<(), LoadError> {
        let met = self.wait(PATIENCE_NS, clock, &mut |all, now| {
            let [first, second] = &mut all.wires;
            all.clients.ask(first.link(), now);
            all.servers.ask(second.link(), now);
            all.clients.knows_other() && all.servers.knows_other()
        });
        let who = if self.clients.knows_other() { "servers" } else { "clients" };
        if met { Ok(()) } else { Err(LoadError::NoNeighbour(who)) }
    }

    fn open(&mut self, clock: &mut impl FnMut() -> u64) -> Result<(), LoadError> {
        if self.wait(PATIENCE_NS, clock, &mut |all, _| all.clients.open_all()) {
            return Ok(());
        }
        Err(LoadError::NotOpen {
            open: self.clients.opened_now(),
            wanted: self.work.connections,
            refused: self.clients.seen.refused,
        })
    }

    /// What is under way comes to its end, and all connections are closed.
    fn end(&mut self, clock: &mut impl FnMut() -> u64) {
        self.clients.stop();
        self.wait(DRAIN_NS, clock, &mut |all, _| all.clients.is_quiet());
        self.clients.give_up(clock());
        self.clients.close_all();
        let gone = |all: &mut Self, _| all.clients.live() + all.servers.live() == 0;
        self.wait(DRAIN_NS, clock, &mut { gone });
    }
}

fn turn<W: Wire, A: Application>(wire: &mut W, hosts: &mut Hosts<A>, now: u64) -> bool {
    let received = wire.receive(|frame, is_sound, link| hosts.receive(frame, is_sound, link, now));
    let worked = hosts.turn(wire.link(), now);
    let sent = wire.flush();
    worked || received + sent > 0
}

#[expect(clippy::cast_precision_loss, reason = "figures for people")]
fn gbps(bytes: u64, ns: u64) -> f64 {
    8.0 * bytes as f64 / ns.max(1) as f64
}
