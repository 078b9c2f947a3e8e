//! Packet mode, and frames that are none of ours.

use dataplane::edge::EdgeCounter;
use dataplane::frame::build::{UdpChecksum, prepend_link, prepend_udp};
use dataplane::frame::heap::HeapSource;
use dataplane::frame::ip::{ethertype, protocol};
use dataplane::frame::{Frame, IpHeader, LinkHeader, MacAddr, VlanList};
use dataplane::interceptor::RuleAction;
use dataplane::packet_driver::CLASS_COUNT;
use dataplane::time::{MILLISECOND_NS, SECOND_NS};
use dataplane_sim::check::ProbeReport;
use dataplane_sim::host::{Application, HostConfig, Probe};
use dataplane_sim::link::{Loss, Random};
use dataplane_sim::pair::{HostId, Pair, PairConfig, Site};
use dataplane_sim::scripted::{Action, ScriptedConfig, ScriptedHost};

use crate::support::{Expect, PORT, Run, both_ways, cable};

const ROUND_TRIP_NS: u64 = 80 * MILLISECOND_NS;
const ECHO: u16 = 7;

/// A ping and UDP of several sizes, `count` each, from A to B, between hosts of their own.
fn probes(run: &mut Run, count: u16, v6: bool) -> Vec<ProbeReport> {
    let [a, b] = Site::BOTH.map(|site| run.pair.add_host(site, site.host(11), &cable()));
    probes_between(run, a, b, count, v6)
}

/// The same, from and to these hosts, whose number is 11.
fn probes_between(run: &mut Run, a: HostId, b: HostId, count: u16, v6: bool) -> Vec<ProbeReport> {
    let remote = b.site.address(11, v6);
    let start_ns = run.pair.now().as_ns();
    let probe = |len| Probe { start_ns, interval_ns: 10 * MILLISECOND_NS, count, len };
    run.pair.host(b).run(Application::UdpEcho { port: ECHO });
    let client = run.pair.host(a);
    for (n, len) in (0..).zip([56, 1_400]) {
        let (remote, probe) = ((remote, 0).into(), probe(len));
        client.run(Application::Ping { remote, identifier: 100 + n, probe });
    }
    for (n, len) in (0..).zip([2, 512, 1_400]) {
        let (remote, probe) = ((remote, ECHO).into(), probe(len));
        client.run(Application::UdpClient { remote, local_port: 3_000 + n, probe });
    }
    run.pair.run_for(u64::from(count) * 10 * MILLISECOND_NS + 2 * SECOND_NS);
    run.pair.host(a).probes().cloned().collect()
}

#[test]
fn every_packet_comes_back_once_and_unchanged() {
    for v6 in [false, true] {
        let mut run = Run::new(PairConfig::default());
        let reports = probes(&mut run, 50, v6);
        assert_eq!(reports.len(), 5);
        for report in &reports {
            assert_eq!((report.sent, report.returned, report.wrong), (50, 50, 0));
            // Hosts ask for each other's station at first; then it takes the WAN's round trip.
            let mut round_trips_ns = report.round_trips_ns.clone();
            round_trips_ns.sort_unstable();
            let median_ns = round_trips_ns[25];
            let added = ROUND_TRIP_NS..ROUND_TRIP_NS + MILLISECOND_NS;
            assert!(added.contains(&median_ns), "{median_ns}");
        }
        let taken = run.pair.tpo(Site::A).handles.edge.get(EdgeCounter::PacketsFromHosts);
        assert_eq!(taken, 250);
        run.settle();
    }
}

#[test]
fn a_lost_packet_is_lost_alone() {
    // Packets of which none is sent again.
    let mut config =
        PairConfig::default().with_wan(|wan| wan.loss = Loss::Independent { probability: 0.05 });
    config.limits.packet_deadlines_ns = [0; CLASS_COUNT];
    let mut run = Run::new(config);
    let reports = probes(&mut run, 400, false);
    for report in &reports {
        assert_eq!((report.sent, report.wrong), (400, 0));
        // About a tenth of the round trips meets a loss; none waits for another's repair.
        assert!((300..400).contains(&report.returned), "{report:?}");
        let slow = report.round_trips_ns.iter().filter(|ns| **ns > ROUND_TRIP_NS * 3 / 2);
        assert!(slow.count() < 20, "{report:?}");
    }
    run.settle();
}

#[test]
fn a_lost_packet_is_sent_again_while_it_is_of_use() {
    // Parity would have most of them there at once.
    let lossy = || {
        PairConfig { fec: false, ..PairConfig::default() }
            .with_wan(|wan| wan.loss = Loss::Independent { probability: 0.05 })
    };
    let mut run = Run::new(lossy());
    for report in &probes(&mut run, 400, false) {
        assert_eq!((report.sent, report.wrong), (400, 0));
        // What is lost twice on its way, or noticed late, would come too late.
        assert!((380..=400).contains(&report.returned), "{report:?}");
        let slow = report.round_trips_ns.iter().filter(|ns| **ns > ROUND_TRIP_NS * 3 / 2);
        // The longest packets take two datagrams each way, so that one round trip in five has a loss.
        assert!((10..110).contains(&slow.count()), "{report:?}");
        let latest_ns = report.round_trips_ns.iter().max().unwrap();
        assert!(*latest_ns < 400 * MILLISECOND_NS, "each way within its deadline: {latest_ns}");
    }
    run.settle();
}

#[test]
fn a_tunnel_carries_tcp_as_packets() {
    let mut run = Run::new(PairConfig { action: RuleAction::Tunnel, ..PairConfig::default() });
    run.serve(Site::B, PORT, both_ways(500_000));
    run.connect(Site::A, PORT, 2, false, both_ways(500_000));
    run.finish(60 * SECOND_NS);
    let edge = &run.pair.tpo(Site::A).handles.edge;
    assert_eq!(edge.get(EdgeCounter::FlowsFromHosts), 0);
    assert!(edge.get(EdgeCounter::PacketsFromHosts) > 500);
}

#[test]
fn interactive_exchanges_are_quick_beside_bulk() {
    let mut run = Run::new(PairConfig::default());
    run.serve(Site::B, PORT, both_ways(20_000_000));
    run.connect(Site::A, PORT, 3, false, both_ways(20_000_000));
    run.pair.run_for(SECOND_NS);
    let reports = probes(&mut run, 120, false);
    for report in &reports {
        // The first had to wait for the hosts' stations.
        let mut round_trips_ns = report.round_trips_ns[20..].to_vec();
        round_trips_ns.sort_unstable();
        let p99_ns = round_trips_ns[98];
        assert!(p99_ns < ROUND_TRIP_NS + 15 * MILLISECOND_NS, "{p99_ns}: {round_trips_ns:?}");
    }
    run.finish(60 * SECOND_NS);
}

#[test]
fn packets_keep_their_vlan() {
    for (from, v6) in [(Site::A, false), (Site::B, false), (Site::A, true), (Site::B, true)] {
        let mut run = Run::new(PairConfig::default());
        let [a, b] = Site::BOTH.map(|site| {
            let host = HostConfig { vlan: Some(7), ..site.host(11) };
            run.pair.add_host(site, host, &cable())
        });
        let (from, to) = if from == Site::A { (a, b) } else { (b, a) };
        for report in probes_between(&mut run, from, to, 20, v6) {
            assert_eq!((report.sent, report.returned, report.wrong), (20, 20, 0));
        }
        for site in Site::BOTH {
            let edge = &run.pair.tpo(site).handles.edge;
            let carried = (EdgeCounter::PacketsFromHosts, EdgeCounter::PacketsFromPeers);
            assert_eq!((edge.get(carried.0), edge.get(carried.1)), (100, 100));
        }
        run.settle();
    }
}

/// A UDP packet over IPv4 from the scripted host of one site to that of the other.
fn udp_between(from: Site, vlan: u16, number: u8) -> Vec<u8> {
    udp_with(from, vlan, 0, &[number; 32])
}

/// The same with this traffic class and payload.
fn udp_with(from: Site, vlan: u16, traffic_class: u8, payload: &[u8]) -> Vec<u8> {
    let (to, mut source) = (from.other(), HeapSource::new(1));
    let mut frame = source.frame_of(payload).unwrap();
    let header = IpHeader {
        source: from.address(50, false),
        destination: to.address(50, false),
        protocol: protocol::UDP,
        traffic_class,
        ttl: 64,
    };
    prepend_udp(&mut frame, &header, (9, 9), UdpChecksum::Computed).unwrap();
    let link = LinkHeader {
        destination: MacAddr(to.mac(0, 50)),
        source: MacAddr(from.mac(0, 50)),
        vlans: VlanList::of_id(vlan),
    };
    prepend_link(&mut frame, &link, ethertype::IPV4).unwrap();
    frame.head().to_vec()
}

#[test]
fn a_host_is_sent_packets_as_it_sends_its_own() {
    // The sites know the flow by different VLANs, and neither host answers questions in any.
    let mut run = Run::new(PairConfig::default());
    let frames = |site, vlan| (0..10).map(|n| udp_between(site, vlan, n)).collect();
    let a = raw(&mut run.pair, Site::A, frames(Site::A, 10));
    let b = raw(&mut run.pair, Site::B, frames(Site::B, 20));
    run.pair.run_for(5 * SECOND_NS);
    for (host, vlan) in [(a, 10), (b, 20)] {
        let came = run.pair.scripted(host).others();
        let packets: Vec<Vec<u8>> =
            came.iter().map(|(_, frame)| frame.clone()).filter(|f| f.len() > 70).collect();
        // As if the other host were on the same link.
        let expected: Vec<_> = (0..10).map(|n| udp_between(host.site.other(), vlan, n)).collect();
        assert_eq!(packets, expected, "at {:?}", host.site);
    }
    run.settle();
}

/// Of a burst, packets of hosts that know of it are marked from half of what may wait on; those of
/// others arrive as they were sent.
#[test]
fn congestion_is_shown_to_packets_that_can_tell_of_it() {
    const COUNT: u8 = 60;
    const PAYLOAD: usize = 1_000;
    // Expedited forwarding, and each of the four code points.
    for ecn in 0..4 {
        let config = PairConfig { rate_bps: 10_000_000, ..PairConfig::default() };
        let mut run = Run::new(config);
        let frame = |n| udp_with(Site::A, 0, 46 << 2 | ecn, &[n; PAYLOAD]);
        let mut script = vec![Action::Wait { ns: SECOND_NS }];
        script.extend((0..COUNT).map(|n| Action::Frame(frame(n))));
        scripted(&mut run.pair, Site::A, script);
        let b = raw(&mut run.pair, Site::B, vec![udp_between(Site::B, 0, 1)]);
        run.pair.run_for(5 * SECOND_NS);
        let marked = |n| udp_with(Site::A, 0, 46 << 2 | 3, &[n; PAYLOAD]);
        let came = run.pair.scripted(b).others();
        let came: Vec<&Vec<u8>> =
            came.iter().map(|(_, frame)| frame).filter(|frame| frame.len() > PAYLOAD).collect();
        assert_eq!(came.len(), usize::from(COUNT));
        let (mut as_sent, mut changed) = (0, 0);
        for (n, came) in (0..).zip(came) {
            if *came == frame(n) {
                as_sent += 1;
            } else {
                assert_eq!(*came, marked(n), "of {ecn}");
                changed += 1;
            }
        }
        let counted = run.pair.tpo(Site::A).handles.edge.get(EdgeCounter::PacketsMarked);
        match ecn {
            0 => assert_eq!((as_sent, counted), (u64::from(COUNT), 0)),
            3 => assert_eq!(as_sent, u64::from(COUNT)),
            _ => {
                assert_eq!(changed, counted);
                assert!(changed > 10 && as_sent > 20, "{changed} {as_sent}");
            }
        }
        run.settle();
    }
}

/// A host that only sends these frames and notes what comes.
fn raw(pair: &mut Pair, site: Site, frames: Vec<Vec<u8>>) -> HostId {
    let mut script = vec![Action::Wait { ns: SECOND_NS }];
    for frame in frames {
        script.extend([Action::Frame(frame), Action::Wait { ns: MILLISECOND_NS }]);
    }
    scripted(pair, site, script)
}

fn scripted(pair: &mut Pair, site: Site, script: Vec<Action>) -> HostId {
    let config = ScriptedConfig {
        mac: site.mac(0, 50),
        peer_mac: site.other().mac(0, 50),
        local: (site.address(50, false), 9).into(),
        remote: None,
        isn: 0,
    };
    pair.add_scripted(site, ScriptedHost::new(config, script))
}

#[test]
fn what_no_rule_takes_passes_bit_for_bit() {
    let mut random = Random::new(7);
    let mut frames = Vec::new();
    for n in 0..200_usize {
        let len = 14 + usize::try_from(random.up_to(1_486)).unwrap();
        let mut frame: Vec<u8> = (0..len).map(|_| random.next_u64().to_be_bytes()[0]).collect();
        frame[..6].copy_from_slice(&Site::B.mac(0, 50));
        frame[6..12].copy_from_slice(&Site::A.mac(0, 50));
        // Tags, unknown types, lengths (802.3), IP of other networks.
        let ethertype: u16 = [0x88cc, 0x1234, 60, 0x8847][n % 4];
        frame[12..14].copy_from_slice(&ethertype.to_be_bytes());
        frames.push(frame);
    }
    let mut run = Run::new(PairConfig::default());
    raw(&mut run.pair, Site::A, frames.clone());
    let to = raw(&mut run.pair, Site::B, Vec::new());
    run.pair.run_for(5 * SECOND_NS);
    let came: Vec<Vec<u8>> =
        run.pair.scripted(to).others().iter().map(|(_, frame)| frame.clone()).collect();
    assert_eq!(came.len(), frames.len());
    assert!(came == frames, "every frame as it was, in order");
    run.settle();
}

#[test]
fn rules_of_another_network_pass_everything() {
    let mut run = Run::new(PairConfig { action: RuleAction::Pass, ..PairConfig::default() });
    let reports = probes(&mut run, 20, false);
    for report in &reports {
        assert_eq!((report.sent, report.returned, report.wrong), (20, 20, 0));
    }
    let edge = &run.pair.tpo(Site::A).handles.edge;
    assert_eq!(edge.get(EdgeCounter::PacketsFromHosts), 0);
    run.settle();
}
