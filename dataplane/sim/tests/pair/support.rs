//! What all tests share: a pair with a host on each side, and checks that end the test.

use dataplane::time::SECOND_NS;
use dataplane_sim::check::{self, End, StreamReport};
use dataplane_sim::host::StreamScript;
use dataplane_sim::pair::{PairConfig, Site};

pub(crate) use dataplane_sim::run::{CLIENT_PORT, PORT, Run, both_ways, cable, is_up, reader};

/// Checks of a run that end the test.
pub(crate) trait Expect: Sized {
    /// The pair with one host on each side, and a session between the appliances.
    fn new(config: PairConfig) -> Self;

    /// The pair with one host on each side, before anything was sent.
    fn cold(config: PairConfig) -> Self;

    /// A server on the host of this site.
    fn serve(&mut self, site: Site, port: u16, script: StreamScript);

    /// Clients on the host of this site, from now on, to the host of the other.
    fn connect(&mut self, site: Site, port: u16, count: u16, v6: bool, script: StreamScript);

    /// Reports of the ends that opened connections, and of those that were connected to.
    fn reports(&self) -> (Vec<StreamReport>, Vec<StreamReport>);

    /// Runs until all connections have ended in order, which must happen in time, and checks
    /// everything at the end.
    fn finish(&mut self, within_ns: u64);

    /// Runs until all connections have ended somehow, at `ends` hosts each.
    fn run_to_end(&mut self, within_ns: u64, ends: usize);

    /// A new connection works, and ends in order in time.
    fn expect_service(&mut self, within_ns: u64);

    /// What must hold at every moment.
    fn check_safety(&self);

    /// Lets what is under way come to rest, and checks that nothing is left.
    fn settle(&mut self);
}

impl Expect for Run {
    fn new(config: PairConfig) -> Self {
        let mut run = Run::cold(config);
        assert!(run.wait_for_session(30 * SECOND_NS), "no session: {}", run.describe());
        run
    }

    fn cold(config: PairConfig) -> Self {
        Run::with_keep_alive(config, None)
    }

    fn serve(&mut self, site: Site, port: u16, script: StreamScript) {
        self.serve_many(site, port, 128, script);
    }

    fn connect(&mut self, site: Site, port: u16, count: u16, v6: bool, script: StreamScript) {
        let now_ns = self.pair.now().as_ns();
        self.connect_at(now_ns, site, port, count, v6, script);
    }

    fn reports(&self) -> (Vec<StreamReport>, Vec<StreamReport>) {
        self.checked_reports().unwrap_or_else(|broken| panic!("{broken}"))
    }

    fn finish(&mut self, within_ns: u64) {
        self.run_to_end(within_ns, 2);
        let (clients, servers) = self.reports();
        let wrong = check::finished(&clients, &servers);
        assert!(wrong.is_empty(), "{wrong:?}\n{}", self.describe());
        let orderly = clients.iter().chain(&servers).all(|end| end.end == End::Orderly);
        assert!(orderly, "not in order: {}", self.describe());
        self.settle();
    }

    fn run_to_end(&mut self, within_ns: u64, ends: usize) {
        let until = self.pair.now() + within_ns;
        let wanted = self.connections * ends;
        let done = self.pair.run_to_end(until, wanted);
        assert!(done, "unfinished: {}", self.describe());
        self.check_safety();
    }

    fn expect_service(&mut self, within_ns: u64) {
        self.service(within_ns).unwrap_or_else(|broken| panic!("{broken}"));
    }

    fn check_safety(&self) {
        self.safety().unwrap_or_else(|broken| panic!("{broken}"));
    }

    fn settle(&mut self) {
        self.rest().unwrap_or_else(|broken| panic!("{broken}"));
    }
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
