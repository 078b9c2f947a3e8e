//! The flow table against a hash map, and against readers in other threads.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use proptest::prelude::*;

use super::flow_hash::FlowHasher;
use super::flow_table::{Direction, FlowTable, Found, InsertError, Timeouts};
use super::reason::PassReason;
use super::table::RuleId;
use super::verdict::{Decision, Verdict};
use crate::frame::FlowKey;
use crate::frame::ip::protocol::{ICMP, TCP, UDP};
use crate::packet_driver::{Class, PeerIndex};
use crate::time::{SECOND_NS, Time};

fn table(capacity: usize) -> FlowTable {
    FlowTable::new(capacity, FlowHasher::new([3, 5]))
}

fn key(n: u32) -> FlowKey {
    let source = std::net::Ipv4Addr::from(0x0a4d_0100 + n);
    FlowKey::new(source.into(), [10, 77, 2, 9].into(), 40_000, 443, TCP, 0)
}

fn taken(slot: u32) -> Decision {
    Decision {
        verdict: Verdict::Optimize,
        rule: RuleId(3),
        peer: PeerIndex(1),
        class: Class(2),
        compress: true,
        slot,
    }
}

fn passed() -> Decision {
    Decision::pass(PassReason::SynNotSeen)
}

#[derive(Clone, Debug)]
enum Operation {
    Insert(u32, u32),
    Remove(u32),
    Change(u32, u32),
    Touch(u32, bool),
}

fn operation() -> impl Strategy<Value = Operation> {
    let flow = 0..60u32;
    prop_oneof![
        3 => (flow.clone(), any::<u32>()).prop_map(|(flow, slot)| Operation::Insert(flow, slot)),
        2 => flow.clone().prop_map(Operation::Remove),
        1 => (flow.clone(), any::<u32>()).prop_map(|(flow, slot)| Operation::Change(flow, slot)),
        2 => (flow, any::<bool>()).prop_map(|(flow, back)| Operation::Touch(flow, back)),
    ]
}

proptest! {
    /// Few buckets and a small capacity: every place gets used, overflows and full tables occur.
    #[test]
    fn agrees_with_a_hash_map(
        capacity in 1..50usize,
        secret in any::<[u64; 2]>(),
        operations in prop::collection::vec(operation(), 1..300),
    ) {
        let mut table = FlowTable::new(capacity, FlowHasher::new(secret));
        let mut oracle: HashMap<u32, (u32, [u64; 2])> = HashMap::new();
        for operation in operations {
            match operation {
                Operation::Insert(flow, slot) => {
                    let expected = if oracle.contains_key(&flow) {
                        Err(InsertError::Exists)
                    } else if oracle.len() == capacity {
                        Err(InsertError::Full)
                    } else {
                        Ok(())
                    };
                    let result = table.insert(&key(flow), taken(slot), Time::ZERO);
                    prop_assert_eq!(result.map(|_| ()), expected);
                    if expected.is_ok() { oracle.insert(flow, (slot, [0; 2])); }
                }
                Operation::Remove(flow) => {
                    let found = table.lookup(&key(flow));
                    prop_assert_eq!(found.is_some(), oracle.remove(&flow).is_some());
                    if let Some(found) = found {
                        prop_assert!(table.remove(found.flow));
                        prop_assert!(!table.remove(found.flow));
                        prop_assert_eq!(table.decision(found.flow), None);
                    }
                }
                Operation::Change(flow, slot) => {
                    if let Some(found) = table.lookup(&key(flow)) {
                        prop_assert!(table.set_decision(found.flow, taken(slot)));
                        oracle.get_mut(&flow).unwrap().0 = slot;
                    }
                }
                Operation::Touch(flow, back) => {
                    let key = if back { key(flow).reversed() } else { key(flow) };
                    if let Some(found) = table.lookup(&key) {
                        let expected = if back { Direction::Backward } else { Direction::Forward };
                        prop_assert_eq!(found.direction, expected);
                        table.touch(found, 100, Time::ZERO);
                        oracle.get_mut(&flow).unwrap().1[usize::from(back)] += 1;
                    }
                }
            }
            prop_assert_eq!(table.len(), oracle.len());
        }
        let keys: Vec<_> = (0..60).map(key).collect();
        let mut found = [None; 60];
        table.lookup_bulk(&keys, &mut found);
        for (flow, found) in (0..60).zip(found) {
            prop_assert_eq!(found, table.lookup(&key(flow)));
            let view = found.map(|found| table.view(found.flow).unwrap());
            prop_assert_eq!(view.map(|view| (view.decision.slot, view.frames)), oracle.get(&flow).copied());
            prop_assert!(view.is_none_or(|view| view.key == key(flow)));
            prop_assert!(view.is_none_or(|view| view.bytes == [view.frames[0] * 100, view.frames[1] * 100]));
        }
        let mut read: Vec<_> = table.reader().iter().map(|view| view.key).collect();
        let mut all: Vec<_> = oracle.keys().map(|flow| key(*flow)).collect();
        read.sort_unstable();
        all.sort_unstable();
        prop_assert_eq!(read, all);
    }
}

#[test]
fn takes_its_capacity_whole() {
    for secret in 0..20 {
        let mut table = FlowTable::new(4096, FlowHasher::new([secret, 1]));
        for n in 0..4096 {
            table.insert(&key(n), passed(), Time::ZERO).unwrap();
        }
        assert_eq!(table.insert(&key(9999), passed(), Time::ZERO), Err(InsertError::Full));
        assert!((0..4096).all(|n| table.lookup(&key(n)).is_some()));
        assert_eq!(table.lookup(&key(9999)), None);
    }
}

/// All at once as one by one: of both directions, from both buckets, and what is not there.
#[test]
fn bulk_lookups_agree_with_single_ones_in_a_full_table() {
    let mut table = FlowTable::new(4096, FlowHasher::new([7, 3]));
    for n in 0..4096 {
        table.insert(&key(n), passed(), Time::ZERO).unwrap();
    }
    assert!(table.overflowed() > 0, "a full table uses second buckets");
    let keys: Vec<_> = (0..8192)
        .map(|n| n * 1009 % 8192)
        .map(|n| if n % 3 == 0 { key(n).reversed() } else { key(n) })
        .collect();
    for len in [1, 15, 16, 17, 63, 64] {
        for keys in keys.chunks(len) {
            let mut found = [None; 64];
            table.lookup_bulk(keys, &mut found);
            for (key, found) in keys.iter().zip(found) {
                assert_eq!(found, table.lookup(key));
            }
        }
    }
    assert_eq!(keys.iter().filter(|key| table.lookup(key).is_some()).count(), 4096);
}

/// Entries move between their buckets; none may get lost, nor leave a trace when it goes.
#[test]
fn nothing_is_lost_when_entries_move() {
    for secret in 0..20 {
        let mut table = FlowTable::new(4096, FlowHasher::new([secret, 2]));
        for n in 0..4096 {
            table.insert(&key(n), passed(), Time::ZERO).unwrap();
        }
        assert!(table.overflowed() > 0, "a full table uses second buckets");
        for (removed, n) in (0..4096).map(|n| n * 1009 % 4096).enumerate() {
            let found = table.lookup(&key(n)).unwrap();
            assert!(table.remove(found.flow));
            assert_eq!(table.lookup(&key(n)), None);
            // A few at a time come and go, too.
            if removed % 7 == 0 {
                table.insert(&key(n + 10_000), passed(), Time::ZERO).unwrap();
            }
        }
        for n in (0..4096).map(|n| n * 1009 % 4096).step_by(7) {
            let found = table.lookup(&key(n + 10_000)).unwrap();
            assert!(table.remove(found.flow));
        }
        assert_eq!((table.len(), table.overflowed()), (0, 0));
    }
}

#[test]
fn overload_has_hysteresis() {
    let mut table = table(160);
    let flows: Vec<_> =
        (0..150).map(|n| table.insert(&key(n), passed(), Time::ZERO).unwrap()).collect();
    assert!(table.is_overloaded());
    for (removed, flow) in (1..).zip(&flows) {
        table.remove(*flow);
        assert_eq!(table.is_overloaded(), 150 - removed > 140, "{removed}");
    }
    for n in 0..149 {
        table.insert(&key(n), passed(), Time::ZERO).unwrap();
    }
    assert!(!table.is_overloaded());
}

#[test]
fn a_handle_outlives_its_flow_without_effect() {
    let mut table = table(1);
    let old = table.insert(&key(1), taken(1), Time::ZERO).unwrap();
    table.remove(old);
    let new = table.insert(&key(2), taken(2), Time::ZERO).unwrap();
    assert_ne!(old, new);
    assert!(!table.set_decision(old, taken(9)));
    assert!(!table.remove(old));
    table.touch(Found { flow: old, direction: Direction::Forward }, 1, Time::ZERO);
    assert_eq!(table.view(new).unwrap().frames, [0, 0]);
    assert_eq!(table.decision(new), Some(taken(2)));
    assert_eq!((table.key(old), table.key(new)), (None, Some(key(2))));
}

#[test]
fn ageing_is_by_protocol_in_bounded_steps_and_spares_split_flows() {
    let mut table = table(16);
    let of = |protocol, n| {
        let mut key = key(n);
        key.protocol = protocol;
        key
    };
    let insert = |table: &mut FlowTable, key: FlowKey, decision| {
        table.insert(&key, decision, Time::ZERO).unwrap()
    };
    let split = insert(&mut table, of(TCP, 0), taken(0));
    let tcp = insert(&mut table, of(TCP, 1), passed());
    let udp = insert(&mut table, of(UDP, 2), passed());
    let icmp = insert(&mut table, of(ICMP, 3), passed());
    let other = insert(&mut table, of(89, 4), passed());
    let timeouts = Timeouts {
        tcp_ns: 40 * SECOND_NS,
        udp_ns: 20 * SECOND_NS,
        icmp_ns: 10 * SECOND_NS,
        other_ns: 30 * SECOND_NS,
    };
    let at = |s: u64| Time::from_ns(s * SECOND_NS);
    assert_eq!(table.sweep(16, &timeouts, at(9)), 0);
    // Steps of four entries: the flows, made in order, are in the first two.
    let swept: Vec<_> = (0..4).map(|_| table.sweep(4, &timeouts, at(10))).collect();
    assert_eq!(swept.iter().sum::<usize>(), 1);
    assert_eq!(table.decision(icmp), None);
    table.touch(Found { flow: udp, direction: Direction::Forward }, 1, at(15));
    assert_eq!(table.sweep(16, &timeouts, at(30)), 1);
    assert_eq!(table.decision(other), None);
    assert!(table.decision(udp).is_some(), "seen at 15 s");
    assert_eq!(table.sweep(16, &timeouts, at(35)), 1);
    assert_eq!(table.sweep(16, &timeouts, at(40)), 1);
    assert_eq!(table.decision(tcp), None);
    assert_eq!(table.sweep(16, &timeouts, at(100_000)), 0);
    assert!(table.decision(split).is_some());
    assert_eq!(table.len(), 1);
}

/// Each flow's slot, peer and times derive from its key; a reader must never see a mix.
#[test]
fn readers_see_whole_entries() {
    const SEEN_ENOUGH: u64 = 500_000;
    let mut table = table(2);
    let reader = table.reader();
    let (seen, stop) = (AtomicU64::new(0), AtomicBool::new(false));
    std::thread::scope(|scope| {
        let reading = scope.spawn(|| {
            while !stop.load(Ordering::Relaxed) {
                for view in reader.iter() {
                    let n = view.decision.slot;
                    assert_eq!(view.key, key(n));
                    assert_eq!(view.decision.peer, PeerIndex(u16::try_from(n).unwrap()));
                    assert_eq!(view.created, Time::from_ns(u64::from(n)));
                    seen.fetch_add(1, Ordering::Relaxed);
                }
            }
        });
        let mut flow = None;
        let mut n = 0;
        // Both entries change hands all the time, and one of them is taken at any time.
        while seen.load(Ordering::Relaxed) < SEEN_ENOUGH && !reading.is_finished() {
            n = (n + 1) % 8;
            let decision = Decision { peer: PeerIndex(u16::try_from(n).unwrap()), ..taken(n) };
            let next = table.insert(&key(n), decision, Time::from_ns(u64::from(n))).unwrap();
            if let Some(flow) = flow.replace(next) {
                table.remove(flow);
            }
        }
        assert!(flow.is_some_and(|flow| table.remove(flow)));
        stop.store(true, Ordering::Relaxed);
    });
    assert!(table.is_empty());
    assert_eq!(table.reader().iter().count(), 0);
}

#[test]
fn what_the_edge_says_of_a_flow_is_kept_beside_its_decision_and_goes_with_it() {
    let mut table = table(4);
    let reader = table.reader();
    let shown = || reader.iter().map(|view| (view.edge_state, view.decision)).collect::<Vec<_>>();
    let flow = table.insert(&key(1), taken(7), Time::ZERO).unwrap();
    assert_eq!(shown(), [(0, taken(7))]);
    for state in [1, 31, 12] {
        table.set_edge_state(flow, state);
        assert_eq!(shown(), [(state, taken(7))]);
    }
    assert!(table.set_decision(flow, taken(9)));
    assert_eq!(shown(), [(12, taken(9))]);
    assert_eq!(table.key(flow), Some(key(1)));
    table.remove(flow);
    table.set_edge_state(flow, 3);
    assert!(shown().is_empty());
    table.insert(&key(2), taken(1), Time::ZERO).unwrap();
    assert_eq!(shown(), [(0, taken(1))]);
}
