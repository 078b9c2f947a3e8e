//! Random faults over many seeds. Whatever happens, hosts see nothing wrong; once the network is
//! whole again everything comes to an end, and new connections work.
//!
//! `TPO_SIM_SEEDS` says how many seeds are tried, `TPO_SIM_SEED` which is the first.

use dataplane::interceptor::Fallback;
use dataplane::time::{MILLISECOND_NS, SECOND_NS, Time};
use dataplane_sim::check::End;
use dataplane_sim::host::{Application, StreamScript};
use dataplane_sim::link::{LinkConfig, Loss, Random};
use dataplane_sim::pair::{Event, PairConfig, Site};

use crate::support::{CLIENT_PORT, PORT, Run, both_ways, cable, reader};

const SEEDS: u64 = 12;
/// When the last fault is over.
const HEALED_NS: u64 = 20 * SECOND_NS;

fn from_environment(name: &str, default: u64) -> u64 {
    std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(default)
}

/// A number in 0..1.
fn fraction(random: &mut Random) -> f64 {
    random.up_to(1_000) as f64 / 1_000.0
}

/// A WAN with faults, of which each is there or not.
fn bad_wan(random: &mut Random, good: &LinkConfig) -> LinkConfig {
    let mut wan = good.clone();
    match random.up_to(5) {
        0 => wan.black_hole = true,
        1 => wan.up = false,
        _ => {}
    }
    if random.chance(0.6) {
        let probability = fraction(random) * 0.2;
        let burst_mean = 1.0 + fraction(random) * 8.0;
        wan.loss = Loss::Bursts { probability, burst_mean };
    }
    if random.chance(0.4) {
        (wan.jitter_ns, wan.jitter_reorders) = (random.up_to(40 * MILLISECOND_NS), true);
    }
    if random.chance(0.4) {
        wan.duplicate_probability = fraction(random) * 0.2;
        wan.corrupt_probability = fraction(random) * 0.1;
    }
    if random.chance(0.2) {
        // Above and below what full datagrams need.
        wan.mtu_bytes = 600 + random.up_to(900);
    }
    if random.chance(0.3) {
        wan.rate_bps = 1_000_000 + random.up_to(100_000_000);
        wan.queue_bytes_max = 10_000 + random.up_to(100_000);
    }
    wan
}

fn bad_lan(random: &mut Random) -> LinkConfig {
    let mut lan = cable();
    lan.loss = Loss::Independent { probability: fraction(random) * 0.05 };
    lan.black_hole = random.chance(0.2);
    if random.chance(0.3) {
        (lan.jitter_ns, lan.jitter_reorders) = (random.up_to(MILLISECOND_NS), true);
    }
    lan
}

/// Faults until everything is whole again. One appliance at most is killed: two that forget at
/// once have nobody to ask.
fn schedule(random: &mut Random, good: &LinkConfig) -> Vec<(u64, Event)> {
    let mut events = Vec::new();
    for site in Site::BOTH {
        let mut at_ns = SECOND_NS / 2;
        while at_ns < HEALED_NS {
            let bad = random.chance(0.5);
            let wan = if bad { bad_wan(random, good) } else { good.clone() };
            events.push((at_ns, Event::Wan(site, wan)));
            at_ns += random.up_to(6 * SECOND_NS);
            if at_ns < HEALED_NS && random.chance(0.3) {
                events.push((at_ns, Event::Lan(site, bad_lan(random))));
            }
        }
        events.push((HEALED_NS, Event::Wan(site, good.clone())));
        events.push((HEALED_NS, Event::Lan(site, cable())));
    }
    for site in Site::BOTH {
        if random.chance(0.3) {
            let (at_ns, ns) = (random.up_to(HEALED_NS), random.up_to(2 * SECOND_NS));
            events.push((at_ns, Event::Pause(site, ns)));
        }
    }
    if random.chance(0.5) {
        let site = Site::BOTH[usize::from(random.chance(0.5))];
        let at_ns = SECOND_NS + random.up_to(HEALED_NS / 2);
        events.push((at_ns, Event::Kill(site)));
        events.push((at_ns + random.up_to(4 * SECOND_NS), Event::Start(site)));
    }
    events.sort_by_key(|(at_ns, _)| *at_ns);
    events
}

/// Connections of all kinds from both sites, over the time of the faults.
fn start_connections(run: &mut Run, random: &mut Random) {
    for site in Site::BOTH {
        let sizes = [random.up_to(2_000_000), random.up_to(2_000_000)];
        run.serve(site, PORT, StreamScript::sender(sizes[0]));
        run.serve(site, PORT + 1, reader());
        run.serve(site, PORT + 2, both_ways(sizes[1]));
    }
    for _ in 0..8 {
        let site = Site::BOTH[usize::from(random.chance(0.5))];
        let bytes = random.up_to(2_000_000);
        let (port, script) = match random.up_to(2) {
            0 => (PORT, reader()),
            1 => (PORT + 1, StreamScript::sender(bytes)),
            _ => (PORT + 2, both_ways(bytes)),
        };
        let host = run.host_of(site);
        let local_port = CLIENT_PORT + u16::try_from(run.connections).unwrap_or(0);
        run.connections += 1;
        run.pair.host(host).run(Application::Client {
            remote: (site.other().address(10, random.chance(0.5)), port).into(),
            local_port,
            connections: 1,
            start_ns: random.up_to(HEALED_NS * 3 / 4),
            script,
        });
    }
}

fn one(seed: u64) {
    let mut random = Random::for_purpose(seed, 99);
    let fallback = if random.chance(0.5) { Fallback::Pass } else { Fallback::Refuse };
    // One of four in the clear.
    let encrypted = [seed % 4 != 3; 2];
    let mut config = PairConfig { seed, fallback, encrypted, ..PairConfig::default() };
    config.limits.segment_size_max = 512 + u16::try_from(random.up_to(888)).unwrap_or(0);
    let rate_bps = 20_000_000 + random.up_to(80_000_000);
    config = config.with_wan(|wan| {
        wan.rate_bps = rate_bps;
        wan.delay_ns = MILLISECOND_NS;
        wan.queue_bytes_max = 200_000;
    });
    let delay_ns = MILLISECOND_NS + random.up_to(100 * MILLISECOND_NS);
    config = config.with_wan(|wan| wan.delay_ns = delay_ns);
    config.rate_bps = rate_bps;
    config.dead_after_ns = 4 * SECOND_NS;
    config.events = schedule(&mut random, &config.wan[0].clone());
    // A reset that is lost on a dead LAN is not sent again for ever; with or without tpo, a host
    // that only waits learns of it by asking.
    let mut run = Run::with_keep_alive(config, Some(5 * SECOND_NS));
    start_connections(&mut run, &mut random);
    while run.pair.now() < Time::from_ns(HEALED_NS) {
        run.pair.run_for(SECOND_NS / 2);
        run.check_safety();
    }
    // Whole again: all that is left ends, in order or by a reset, and nothing hangs.
    let end = run.pair.now() + 120 * SECOND_NS;
    let wanted = run.connections;
    let done = run.pair.run_until(end, |pair| {
        let all: Vec<_> = Site::BOTH.into_iter().flat_map(|site| pair.streams(site)).collect();
        let clients = all.iter().filter(|end| end.local.port() >= CLIENT_PORT).count();
        clients == wanted && all.iter().all(|end| end.end != End::Open)
    });
    run.check_safety();
    assert!(done, "seed {seed}: unfinished: {}", run.unfinished());
    // One end may only now find out that the other has begun anew.
    run.pair.run_for(5 * SECOND_NS);
    assert!(run.wait_for_session(SECOND_NS), "seed {seed}: {}", run.describe());
    run.expect_service(10 * SECOND_NS);
    run.settle();
}

#[test]
fn whatever_happens_hosts_see_nothing_wrong() {
    let first = from_environment("TPO_SIM_SEED", 1);
    let count = from_environment("TPO_SIM_SEEDS", SEEDS);
    for seed in first..first + count {
        println!("seed {seed}");
        one(seed);
    }
}
