//! What an idle connection costs an appliance: its place, reserved at the start, and nothing beside
//! it once it is left alone.
//!
//! Measured are the making of an appliance, and the turns of its workers, by thread: what hosts and
//! cables do counts for nothing.

use std::cell::Cell;

use dataplane::edge::EdgeCounter;
use dataplane::frame::heap::HeapFrame;
use dataplane::pipeline::appliance::{Appliance, Limits};
use dataplane::time::{MICROSECOND_NS, SECOND_NS};
use dataplane_sim::host::{Application, Close, StreamScript};
use dataplane_sim::link::LinkConfig;
use dataplane_sim::pair::{Meter, Pair, PairConfig, Site};

const PLACE_BYTES_MAX: u64 = 1_024;

fn config(connections: u32) -> PairConfig {
    let limits = Limits {
        connections,
        flows: 2 * connections as usize,
        buffer_bytes: 32 << 20,
        ..Limits::default()
    };
    PairConfig { limits, ..PairConfig::default() }
}

/// Bytes that an appliance for so many connections asks for at the start.
fn reserved_bytes(connections: u32) -> u64 {
    let config = config(connections).appliance(Site::A, 1);
    let mut appliance = None;
    let entropy = |bytes: &mut [u8]| {
        bytes.fill(7);
        true
    };
    let asked = allocation_counter::measure(|| {
        appliance = Some(Appliance::<HeapFrame>::new(&config, Box::new(entropy)));
    });
    u64::try_from(asked.bytes_current).unwrap()
}

/// Everything that is there for every connection that may be open: its flow, two entries of the flow
/// table, its deadline, its queue towards the WAN, its place among those in TIME-WAIT and those that
/// are lost with a peer, and its part of what only active ones need.
#[test]
fn a_place_takes_less_than_a_kibibyte() {
    let (few, many) = (reserved_bytes(100_000), reserved_bytes(200_000));
    let place = (many - few) / 100_000;
    println!("{place} bytes for a place");
    assert!(place <= PLACE_BYTES_MAX, "{place} bytes");
}

thread_local! {
    /// Bytes of each site that were asked for and not given back, and the most that there were.
    static KEPT: Cell<[(i64, i64); 2]> = const { Cell::new([(0, 0); 2]) };
}

fn count_kept(site: Site, turn: &mut dyn FnMut()) {
    let more = allocation_counter::measure(turn).bytes_current;
    let mut kept = KEPT.get();
    let (now, most) = &mut kept[site.index()];
    *now += more;
    *most = (*most).max(*now);
    KEPT.set(kept);
}

const PORT: u16 = 80;

#[test]
fn an_idle_connection_keeps_nothing_but_its_place() {
    // More than the connections for which memory to be active is there from the start.
    const CONNECTIONS: u16 = 300;
    const PLACES: u32 = 512;
    let cable = LinkConfig {
        rate_bps: 1_000_000_000,
        delay_ns: 50 * MICROSECOND_NS,
        ..LinkConfig::default()
    };
    let mut pair = Pair::new(config(PLACES));
    let [a, b] = Site::BOTH.map(|site| pair.add_host(site, site.host(10), &cable));
    pair.run_for(SECOND_NS);
    let meters: [Meter; 2] =
        [|turn| (count_kept(Site::A, turn), 0).1, |turn| (count_kept(Site::B, turn), 0).1];
    for (site, meter) in Site::BOTH.into_iter().zip(meters) {
        pair.measure(site, meter);
    }
    let script = StreamScript { close: Close::Never, ..StreamScript::sender(100) };
    pair.host(b).run(Application::Server { port: PORT, backlog: 512, script });
    let start_ns = pair.now().as_ns();
    pair.host(a).run(Application::Client {
        remote: (Site::B.address(10, false), PORT).into(),
        local_port: 20_000,
        connections: CONNECTIONS,
        start_ns,
        script,
    });
    pair.run_for(5 * SECOND_NS);
    for site in Site::BOTH {
        let edge = &pair.tpo(site).handles.edge;
        assert_eq!(edge.get(EdgeCounter::Flows), u64::from(CONNECTIONS));
        assert_eq!(edge.get(EdgeCounter::BytesFromHosts), 100 * u64::from(CONNECTIONS));
        let (kept, most) = KEPT.get()[site.index()];
        println!("{site:?} keeps {kept} bytes, of {most} at most");
        assert_eq!(kept, 0, "bytes beside their places at {site:?}");
        assert!(most > 0, "they were active before");
    }
}
