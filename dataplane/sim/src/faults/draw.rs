//! What a seed draws: plain data.

use dataplane::compression::Mode;
use dataplane::interceptor::Fallback;
use dataplane::pipeline::appliance::Limits;
use dataplane::pipeline::placement::{Placement, StageKind};
use dataplane::time::{MILLISECOND_NS, SECOND_NS};

use crate::content::Kind;
use crate::host::{Close, Pace, Probe, Read, StreamScript};
use crate::link::{LinkConfig, Loss, Random, Windows};
use crate::pair::{Event, PairConfig, Reload, Site};
use crate::run::{both_ways, cable, reader};

/// When the last fault is over.
pub const HEALED_NS: u64 = 20 * SECOND_NS;
/// When the first may begin.
const FIRST_NS: u64 = SECOND_NS / 2;
/// Connections.
const CLIENTS: usize = 10;
/// Most bytes of a connection in one direction.
const BYTES_MAX: u64 = 1_000_000;
/// Fewest bytes of a server that only sends.
const BYTES_MIN: u64 = 50_000;
/// One turn of a connection that asks and answers.
const TURN_BYTES: u64 = 200;
/// How many of those.
const TURNS: u64 = 40;

/// What the hosts may send.
const CONTENTS: [Kind; 4] =
    [Kind::Noise, Kind::Repetitive, Kind::Letters, Kind::NoiseThenLetters(BYTES_MAX / 16)];

/// A run of a pair: its options and faults, and what its hosts do.
#[derive(Clone, Debug)]
pub struct Draw {
    /// The options of the pair, with all faults as events.
    pub config: PairConfig,
    /// What the servers of each site do, by port.
    pub servers: [Vec<StreamScript>; 2],
    /// Connections.
    pub clients: Vec<Client>,
    /// Packets from each site.
    pub series: [Series; 2],
}

/// A connection.
#[derive(Clone, Copy, Debug)]
pub struct Client {
    /// When it is opened.
    pub start_ns: u64,
    /// By the host of this site.
    pub site: Site,
    /// To which server of the other.
    pub server: u16,
    /// Over IPv6.
    pub v6: bool,
    /// What the client does.
    pub script: StreamScript,
}

/// Pings and UDP packets that are to come back.
#[derive(Clone, Copy, Debug)]
pub struct Series {
    /// Over IPv6.
    pub v6: bool,
    /// Their size and time.
    pub probe: Probe,
}

/// A fault or an option, and whether a draw has it.
pub type What = (&'static str, fn(&Draw) -> bool);

/// All faults and options that are counted over many seeds: every one is to be drawn by some.
pub const WHAT: &[What] = &[
    ("WAN: independent loss", |draw| {
        draw.wan(|wan| matches!(wan.loss, Loss::Independent { probability } if probability > 0.0))
    }),
    ("WAN: loss in bursts", |draw| draw.wan(|wan| matches!(wan.loss, Loss::Bursts { .. }))),
    ("WAN: loss in two states", |draw| {
        draw.wan(|wan| matches!(wan.loss, Loss::GilbertElliott { .. }))
    }),
    ("WAN: duplication", |draw| draw.wan(|wan| wan.duplicate_probability > 0.0)),
    ("WAN: reordering by jitter", |draw| draw.wan(|wan| wan.jitter_reorders)),
    ("WAN: packets held back", |draw| draw.wan(|wan| wan.reorder_probability > 0.0)),
    ("WAN: corruption", |draw| draw.wan(|wan| wan.corrupt_probability > 0.0)),
    ("WAN: black hole", |draw| draw.wan(|wan| wan.black_hole)),
    ("WAN: short black holes", |draw| draw.wan(|wan| wan.black_hole_windows.is_some())),
    ("WAN: cut", |draw| draw.wan(|wan| !wan.up)),
    ("WAN: smaller MTU", |draw| draw.wan(|wan| wan.mtu_bytes > 0)),
    ("WAN: other rate and queue", |draw| {
        draw.wan(|wan| wan.rate_bps != draw.config.wan[0].rate_bps)
    }),
    ("LAN: loss", |draw| draw.lan(|lan| lan.loss.probability() > 0.0)),
    ("LAN: reordering", |draw| draw.lan(|lan| lan.jitter_reorders)),
    ("LAN: dead", |draw| draw.lan(|lan| lan.black_hole)),
    ("appliance paused", |draw| draw.event(|event| matches!(event, Event::Pause(..)))),
    ("appliance restarted", |draw| draw.restarts() > 0),
    ("appliance restarted twice", |draw| draw.restarts() > 1),
    ("appliance configured anew", |draw| draw.event(|event| matches!(event, Event::Reload(..)))),
    ("both appliances killed at once", |draw| draw.both_killed_ns().is_some()),
    ("encrypted", |draw| draw.config.encrypted == [true; 2]),
    ("in the clear", |draw| draw.config.encrypted == [false; 2]),
    ("fallback pass", |draw| draw.config.fallback == Fallback::Pass),
    ("fallback refuse", |draw| draw.config.fallback == Fallback::Refuse),
    ("auto", |draw| draw.config.auto),
    ("fixed", |draw| !draw.config.auto),
    ("one core", |draw| draw.config.placement == Placement::single(0)),
    ("a core for each stage", |draw| draw.config.placement == Placement::one_stage_per_core()),
    ("several edges", |draw| draw.config.placement.replicas(StageKind::Edge) > 1),
    ("other cores at site B", |draw| draw.config.placement_b.is_some()),
    ("several compressors", |draw| draw.config.placement.replicas(StageKind::Compress) > 1),
    ("several decompressors", |draw| draw.config.placement.replicas(StageKind::Decompress) > 1),
    ("workers that stand still now and then", |draw| draw.config.uneven),
    ("WAN over IPv6", |draw| draw.config.wan_v6),
    ("compression", |draw| draw.config.compress),
    ("parity", |draw| draw.config.fec),
    ("connection reset by its host", |draw| {
        draw.clients.iter().any(|client| matches!(client.script.close, Close::Abort { .. }))
    }),
    ("host that reads slowly", |draw| {
        draw.clients.iter().any(|client| client.script.read != Read::Free)
    }),
];

impl Draw {
    /// What belongs to a seed.
    #[must_use]
    pub fn of_seed(seed: u64) -> Self {
        let mut random = Random::for_purpose(seed, 99);
        let config = options(seed, &mut random);
        let mut draw = Draw {
            config,
            servers: [servers(&mut random), servers(&mut random)],
            clients: (0..CLIENTS).map(|_| client(&mut random)).collect(),
            series: [series(&mut random), series(&mut random)],
        };
        draw.config.events = schedule(&mut random, &draw.config.wan[0]);
        let reloads = reloads(&mut random, draw.config.rate_bps);
        draw.config.events.extend(reloads);
        draw.config.events.sort_by_key(|(at_ns, _)| *at_ns);
        draw
    }

    fn event(&self, wanted: impl Fn(&Event) -> bool) -> bool {
        self.config.events.iter().any(|(_, event)| wanted(event))
    }

    fn wan(&self, wanted: impl Fn(&LinkConfig) -> bool) -> bool {
        self.event(|event| matches!(event, Event::Wan(_, wan) if wanted(wan)))
    }

    fn lan(&self, wanted: impl Fn(&LinkConfig) -> bool) -> bool {
        self.event(|event| matches!(event, Event::Lan(_, lan) if wanted(lan)))
    }

    fn restarts(&self) -> usize {
        match self.both_killed_ns() {
            Some(_) => 0,
            None => {
                let killed = |(_, event): &&(u64, Event)| matches!(event, Event::Kill(_));
                self.config.events.iter().filter(killed).count()
            }
        }
    }

    /// When both appliances are killed, if they are: nobody knows of the connections from before.
    #[must_use]
    pub fn both_killed_ns(&self) -> Option<u64> {
        let killed_ns = |site| {
            let is = |(_, event): &&(u64, Event)| *event == Event::Kill(site);
            self.config.events.iter().find(is).map(|(at_ns, _)| *at_ns)
        };
        killed_ns(Site::A).filter(|_| killed_ns(Site::B).is_some())
    }
}

fn site(random: &mut Random) -> Site {
    Site::BOTH[usize::from(random.chance(0.5))]
}

/// A number in 0..1.
fn fraction(random: &mut Random) -> f64 {
    random.up_to(1_000) as f64 / 1_000.0
}

fn options(seed: u64, random: &mut Random) -> PairConfig {
    let rate_bps = 20_000_000 + random.up_to(80_000_000);
    let delay_ns = MILLISECOND_NS + random.up_to(100 * MILLISECOND_NS);
    let auto = random.chance(0.5);
    let per_stage = random.chance(0.5);
    // A stream of its own, so that all else of a seed stays what it was.
    let mut cores = Random::for_purpose(seed, 98);
    let placement = if per_stage { several_cores(&mut cores) } else { Placement::single(0) };
    let other = per_stage && cores.chance(0.5);
    let placement_b = other.then(|| several_cores(&mut cores));
    // Each edge holds some while the WAN stands still.
    let edges = [Some(&placement), placement_b.as_ref()].into_iter().flatten();
    let frames = 4096 * edges.map(|of| of.replicas(StageKind::Edge)).max().unwrap_or(1);
    PairConfig {
        seed,
        placement,
        placement_b,
        uneven: per_stage && cores.chance(0.5),
        fallback: if random.chance(0.5) { Fallback::Pass } else { Fallback::Refuse },
        encrypted: [random.chance(0.75); 2],
        auto,
        // What is measured may come to more than there is.
        rate_bps: if auto { 4 * rate_bps } else { rate_bps },
        wan_v6: random.chance(0.3),
        compress: random.chance(0.5),
        fec: !seed.is_multiple_of(4),
        compression: if seed.is_multiple_of(5) { Mode::Lz4 } else { Mode::Auto },
        compress_ps: [0, 1, 2, 3, 4, 10].map(|cost| cost * 10_000 * (seed % 7)),
        content: CONTENTS[(seed / 2 % CONTENTS.len() as u64) as usize],
        dead_after_ns: 4 * SECOND_NS,
        limits: Limits {
            segment_size_max: 512 + u16::try_from(random.up_to(898)).unwrap_or(0),
            flows: 256,
            connections: 64,
            half_open: 32,
            frames,
            buffer_bytes: (16 << 20) << random.up_to(2),
            ..PairConfig::default().limits
        },
        ..PairConfig::default()
    }
    .with_wan(|wan| {
        (wan.rate_bps, wan.delay_ns, wan.queue_bytes_max) = (rate_bps, delay_ns, 200_000);
    })
}

/// A core for each stage; the same with replicas; or some replicas beside a core that runs all stages.
fn several_cores(random: &mut Random) -> Placement {
    let kind = random.up_to(2);
    let mut some = || 1 + usize::try_from(random.up_to(3)).unwrap_or(0);
    match kind {
        0 => Placement::one_stage_per_core(),
        1 => Placement::each_apart(1 + some()),
        _ => {
            let kinds = [StageKind::Compress, StageKind::Decompress, StageKind::Edge];
            let more = kinds.map(|kind| (kind, some() - usize::from(kind == StageKind::Edge)));
            let more = more.into_iter().flat_map(|(kind, n)| (1..=n).map(move |core| (kind, core)));
            let pairs: Vec<_> =
                StageKind::ALL.map(|kind| (kind, 0)).into_iter().chain(more).collect();
            Placement::new(&pairs).unwrap_or(Placement::single(0))
        }
    }
}

/// Those of a site, by port: see [`client`].
fn servers(random: &mut Random) -> Vec<StreamScript> {
    let turns = Pace::Turns { own_bytes: TURN_BYTES, peer_bytes: TURN_BYTES, first: false };
    vec![
        StreamScript::sender(BYTES_MIN + random.up_to(BYTES_MAX)),
        reader(),
        both_ways(random.up_to(BYTES_MAX)),
        StreamScript { pace: turns, ..both_ways(TURNS * TURN_BYTES) },
    ]
}

/// A connection of any kind, at any time of the faults.
fn client(random: &mut Random) -> Client {
    let bytes = random.up_to(BYTES_MAX);
    let server = random.up_to(3);
    let mut script = match server {
        0 => reader(),
        1 => StreamScript::sender(bytes),
        2 => both_ways(bytes),
        _ => {
            let turns = Pace::Turns { own_bytes: TURN_BYTES, peer_bytes: TURN_BYTES, first: true };
            StreamScript { pace: turns, ..both_ways(TURNS * TURN_BYTES) }
        }
    };
    if random.chance(0.1) {
        let (sent_bytes, received_bytes) = match server {
            0 => (0, random.up_to(BYTES_MIN)),
            _ => (random.up_to(script.send_bytes), 0),
        };
        script.close = Close::Abort { sent_bytes, received_bytes };
    }
    if random.chance(0.2) {
        // From 5 s for a whole connection to 0.1 s.
        let (bytes, interval_ns) = (20_000, random.up_to(100 * MILLISECOND_NS));
        script.read = Read::Slow { bytes, interval_ns };
    }
    Client {
        start_ns: random.up_to(HEALED_NS * 3 / 4),
        site: site(random),
        server: u16::try_from(server).unwrap_or(0),
        v6: random.chance(0.5),
        script,
    }
}

/// Over the whole time of the faults.
fn series(random: &mut Random) -> Series {
    let interval_ns = 100 * MILLISECOND_NS + random.up_to(400 * MILLISECOND_NS);
    let count = u16::try_from(HEALED_NS / interval_ns).unwrap_or(u16::MAX);
    let len = 2 + usize::try_from(random.up_to(1_400)).unwrap_or(0);
    Series { v6: random.chance(0.5), probe: Probe { start_ns: 0, interval_ns, count, len } }
}

/// A WAN with faults, of which each is there or not.
fn bad_wan(random: &mut Random, good: &LinkConfig) -> LinkConfig {
    let mut wan = good.clone();
    match random.up_to(5) {
        0 => wan.black_hole = true,
        1 => wan.up = false,
        _ => {}
    }
    let probability = fraction(random) * 0.2;
    match random.up_to(5) {
        0 | 1 => wan.loss = Loss::Independent { probability },
        2 => {
            let burst_mean = 1.0 + fraction(random) * 8.0;
            wan.loss = Loss::Bursts { probability, burst_mean };
        }
        3 => {
            let (good_to_bad, bad_to_good) = (fraction(random) * 0.05, fraction(random) * 0.2);
            let (loss_good, loss_bad) = (fraction(random) * 0.02, fraction(random));
            wan.loss = Loss::GilbertElliott { good_to_bad, bad_to_good, loss_good, loss_bad };
        }
        _ => {}
    }
    if random.chance(0.3) {
        (wan.jitter_ns, wan.jitter_reorders) = (random.up_to(40 * MILLISECOND_NS), true);
    }
    if random.chance(0.2) {
        wan.reorder_probability = fraction(random) * 0.1;
        wan.reorder_delay_ns = random.up_to(60 * MILLISECOND_NS);
    }
    if random.chance(0.3) {
        wan.duplicate_probability = fraction(random) * 0.2;
    }
    if random.chance(0.3) {
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
    if random.chance(0.1) {
        let length_ns = random.up_to(300 * MILLISECOND_NS);
        wan.black_hole_windows = Some(Windows { every_ns: SECOND_NS, length_ns });
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

/// Faults until everything is whole again. Rarely both appliances are killed, and then at once:
/// two that forget have nobody to ask.
fn schedule(random: &mut Random, good: &LinkConfig) -> Vec<(u64, Event)> {
    let mut events = Vec::new();
    for site in Site::BOTH {
        let mut at_ns = FIRST_NS;
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
        if random.chance(0.3) {
            let (at_ns, ns) = (random.up_to(HEALED_NS), random.up_to(2 * SECOND_NS));
            events.push((at_ns, Event::Pause(site, ns)));
        }
    }
    if random.chance(0.5) {
        let site = site(random);
        let mut at_ns = SECOND_NS + random.up_to(HEALED_NS / 2);
        for _ in 0..=usize::from(random.chance(0.3)) {
            events.push((at_ns, Event::Kill(site)));
            at_ns += random.up_to(4 * SECOND_NS);
            events.push((at_ns, Event::Start(site)));
            at_ns += random.up_to(3 * SECOND_NS);
        }
    } else if random.chance(0.1) {
        let at_ns = SECOND_NS + random.up_to(HEALED_NS / 2);
        events.extend(Site::BOTH.map(|site| (at_ns, Event::Kill(site))));
        for site in Site::BOTH {
            events.push((at_ns + random.up_to(4 * SECOND_NS), Event::Start(site)));
        }
    }
    events
}

/// New configurations of appliances that run.
fn reloads(random: &mut Random, rate_bps: u64) -> Vec<(u64, Event)> {
    let count = if random.chance(0.4) { 1 + random.up_to(3) } else { 0 };
    let reload = |random: &mut Random| Reload {
        rate_bps: rate_bps / 4 + random.up_to(rate_bps),
        auto: random.chance(0.5),
        fallback: if random.chance(0.5) { Fallback::Pass } else { Fallback::Refuse },
        compress: random.chance(0.5),
    };
    let events = (0..count).map(|_| {
        let at_ns = FIRST_NS + random.up_to(HEALED_NS - FIRST_NS);
        (at_ns, Event::Reload(site(random), reload(random)))
    });
    events.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn everything_is_drawn_by_some_seed_and_not_by_all() {
        for (name, has) in WHAT {
            let seeds = 1..=200;
            let drawn = seeds.clone().filter(|seed| has(&Draw::of_seed(*seed))).count();
            assert!(drawn > 0 && drawn < seeds.count(), "{name}: {drawn}");
        }
    }

    #[test]
    fn the_network_is_whole_at_the_end() {
        for seed in 1..=200 {
            let Draw { config, .. } = Draw::of_seed(seed);
            let last = |site, is: fn(&Event) -> Option<Site>| {
                config.events.iter().rev().find(|(_, event)| is(event) == Some(site)).cloned()
            };
            for site in Site::BOTH {
                let wan = |event: &Event| match event {
                    Event::Wan(site, _) => Some(*site),
                    _ => None,
                };
                let healed = (HEALED_NS, Event::Wan(site, config.wan[site.index()].clone()));
                assert_eq!(last(site, wan), Some(healed), "seed {seed}");
                let stopped = |event: &Event| match event {
                    Event::Kill(site) | Event::Start(site) => Some(*site),
                    _ => None,
                };
                let runs = !matches!(last(site, stopped), Some((_, Event::Kill(_))));
                assert!(runs, "seed {seed}");
            }
            assert!(config.events.iter().all(|(at_ns, _)| *at_ns <= HEALED_NS), "seed {seed}");
        }
    }
}
