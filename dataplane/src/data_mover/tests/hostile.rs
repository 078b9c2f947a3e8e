//! Datagrams that no honest peer sends.

use proptest::prelude::*;

use super::super::MoverCounter as C;
use super::super::wire::{
    Acknowledgement, Arrivals, Bitmap, DatagramHeader, DatagramKind, emit_data,
};
use super::harness::{Heard, World};
use crate::packet_driver::BufferKind;
use crate::time::MILLISECOND_NS;

/// A pair in the middle of a transfer, and a few of its datagrams, not yet received.
fn captured(seed: u64) -> (World, Vec<Vec<u8>>) {
    let mut world = World::wan(0, seed);
    world.source_every(0, BufferKind::Stream, (3_000, 3_000), 400, 5 * MILLISECOND_NS);
    world.source_every(1, BufferKind::Stream, (100, 100), 400, 5 * MILLISECOND_NS);
    world.source_every(0, BufferKind::Datagram, (100, 100), 400, 5 * MILLISECOND_NS);
    world.run_ms(150);
    let datagrams = world.capture();
    (world, datagrams)
}

#[test]
fn every_truncation_and_every_flipped_bit_is_survived() {
    let (mut world, datagrams) = captured(1);
    assert!(datagrams.len() > 10);
    let side = &mut world.sides[1];
    for datagram in &datagrams {
        let clear_len = DatagramHeader::parse(datagram).unwrap().0.clear_len();
        for len in 0..datagram.len() {
            side.session.receive(world.now, &mut datagram[..len].to_vec(), &mut side.heard);
        }
        assert_eq!(side.heard.wrong, 0, "a truncated datagram delivers nothing");
        for bit in 0..clear_len * 8 {
            let mut flipped = datagram.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            side.session.receive(world.now, &mut flipped, &mut side.heard);
            side.session.on_timeout(world.now, &mut side.heard);
        }
    }
    let mut out = [0; 2_048];
    for _ in 0..10_000 {
        world.now = world.now + MILLISECOND_NS / 10;
        let side = &mut world.sides[1];
        side.session.on_timeout(world.now, &mut side.heard);
        while side.session.transmit(world.now, &mut out).is_some() {}
    }
}

#[test]
fn a_truncated_datagram_changes_nothing_but_its_counter() {
    let (mut world, datagrams) = captured(2);
    let side = &mut world.sides[1];
    let before = (side.session.report(), side.pool.in_use_bytes(), side.heard.bytes);
    let mut count = 0;
    for datagram in &datagrams {
        for len in 0..datagram.len() {
            side.session.receive(world.now, &mut datagram[..len].to_vec(), &mut side.heard);
            count += 1;
        }
    }
    assert_eq!((side.session.report(), side.pool.in_use_bytes(), side.heard.bytes), before);
    assert_eq!(side.get(C::DropMalformed), count);
}

#[test]
fn an_acknowledgement_of_what_was_never_sent_is_ignored() {
    let (mut world, datagrams) = captured(5);
    let session = DatagramHeader::parse(&datagrams[0]).unwrap().0.session;
    let side = &mut world.sides[1];
    let before = side.session.report();
    for (physical, (received, lowest)) in [(1 << 30, 0), (3, 1 << 30)].into_iter().enumerate() {
        let ack = Acknowledgement {
            highest_sent: 1,
            highest_received: received,
            backlogged: true,
            delivery_kbytes_per_s: 0,
            room_bytes: 0,
            delay_us: 0,
            clock_us: 0,
            arrivals: Arrivals::default(),
            lowest_incomplete: lowest,
            received: Bitmap { base: received, bytes: &[1] },
            complete: Bitmap { base: lowest, bytes: &[] },
        };
        let mut bytes = [0; 128];
        let data_len = emit_data(100_000 + physical as u64, &[], &mut bytes[8..]).unwrap();
        let len = data_len + ack.emit(&mut bytes[8 + data_len..]).unwrap();
        let field_len = u16::try_from(len).unwrap();
        let kind = DatagramKind::Session;
        DatagramHeader { kind, key_epoch: 0, field_len, session }.emit(&mut bytes).unwrap();
        side.session.receive(world.now, &mut bytes[..8 + len], &mut side.heard);
    }
    assert_eq!(side.get(C::AcksInvalid), 2);
    assert_eq!(side.session.report(), before);
}

#[test]
fn corruption_on_the_way_stops_nothing() {
    // Without authentication a flipped bit in a payload is delivered: only the headers are safe.
    for seed in 0..20 {
        let mut world = World::wan(10_000, seed);
        world.links(|link| link.corrupt = 20_000);
        world.source(0, BufferKind::Stream, (3_000, 60_000), 100);
        world.source(1, BufferKind::Control, (20, 300), 100);
        world.run_ms(10_000);
        for side in &world.sides {
            assert!(side.session.report().rtt_ns > 0);
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]
    #[test]
    fn random_bytes_are_dropped(list in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..200), 0..200)) {
        let (mut world, _) = captured(3);
        let side = &mut world.sides[1];
        let before = (side.session.report(), side.pool.in_use_bytes());
        let mut heard = Heard::default();
        for bytes in &list {
            side.session.receive(world.now, &mut bytes.clone(), &mut heard);
        }
        prop_assert_eq!((side.session.report(), side.pool.in_use_bytes()), before);
        prop_assert_eq!(heard.bytes, 0);
    }

    #[test]
    fn random_subfields_of_a_live_session_never_panic(list in proptest::collection::vec((1_u8..9, proptest::collection::vec(any::<u8>(), 0..60)), 0..60), physical in 100_000_u32..200_000) {
        let (mut world, datagrams) = captured(4);
        let session = DatagramHeader::parse(&datagrams[0]).unwrap().0.session;
        let side = &mut world.sides[1];
        for (offset, (kind, body)) in list.iter().enumerate() {
            let mut field = (physical + u32::try_from(offset).unwrap()).to_be_bytes().to_vec();
            field.extend_from_slice(&[0, *kind]);
            field.extend_from_slice(&u16::try_from(body.len()).unwrap().to_be_bytes());
            field.extend_from_slice(body);
            let header = DatagramHeader {
                kind: DatagramKind::Session,
                key_epoch: 0,
                field_len: u16::try_from(field.len()).unwrap(),
                session,
            };
            let mut bytes = vec![0; 8];
            header.emit(&mut bytes).unwrap();
            bytes.extend_from_slice(&field);
            side.session.receive(world.now, &mut bytes, &mut side.heard);
            let mut out = [0; 2_048];
            while side.session.transmit(world.now, &mut out).is_some() {
                world.now = world.now + MILLISECOND_NS;
            }
            side.session.on_timeout(world.now, &mut side.heard);
            let _ = side.session.next_timeout();
        }
    }
}
