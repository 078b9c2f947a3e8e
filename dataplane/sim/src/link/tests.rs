//! Each promise of the link model, then all of them at once on random links.

use dataplane::time::{MICROSECOND_NS, MILLISECOND_NS, SECOND_NS};
use proptest::prelude::*;

use super::*;

const ITEMS_MAX: usize = 1 << 20;

/// A rate at which 1250 bytes take exactly 1 ms.
const RATE_BPS: u64 = 10_000_000;

fn link(config: LinkConfig) -> Link<u64> {
    Link::new(config, ITEMS_MAX, 42)
}

fn at_us(us: u64) -> Time {
    Time::from_ns(us * MICROSECOND_NS)
}

/// Everything the link delivers, asked for only when the link said so.
fn drain(link: &mut Link<u64>) -> Vec<Delivery<u64>> {
    let mut out = Vec::new();
    loop {
        let time = link.next_time();
        if time == Time::NEVER {
            assert_eq!(link.held(), Tally::default(), "held but never due");
            return out;
        }
        match link.pop(time) {
            Some(delivery) => {
                assert_eq!(delivery.at, time, "not due when the link said");
                out.push(delivery);
            }
            None => assert!(link.next_time() > time, "no progress at {time:?}"),
        }
    }
}

fn count(link: &Link<u64>, counter: LinkCounter) -> u64 {
    link.counters().get(counter)
}

fn items(deliveries: &[Delivery<u64>]) -> Vec<u64> {
    deliveries.iter().map(|delivery| delivery.item).collect()
}

#[test]
fn a_perfect_link_delivers_at_once() {
    let mut link = link(LinkConfig::default());
    link.push(at_us(5), 1500, 1);
    let expected = Delivery { at: at_us(5), ip_len: 1500, item: 1, copies: 1, corrupt: None };
    assert_eq!(link.pop(at_us(5)), Some(expected));
    assert_eq!(link.next_time(), Time::NEVER);
}

#[test]
fn delay_is_exact_and_not_a_nanosecond_early() {
    let mut link = link(LinkConfig { delay_ns: 40 * MILLISECOND_NS, ..LinkConfig::default() });
    link.push(Time::from_ns(3), 100, 1);
    let due = Time::from_ns(3 + 40 * MILLISECOND_NS);
    assert_eq!(link.next_time(), due);
    assert_eq!(link.pop(due - 1), None);
    assert_eq!(link.pop(due).map(|delivery| delivery.at), Some(due));
}

#[test]
fn a_late_caller_does_not_delay_what_follows() {
    let mut link = link(LinkConfig { rate_bps: RATE_BPS, ..LinkConfig::default() });
    for item in 0..3 {
        link.push(Time::ZERO, 1250, item);
    }
    let times: Vec<Time> =
        std::iter::from_fn(|| link.pop(Time::from_ms(100))).map(|d| d.at).collect();
    assert_eq!(times, [Time::from_ms(1), Time::from_ms(2), Time::from_ms(3)]);
}

#[test]
fn rate_is_exact_over_many_packets() {
    // 1400 bytes at 200 Mb/s + 1 bit/s: no packet takes a whole number of nanoseconds.
    let rate_bps = 200_000_001;
    let packets = 100_000_u64;
    let mut link = link(LinkConfig { rate_bps, ..LinkConfig::default() });
    for item in 0..packets {
        link.push(Time::ZERO, 1400, item);
    }
    let last = drain(&mut link).pop().unwrap();
    let exact = u128::from(packets * 1400 * 8) * u128::from(SECOND_NS) / u128::from(rate_bps);
    assert_eq!(u128::from(last.at.as_ns()), exact);
}

#[test]
fn queue_drops_the_tail_and_does_not_count_the_packet_on_its_way_out() {
    let mut link =
        link(LinkConfig { rate_bps: RATE_BPS, queue_bytes_max: 2500, ..LinkConfig::default() });
    for item in 0..5 {
        link.push(Time::ZERO, 1250, item);
    }
    assert_eq!(count(&link, LinkCounter::QueuePackets), 2);
    // After 1 ms one has left and one has moved up: there is room for one more.
    link.push(Time::from_ms(1), 1250, 5);
    link.push(Time::from_ms(1), 1250, 6);
    assert_eq!(items(&drain(&mut link)), [0, 1, 2, 5]);
    assert_eq!(count(&link, LinkCounter::QueuePackets), 3);
    assert_eq!(count(&link, LinkCounter::QueueBytes), 3 * 1250);
    assert_eq!(count(&link, LinkCounter::QueueBytesPeak), 2500);
}

#[test]
fn what_is_not_ip_takes_its_turn_but_no_capacity_and_no_fault() {
    let mut link = link(LinkConfig {
        rate_bps: RATE_BPS,
        queue_bytes_max: 0,
        delay_ns: MILLISECOND_NS,
        loss: Loss::Independent { probability: 1.0 },
        mtu_bytes: 1500,
        ..LinkConfig::default()
    });
    link.push(Time::ZERO, 1250, 1);
    link.push(Time::ZERO, 0, 2);
    let out = drain(&mut link);
    assert_eq!(items(&out), [2]);
    assert_eq!(out[0].at, Time::from_ms(2));
}

#[test]
fn loss_strikes_after_the_queue() {
    let mut link = link(LinkConfig {
        rate_bps: RATE_BPS,
        loss: Loss::Independent { probability: 0.5 },
        ..LinkConfig::default()
    });
    for item in 0..1000 {
        link.push(Time::ZERO, 1250, item);
    }
    let out = drain(&mut link);
    // The survivors leave at their own times: the lost ones took theirs.
    for delivery in &out {
        assert_eq!(delivery.at, Time::from_ms(delivery.item + 1));
    }
    let lost = count(&link, LinkCounter::LossPackets);
    assert_eq!(lost + u64::try_from(out.len()).unwrap(), 1000);
    assert!((400..600).contains(&lost), "{lost}");
}

#[test]
fn duplicates_are_announced_and_counted() {
    let mut link = link(LinkConfig { duplicate_probability: 1.0, ..LinkConfig::default() });
    link.push(Time::ZERO, 100, 1);
    assert_eq!(link.held(), Tally { packets: 2, bytes: 200 });
    assert_eq!(link.pop(Time::ZERO).map(|delivery| delivery.copies), Some(2));
    assert_eq!(count(&link, LinkCounter::PacketsDuplicated), 1);
    assert_eq!(count(&link, LinkCounter::PacketsOut), 2);
    assert!(add_up(link.counters(), link.held()));
}

#[test]
fn corruption_is_announced_with_a_place_that_differs() {
    let mut link = link(LinkConfig { corrupt_probability: 1.0, ..LinkConfig::default() });
    link.push(Time::ZERO, 100, 1);
    link.push(Time::ZERO, 100, 2);
    let places: Vec<u64> = drain(&mut link).iter().filter_map(|d| d.corrupt).collect();
    assert_eq!(places.len(), 2);
    assert_ne!(places[0], places[1]);
    assert_eq!(count(&link, LinkCounter::PacketsCorrupted), 2);
}

#[test]
fn jitter_keeps_the_order_unless_told_otherwise() {
    let jitter_ns = 10 * MILLISECOND_NS;
    for jitter_reorders in [false, true] {
        let mut link =
            link(LinkConfig { jitter_ns, jitter_reorders, delay_ns: 7, ..LinkConfig::default() });
        for item in 0..1000 {
            link.push(at_us(item * 100), 100, item);
        }
        let out = drain(&mut link);
        let in_order = items(&out).is_sorted();
        assert_eq!(in_order, !jitter_reorders);
        for delivery in &out {
            let delay_ns = delivery.at.since_ns(at_us(delivery.item * 100));
            assert!((7..=7 + jitter_ns).contains(&delay_ns), "{delay_ns}");
        }
        let distinct: std::collections::HashSet<_> = out.iter().map(|d| d.at).collect();
        assert!(distinct.len() > 30, "jitter does nothing");
    }
}

#[test]
fn held_back_packets_are_overtaken_and_delay_no_other() {
    let mut link = link(LinkConfig {
        delay_ns: MILLISECOND_NS,
        reorder_probability: 0.1,
        reorder_delay_ns: 5 * MILLISECOND_NS,
        ..LinkConfig::default()
    });
    for item in 0..1000 {
        link.push(at_us(item * 100), 100, item);
    }
    let out = drain(&mut link);
    let late = |d: &&Delivery<u64>| d.at != at_us(d.item * 100) + MILLISECOND_NS;
    let held_back: Vec<_> = out.iter().filter(late).collect();
    assert!((60..140).contains(&held_back.len()), "{}", held_back.len());
    assert!(held_back.iter().all(|d| d.at == at_us(d.item * 100) + 6 * MILLISECOND_NS));
    assert_eq!(count(&link, LinkCounter::PacketsHeldBack), u64::try_from(held_back.len()).unwrap());
}

#[test]
fn longer_than_the_mtu_is_dropped_and_counted() {
    let mut link = link(LinkConfig { mtu_bytes: 1500, ..LinkConfig::default() });
    link.push(Time::ZERO, 1500, 1);
    link.push(Time::ZERO, 1501, 2);
    assert_eq!(items(&drain(&mut link)), [1]);
    assert_eq!(count(&link, LinkCounter::OversizeBytes), 1501);
}

#[test]
fn a_cut_loses_what_is_on_the_link_and_a_restored_link_works() {
    let up = LinkConfig { rate_bps: RATE_BPS, delay_ns: SECOND_NS, ..LinkConfig::default() };
    let down = LinkConfig { up: false, ..up.clone() };
    let mut link = link(up.clone());
    for item in 0..10 {
        link.push(Time::ZERO, 1250, item);
    }
    link.set_config(Time::from_ms(5), down);
    link.push(Time::from_ms(6), 1250, 10);
    assert_eq!(link.next_time(), Time::NEVER);
    assert_eq!(count(&link, LinkCounter::DownPackets), 11);
    link.set_config(Time::from_ms(7), up);
    link.push(Time::from_ms(7), 1250, 11);
    let out = drain(&mut link);
    assert_eq!(items(&out), [11]);
    assert_eq!(out[0].at, Time::from_ms(8) + SECOND_NS);
    assert!(add_up(link.counters(), link.held()));
}

#[test]
fn black_holes_come_by_themselves_and_go_again() {
    let windows = Windows { every_ns: 100 * MILLISECOND_NS, length_ns: 20 * MILLISECOND_NS };
    let config = LinkConfig { black_hole_windows: Some(windows), ..LinkConfig::default() };
    let mut link = Link::new(config, 100, 1);
    let mut through = Vec::new();
    for ms in (0..300).step_by(10) {
        link.push(Time::from_ms(ms), 100, ms);
        through.extend(link.pop(Time::from_ms(ms)).map(|delivery| delivery.item));
    }
    let swallowed: Vec<u64> = (0..300).step_by(10).filter(|ms| !through.contains(ms)).collect();
    assert_eq!(swallowed, [80, 90, 180, 190, 280, 290]);
    assert_eq!(link.counters().get(LinkCounter::BlackHolePackets), 6);
}

#[test]
fn a_black_hole_swallows_what_comes_but_not_what_is_on_the_link() {
    let open = LinkConfig { delay_ns: SECOND_NS, ..LinkConfig::default() };
    let mut link = link(open.clone());
    link.push(Time::ZERO, 100, 1);
    link.set_config(Time::ZERO, LinkConfig { black_hole: true, ..open });
    link.push(Time::ZERO, 100, 2);
    assert_eq!(items(&drain(&mut link)), [1]);
    assert_eq!(count(&link, LinkCounter::BlackHolePackets), 1);
}

#[test]
fn a_new_rate_holds_for_what_is_left_of_the_packet_on_its_way_out() {
    let slow = LinkConfig { rate_bps: RATE_BPS, ..LinkConfig::default() };
    let mut link = link(slow.clone());
    link.push(Time::ZERO, 1250, 1);
    link.push(Time::ZERO, 1250, 2);
    link.set_config(at_us(500), LinkConfig { rate_bps: RATE_BPS / 2, ..slow });
    let times: Vec<Time> = drain(&mut link).iter().map(|d| d.at).collect();
    assert_eq!(times, [at_us(1500), at_us(3500)]);
}

#[test]
fn a_shorter_delay_does_not_reorder() {
    let long = LinkConfig { delay_ns: SECOND_NS, ..LinkConfig::default() };
    let mut link = link(long.clone());
    link.push(Time::ZERO, 100, 1);
    link.set_config(Time::ZERO, LinkConfig { delay_ns: 0, ..long });
    link.push(Time::ZERO, 100, 2);
    assert_eq!(items(&drain(&mut link)), [1, 2]);
}

#[test]
fn memory_is_bounded_and_what_finds_none_is_counted() {
    let config = LinkConfig { rate_bps: RATE_BPS, delay_ns: SECOND_NS, ..LinkConfig::default() };
    let mut link: Link<u64> = Link::new(config, 10, 1);
    for item in 0..25 {
        link.push(Time::from_ms(item), 125, item);
    }
    assert_eq!(count(&link, LinkCounter::MemoryPackets), 15);
    assert_eq!(drain(&mut link).len(), 10);
    assert!(add_up(link.counters(), link.held()));
}

#[test]
fn turning_on_one_fault_leaves_the_others_where_they_were() {
    let lossy =
        LinkConfig { loss: Loss::Independent { probability: 0.2 }, ..LinkConfig::default() };
    let also = LinkConfig {
        duplicate_probability: 0.3,
        corrupt_probability: 0.3,
        jitter_ns: 1000,
        ..lossy.clone()
    };
    let survivors = |config: LinkConfig| {
        let mut link = link(config);
        for item in 0..1000 {
            link.push(Time::ZERO, 100, item);
        }
        items(&drain(&mut link))
    };
    assert_eq!(survivors(lossy), survivors(also));
}

fn any_loss() -> impl Strategy<Value = Loss> {
    let share = || 0.0..0.5_f64;
    prop_oneof![
        Just(Loss::NONE),
        share().prop_map(|probability| Loss::Independent { probability }),
        (share(), 1.0..20.0_f64)
            .prop_map(|(probability, burst_mean)| Loss::Bursts { probability, burst_mean }),
    ]
}

prop_compose! {
    fn any_config()(
        rate_bps in prop_oneof![Just(0), 100_000..1_000_000_000_u64],
        queue_bytes_max in 0..100_000_u64,
        delay_ns in 0..100 * MILLISECOND_NS,
        jitter_ns in prop_oneof![Just(0), 0..50 * MILLISECOND_NS],
        jitter_reorders: bool,
        loss in any_loss(),
        duplicate_probability in 0.0..0.3_f64,
        corrupt_probability in 0.0..0.3_f64,
        reorder_probability in prop_oneof![Just(0.0), 0.0..0.3_f64],
        reorder_delay_ns in 0..20 * MILLISECOND_NS,
        mtu_bytes in prop_oneof![Just(0), 500..1500_u64],
        up in proptest::bool::weighted(0.9),
        black_hole in proptest::bool::weighted(0.1),
    ) -> LinkConfig {
        LinkConfig {
            rate_bps, queue_bytes_max, delay_ns, jitter_ns, jitter_reorders, loss,
            duplicate_probability, corrupt_probability, reorder_probability, reorder_delay_ns,
            mtu_bytes, up, black_hole, black_hole_windows: None,
        }
    }
}

#[derive(Clone, Debug)]
enum Step {
    Push { after_ns: u64, ip_len: u64 },
    Pop { after_ns: u64 },
    Change(LinkConfig),
}

fn any_steps() -> impl Strategy<Value = Vec<Step>> {
    let pause = || 0..5 * MILLISECOND_NS;
    let step = prop_oneof![
        20 => (pause(), 0..2000_u64).prop_map(|(after_ns, ip_len)| Step::Push { after_ns, ip_len }),
        10 => pause().prop_map(|after_ns| Step::Pop { after_ns }),
        1 => any_config().prop_map(Step::Change),
    ];
    proptest::collection::vec(step, 1..300)
}

/// Runs `steps`, then empties the link; checks what holds at every step.
fn play(config: &LinkConfig, steps: &[Step], seed: u64) -> (Vec<Delivery<u64>>, Link<u64>) {
    const ITEMS_MAX: usize = 50;
    let mut link = Link::new(config.clone(), ITEMS_MAX, seed);
    let mut now = Time::ZERO;
    let mut out = Vec::new();
    for (item, step) in (0_u64..).zip(steps) {
        match step {
            Step::Push { after_ns, ip_len } => {
                now = now + *after_ns;
                link.push(now, *ip_len, item);
            }
            Step::Pop { after_ns } => {
                now = now + *after_ns;
                let early = link.next_time() > now;
                let delivery = link.pop(now);
                assert!(!(early && delivery.is_some()), "due before the link said");
                assert!(delivery.as_ref().is_none_or(|delivery| delivery.at <= now));
                out.extend(delivery);
            }
            Step::Change(config) => link.set_config(now, config.clone()),
        }
        assert!(add_up(link.counters(), link.held()), "after {step:?}");
        assert!(link.held().packets <= 2 * u64::try_from(ITEMS_MAX).unwrap());
    }
    out.extend(drain(&mut link));
    (out, link)
}

proptest! {
    #[test]
    fn nothing_is_invented_and_the_counts_add_up(
        config in any_config(), steps in any_steps(), seed: u64,
    ) {
        let (out, link) = play(&config, &steps, seed);
        prop_assert!(add_up(link.counters(), Tally::default()));
        let mut seen = std::collections::HashSet::new();
        for delivery in &out {
            prop_assert!(seen.insert(delivery.item), "delivered twice: {}", delivery.item);
            let pushed = &steps[usize::try_from(delivery.item).unwrap()];
            let same = matches!(pushed, Step::Push { ip_len, .. } if *ip_len == delivery.ip_len);
            prop_assert!(same, "{delivery:?} was pushed as {pushed:?}");
        }
        let delivered: u64 = out.iter().map(|delivery| u64::from(delivery.copies)).sum();
        prop_assert_eq!(delivered, count(&link, LinkCounter::PacketsOut));
    }

    #[test]
    fn order_is_kept_where_nothing_reorders(
        config in any_config(), steps in any_steps(), seed: u64,
    ) {
        let keep = |config: &LinkConfig| LinkConfig {
            jitter_reorders: false,
            reorder_probability: 0.0,
            ..config.clone()
        };
        let steps: Vec<Step> = steps
            .into_iter()
            .map(|step| match step {
                Step::Change(config) => Step::Change(keep(&config)),
                other => other,
            })
            .collect();
        prop_assert!(!keep(&config).reorders());
        let (out, _) = play(&keep(&config), &steps, seed);
        prop_assert!(items(&out).is_sorted());
        prop_assert!(out.iter().map(|delivery| delivery.at).is_sorted());
    }

    #[test]
    fn the_same_seed_gives_the_same_run(config in any_config(), steps in any_steps(), seed: u64) {
        prop_assert_eq!(play(&config, &steps, seed).0, play(&config, &steps, seed).0);
    }
}
