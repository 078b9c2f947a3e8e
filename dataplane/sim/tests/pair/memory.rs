//! Memory: what hosts do not take cannot stop the others, and one flow has enough of it at once.

use dataplane::edge::EdgeCounter;
use dataplane::time::{MILLISECOND_NS, SECOND_NS};
use dataplane_sim::host::{Close, Read, StreamScript};
use dataplane_sim::link::{LinkConfig, Loss};
use dataplane_sim::pair::{Event, PairConfig, Site};

use crate::support::{Expect, PORT, Run, both_ways, cable, reader};

const RTT_NS: u64 = 80 * MILLISECOND_NS;
const RATE_BPS: u64 = 50_000_000;

/// 50 Mb/s over 80 ms, with this loss.
fn path(loss: f64) -> PairConfig {
    let mut config = PairConfig::default().with_wan(|wan| {
        wan.rate_bps = RATE_BPS;
        wan.loss = Loss::Independent { probability: loss };
    });
    config.rate_bps = RATE_BPS;
    config.compress = false;
    config
}

fn endless() -> StreamScript {
    StreamScript { close: Close::Never, ..StreamScript::sender(u64::MAX) }
}

/// Part of the link that a fresh flow has delivered `round_trips` after it was connected.
fn filled(loss: f64, round_trips: u64) -> f64 {
    let mut run = Run::new(path(loss));
    run.serve(Site::B, PORT, endless());
    run.connect(Site::A, PORT, 1, false, StreamScript { close: Close::Never, ..reader() });
    let connected = run.pair.run_until(run.pair.now() + 2 * SECOND_NS, |pair| {
        pair.streams(Site::A).iter().any(|end| end.connected_at.is_some())
    });
    assert!(connected);
    run.pair.run_for(round_trips * RTT_NS);
    run.check_safety();
    let (clients, _) = run.reports();
    let link = RATE_BPS as f64 / 8.0 * (round_trips * RTT_NS) as f64 / 1e9 * (1.0 - loss);
    clients[0].received_bytes as f64 / link
}

#[test]
fn a_fresh_flow_fills_the_link_from_the_first_round_trip_on() {
    // What is left out is the first trip and, in order, the repairs of the end.
    for (loss, least) in [(0.0, 0.88), (0.01, 0.78), (0.1, 0.65)] {
        let filled = filled(loss, 16);
        println!("loss {loss}: {filled:.3} after 16 round trips");
        assert!(filled >= least, "{filled} at loss {loss}");
    }
}

#[test]
fn a_hundred_hosts_that_do_not_read_stop_nobody() {
    let mut config = path(0.01);
    config.limits.buffer_bytes = 16 << 20;
    let mut run = Run::new(config);
    const STALLED: u16 = 100;
    const BYTES: u64 = 120_000;
    run.serve(Site::B, PORT, StreamScript::sender(BYTES));
    run.serve(Site::B, PORT + 1, StreamScript::sender(3_000_000));
    let late = Read::After { delay_ns: 20 * SECOND_NS };
    run.connect(Site::A, PORT, STALLED, false, StreamScript { read: late, ..reader() });
    run.pair.run_for(3 * SECOND_NS);
    run.connect(Site::A, PORT + 1, 1, false, reader());
    let until = run.pair.now() + 10 * SECOND_NS;
    let done = run.pair.run_until(until, |pair| {
        pair.streams(Site::A).last().is_some_and(|end| end.received_bytes == 3_000_000)
    });
    assert!(done, "{}", run.describe());
    let tpo = run.pair.tpo(Site::A);
    assert!(tpo.handles.edge.get(EdgeCounter::BytesCopiedOut) > 0);
    let kept = &tpo.handles.receive_pool.kept;
    assert!(kept.in_use_bytes() > 0, "the hosts that do not read");
    // They read at last: everything ends, and nothing is left.
    run.finish(120 * SECOND_NS);
}

#[test]
fn credit_that_is_not_used_is_given_back() {
    let mut run = Run::new(path(0.0));
    let idle = StreamScript { close: Close::Never, ..both_ways(100) };
    run.serve(Site::B, PORT, idle);
    run.serve(Site::B, PORT + 1, StreamScript::sender(2_000_000));
    run.connect(Site::A, PORT, 40, false, idle);
    run.pair.run_for(4 * SECOND_NS);
    for site in Site::BOTH {
        let edge = &run.pair.tpo(site).handles.edge;
        let returned = edge.get(EdgeCounter::CreditsReturned);
        assert!(returned >= 10, "{returned} of {site:?}");
        assert_eq!(edge.get(EdgeCounter::ProtocolErrors), 0);
    }
    run.connect(Site::A, PORT + 1, 1, false, reader());
    let done = run.pair.run_until(run.pair.now() + 2 * SECOND_NS, |pair| {
        pair.streams(Site::A).last().is_some_and(|end| end.received_bytes == 2_000_000)
    });
    assert!(done, "{}", run.describe());
    run.check_safety();
}

#[test]
fn disorder_on_many_connections_leaves_frames_for_the_rest() {
    let mut config = path(0.0);
    config.limits.frames = dataplane::pipeline::frame_budget::FRAMES_MIN;
    let mut run = Run::new(config);
    let disorder = LinkConfig {
        loss: Loss::Independent { probability: 0.2 },
        jitter_ns: 5 * MILLISECOND_NS,
        jitter_reorders: true,
        ..cable()
    };
    run.serve(Site::B, PORT, reader());
    run.connect(Site::A, PORT, 60, false, StreamScript::sender(150_000));
    run.pair.run_for(SECOND_NS / 4);
    run.pair.happen(Event::Lan(Site::A, disorder));
    run.pair.run_for(3 * SECOND_NS);
    let tpo = run.pair.tpo(Site::A);
    assert_eq!(tpo.tally.no_memory, 0, "{}", run.describe());
    run.pair.happen(Event::Lan(Site::A, cable()));
    run.finish(120 * SECOND_NS);
}

#[test]
fn a_slow_link_is_full_and_still_quick() {
    const SLOW_BPS: u64 = 10_000_000;
    let mut config = PairConfig::default().with_wan(|wan| wan.rate_bps = SLOW_BPS);
    config.rate_bps = SLOW_BPS;
    let mut run = Run::new(config);
    run.serve(Site::B, PORT, StreamScript { close: Close::Never, ..reader() });
    run.serve(Site::B, PORT + 1, both_ways(200));
    run.connect(Site::A, PORT, 1, false, endless());
    run.pair.run_for(2 * SECOND_NS);
    let bulk = |run: &Run| run.reports().1[0].received_bytes;
    let (before, exchanges, mut slowest_ns) = (bulk(&run), 10, 0);
    let started = run.pair.now();
    for count in 1..=exchanges {
        run.connect(Site::A, PORT + 1, 1, false, both_ways(200));
        run.pair.run_for(SECOND_NS / 2);
        let clients = run.reports().0;
        assert_eq!(clients.len(), count + 1);
        let end = &clients[count];
        let exchange_ns = end.first_byte_at.unwrap().since_ns(end.connected_at.unwrap());
        slowest_ns = slowest_ns.max(exchange_ns);
    }
    let link = SLOW_BPS / 8 * run.pair.now().since_ns(started) / SECOND_NS;
    let filled = (bulk(&run) - before) as f64 / link as f64;
    let beyond_ms = slowest_ns.saturating_sub(RTT_NS) as f64 / 1e6;
    println!("bulk has {filled:.3}, an exchange takes {beyond_ms:.1} ms more than a round trip");
    assert!(filled >= 0.9, "{filled}");
    assert!(slowest_ns <= RTT_NS + 20 * MILLISECOND_NS, "{beyond_ms} ms");
}
