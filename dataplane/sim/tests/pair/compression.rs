//! Which level of compression a pair settles at, by what the WAN takes, what the core can give and
//! what hosts send.

use dataplane::compression::{CompressionCounter, Level};
use dataplane::counters::Counters;
use dataplane::pipeline::appliance::Limits;
use dataplane::pipeline::placement::Placement;
use dataplane::time::SECOND_NS;
use dataplane_sim::content::Kind;
use dataplane_sim::host::{Close, StreamScript};
use dataplane_sim::pair::{PairConfig, Site};

use crate::support::{Expect, PORT, Run, reader};

/// About what a byte costs on a core of today, in picoseconds.
const COSTS_PS: [u64; Level::COUNT] = [0, 1_000, 1_500, 2_500, 4_000, 10_000];

/// A link of this rate, and a core on which compressing takes `times` what it does today.
fn config(rate_bps: u64, times: u64, content: Kind) -> PairConfig {
    let config = PairConfig { rate_bps, content, ..PairConfig::default() };
    let costs = COSTS_PS.map(|cost_ps| cost_ps * times);
    PairConfig { compress_ps: costs, ..config.with_wan(|wan| wan.rate_bps = rate_bps) }
}

/// An endless upload.
fn upload(config: PairConfig) -> Run {
    let mut run = Run::new(config);
    run.serve(Site::B, PORT, StreamScript { close: Close::Never, ..reader() });
    let endless = StreamScript { close: Close::Never, ..StreamScript::sender(u64::MAX) };
    run.connect(Site::A, PORT, 1, false, endless);
    run
}

/// What happened to the buffers of one compressor in so many seconds.
struct Seen {
    /// Buffers that left at each level.
    levels: [u64; Level::COUNT],
    /// Tried, and did not shrink.
    vain: u64,
    /// Of all.
    buffers: u64,
    /// Bytes of buffers before, and after.
    bytes: (u64, u64),
}

type CompressionCounters = Counters<CompressionCounter>;

/// What each compressor of A did in so many seconds, and the bits that the far host got per second.
fn watch_each(run: &mut Run, seconds: u64) -> (Vec<Seen>, u64) {
    let received =
        |run: &Run| -> u64 { run.pair.streams(Site::B).iter().map(|end| end.received_bytes).sum() };
    let look = |counters: &CompressionCounters| {
        let levels = Level::ALL.map(|level| counters.get(CompressionCounter::of_level(level).0));
        let others = [
            CompressionCounter::BuffersIncompressible,
            CompressionCounter::BuffersIn,
            CompressionCounter::BytesIn,
            CompressionCounter::BytesOut,
        ];
        (levels, others.map(|counter| counters.get(counter)))
    };
    let counters = run.pair.tpo(Site::A).handles.compress.clone();
    let before: Vec<_> = counters.iter().map(look).collect();
    let received_before = received(run);
    run.pair.run_for(seconds * SECOND_NS);
    run.check_safety();
    let seen = counters.iter().map(look).zip(before).map(|(after, before)| {
        let levels = std::array::from_fn(|n| after.0[n] - before.0[n]);
        let [vain, buffers, bytes_in, bytes_out] =
            std::array::from_fn(|n| after.1[n] - before.1[n]);
        Seen { levels, vain, buffers, bytes: (bytes_in, bytes_out) }
    });
    (seen.collect(), (received(run) - received_before) * 8 / seconds)
}

/// The same of a single compressor.
fn watch(run: &mut Run, seconds: u64) -> (Seen, u64) {
    let (mut each, goodput_bps) = watch_each(run, seconds);
    assert_eq!(each.len(), 1);
    (each.remove(0), goodput_bps)
}

impl Seen {
    /// Share of the buffers that left at these levels.
    fn share(&self, levels: &[Level]) -> f64 {
        let some: u64 = levels.iter().map(|level| self.levels[level.index()]).sum();
        some as f64 / self.buffers as f64
    }
}

const STRONG: [Level; 3] = [Level::Zstd1, Level::Zstd3, Level::Zstd6];

#[test]
fn a_slow_link_carries_nearly_twice_as_many_letters() {
    let rate_bps = 10_000_000;
    let mut run = upload(config(rate_bps, 1, Kind::Letters));
    run.pair.run_for(3 * SECOND_NS);
    let (seen, goodput_bps) = watch(&mut run, 4);
    assert!(seen.share(&STRONG) > 0.9, "{:?} of {}", seen.levels, seen.buffers);
    assert!(goodput_bps > rate_bps * 8 / 5, "{goodput_bps} b/s");
}

#[test]
fn a_link_that_is_faster_than_the_core_gets_them_as_they_are() {
    let rate_bps = 100_000_000;
    let mut run = upload(config(rate_bps, 100, Kind::Letters));
    run.pair.run_for(3 * SECOND_NS);
    let (seen, goodput_bps) = watch(&mut run, 4);
    assert!(seen.share(&[Level::Stored]) > 0.9, "{:?} of {}", seen.levels, seen.buffers);
    assert!(goodput_bps > rate_bps * 9 / 10, "{goodput_bps} b/s");
}

#[test]
fn noise_goes_as_it_is_and_is_hardly_tried() {
    for rate_bps in [10_000_000, 100_000_000] {
        let mut run = upload(config(rate_bps, 1, Kind::Noise));
        run.pair.run_for(3 * SECOND_NS);
        let (seen, goodput_bps) = watch(&mut run, 4);
        assert!(seen.vain * 20 < seen.buffers, "{} of {}", seen.vain, seen.buffers);
        assert_eq!(seen.bytes.0, seen.bytes.1, "noise grows, or shrinks");
        assert!(goodput_bps > rate_bps * 9 / 10, "{goodput_bps} b/s");
    }
}

#[test]
fn what_begins_as_noise_and_goes_on_as_letters_is_noticed() {
    let rate_bps = 20_000_000;
    // Three seconds of noise.
    let noise = 3 * rate_bps / 8 / 8;
    let mut run = upload(config(rate_bps, 1, Kind::NoiseThenLetters(noise)));
    let (first, _) = watch(&mut run, 2);
    assert_eq!(first.share(&STRONG), 0.0);
    run.pair.run_for(3 * SECOND_NS);
    let (then, goodput_bps) = watch(&mut run, 2);
    assert!(then.share(&STRONG) > 0.9, "{:?} of {}", then.levels, then.buffers);
    assert!(goodput_bps > rate_bps * 3 / 2, "{goodput_bps} b/s");
}

/// A core that is slower than the link by itself is not where there are four of them; each finds that
/// out by its own buffers and its own time.
#[test]
fn several_cores_compress_for_a_link_that_is_faster_than_one() {
    let rate_bps = 100_000_000;
    for replicas in [1, 4] {
        let limits = Limits { buffer_size_max: 4_096, ..Limits::default() };
        let placement = Placement::each_apart(replicas);
        let config = PairConfig { placement, limits, ..config(rate_bps, 38, Kind::Letters) };
        let mut run = upload(config);
        run.pair.run_for(2 * SECOND_NS);
        let (each, goodput_bps) = watch_each(&mut run, 2);
        assert_eq!(each.len(), replicas);
        for seen in each {
            let levels: &[Level] = if replicas == 1 { &[Level::Stored] } else { &STRONG };
            assert!(seen.share(levels) > 0.9, "{replicas}: {:?} of {}", seen.levels, seen.buffers);
        }
        let gained = goodput_bps > rate_bps * 3 / 2;
        assert_eq!(gained, replicas > 1, "{replicas}: {goodput_bps} b/s");
    }
}
