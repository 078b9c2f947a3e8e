//! What all tests share: a pair with a host on each side, and what must hold at the end.

use dataplane::counters::{Counter, Counters, Definition, Kind};
use dataplane::edge::EdgeCounter;
use dataplane::time::{MICROSECOND_NS, SECOND_NS};
use dataplane_sim::check::{self, End, StreamReport};
use dataplane_sim::host::{Application, Close, HostConfig, StreamScript};
use dataplane_sim::link::LinkConfig;
use dataplane_sim::pair::{HostId, Pair, PairConfig, Site, Tpo};

/// Port of servers.
pub(crate) const PORT: u16 = 80;
/// First port of clients.
pub(crate) const CLIENT_PORT: u16 = 20_000;

/// A LAN's cable: 1 Gb/s, 50 us.
pub(crate) fn cable() -> LinkConfig {
    LinkConfig {
        rate_bps: 1_000_000_000,
        queue_bytes_max: 1_000_000,
        delay_ns: 50 * MICROSECOND_NS,
        ..LinkConfig::default()
    }
}

/// A pair with a host on each side.
pub(crate) struct Run {
    pub pair: Pair,
    pub a: HostId,
    pub b: HostId,
    /// Connections that clients were told to make.
    pub connections: usize,
}

/// Reads everything and closes when the other end has.
pub(crate) fn reader() -> StreamScript {
    StreamScript::default()
}

/// Sends this much and closes when the other end has.
pub(crate) fn both_ways(send_bytes: u64) -> StreamScript {
    StreamScript { send_bytes, close: Close::AfterSending, ..StreamScript::default() }
}

impl Run {
    /// The pair with one host on each side, and a session between the appliances.
    pub(crate) fn new(config: PairConfig) -> Self {
        let mut run = Run::cold(config);
        assert!(run.wait_for_session(30 * SECOND_NS), "no session: {}", run.describe());
        run
    }

    /// The pair with one host on each side, before anything was sent.
    pub(crate) fn cold(config: PairConfig) -> Self {
        Run::with_keep_alive(config, None)
    }

    /// The same with hosts that ask after a silent peer, so many nanoseconds after its last word.
    pub(crate) fn with_keep_alive(config: PairConfig, keep_alive_ns: Option<u64>) -> Self {
        let mut pair = Pair::new(config);
        let [a, b] = Site::BOTH.map(|site| {
            let host = HostConfig { keep_alive_ns, ..site.host(10) };
            pair.add_host(site, host, &cable())
        });
        Run { pair, a, b, connections: 0 }
    }

    /// Until both appliances say that the peer is up.
    pub(crate) fn wait_for_session(&mut self, ns: u64) -> bool {
        let until = self.pair.now() + ns;
        self.pair.run_until(until, |pair| Site::BOTH.iter().all(|site| is_up(pair.tpo(*site))))
    }

    pub(crate) fn host_of(&self, site: Site) -> HostId {
        match site {
            Site::A => self.a,
            Site::B => self.b,
        }
    }

    /// A server on the host of this site.
    pub(crate) fn serve(&mut self, site: Site, port: u16, script: StreamScript) {
        let host = self.host_of(site);
        self.pair.host(host).run(Application::Server { port, backlog: 128, script });
    }

    /// Clients on the host of this site, from now on, to the host of the other.
    pub(crate) fn connect(
        &mut self,
        site: Site,
        port: u16,
        count: u16,
        v6: bool,
        script: StreamScript,
    ) {
        let (host, start) = (self.host_of(site), self.pair.now());
        let local_port = CLIENT_PORT + u16::try_from(self.connections).unwrap_or(0);
        self.pair.host(host).run(Application::Client {
            remote: (site.other().address(10, v6), port).into(),
            local_port,
            connections: count,
            start_ns: start.as_ns(),
            script,
        });
        self.connections += usize::from(count);
    }

    /// Reports of the ends that opened connections, and of those that were connected to.
    pub(crate) fn reports(&self) -> (Vec<StreamReport>, Vec<StreamReport>) {
        let mut all: Vec<StreamReport> =
            Site::BOTH.into_iter().flat_map(|site| self.pair.streams(site)).collect();
        let servers: Vec<StreamReport> =
            all.extract_if(.., |end| end.local.port() < CLIENT_PORT).collect();
        // A host's SYN is not answered before the far host has accepted. When the session is lost in
        // between, the server sees a reset, as promised; nothing was promised to the client, whose
        // next SYN begins anew. Such an attempt of a server carried nothing, and was over before
        // the client was connected: the client knows of one connection only.
        let is_last = |index: usize, end: &StreamReport| {
            !servers[index + 1..].iter().any(|s| s.local == end.local && s.remote == end.remote)
        };
        let last = servers.iter().enumerate().filter(|(index, end)| {
            let last = is_last(*index, end);
            let client = all.iter().find(|c| c.local == end.remote && c.remote == end.local);
            let before = |client: &StreamReport| {
                client.connected_at.is_none_or(|at| end.ended_at.is_some_and(|ended| ended < at))
            };
            let unknown =
                end.end == End::Reset && end.received_bytes == 0 && client.is_some_and(before);
            assert!(last || unknown, "{end:?} {client:?}");
            last
        });
        let last = last.map(|(_, end)| end.clone()).collect();
        (all, last)
    }

    /// Runs until all connections have ended in order, which must happen in time, and checks
    /// everything at the end.
    pub(crate) fn finish(&mut self, within_ns: u64) {
        self.run_to_end(within_ns, 2);
        let (clients, servers) = self.reports();
        let wrong = check::finished(&clients, &servers);
        assert!(wrong.is_empty(), "{wrong:?}\n{}", self.describe());
        let orderly = clients.iter().chain(&servers).all(|end| end.end == End::Orderly);
        assert!(orderly, "not in order:\n{}{}", brief(&clients, &servers), self.describe());
        self.settle();
    }

    /// Runs until all connections have ended somehow, at `ends` hosts each.
    pub(crate) fn run_to_end(&mut self, within_ns: u64, ends: usize) {
        let until = self.pair.now() + within_ns;
        let done = self.pair.run_to_end(until, self.connections * ends);
        let (clients, servers) = self.reports();
        assert!(done, "unfinished:\n{}{}", brief(&clients, &servers), self.describe());
        self.check_safety();
    }

    /// A new connection works, and ends in order in time.
    pub(crate) fn expect_service(&mut self, within_ns: u64) {
        let client = CLIENT_PORT + u16::try_from(self.connections).unwrap_or(0);
        self.serve(Site::B, PORT + 9, both_ways(10_000));
        self.connect(Site::A, PORT + 9, 1, false, both_ways(10_000));
        let until = self.pair.now() + within_ns;
        let done = self.pair.run_until(until, |pair| {
            pair.streams(Site::A).iter().any(|end| {
                end.local.port() == client
                    && end.end == End::Orderly
                    && end.received_bytes == 10_000
            })
        });
        assert!(done, "no service: {}{}", self.unfinished(), self.describe());
    }

    /// The ends that did not end in order, and everything else.
    pub(crate) fn unfinished(&self) -> String {
        let (clients, servers) = self.reports();
        brief(&clients, &servers) + &self.describe()
    }

    /// What must hold at every moment.
    pub(crate) fn check_safety(&self) {
        let (clients, servers) = self.reports();
        let wrong = check::safety(&clients, &servers);
        let ends = || clients.iter().chain(&servers).map(|end| format!("{end:?}\n")).collect();
        assert!(
            wrong.is_empty(),
            "{wrong:?}\n{}{}",
            String::from_iter::<Vec<_>>(ends()),
            self.describe()
        );
    }

    /// Lets what is under way come to rest, and checks that nothing is left.
    pub(crate) fn settle(&mut self) {
        self.pair.run_for(5 * SECOND_NS);
        for site in Site::BOTH {
            self.check_leftovers(site);
        }
    }

    fn check_leftovers(&self, site: Site) {
        let tpo = self.pair.tpo(site);
        let handles = &tpo.handles;
        let left = (
            handles.edge.get(EdgeCounter::Flows),
            // The transmit stage keeps one empty frame.
            tpo.frames_in_use().saturating_sub(1),
            handles.send_pool.in_use_bytes(),
            handles.receive_pool.in_use_bytes(),
        );
        assert_eq!(left, (0, 0, 0, 0), "flows, frames, buffers of {site:?}\n{}", self.describe());
        let mut wrong = Vec::new();
        wrong.extend(unbalanced(&handles.port));
        wrong.extend(unbalanced(&handles.interceptor));
        wrong.extend(unbalanced(&handles.edge));
        wrong.extend(unbalanced(&handles.aggregate));
        wrong.extend(unbalanced(&handles.compress));
        wrong.extend(unbalanced(&handles.transmit));
        wrong.extend(unbalanced(&handles.demux));
        wrong.extend(handles.movers.iter().flat_map(unbalanced));
        wrong.extend(unbalanced(&handles.decompress));
        wrong.extend(unbalanced(&handles.disaggregate));
        assert!(wrong.is_empty(), "counters of {site:?}: {wrong:?}\n{}", self.describe());
    }

    /// Everything there is to know about a run that failed.
    pub(crate) fn describe(&self) -> String {
        let mut text = format!("{:?}\nat {:?}\n", self.pair.config(), self.pair.now());
        for site in Site::BOTH {
            if let Some(tpo) = self.pair.running(site) {
                text += &format!("{site:?}: {:?} {:?}\n", tpo.tally, tpo.counters());
            }
        }
        text
    }
}

/// The ends that did not end in order, a line each.
fn brief(clients: &[StreamReport], servers: &[StreamReport]) -> String {
    let mut text = format!("{} clients, {} servers\n", clients.len(), servers.len());
    for end in clients.iter().chain(servers).filter(|end| end.end != End::Orderly) {
        text += &format!(
            "{} to {}: {:?}, sent {} of {}{}, received {}, connected {:?}, end of stream {:?}\n",
            end.local,
            end.remote,
            end.end,
            end.sent_bytes,
            end.send_bytes,
            if end.send_closed { " and closed" } else { "" },
            end.received_bytes,
            end.connected_at,
            end.end_of_stream_at,
        );
    }
    text
}

/// Whether an appliance has a session.
pub(crate) fn is_up(tpo: &Tpo) -> bool {
    tpo.handles.peers.iter().all(dataplane::packet_driver::PeerStatus::is_up)
}

/// Units of a stage of which not all that came in went out or was dropped by name.
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

/// More than the WAN carries in the time these tests take.
pub(crate) const ENDLESS: u64 = 10_000_000_000;

/// Connections with data one way, the other, and both.
pub(crate) fn transfers(run: &mut Run, bytes: u64, v6: bool) {
    run.serve(Site::B, PORT, StreamScript::sender(bytes));
    run.serve(Site::B, PORT + 1, reader());
    run.serve(Site::B, PORT + 2, both_ways(bytes));
    run.connect(Site::A, PORT, 1, v6, reader());
    run.connect(Site::A, PORT + 1, 1, v6, StreamScript::sender(bytes));
    run.connect(Site::A, PORT + 2, 1, v6, both_ways(bytes));
}

/// Every host of every connection sees a reset; none a short stream.
pub(crate) fn expect_resets(run: &mut Run, within_ns: u64) {
    run.run_to_end(within_ns, 2);
    let (clients, servers) = run.reports();
    assert_eq!((clients.len(), servers.len()), (run.connections, run.connections));
    for end in clients.iter().chain(&servers) {
        assert_eq!(end.end, End::Reset, "{end:?}\n{}", run.describe());
        assert!(end.received_bytes + end.sent_bytes > 0, "mid-transfer: {end:?}");
    }
}
