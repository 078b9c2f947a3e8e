//! The steady state of the whole pipeline: nothing is allocated, and payload is copied as often as
//! the design says.
//!
//! Measured are the turns of the appliances' workers, by thread: what hosts, cables and other
//! tests do counts for nothing.

use std::cell::Cell;

use dataplane::copy::{self, Copied};
use dataplane::data_mover::MoverCounter;
use dataplane::edge::EdgeCounter;
use dataplane::pipeline::placement::Placement;
use dataplane::pipeline::port::PortCounter;
use dataplane::time::{MICROSECOND_NS, MILLISECOND_NS, SECOND_NS};
use dataplane_sim::content::Kind;
use dataplane_sim::host::{Application, Close, HostConfig, Probe, StreamScript};
use dataplane_sim::link::{LinkConfig, Loss};
use dataplane_sim::pair::{HostId, Meter, Pair, PairConfig, Site};

const PORT: u16 = 80;
const ECHO: u16 = 7;
const CLIENT_PORT: u16 = 20_000;

/// A pair with one host on each side.
fn pair(config: PairConfig, repetitive: bool) -> (Pair, [HostId; 2]) {
    let cable = LinkConfig {
        rate_bps: 1_000_000_000,
        delay_ns: 50 * MICROSECOND_NS,
        ..LinkConfig::default()
    };
    let mut pair = Pair::new(config);
    let hosts = Site::BOTH.map(|site| {
        let host = HostConfig {
            content: if repetitive { Kind::Repetitive } else { Kind::Noise },
            ..site.host(10)
        };
        pair.add_host(site, host, &cable)
    });
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

/// Datagrams from A to B and back, by UDP and by ping.
fn probe(pair: &mut Pair, [a, b]: [HostId; 2]) {
    let probe = Probe {
        start_ns: pair.now().as_ns(),
        interval_ns: 5 * MILLISECOND_NS,
        count: 2_000,
        len: 500,
    };
    let remote = |port| (Site::B.address(10, false), port).into();
    pair.host(b).run(Application::UdpEcho { port: ECHO });
    let udp = Application::UdpClient { remote: remote(ECHO), local_port: 3_000, probe };
    pair.host(a).run(udp);
    pair.host(a).run(Application::Ping { remote: remote(0), identifier: 1, probe });
}

/// Allocations; a reallocation is one too.
const ALLOCATIONS: Meter = |turn| allocation_counter::measure(turn).count_total;

#[test]
fn nothing_is_allocated() {
    let cases = [Placement::single(0), Placement::each_apart(2)];
    for (placement, repetitive) in cases.into_iter().flat_map(|p| [(p.clone(), false), (p, true)]) {
        let rate_bps = 50_000_000;
        let config = PairConfig { placement, rate_bps, ..PairConfig::default() };
        let config = config.with_wan(|wan| {
            wan.rate_bps = rate_bps;
            wan.loss = Loss::Independent { probability: 0.01 };
        });
        let (mut pair, hosts) = pair(config, repetitive);
        let endless = StreamScript { close: Close::Never, ..StreamScript::sender(u64::MAX) };
        connect(&mut pair, hosts, 4, endless, endless);
        probe(&mut pair, hosts);
        pair.run_for(4 * SECOND_NS);

        let counted = |pair: &Pair, counter| {
            Site::BOTH.map(|site| pair.tpo(site).handles.edge.get(counter)).iter().sum::<u64>()
        };
        let frames = |pair: &Pair| {
            let ports = Site::BOTH.map(|site| pair.tpo(site).handles.port.get(PortCounter::ToEdge));
            ports.iter().sum::<u64>()
        };
        let (frames_before, packets_before) =
            (frames(&pair), counted(&pair, EdgeCounter::PacketsFromPeers));
        for site in Site::BOTH {
            pair.measure(site, ALLOCATIONS);
        }
        pair.run_for(2 * SECOND_NS);
        assert!(frames(&pair) - frames_before > 15_000);
        let packets = counted(&pair, EdgeCounter::PacketsFromPeers) - packets_before;
        assert!(packets > 1_000, "{packets} in packet mode");
        for site in Site::BOTH {
            assert_eq!(pair.tpo(site).tally.metered, 0, "allocations of {site:?}");
        }
    }
}

#[test]
fn an_allocation_would_be_seen() {
    assert_eq!(ALLOCATIONS(&mut || drop(std::hint::black_box(vec![0u8; 10]))), 1);
    let grow = || std::hint::black_box(vec![0u8; 10]).push(1);
    assert_eq!(ALLOCATIONS(&mut || grow()), 2);
}

/// Bytes by kind of copy, in the order of [`Copied::ALL`].
type Copies = [u64; Copied::ALL.len()];

thread_local! {
    static COPIES: Cell<[Copies; 2]> = const { Cell::new([[0; Copied::ALL.len()]; 2]) };
}

fn count_copies(site: Site, turn: &mut dyn FnMut()) {
    let before = copy::totals();
    turn();
    let mut copies = COPIES.get();
    for ((sum, after), before) in copies[site.index()].iter_mut().zip(copy::totals()).zip(before) {
        *sum += after - before;
    }
    COPIES.set(copies);
}

const BYTES: u64 = 4_000_000;
/// Headers where every frame of a host becomes a message and a buffer of its own (less than 40
/// bytes together), and the messages that go with the data.
const HEADERS: u64 = BYTES / 1_460 * 40;

/// Each byte of a stream is copied into a buffer, by the compressor, into a datagram; on the other
/// side into a buffer, by the decompressor, into a frame for the host. Nothing else is copied but
/// headers.
#[test]
fn every_byte_is_copied_once_a_stage() {
    for repetitive in [false, true] {
        COPIES.set(Default::default());
        let (mut pair, hosts) = pair(PairConfig::default(), repetitive);
        let said = |pair: &Pair, site, counter| pair.tpo(site).handles.movers[0].get(counter);
        let (out, delivered) = (MoverCounter::BuffersOutBytes, MoverCounter::BuffersDeliveredBytes);
        let before = (said(&pair, Site::A, out), said(&pair, Site::B, delivered));
        let meters: [Meter; 2] =
            [|turn| (count_copies(Site::A, turn), 0).1, |turn| (count_copies(Site::B, turn), 0).1];
        for (site, meter) in Site::BOTH.into_iter().zip(meters) {
            pair.measure(site, meter);
        }
        connect(&mut pair, hosts, 1, StreamScript::sender(BYTES), StreamScript::default());
        pair.run_for(5 * SECOND_NS);
        let [near, far] = Site::BOTH.map(|site| pair.tpo(site).handles.clone());
        assert_eq!(near.edge.get(EdgeCounter::BytesFromHosts), BYTES);
        assert_eq!(far.edge.get(EdgeCounter::BytesFromPeers), BYTES);
        assert_eq!(near.movers[0].get(MoverCounter::BytesRetransmitted), 0);
        let out = said(&pair, Site::A, out) - before.0;
        let delivered = said(&pair, Site::B, delivered) - before.1;
        let copied_out = far.edge.get(EdgeCounter::BytesCopiedOut);
        assert!(copied_out < BYTES / 100, "{copied_out} bytes kept for a fast host");
        let packed = if repetitive { BYTES - HEADERS..=BYTES + HEADERS } else { 0..=0 };
        for site in Site::BOTH {
            for (kind, copied) in Copied::ALL.iter().zip(COPIES.get()[site.index()]) {
                let wanted = match (site, kind) {
                    (Site::A, Copied::FrameToBuffer) => BYTES..=BYTES,
                    (Site::A, Copied::Compressed) => packed.clone(),
                    (Site::A, Copied::BufferToDatagram) => out..=out,
                    (Site::B, Copied::DatagramToBuffer) => delivered..=delivered,
                    (Site::B, Copied::Decompressed) => packed.clone(),
                    (Site::B, Copied::BufferToFrame) => BYTES..=BYTES,
                    // Small parts that would keep a large buffer from others for a host that is
                    // behind; the edge says how many they are.
                    (Site::B, Copied::CopiedOut) => copied_out..=copied_out,
                    // Credits and what else is said of the stream from the other end.
                    (_, Copied::BufferToDatagram | Copied::DatagramToBuffer) => 1..=HEADERS,
                    (_, Copied::Made) => 1..=HEADERS,
                    _ => 0..=0,
                };
                assert!(
                    wanted.contains(&copied),
                    "{kind:?} at {site:?}, repetitive {repetitive}: {copied}, not {wanted:?}"
                );
            }
        }
    }
}
