//! Small requests beside bulk: how much longer they take than alone.
//!
//! With the link full of bulk in both directions, the 99th percentile of an exchange of 200 bytes is
//! at most 5 ms beyond the idle median in a class before the bulk's, and 15 ms in the bulk's own.
//! Time is virtual, so what is seen is the queues' doing alone.

use dataplane::packet_driver::Class;
use dataplane::time::{MILLISECOND_NS, SECOND_NS};
use dataplane_sim::host::{Close, Pace, StreamScript};
use dataplane_sim::link::Loss;
use dataplane_sim::pair::{PairConfig, Site};

use crate::support::{ENDLESS, Expect, PORT, Run, reader};

const MBIT: u64 = 1_000_000;
/// Servers of bulk, of exchanges in the class before it, and of exchanges in its own.
const BULK: u16 = PORT;
const FIRST_CLASS: u16 = PORT + 1;
const SAME_CLASS: u16 = PORT + 2;
/// Of a request, and of its response.
const EXCHANGE_BYTES: u64 = 200;
const EXCHANGERS: u16 = 5;
const PORTS: [u16; 2] = [FIRST_CLASS, SAME_CLASS];

const OTHER_CLASS_NS_MAX: u64 = 5 * MILLISECOND_NS;
const SAME_CLASS_NS_MAX: u64 = 15 * MILLISECOND_NS;
/// A quarter of the path: what `auto` may keep in its queue.
const QUEUE_NS_MAX: u64 = 25 * MILLISECOND_NS;

#[derive(Clone, Copy, Debug)]
struct Link {
    rate_bps: u64,
    loss: f64,
    /// Nobody has said what it carries.
    auto: bool,
}

fn config(link: Link) -> PairConfig {
    let bulk_bdp_bytes = link.rate_bps / 8 / 10;
    PairConfig {
        rate_bps: if link.auto { 1_000 * MBIT } else { link.rate_bps },
        auto: link.auto,
        compress: false,
        classes: vec![(FIRST_CLASS, Class(0)), (SAME_CLASS, Class(1)), (BULK, Class(1))],
        ..PairConfig::default()
    }
    .with_wan(|wan| {
        wan.rate_bps = link.rate_bps;
        wan.delay_ns = 50 * MILLISECOND_NS;
        wan.queue_bytes_max = bulk_bdp_bytes.max(30_000);
        wan.loss = Loss::Independent { probability: link.loss };
    })
}

fn exchanger(first: bool) -> StreamScript {
    let (own_bytes, peer_bytes) = (EXCHANGE_BYTES, EXCHANGE_BYTES);
    StreamScript {
        pace: Pace::Turns { own_bytes, peer_bytes, first },
        close: Close::Never,
        ..StreamScript::sender(ENDLESS)
    }
}

/// Times of exchanges, ascending.
struct Exchanges {
    /// In the class before the bulk's, and in the bulk's own.
    classes: [Vec<u64>; 2],
}

impl Exchanges {
    /// With so many bulk flows each way, which fill the link.
    fn beside(link: Link, bulk: u16) -> Self {
        let mut run = Run::new(config(link));
        let endless = StreamScript { close: Close::Never, ..StreamScript::sender(ENDLESS) };
        let silent = StreamScript { close: Close::Never, ..reader() };
        for site in Site::BOTH {
            run.serve(site, BULK, silent);
        }
        if bulk > 0 {
            for site in Site::BOTH {
                run.connect(site, BULK, bulk, false, endless);
            }
            run.pair.run_for(2 * SECOND_NS);
        }
        let received =
            |run: &Run| -> u64 { run.reports().1.iter().map(|server| server.received_bytes).sum() };
        let before = received(&run);
        for port in PORTS {
            run.serve(Site::B, port, exchanger(false));
        }
        for _ in 0..EXCHANGERS {
            for port in PORTS {
                run.connect(Site::A, port, 1, false, exchanger(true));
                run.pair.run_for(8 * MILLISECOND_NS + 300_001);
            }
        }
        let measured_s = if link.rate_bps > 100 * MBIT { 3 } else { 6 };
        run.pair.run_for(measured_s * SECOND_NS);
        run.check_safety();
        let got_bps = (received(&run) - before) * 8 / measured_s;
        let full_bps = if bulk > 0 { 2 * link.rate_bps / 100 * 85 } else { 0 };
        assert!(got_bps > full_bps, "the link is full: {got_bps} {link:?}");
        let clients = run.reports().0;
        let classes = PORTS.map(|port| {
            let of_class = clients.iter().filter(|client| client.remote.port() == port);
            // The first begins while the connection does.
            let times = of_class.flat_map(|client| client.exchanges_ns[1..].to_vec());
            let mut times: Vec<u64> = times.collect();
            times.sort_unstable();
            assert!(times.len() >= 100, "{}", times.len());
            times
        });
        Exchanges { classes }
    }

    /// Of each class, what this percentile takes beyond `idle_ns`.
    fn beyond(&self, idle_ns: u64, percent: usize) -> [u64; 2] {
        self.classes.each_ref().map(|times| percentile(times, percent).saturating_sub(idle_ns))
    }
}

fn percentile(sorted: &[u64], percent: usize) -> u64 {
    sorted[(sorted.len() - 1) * percent / 100]
}

fn assert_within(beyond_ns: [u64; 2], what: &str) {
    println!("{what}: beyond idle, class before and same class: {beyond_ns:?} ns");
    assert!(beyond_ns[0] <= OTHER_CLASS_NS_MAX, "{what}: {beyond_ns:?}");
    assert!(beyond_ns[1] <= SAME_CLASS_NS_MAX, "{what}: {beyond_ns:?}");
}

fn idle_ns(link: Link) -> u64 {
    percentile(&Exchanges::beside(Link { loss: 0.0, auto: false, ..link }, 0).classes[0], 50)
}

fn bars_are_met(rate_bps: u64, bulk: u16) {
    let link = Link { rate_bps, loss: 0.0, auto: false };
    let beyond_ns = Exchanges::beside(link, bulk).beyond(idle_ns(link), 99);
    assert_within(beyond_ns, &format!("{link:?}, {bulk} bulk flows, p99"));
}

#[test]
fn small_requests_pass_bulk_on_a_slow_link() {
    bars_are_met(10 * MBIT, 1);
    bars_are_met(10 * MBIT, 10);
}

#[test]
fn small_requests_pass_bulk_on_a_fast_link() {
    bars_are_met(200 * MBIT, 10);
}

/// With `auto` there is its queue in the path, each way.
#[test]
fn with_auto_small_requests_wait_for_its_queue_alone() {
    let link = Link { rate_bps: 50 * MBIT, loss: 0.0, auto: true };
    let beyond_ns = Exchanges::beside(link, 1).beyond(idle_ns(link), 99);
    println!("{link:?}: {beyond_ns:?}");
    assert!(beyond_ns.iter().all(|ns| *ns <= QUEUE_NS_MAX), "{beyond_ns:?}");
}

/// Of a hundred exchanges, two lose one of their two datagrams, whoever carries them: those take
/// a round trip more and what it takes to notice, all others are within the bars.
#[test]
fn a_loss_of_bulk_delays_no_small_request() {
    for rate_bps in [10 * MBIT, 200 * MBIT] {
        let link = Link { rate_bps, loss: 0.01, auto: false };
        let (idle_ns, exchanges) = (idle_ns(link), Exchanges::beside(link, 1));
        assert_within(exchanges.beyond(idle_ns, 95), &format!("{link:?}, p95"));
        let last_ns = exchanges.beyond(idle_ns, 99);
        let repaired_ns = idle_ns * 3 / 2;
        assert!(last_ns.iter().all(|ns| *ns <= repaired_ns), "{link:?}: {last_ns:?}");
    }
}

/// Bulk of a class that goes first leaves the others their share, and has the rest of theirs.
#[test]
fn bulk_of_all_classes_shares_by_weight() {
    let rate_bps = 20 * MBIT;
    let base = config(Link { rate_bps, loss: 0.0, auto: false });
    let classes = (0..4).map(|class| (PORT + u16::from(class), Class(class))).collect();
    let mut run = Run::new(PairConfig { classes, ..base });
    let silent = StreamScript { close: Close::Never, ..reader() };
    let endless = StreamScript { close: Close::Never, ..StreamScript::sender(ENDLESS) };
    for class in 0..4 {
        run.serve(Site::B, PORT + class, silent);
        run.connect(Site::A, PORT + class, 1, false, endless);
    }
    let received = |run: &Run| {
        let servers = run.reports().1;
        [0, 1, 2, 3].map(|class| -> u64 {
            let of_class = servers.iter().filter(|server| server.local.port() == PORT + class);
            of_class.map(|server| server.received_bytes).sum()
        })
    };
    run.pair.run_for(2 * SECOND_NS);
    let before = received(&run);
    run.pair.run_for(6 * SECOND_NS);
    let after = received(&run);
    let shares: Vec<u64> = after.iter().zip(before).map(|(after, before)| after - before).collect();
    let sum: u64 = shares.iter().sum();
    assert!(sum * 8 > 6 * rate_bps / 100 * 90, "the link is full: {shares:?}");
    for (share, weight) in shares.iter().zip([8, 4, 2, 1]) {
        let due = sum * weight / 15;
        assert!((due * 8 / 10..due * 12 / 10).contains(share), "{shares:?}");
    }
    run.check_safety();
}
