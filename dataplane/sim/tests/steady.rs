//! The steady state of the whole pipeline: no allocation per packet, and no copy but those of the
//! design.

use std::alloc::System;

use dataplane::compression::CompressionCounter;
use dataplane::data_mover::MoverCounter;
use dataplane::edge::EdgeCounter;
use dataplane::packet_driver::AggregateCounter;
use dataplane::pipeline::placement::Placement;
use dataplane::time::{MICROSECOND_NS, MILLISECOND_NS, SECOND_NS};
use dataplane_sim::host::{Application, Close, Probe, StreamScript};
use dataplane_sim::link::{LinkConfig, Loss};
use dataplane_sim::pair::{HostId, Pair, PairConfig, Site, Tpo};
use stats_alloc::{INSTRUMENTED_SYSTEM, StatsAlloc};

#[global_allocator]
static GLOBAL: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

const PORT: u16 = 80;
const CLIENT_PORT: u16 = 20_000;

fn allocations() -> u64 {
    let stats = GLOBAL.stats();
    (stats.allocations + stats.reallocations) as u64
}

/// A pair with one host on each side.
fn pair(config: PairConfig) -> (Pair, [HostId; 2]) {
    let cable = LinkConfig {
        rate_bps: 1_000_000_000,
        delay_ns: 50 * MICROSECOND_NS,
        ..LinkConfig::default()
    };
    let mut pair = Pair::new(config);
    let hosts = Site::BOTH.map(|site| pair.add_host(site, site.host(10), &cable));
    pair.run_for(SECOND_NS);
    (pair, hosts)
}

/// Connections from A to B.
fn connect(
    pair: &mut Pair,
    [a, b]: [HostId; 2],
    connections: u16,
    client: StreamScript,
    server: StreamScript,
) {
    pair.host(b).run(Application::Server { port: PORT, backlog: 64, script: server });
    let start_ns = pair.now().as_ns();
    pair.host(a).run(Application::Client {
        remote: (Site::B.address(10, false), PORT).into(),
        local_port: CLIENT_PORT,
        connections,
        start_ns,
        script: client,
    });
}

#[test]
fn nothing_is_allocated_per_packet() {
    for placement in [Placement::single(0), Placement::one_stage_per_core()] {
        let rate_bps = 50_000_000;
        let config = PairConfig { placement, rate_bps, ..PairConfig::default() };
        let config = config.with_wan(|wan| {
            wan.rate_bps = rate_bps;
            wan.loss = Loss::Independent { probability: 0.01 };
        });
        let (mut pair, hosts) = pair(config);
        let endless = StreamScript { close: Close::Never, ..StreamScript::sender(u64::MAX) };
        connect(&mut pair, hosts, 4, endless, endless);
        let probe = Probe {
            start_ns: pair.now().as_ns(),
            interval_ns: 5 * MILLISECOND_NS,
            count: 1_000,
            len: 500,
        };
        let remote = (Site::B.address(10, false), 0).into();
        pair.host(hosts[0]).run(Application::Ping { remote, identifier: 1, probe });
        pair.run_for(4 * SECOND_NS);

        pair.watch(allocations);
        let frames = |tpo: &Tpo| {
            tpo.counters()
                .iter()
                .filter(|(name, _)| name == "port.to_edge")
                .map(|(_, n)| *n)
                .sum::<u64>()
        };
        let before: u64 = Site::BOTH.iter().map(|site| frames(pair.tpo(*site))).sum();
        pair.run_for(2 * SECOND_NS);
        let after: u64 = Site::BOTH.iter().map(|site| frames(pair.tpo(*site))).sum();
        let allocated: u64 = Site::BOTH.iter().map(|site| pair.tpo(*site).tally.watched).sum();
        assert!(after - before > 15_000, "{} frames", after - before);
        // A queue of a connection may still grow to a length it never had; nothing more.
        let frames = after - before;
        assert!(allocated * 5_000 < frames, "{allocated} allocations for {frames} frames");
    }
}

/// Each byte of a stream is copied into a buffer once, into datagrams once, into frames to the
/// host once; compression copies what it shrinks; nothing else is copied at all.
#[test]
fn every_byte_is_copied_once_a_stage() {
    const BYTES: u64 = 4_000_000;
    let (mut pair, hosts) = pair(PairConfig::default());
    let reader = StreamScript::default();
    connect(&mut pair, hosts, 1, StreamScript::sender(BYTES), reader);
    pair.run_for(5 * SECOND_NS);
    let [near, far] = Site::BOTH.map(|site| pair.tpo(site).handles.clone());
    assert_eq!(near.edge.get(EdgeCounter::BytesFromHosts), BYTES);

    // Frame to buffer. The rest are the parameters of the OPEN.
    let copied = near.aggregate.get(AggregateCounter::DataBytesOut);
    assert!((BYTES..BYTES + 100).contains(&copied), "{copied}");
    // Random bytes do not shrink: tried now and then, else handed on as they are.
    let tried = near.compress.get(CompressionCounter::BuffersIncompressible);
    let skipped = near.compress.get(CompressionCounter::BuffersSkipped);
    assert!(tried * 4 < skipped, "{tried} {skipped}");
    // Buffer to datagram, once without losses.
    assert_eq!(near.movers[0].get(MoverCounter::BytesRetransmitted), 0);
    // Datagram to buffer is the data mover's. Buffer to frame: the host gets each byte once, and
    // between the two the edge keeps slices.
    assert_eq!(far.edge.get(EdgeCounter::BytesFromPeers), BYTES);
    let copied_out = far.edge.get(EdgeCounter::BytesCopiedOut);
    assert_eq!(copied_out, 0, "the host keeps up");
}
