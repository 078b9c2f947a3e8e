//! Short flows, tails and packets over a link that loses: what parity saves, and what it costs.

use super::super::{Congestion, MoverCounter as C, PeerConfig};
use super::harness::{Link, MBIT, World, config};
use crate::packet_driver::BufferKind;
use crate::time::{MILLISECOND_NS, SECOND_NS, Time};

const RTT_MS: u64 = 100;
const FLOWS: usize = 400;

/// What is said of many short flows.
#[derive(Debug)]
struct Flows {
    /// Round trips from the request to the last byte: half of the flows, 99 of 100.
    p50: f64,
    p99: f64,
    /// Share of the flows that took half a round trip more than need be.
    late: f64,
    /// Parity as a share of the bytes sent.
    overhead: f64,
}

/// A link of 200 Mb/s and 100 ms that loses this share.
fn world(loss: u64, burst: u64, fec: bool) -> World {
    let mut link = Link::new(200 * MBIT, RTT_MS / 2 * MILLISECOND_NS, loss);
    link.loss_burst = burst;
    // Bursts are of datagrams: where few are sent one may last for longer than a peer is waited for.
    let config = PeerConfig { fec, dead_after_ns: 60 * SECOND_NS, ..config(200 * MBIT) };
    World::new(config, link, 900 + loss + burst)
}

/// Waits until `side` has heard so many buffers.
fn heard(world: &mut World, side: usize, buffers: usize) -> Time {
    while world.sides[side].heard.buffers.len() < buffers {
        world.run_to(world.now + MILLISECOND_NS / 2);
    }
    world.now
}

/// What is said of flows that took so many round trips.
fn flows_of(mut times: Vec<f64>, overhead: f64) -> Flows {
    times.sort_by(f64::total_cmp);
    let late = times.iter().filter(|time| **time > 1.5).count();
    Flows {
        p50: times[times.len() / 2],
        p99: times[times.len() * 99 / 100],
        late: late as f64 / times.len() as f64,
        overhead,
    }
}

fn flows(world: World) -> Flows {
    let (times, overhead) = flow_times(world);
    flows_of(times, overhead)
}

/// Requests of 200 bytes, each answered by 100 KB, one after the other, with pauses; the session
/// has seen some before. The round trips that each took, and parity as a share of the bytes sent.
fn flow_times(mut world: World) -> (Vec<f64>, f64) {
    world.run_ms(1_000);
    let mut times = Vec::new();
    for flow in 0..FLOWS + 50 {
        let begun = world.now;
        world.source(0, BufferKind::Stream, (200, 200), 1);
        heard(&mut world, 1, flow + 1);
        world.source(1, BufferKind::Stream, (65_536, 65_536), 1);
        world.source(1, BufferKind::Stream, (100_000 - 65_536, 100_000 - 65_536), 1);
        let done = heard(&mut world, 0, 2 * flow + 2);
        times.push(done.since_ns(begun) as f64 / (RTT_MS * MILLISECOND_NS) as f64);
        let pause_ms = 50 + world.random(400);
        world.run_ms(pause_ms);
    }
    world.run_ms(3_000);
    world.assert_clean();
    times.drain(..50);
    let sent: u64 = world.sides.iter().map(|side| side.get(C::BytesOut)).sum();
    let parity: u64 = world.sides.iter().map(|side| side.get(C::ParityBytesOut)).sum();
    let count = |counter| world.sides.iter().map(|side| side.get(counter)).sum::<u64>();
    println!(
        "lost {} parity {} useless {} restored {} again {}",
        count(C::DatagramsLost),
        count(C::ParityOut),
        count(C::ParityUseless),
        count(C::PiecesRestored),
        count(C::PiecesRetransmitted)
    );
    (times, parity as f64 / sent as f64)
}

#[test]
fn short_flows_without_loss_cost_no_parity() {
    let flows = flows(world(0, 1, true));
    assert!(flows.p50 <= 1.2 && flows.p99 <= 1.2, "{flows:?}");
    assert_eq!(flows.overhead, 0.0);
}

#[test]
fn short_flows_at_a_tenth_of_a_percent() {
    let flows = flows(world(1_000, 1, true));
    assert!(flows.p50 <= 1.2 && flows.p99 <= 2.5, "{flows:?}");
}

#[test]
fn short_flows_at_one_percent_take_no_longer() {
    let with = flows(world(10_000, 1, true));
    assert!(with.p50 <= 1.2 && with.p99 <= 2.5, "{with:?}");
    let without = flows(world(10_000, 1, false));
    assert_eq!(without.overhead, 0.0);
    println!("{without:?}");
    assert!(without.p50 <= 2.3 && without.p99 <= 3.5, "{without:?}");
    // One flow in two meets a loss: of those that are protected hardly any takes longer for it.
    assert!(without.late > 0.4 && with.p99 < 1.5, "{with:?} {without:?}");
    assert!(with.p99 < without.p99 && with.late * 20.0 < without.late, "{with:?} {without:?}");
}

#[test]
fn short_flows_at_a_rate_that_was_measured() {
    let plain = world(10_000, 1, true);
    let congestion = Congestion::Auto { hint_bps: None, rate_bps_max: 10_000 * MBIT };
    let link = plain.sides[0].link;
    let mut world = World::new(PeerConfig { congestion, ..plain.config }, link, 78);
    for side in 0..2 {
        world.source(side, BufferKind::Stream, (60_000, 65_536), 2_000);
    }
    assert!(world.run_until_done(60_000));
    world.sides.iter_mut().for_each(|side| side.heard.buffers.clear());
    let flows = flows(world);
    assert!(flows.p50 <= 1.2 && flows.p99 <= 2.5, "{flows:?}");
}

#[test]
fn sealed_flows_are_restored_too() {
    let plain = world(10_000, 1, true);
    let link = plain.sides[0].link;
    let flows = flows(World::new(PeerConfig { sealed: true, ..plain.config }, link, 77));
    assert!(flows.p50 <= 1.2 && flows.p99 <= 2.5, "{flows:?}");
}

#[test]
fn full_pieces_of_an_odd_length_are_protected_too() {
    let plain = world(10_000, 1, true);
    let link = plain.sides[0].link;
    let flows = flows(World::new(PeerConfig { segment_size_max: 1_399, ..plain.config }, link, 79));
    assert!(flows.p50 <= 1.2 && flows.p99 <= 2.5, "{flows:?}");
}

#[test]
fn bulk_has_no_parity_but_at_its_end() {
    for loss in [1_000, 10_000, 100_000] {
        let mut world = world(loss, 1, true);
        // Where one datagram in a thousand is lost, the last of one transfer may know of no loss.
        for _ in 0..4 {
            world.source(0, BufferKind::Stream, (60_000, 65_536), 400);
            assert!(world.run_until_done(20_000));
        }
        world.assert_all_delivered(0);
        let a = &world.sides[0];
        let (parity, sent) = (a.get(C::ParityBytesOut), a.get(C::BytesOut));
        println!("{loss}: {parity} bytes of parity in {sent}");
        assert!(parity > 0 && parity * 200 <= sent, "{parity} bytes of parity in {sent}");
        world.run_ms(1_000);
        world.assert_clean();
    }
}

#[test]
fn bulk_that_stops_and_goes_on_pays_for_parity_from_what_it_leaves() {
    // Half of the link is used, with a pause after each buffer.
    let mut world = world(10_000, 1, true);
    world.source_every(0, BufferKind::Stream, (60_000, 65_536), 800, 5 * MILLISECOND_NS);
    assert!(world.run_until_done(20_000));
    let a = &world.sides[0];
    let (parity, sent) = (a.get(C::ParityBytesOut), a.get(C::BytesOut));
    println!("{parity} bytes of parity in {sent}");
    // A thirty-second of the other half, and what was saved up.
    assert!(parity > sent / 100 && parity <= sent / 28, "{parity} bytes of parity in {sent}");
    world.run_ms(1_000);
    world.assert_all_delivered(0);
    world.assert_clean();
}

/// Packets sent at 2 % loss that did not come, and parity as a share of the bytes sent.
fn packets_lost(fec: bool, bulk: u64) -> (u64, f64) {
    let mut world = world(20_000, 1, fec);
    // What is lost must be known first.
    world.source(0, BufferKind::Stream, (60_000, 65_536), 20 + bulk);
    world.run_ms(1_000);
    world.source_every(0, BufferKind::Datagram, (100, 300), 1_000, 5 * MILLISECOND_NS);
    world.source_every(0, BufferKind::Datagram, (5_000, 9_000), 100, 50 * MILLISECOND_NS);
    assert!(world.run_until_done(20_000));
    world.run_ms(1_000);
    let [a, b] = &world.sides;
    let (parity, sent) = (a.get(C::ParityBytesOut), a.get(C::BytesOut));
    assert_eq!(b.heard.wrong, 0);
    let lost = a.offered - b.heard.buffers.len() as u64;
    println!("fec {fec} bulk {bulk}: {lost} lost, {parity} bytes of parity in {sent}");
    world.assert_clean();
    (lost, parity as f64 / sent as f64)
}

#[test]
fn packets_are_lost_less_often() {
    let (without, _) = packets_lost(false, 0);
    let (with, _) = packets_lost(true, 0);
    assert!(with * 8 <= without, "{with} and {without}");
    // On a link that is full, parity is for as many as a two-hundredth of it is enough for.
    let (without, _) = packets_lost(false, 3_000);
    let (with, overhead) = packets_lost(true, 3_000);
    assert!(with * 2 <= without && overhead <= 0.005, "{with} and {without}, {overhead}");
}

/// What is said of the flows of many worlds: where losses come in bursts, one flow in ten meets one,
/// and the few slowest of one world are a matter of which datagrams it takes.
fn flows_of_many(loss: u64, burst: u64, fec: bool, worlds: u64) -> Flows {
    let (mut all, mut overheads) = (Vec::new(), 0.0);
    for seed in 0..worlds {
        let World { config, sides, .. } = world(loss, burst, fec);
        let (times, overhead) = flow_times(World::new(config, sides[0].link, 1_000 + seed));
        all.extend(times);
        overheads += overhead;
    }
    let flows = flows_of(all, overheads / worlds as f64);
    println!("{worlds} worlds, fec {fec}: {flows:?}");
    flows
}

/// The bar is that of losses one by one. Of these flows 0.75 % take longer: a burst took the
/// request, what repeats it and what asks after it. With so many flows that is three standard
/// deviations from 1 %: which losses are drawn does not decide.
#[test]
fn short_flows_at_one_percent_in_bursts() {
    let with = flows_of_many(10_000, 8, true, 36);
    assert!(with.p50 <= 1.2 && with.p99 <= 2.5, "{with:?}");
    let without = flows_of_many(10_000, 8, false, 9);
    assert!(with.late < without.late, "{with:?} {without:?}");
}
