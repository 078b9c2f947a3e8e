//! Three appliances, two of them with one key: a copied configuration.

use super::super::{Down, Incarnation, MoverCounter as C};
use super::network::{Net, Node};
use crate::packet_driver::PeerIndex;
use crate::time::{MILLISECOND_NS, SECOND_NS};

const PEER: PeerIndex = PeerIndex(0);

#[test]
fn of_two_appliances_with_one_key_the_later_start_has_the_session_and_keeps_it() {
    let nodes = vec![Node::new(1, 5, 0, &[(2, 1)]), Node::new(2, 10, 1, &[(1, 0)])];
    let mut net = Net::new(nodes);
    net.run(2_000);
    assert!(net.nodes.iter().all(|node| node.is_up(PEER)));
    // The copy is started elsewhere.
    net.nodes.push(Node::new(3, 20, 1, &[(1, 0)]));
    net.run(3_000);
    let a = &net.nodes[0];
    assert_eq!(a.heard[0].downs, [Down::Replaced]);
    assert_eq!(a.heard[0].ups.last().unwrap().incarnation, Incarnation(20));
    assert!(a.heard[0].ups.last().unwrap().restarted && net.nodes[2].is_up(PEER));
    // The first one goes on asking, for minutes: nothing changes, and it is said.
    net.run(120_000);
    let [a, first, copy] = &net.nodes[..] else { panic!("three nodes") };
    assert!(a.is_up(PEER) && copy.is_up(PEER) && !first.is_up(PEER));
    assert_eq!((a.heard[0].ups.len(), copy.heard[0].downs.len()), (2, 0), "no change to and fro");
    assert_eq!(first.heard[0].downs, [Down::Dead]);
    assert!(a.session(PEER).report().twin && !copy.session(PEER).report().twin);
    assert!(a.session(PEER).counters().get(C::DropStaleHello) > 30);
    let out = first.session(PEER).counters().get(C::HellosOut);
    assert!(out < 300, "it asks no more than once a second: {out}");
    // When the later one is gone, the earlier one gets the session.
    net.nodes[2].runs = false;
    net.run(10 * SECOND_NS / MILLISECOND_NS + 3_000);
    let [a, first, _] = &net.nodes[..] else { panic!("three nodes") };
    assert!(a.is_up(PEER) && first.is_up(PEER), "{:?}", a.heard[0].downs);
    assert!(!a.session(PEER).report().twin);
}

#[test]
fn a_restarted_appliance_is_no_twin() {
    let nodes = vec![Node::new(1, 5, 0, &[(2, 1)]), Node::new(2, 10, 1, &[(1, 0)])];
    let mut net = Net::new(nodes);
    for incarnation in 11..14 {
        net.run(5_000);
        net.nodes[1] = Node::new(2, incarnation, 1, &[(1, 0)]);
    }
    net.run(5_000);
    assert!(net.nodes.iter().all(|node| node.is_up(PEER)));
    assert!(net.nodes.iter().all(|node| !node.session(PEER).report().twin));
    assert_eq!(net.nodes[0].heard[0].ups.len(), 4);
}
