use proptest::prelude::*;

use super::*;

const LEN: usize = 16_384;

const KNOWN: Estimate = Estimate {
    cost_ps: 0,
    left_ppm: WHOLE_PPM,
    samples: SAMPLES_MAX,
    surprises: 0,
    measured: SAMPLES_MAX,
};

fn wan_of(mbps: u64) -> Conditions {
    Conditions {
        wan_ps: 8_000_000 / mbps,
        free_ppm: WHOLE_PPM,
        replicas: 1,
        weakest: Level::Lz4Fast,
        strongest: Level::Zstd6,
        takes_ns_max: BUFFER_NS_MAX,
        is_sparse: false,
    }
}

fn expected() -> Estimates {
    *Chooser::default().estimates()
}

/// Rates of the WAN in Mb/s at which a level is the first that is chosen.
pub(in crate::compression) const FIRST: [(u64, Level); 6] = [
    (10_000, Level::Stored),
    (5_000, Level::Lz4Fast),
    (3_000, Level::Lz4),
    (1_500, Level::Zstd1),
    (1_000, Level::Zstd3),
    (100, Level::Zstd6),
];

#[test]
fn the_slower_the_wan_the_stronger_the_level() {
    for (mbps, level) in FIRST.into_iter().chain([(10, Level::Zstd6)]) {
        assert_eq!(choose(&expected(), &wan_of(mbps), LEN), level, "{mbps} Mb/s");
    }
}

#[test]
fn a_core_with_other_things_to_do_compresses_less() {
    let of = |free_ppm| choose(&expected(), &Conditions { free_ppm, ..wan_of(1_000) }, LEN);
    let levels = [1_000_000, 500_000, 200_000, 100_000].map(of);
    assert_eq!(levels, [Level::Zstd3, Level::Lz4, Level::Lz4Fast, Level::Stored]);
}

#[test]
fn no_buffer_holds_up_a_core_for_long() {
    let slow = wan_of(10);
    assert_eq!(choose(&expected(), &slow, 32 << 10), Level::Zstd6);
    assert_eq!(choose(&expected(), &slow, 64 << 10), Level::Zstd3);
    assert_eq!(choose(&expected(), &slow, 1 << 20), Level::Stored);
}

#[test]
fn nothing_is_stronger_than_what_the_peer_takes() {
    let lz4 = Conditions { strongest: Level::Lz4, ..wan_of(10) };
    assert_eq!(choose(&expected(), &lz4, LEN), Level::Lz4);
}

/// In bulk the level with the better pace is taken, although each buffer arrives later by it.
#[test]
fn a_sparse_buffer_is_to_arrive_soon() {
    let mut estimates = expected();
    estimates[Level::Lz4.index()] = Estimate { cost_ps: 5_000, left_ppm: 500_000, ..KNOWN };
    for level in [Level::Lz4Fast, Level::Zstd1, Level::Zstd3, Level::Zstd6] {
        estimates[level.index()].cost_ps = 1_000_000;
    }
    let bulk = wan_of(1_000);
    assert_eq!(choose(&estimates, &bulk, 1_000), Level::Lz4);
    let sparse = Conditions { is_sparse: true, ..bulk };
    assert_eq!(choose(&estimates, &sparse, 1_000), Level::Stored);
}

/// Four cores before a WAN of a rate are, in bulk, as one of a quarter of the speed before a WAN of a
/// quarter of the rate; and a sparse buffer passes only one of them, and all of the WAN.
#[test]
fn several_cores_share_the_bulk_and_not_a_buffer() {
    let levels = |replicas, is_sparse| {
        [10_000, 5_000, 3_000, 1_500].map(|mbps| {
            choose(&expected(), &Conditions { replicas, is_sparse, ..wan_of(mbps) }, LEN)
        })
    };
    assert_eq!(levels(1, false), [Level::Stored, Level::Lz4Fast, Level::Lz4, Level::Zstd1]);
    assert_eq!(levels(4, false), [Level::Lz4, Level::Zstd1, Level::Zstd3, Level::Zstd6]);
    assert_eq!(levels(4, true), levels(1, true));
}

/// What a level makes of some content: picoseconds per byte, millionths left.
type Content = [(u64, u64); Level::COUNT];

const TEXT: Content = [
    (0, 1_000_000),
    (1_100, 339_000),
    (1_300, 279_000),
    (2_300, 194_000),
    (3_400, 187_000),
    (9_000, 171_000),
];
const PROGRAMS: Content = [
    (0, 1_000_000),
    (900, 760_000),
    (1_500, 616_000),
    (2_900, 516_000),
    (4_200, 490_000),
    (12_000, 460_000),
];
const NOISE: Content = [
    (0, 1_000_000),
    (80, 1_000_000),
    (110, 1_000_000),
    (200, 1_000_000),
    (250, 1_000_000),
    (500, 1_000_000),
];
/// Printed keys: only what codes single bytes saves anything.
const BASE64: Content = [
    (0, 1_000_000),
    (90, 1_000_000),
    (120, 1_000_000),
    (3_000, 760_000),
    (3_500, 760_000),
    (4_000, 760_000),
];

/// A core and a WAN that work at once, the one on the next buffer and the other on the last.
struct Line {
    chooser: Chooser,
    /// Time that buffers took so far, each by the slower of the two, in picoseconds.
    spent_ps: u64,
    passed: u64,
}

impl Line {
    fn new() -> Self {
        Line { chooser: Chooser::default(), spent_ps: 0, passed: 0 }
    }

    fn pass(&mut self, content: &Content, conditions: &Conditions) -> Level {
        let level = self.chooser.next(conditions, LEN);
        let (cost_ps, left_ppm) = content[level.index()];
        if level != Level::Stored {
            let left = (LEN as u64 * left_ppm / WHOLE_PPM) as usize;
            self.chooser.packed(conditions, level, LEN, left);
            self.chooser.took(level, LEN, cost_ps * LEN as u64 / 1_000);
        }
        self.spent_ps += pace_of(content, level, conditions);
        self.passed += 1;
        level
    }

    /// Passes some and says how much slower that was than the best single level, in millionths.
    fn loss_ppm(&mut self, content: &Content, conditions: &Conditions, buffers: u64) -> u64 {
        (self.spent_ps, self.passed) = (0, 0);
        for _ in 0..buffers {
            self.pass(content, conditions);
        }
        let best = Level::ALL.map(|level| pace_of(content, level, conditions));
        let best_ps = best.into_iter().min().unwrap() * self.passed;
        (self.spent_ps - best_ps) * WHOLE_PPM / best_ps
    }
}

fn pace_of(content: &Content, level: Level, conditions: &Conditions) -> u64 {
    let (cost_ps, left_ppm) = content[level.index()];
    Estimate { cost_ps, left_ppm, ..KNOWN }.pace(conditions).0
}

const CONTENTS: [(&str, &Content); 4] =
    [("text", &TEXT), ("programs", &PROGRAMS), ("noise", &NOISE), ("base64", &BASE64)];

#[test]
fn with_any_content_and_wan_it_is_hardly_slower_than_the_best_level() {
    for (name, content) in CONTENTS {
        for mbps in [1, 10, 30, 100, 300, 1_000, 2_000, 3_000, 5_000, 7_000, 10_000, 40_000] {
            for free_ppm in [WHOLE_PPM, 300_000] {
                let conditions = Conditions { free_ppm, ..wan_of(mbps) };
                let mut line = Line::new();
                let start = line.loss_ppm(content, &conditions, 100);
                assert!(start < 250_000, "{name}, {mbps} Mb/s, {free_ppm}: {start} at first");
                line.loss_ppm(content, &conditions, 500);
                let loss = line.loss_ppm(content, &conditions, 4_000);
                assert!(loss < 20_000, "{name}, {mbps} Mb/s, {free_ppm}: {loss}");
            }
        }
    }
}

#[test]
fn other_content_is_noticed() {
    for (from, before) in CONTENTS {
        for (to, after) in CONTENTS {
            for mbps in [10, 1_000, 4_000] {
                let conditions = wan_of(mbps);
                let mut line = Line::new();
                line.loss_ppm(before, &conditions, 2_000);
                line.loss_ppm(after, &conditions, 1_000);
                let loss = line.loss_ppm(after, &conditions, 500);
                assert!(loss < 30_000, "from {from} to {to}, {mbps} Mb/s: {loss}");
            }
        }
    }
}

#[test]
fn what_never_shrinks_is_tried_ever_less_often() {
    let (mut line, conditions) = (Line::new(), wan_of(1_000));
    let tried: Vec<u64> =
        (0..2_000).filter(|_| line.pass(&NOISE, &conditions) != Level::Stored).collect();
    assert!(tried.len() < 40, "{tried:?}");
    let gaps: Vec<_> = tried.windows(2).map(|two| two[1] - two[0]).collect();
    assert_eq!(gaps[gaps.len() - 5..], [65; 5]);
}

#[test]
fn content_by_turns_is_borne() {
    let (mut line, conditions) = (Line::new(), wan_of(1_000));
    let mut best_ps = 0;
    for n in 0..4_000 {
        let content = if n % 2 == 0 { &TEXT } else { &NOISE };
        line.pass(content, &conditions);
        best_ps +=
            Level::ALL.map(|level| pace_of(content, level, &conditions)).into_iter().min().unwrap();
    }
    // A level for each buffer by itself would be the best; LZ4 for all takes a tenth more.
    assert!(line.spent_ps < best_ps * 5 / 4, "{} {best_ps}", line.spent_ps);
}

#[test]
fn an_interruption_is_not_taken_for_the_cost_of_a_level() {
    let (mut line, conditions) = (Line::new(), wan_of(1_000));
    line.loss_ppm(&TEXT, &conditions, 500);
    let level = line.pass(&TEXT, &conditions);
    for _ in 0..2 {
        line.chooser.took(level, LEN, 4_000_000);
    }
    line.loss_ppm(&TEXT, &conditions, 500);
    assert!(line.loss_ppm(&TEXT, &conditions, 500) < 20_000);
}

fn any_estimates() -> impl Strategy<Value = Estimates> {
    proptest::array::uniform6((0_u64..100_000, 0_u64..=WHOLE_PPM)).prop_map(|all| {
        let mut estimates = all.map(|(cost_ps, left_ppm)| Estimate { cost_ps, left_ppm, ..KNOWN });
        estimates[0] = KNOWN;
        estimates
    })
}

fn any_conditions() -> impl Strategy<Value = Conditions> {
    let levels = proptest::sample::subsequence(Level::ALL[1..].to_vec(), 1..=2);
    (1_u64..1 << 40, 1..=WHOLE_PPM, 1_u64..=8, levels, any::<bool>()).prop_map(
        |(wan_ps, free_ppm, replicas, levels, is_sparse)| Conditions {
            wan_ps,
            free_ppm,
            replicas,
            weakest: levels[0],
            strongest: levels[levels.len() - 1],
            takes_ns_max: BUFFER_NS_MAX,
            is_sparse,
        },
    )
}

proptest! {
    #[test]
    fn the_choice_is_possible_and_as_good_as_any(
        estimates in any_estimates(),
        conditions in any_conditions(),
        len in 1_usize..1 << 20,
    ) {
        let chosen = choose(&estimates, &conditions, len);
        prop_assert!(chosen == Level::Stored || is_allowed(chosen, &conditions));
        let pace = |level: Level| estimates[level.index()].pace(&conditions).0;
        for level in Level::ALL {
            if is_possible(level, &estimates[level.index()], &conditions, len) {
                prop_assert!(pace(chosen) <= pace(level) + pace(level) / 100 + 1);
            }
        }
    }

    /// Whatever it is told, it keeps to what is possible, and does not overflow.
    #[test]
    fn any_samples_are_borne(
        samples in proptest::collection::vec(
            (any_conditions(), any::<u64>(), any::<usize>(), any::<usize>()), 0..200),
    ) {
        let mut chooser = Chooser::default();
        for (conditions, ns, len, left) in samples {
            let level = chooser.next(&conditions, len);
            prop_assert!(level == Level::Stored || is_allowed(level, &conditions));
            chooser.packed(&conditions, level, len, left);
            chooser.took(level, len, ns);
            for estimate in chooser.estimates() {
                prop_assert!(estimate.left_ppm <= WHOLE_PPM);
            }
        }
    }
}
