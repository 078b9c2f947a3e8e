//! A pair with one host on each side, its connections, and what must hold of them.
//!
//! In: a pair's options, scripts of connections. Out: what was promised and is not so, as an error
//! with everything there is to know. Never: a panic of its own.

use std::fmt;

use dataplane::counters::{Counter, Counters, Definition, Kind};
use dataplane::edge::EdgeCounter;
use dataplane::packet_driver::PeerStatus;
use dataplane::time::{MICROSECOND_NS, SECOND_NS, Time};

use crate::check::{self, End, StreamReport};
use crate::host::{Application, Close, HostConfig, StreamScript};
use crate::link::LinkConfig;
use crate::pair::{HostId, Pair, PairConfig, Site, Tpo};

/// Port of servers.
pub const PORT: u16 = 80;
/// First port of clients.
pub const CLIENT_PORT: u16 = 20_000;
/// Last number of the addresses of both hosts.
pub const HOST: u8 = 10;
/// How long frames may be on a LAN that an appliance has sent just before it was killed: a host
/// connects by them to whom nobody knows any more. A full queue of a LAN is 8 ms of it.
const LAST_WORDS_NS: u64 = 10_000 * MICROSECOND_NS;

/// What was promised, and is not so.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Broken {
    /// The promise.
    pub promise: Promise,
    /// What was seen instead, the state of everything included.
    pub seen: String,
}

/// What a run of a pair promises to its hosts and its operator.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Promise {
    /// A host reads what the other sent, whole, or sees a reset.
    Whole,
    /// A server is asked only by a client that knows of it.
    TrueEnds,
    /// Once the network is whole, every connection ends at both hosts.
    Ends,
    /// Once the network is whole, the appliances find each other.
    Session,
    /// And new connections work.
    Service,
    /// What comes in goes out or is dropped by name, and the counters say so.
    Counted,
    /// At rest nothing is held: no flow, frame or buffer.
    Released,
    /// No worker panics or spins.
    NoPanic,
}

impl Promise {
    /// In words.
    #[must_use]
    pub fn text(self) -> &'static str {
        match self {
            Promise::Whole => "a host reads what the other sent, whole, or sees a reset",
            Promise::TrueEnds => "a server is asked only by a client that knows of it",
            Promise::Ends => "once the network is whole, every connection ends at both hosts",
            Promise::Session => "once the network is whole, the appliances find each other",
            Promise::Service => "once the network is whole, new connections work",
            Promise::Counted => "what comes in goes out or is dropped by name, and is counted",
            Promise::Released => "at rest no flow, frame or buffer is held",
            Promise::NoPanic => "no worker panics or spins",
        }
    }
}

impl fmt::Display for Broken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "broken: {}\n{}", self.promise.text(), self.seen)
    }
}

/// A LAN's cable: 1 Gb/s, 50 us.
#[must_use]
pub fn cable() -> LinkConfig {
    LinkConfig {
        rate_bps: 1_000_000_000,
        queue_bytes_max: 1_000_000,
        delay_ns: 50 * MICROSECOND_NS,
        ..LinkConfig::default()
    }
}

/// Reads everything and closes when the other end has.
#[must_use]
pub fn reader() -> StreamScript {
    StreamScript::default()
}

/// Sends this much and closes its direction; reads everything.
#[must_use]
pub fn both_ways(send_bytes: u64) -> StreamScript {
    StreamScript { send_bytes, close: Close::AfterSending, ..StreamScript::default() }
}

/// Whether an appliance has a session.
#[must_use]
pub fn is_up(tpo: &Tpo) -> bool {
    tpo.handles.peers.iter().any(PeerStatus::is_up)
}

/// A pair with a host on each side.
pub struct Run {
    /// The pair.
    pub pair: Pair,
    /// The host of A.
    pub a: HostId,
    /// The host of B.
    pub b: HostId,
    /// Connections that clients were told to make.
    pub connections: usize,
    /// When both appliances forgot all connections at once: these are left to their hosts' timers.
    pub forgotten_at: Option<Time>,
}

impl Run {
    /// The pair with one host on each side, before anything was sent. The hosts ask after a silent
    /// peer so many nanoseconds after its last word.
    #[must_use]
    pub fn with_keep_alive(config: PairConfig, keep_alive_ns: Option<u64>) -> Self {
        let mut pair = Pair::new(config);
        let [a, b] = Site::BOTH.map(|site| {
            let host =
                HostConfig { keep_alive_ns, content: pair.config().content, ..site.host(HOST) };
            pair.add_host(site, host, &cable())
        });
        Run { pair, a, b, connections: 0, forgotten_at: None }
    }

    /// The host of a site.
    #[must_use]
    pub fn host_of(&self, site: Site) -> HostId {
        match site {
            Site::A => self.a,
            Site::B => self.b,
        }
    }

    /// Runs until both appliances say that the peer is up; whether they do in time.
    pub fn wait_for_session(&mut self, ns: u64) -> bool {
        let until = self.pair.now() + ns;
        self.pair.run_until(until, |pair| {
            Site::BOTH.iter().all(|site| pair.running(*site).is_some_and(is_up))
        })
    }

    /// A server on the host of this site, for so many connections in the making at a time. Each
    /// costs the host's stack time for as long as the server is there.
    pub fn serve_many(&mut self, site: Site, port: u16, backlog: usize, script: StreamScript) {
        let host = self.host_of(site);
        self.pair.host(host).run(Application::Server { port, backlog, script });
    }

    /// Clients on the host of this site, from `start_ns` on, to the host of the other; the port of
    /// the first.
    pub fn connect_at(
        &mut self,
        start_ns: u64,
        site: Site,
        port: u16,
        connections: u16,
        v6: bool,
        script: StreamScript,
    ) -> u16 {
        let host = self.host_of(site);
        let local_port = CLIENT_PORT + u16::try_from(self.connections).unwrap_or(0);
        let remote = (site.other().address(HOST, v6), port).into();
        self.pair.host(host).run(Application::Client {
            remote,
            local_port,
            connections,
            start_ns,
            script,
        });
        self.connections += usize::from(connections);
        local_port
    }

    /// All ends that opened connections, and all that were connected to.
    fn ends(&self) -> (Vec<StreamReport>, Vec<StreamReport>) {
        let all = Site::BOTH.into_iter().flat_map(|site| self.pair.streams(site));
        all.partition(|end| end.local.port() >= CLIENT_PORT)
    }

    /// Reports of the ends that opened connections, and of those that were connected to.
    ///
    /// # Errors
    /// When a server has seen a connection of which no client knows.
    pub fn checked_reports(&self) -> Result<(Vec<StreamReport>, Vec<StreamReport>), Broken> {
        let (clients, servers) = self.ends();
        let mut last = Vec::new();
        for (index, end) in servers.iter().enumerate() {
            let later = servers.get(index + 1..).unwrap_or_default();
            let is_last = !later.iter().any(|s| s.local == end.local && s.remote == end.remote);
            let client = clients.iter().find(|c| c.local == end.remote && c.remote == end.local);
            if is_last {
                last.push(end.clone());
            } else if !was_an_attempt(end, client) {
                return Err(self.broken(Promise::TrueEnds, &format!("{end:?}\n{client:?}")));
            }
        }
        Ok((clients, last))
    }

    /// What must hold at every moment.
    ///
    /// # Errors
    /// When it does not.
    pub fn safety(&self) -> Result<(), Broken> {
        let (clients, servers) = self.checked_reports()?;
        self.none_of(&check::safety(&clients, &servers))
    }

    /// Whether all clients have tried, and every connection has ended at both hosts, but for those
    /// that were forgotten.
    #[must_use]
    pub fn all_ended(&self) -> bool {
        let (clients, servers) = self.ends();
        let forgotten = |end: &StreamReport| end.connected_at.is_some_and(|at| self.forgets(at));
        clients.len() == self.connections
            && clients.iter().chain(&servers).all(|end| end.end != End::Open || forgotten(end))
    }

    fn forgets(&self, connected_at: Time) -> bool {
        self.forgotten_at.is_some_and(|at| connected_at <= at + LAST_WORDS_NS)
    }

    /// What must hold when all connections have ended.
    ///
    /// # Errors
    /// When it does not.
    pub fn ended(&self) -> Result<(), Broken> {
        let (clients, servers) = self.checked_reports()?;
        self.none_of(&check::safety(&clients, &servers))?;
        self.none_of(&check::lost_silently(&clients, &servers))?;
        if self.all_ended() { Ok(()) } else { Err(self.broken(Promise::Ends, "")) }
    }

    /// Makes a new connection, which has to work and to end in order in time.
    ///
    /// # Errors
    /// When it does not.
    pub fn service(&mut self, within_ns: u64) -> Result<(), Broken> {
        const BYTES: u64 = 10_000;
        self.serve_many(Site::B, PORT + 9, 1, both_ways(BYTES));
        let now_ns = self.pair.now().as_ns();
        let client = self.connect_at(now_ns, Site::A, PORT + 9, 1, false, both_ways(BYTES));
        let until = self.pair.now() + within_ns;
        let whole = |end: &StreamReport| {
            let orderly = end.end == End::Orderly && end.received_bytes == BYTES;
            end.local.port() == client && orderly
        };
        let done = self.pair.run_until(until, |pair| pair.streams(Site::A).iter().any(whole));
        if done { Ok(()) } else { Err(self.broken(Promise::Service, "")) }
    }

    /// Lets what is under way come to rest; then nothing may be left, and counters add up.
    ///
    /// # Errors
    /// When something is left, or they do not.
    pub fn rest(&mut self) -> Result<(), Broken> {
        self.pair.run_for(5 * SECOND_NS);
        for site in Site::BOTH {
            let Some(tpo) = self.pair.running(site) else { continue };
            let handles = &tpo.handles;
            let left = [
                ("flows", handles.edge.get(EdgeCounter::Flows)),
                // The transmit stage keeps one empty frame.
                ("frames", tpo.frames_in_use().saturating_sub(1) as u64),
                ("bytes to be sent", handles.send_pool.in_use_bytes() as u64),
                ("bytes received", handles.receive_pool.in_use_bytes() as u64),
            ];
            if left.iter().any(|(_, count)| *count > 0) {
                return Err(self.broken(Promise::Released, &format!("{site:?}: {left:?}")));
            }
            let wrong = all_unbalanced(tpo);
            if !wrong.is_empty() {
                return Err(self.broken(Promise::Counted, &format!("{site:?}: {wrong:?}")));
            }
        }
        Ok(())
    }

    /// The ends that did not end in order, and everything else there is to know.
    #[must_use]
    pub fn describe(&self) -> String {
        let (clients, servers) = self.ends();
        let mut text = format!("{} clients, {} servers\n", clients.len(), servers.len());
        for end in clients.iter().chain(&servers).filter(|end| end.end != End::Orderly) {
            text += &brief(end);
        }
        text += &format!("{:?}\nat {:?}\n", self.pair.config(), self.pair.now());
        for site in Site::BOTH {
            if let Some(tpo) = self.pair.running(site) {
                text += &format!("{site:?}: {:?} {:?}\n", tpo.tally, tpo.counters());
            }
        }
        text
    }

    /// That a promise is broken, with everything there is to know.
    #[must_use]
    pub fn broken(&self, promise: Promise, seen: &str) -> Broken {
        Broken { promise, seen: format!("{seen}\n{}", self.describe()) }
    }

    fn none_of(&self, violations: &[check::Violation]) -> Result<(), Broken> {
        let Some(first) = violations.first() else { return Ok(()) };
        let promise = match first.what {
            check::Wrong::NoClient => Promise::TrueEnds,
            check::Wrong::Unfinished => Promise::Ends,
            _ => Promise::Whole,
        };
        let each = violations.iter().map(|each| format!("{each}: {:?}\n", each.seen_by));
        Err(self.broken(promise, &each.collect::<String>()))
    }
}

/// Whether an end of a server, which was not the last between these addresses, was an attempt.
///
/// A host's SYN is not answered before the far host has accepted. When the session is lost in
/// between, the server sees a reset, as promised; nothing was promised to the client, whose next
/// SYN begins anew. Such an attempt of a server carried nothing, and was over before the client was
/// connected: the client knows of one connection only.
fn was_an_attempt(end: &StreamReport, client: Option<&StreamReport>) -> bool {
    let before = |client: &StreamReport| {
        client.connected_at.is_none_or(|at| end.ended_at.is_some_and(|ended| ended < at))
    };
    end.end == End::Reset && end.received_bytes == 0 && client.is_some_and(before)
}

fn brief(end: &StreamReport) -> String {
    format!(
        "{} to {}: {:?}, sent {} of {}{}, received {}, connected {:?}, end of stream {:?}, ended {:?}\n",
        end.local,
        end.remote,
        end.end,
        end.sent_bytes,
        end.send_bytes,
        if end.send_closed { " and closed" } else { "" },
        end.received_bytes,
        end.connected_at,
        end.end_of_stream_at,
        end.ended_at,
    )
}

/// Units of all stages of which not all that came in went out or was dropped by name.
fn all_unbalanced(tpo: &Tpo) -> Vec<String> {
    let handles = &tpo.handles;
    let mut wrong = unbalanced(&handles.port);
    wrong.extend(handles.interceptor.each().iter().flat_map(unbalanced));
    wrong.extend(handles.edge.each().iter().flat_map(unbalanced));
    wrong.extend(unbalanced(&handles.aggregate));
    wrong.extend(handles.compress.iter().flat_map(unbalanced));
    wrong.extend(unbalanced(&handles.transmit));
    wrong.extend(unbalanced(&handles.demux));
    wrong.extend(handles.movers.iter().flat_map(unbalanced));
    wrong.extend(handles.decompress.iter().flat_map(unbalanced));
    wrong.extend(handles.disaggregate.iter().flat_map(unbalanced));
    wrong
}

fn unbalanced<C: Counter>(counters: &Counters<C>) -> Vec<String> {
    let mut units: Vec<&str> = C::DEFINITIONS
        .iter()
        .filter(|definition| definition.kind == Kind::In)
        .map(|definition| definition.unit)
        .collect();
    units.dedup();
    let sum = |unit: &str, wanted: &dyn Fn(Kind) -> bool| -> u64 {
        let is = |definition: &Definition| definition.unit == unit && wanted(definition.kind);
        counters.iter().filter(|(definition, _)| is(definition)).map(|(_, value)| value).sum()
    };
    units
        .into_iter()
        .map(|unit| {
            let came_in = sum(unit, &|kind| kind == Kind::In);
            let went = sum(unit, &|kind| matches!(kind, Kind::Out | Kind::Drop));
            (unit, came_in, went)
        })
        .filter(|(_, came_in, went)| came_in != went)
        .map(|(unit, came_in, went)| format!("{} {unit}: {came_in} in, {went} out", C::STAGE))
        .collect()
}
