//! What comes through, at what cost.

use super::super::{MoverCounter as C, PeerConfig};
use super::harness::{Link, MBIT, World, config};
use crate::packet_driver::BufferKind;
use crate::time::MILLISECOND_NS;

const BULK: (usize, usize) = (60_000, 65_536);

fn ratio(part: u64, whole: u64) -> f64 {
    part as f64 / whole.max(1) as f64
}

/// One flow at the full rate: goodput, retransmissions, spurious ones, acknowledgement bytes.
fn fills_the_link(loss: u64, eta_min: f64) {
    let mut world = World::wan(loss, 100 + loss);
    world.source(0, BufferKind::Stream, BULK, u64::MAX);
    world.run_ms(1_500);
    let eta = world.eta(loss, 4_000);
    let [a, b] = &world.sides;
    let lost = ratio(a.get(C::DatagramsLost), a.get(C::DatagramsOut));
    let spurious = ratio(a.get(C::LossesSpurious), a.get(C::DatagramsOut));
    let again = ratio(a.get(C::BytesRetransmitted), b.heard.bytes);
    let acks = ratio(b.get(C::BytesOut), a.get(C::BytesOut));
    let overhead = ratio(a.get(C::BytesOut), b.heard.bytes);
    println!(
        "loss {loss}: eta {eta:.4} lost {lost:.4} again {again:.4} spurious {spurious:.5} acks {acks:.5} overhead {overhead:.4} report {:?}",
        a.session.report()
    );
    assert!(eta >= eta_min && eta < 1.01, "eta {eta}");
    assert!(spurious <= 0.002, "spurious {spurious}");
    assert!(acks < 0.01, "acknowledgements {acks}");
    let p = loss as f64 / 1e6;
    assert!(again <= p / (1.0 - p) * 1.1 + 0.003, "retransmitted {again}");
    assert_eq!(b.heard.wrong, 0);
    assert!(b.heard.buffers.values().all(|count| *count == 1));
}

#[test]
fn fills_a_clean_link() {
    fills_the_link(0, 0.98);
}

#[test]
fn fills_a_link_with_half_a_percent_of_loss() {
    fills_the_link(5_000, 0.98);
}

#[test]
fn fills_a_link_with_two_percent_of_loss() {
    fills_the_link(20_000, 0.98);
}

#[test]
fn fills_a_link_with_ten_percent_of_loss() {
    fills_the_link(100_000, 0.95);
}

#[test]
fn builds_no_queue_at_a_bottleneck_of_the_same_rate() {
    let mut world = World::wan(0, 7);
    // Room for two full datagrams: whatever is sent faster than the rate is lost.
    world.links(|link| link.queue_bytes = 3_000);
    world.source(0, BufferKind::Stream, BULK, u64::MAX);
    world.run_ms(4_000);
    assert_eq!(world.sides[0].get(C::DatagramsLost), 0);
    let sent = world.sides[0].get(C::BytesOut);
    assert!(sent <= 200 * MBIT / 8 * 4 + 30_000, "{sent}");
}

#[test]
fn both_directions_fill_the_link_at_once() {
    let mut world = World::wan(5_000, 8);
    world.source(0, BufferKind::Stream, BULK, u64::MAX);
    world.source(1, BufferKind::Stream, BULK, u64::MAX);
    world.run_ms(1_500);
    let before = world.sides[0].heard.bytes;
    let eta = world.eta(5_000, 2_000);
    let other = world.sides[0].heard.bytes - before;
    println!("eta {eta}, the other way {other}");
    assert!(eta >= 0.97, "{eta}");
    assert!(ratio(other, 50_000_000) >= 0.97 * 0.995 * 1410.0 / 1458.0, "{other}");
}

#[test]
fn jitter_and_reordering_are_not_loss() {
    let mut world = World::wan(5_000, 9);
    world.links(|link| link.jitter_ns = 30 * MILLISECOND_NS);
    world.source(0, BufferKind::Stream, BULK, u64::MAX);
    world.run_ms(1_500);
    let (out, spurious) =
        (world.sides[0].get(C::DatagramsOut), world.sides[0].get(C::LossesSpurious));
    let eta = world.eta(5_000, 3_000);
    let a = &world.sides[0];
    let late = ratio(a.get(C::LossesSpurious) - spurious, a.get(C::DatagramsOut) - out);
    println!("eta {eta}, spurious {late}, at the start {spurious}");
    assert!(eta >= 0.97, "{eta}");
    assert!(late <= 0.002, "{late}");
}

#[test]
fn acknowledgements_may_be_lost() {
    let mut world = World::wan(0, 10);
    world.sides[1].link.loss = 400_000;
    world.source(0, BufferKind::Stream, BULK, u64::MAX);
    world.run_ms(1_500);
    let eta = world.eta(0, 2_000);
    let a = &world.sides[0];
    println!("eta {eta}, lost {}", a.get(C::DatagramsLost));
    assert!(eta >= 0.98, "{eta}");
    assert!(ratio(a.get(C::DatagramsLost), a.get(C::DatagramsOut)) < 0.002);
}

#[test]
fn small_buffers_share_datagrams_and_control_goes_first() {
    let mut world = World::new(config(20 * MBIT), Link::new(20 * MBIT, 40 * MILLISECOND_NS, 0), 11);
    world.source(0, BufferKind::Stream, (60, 60), 10_000);
    world.source_every(0, BufferKind::Control, (20, 40), 200, MILLISECOND_NS);
    assert!(world.run_until_done(10_000));
    world.assert_all_delivered(0);
    let out = world.sides[0].get(C::DatagramsOut);
    assert!(out < 10_200 / 10, "{out} datagrams");
}

#[test]
fn a_slow_packet_driver_slows_the_sender_down() {
    let mut world = World::wan(0, 12);
    world.source(0, BufferKind::Stream, BULK, u64::MAX);
    world.run_ms(500);
    world.sides[1].session.set_backlogged(true);
    world.run_ms(500);
    let slow = world.sides[0].session.report().rate_bps;
    assert!(slow < 200 * MBIT, "{slow}");
    world.sides[1].session.set_backlogged(false);
    world.run_ms(500);
    assert_eq!(world.sides[0].session.report().rate_bps, 200 * MBIT);
}

#[test]
fn datagrams_are_sent_once_and_counted_when_lost() {
    let link = Link::new(200 * MBIT, 40 * MILLISECOND_NS, 20_000);
    let mut world = World::new(PeerConfig { fec: false, ..config(200 * MBIT) }, link, 13);
    world.source_every(0, BufferKind::Datagram, (100, 1_400), 5_000, MILLISECOND_NS / 2);
    world.source_every(0, BufferKind::Stream, (2_000, 9_000), 300, 5 * MILLISECOND_NS);
    assert!(world.run_until_done(20_000));
    world.run_ms(500);
    let [a, b] = &world.sides;
    let lost = a.get(C::BuffersAbandoned);
    assert!((50..200).contains(&lost), "{lost}");
    assert_eq!(b.heard.buffers.len() as u64 + lost, 5_300);
    assert_eq!(b.heard.wrong, 0);
    assert_eq!((a.pool.in_use_bytes(), b.pool.in_use_bytes()), (0, 0), "nothing waits for them");
}

#[test]
fn an_exhausted_pool_refuses_data_but_not_acknowledgements() {
    let mut world = World::wan(0, 14);
    world.sides[1].heard.hold = true;
    world.source(0, BufferKind::Stream, BULK, 2_000);
    world.source(1, BufferKind::Control, (100, 100), 100);
    world.source_every(0, BufferKind::Control, (100, 100), 400, 20 * MILLISECOND_NS);
    world.run_ms(5_000);
    let [a, b] = &world.sides;
    let held = b.heard.held.len();
    let refused = b.get(C::DropRefused);
    println!("refused {refused} of {}, held {held}", a.get(C::DatagramsOut));
    assert!(held >= 1_024 && refused < 6_000, "the sender waits: {refused} refused");
    let controls = b.heard.controls;
    assert!(controls > 240, "{controls} control buffers came through");
    world.sides[1].heard.hold = false;
    world.sides[1].heard.held.clear();
    assert!(world.run_until_done(10_000));
    world.assert_all_delivered(0);
}

/// Milliseconds until a control buffer is delivered that is lost `times` times.
fn control_after(world: &mut World, times: u32) -> u64 {
    world.run_ms(1_000);
    world.sides[0].link.strike = Some((BufferKind::Control, times));
    world.source(0, BufferKind::Control, (99, 99), 1);
    let mut ms = 0;
    while ms < 2_000 {
        world.run_ms(1);
        ms += 1;
        if world.sides[1].heard.controls > 0 {
            break;
        }
    }
    println!("lost {times} times: {ms} ms");
    ms
}

#[test]
fn what_is_lost_twice_is_there_within_three_round_trips() {
    for (times, ms_max) in [(0, 42), (1, 150), (2, 260), (3, 370)] {
        let mut world = World::wan(0, 15);
        world.source(0, BufferKind::Stream, BULK, u64::MAX);
        let ms = control_after(&mut world, times);
        assert!(ms <= ms_max, "{times} times: {ms} ms");
    }
}

#[test]
fn a_lost_tail_is_asked_after() {
    let mut world = World::wan(0, 16);
    let ms = control_after(&mut world, 1);
    // Two round trips and the longest delay of an acknowledgement, then the way there.
    assert!(ms <= 2 * 80 + 25 + 40 + 5, "{ms} ms");
    assert_eq!(world.sides[0].get(C::Probes), 1);
}

#[test]
fn fills_a_long_fat_link() {
    let config = PeerConfig {
        reassembly_bytes_max: 200 * 1024 * 1024,
        queued_bytes_max: 1024 * 1024,
        ..config(1_000 * MBIT)
    };
    let link = Link::new(1_000 * MBIT, 100 * MILLISECOND_NS, 10_000);
    let mut world = World::new(config, link, 17);
    world.source(0, BufferKind::Stream, BULK, u64::MAX);
    world.run_ms(1_000);
    let eta = world.eta(10_000, 1_000);
    println!("eta {eta} {:?}", world.sides[0].session.report());
    assert!(eta >= 0.97, "{eta}");
}
