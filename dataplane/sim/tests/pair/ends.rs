//! How connections begin and end: each host sees what the other host said, and nothing else.

use dataplane::edge::EdgeCounter;
use dataplane::interceptor::InterceptorCounter;
use dataplane::time::{MILLISECOND_NS, SECOND_NS};
use dataplane_sim::check::{End, StreamReport};
use dataplane_sim::host::{Application, Close, Pace, Read, StreamScript};
use dataplane_sim::link::{LinkConfig, Loss};
use dataplane_sim::pair::{Event, HostId, PairConfig, Site};
use dataplane_sim::scripted::{
    Action, Outcome, Pattern, ScriptedConfig, ScriptedHost, Segment, flag,
};

use crate::support::{CLIENT_PORT, Expect, PORT, Run, both_ways, cable, reader};

const ROUND_TRIP_NS: u64 = 80 * MILLISECOND_NS;

fn lossy() -> PairConfig {
    PairConfig::default().with_wan(|wan| wan.loss = Loss::Independent { probability: 0.02 })
}

/// The one connection of a run: client's end, server's end.
fn only(run: &Run) -> (StreamReport, StreamReport) {
    let (clients, servers) = run.reports();
    assert_eq!((clients.len(), servers.len()), (1, 1));
    (clients[0].clone(), servers[0].clone())
}

#[test]
fn a_client_that_closed_still_reads_everything() {
    for (v6, loses) in [(false, false), (true, false), (false, true), (true, true)] {
        let mut run = Run::new(if loses { lossy() } else { PairConfig::default() });
        // The server begins when it has read all that the client had to say.
        let answer = StreamScript { pace: Pace::AfterReceived(1_000), ..both_ways(500_000) };
        run.serve(Site::B, PORT, answer);
        run.connect(Site::A, PORT, 1, v6, StreamScript::sender(1_000));
        run.finish(30 * SECOND_NS);
        let (client, server) = only(&run);
        assert_eq!((client.received_bytes, server.received_bytes), (500_000, 1_000));
        // The server knew of the client's end before it answered. Where packets are lost the end may
        // be among them, and is then known later.
        assert!(
            loses
                || server.end_of_stream_at.unwrap() + ROUND_TRIP_NS / 2
                    < client.end_of_stream_at.unwrap()
        );
    }
}

#[test]
fn a_server_that_closed_still_reads_everything() {
    for (v6, loses) in [(false, false), (true, false), (false, true), (true, true)] {
        let mut run = Run::new(if loses { lossy() } else { PairConfig::default() });
        run.serve(Site::B, PORT, StreamScript::sender(1_000));
        let late = StreamScript { pace: Pace::AfterReceived(1_000), ..both_ways(500_000) };
        run.connect(Site::A, PORT, 1, v6, late);
        run.finish(30 * SECOND_NS);
        let (client, server) = only(&run);
        assert_eq!((client.received_bytes, server.received_bytes), (1_000, 500_000));
        assert!(
            loses
                || client.end_of_stream_at.unwrap() + ROUND_TRIP_NS / 2
                    < server.end_of_stream_at.unwrap()
        );
    }
}

#[test]
fn a_server_that_speaks_first() {
    let mut run = Run::new(PairConfig::default());
    let turns = |first| StreamScript {
        pace: Pace::Turns { own_bytes: 100, peer_bytes: 100, first },
        ..both_ways(2_000)
    };
    run.serve(Site::B, PORT, turns(true));
    run.connect(Site::A, PORT, 1, false, turns(false));
    run.finish(30 * SECOND_NS);
}

#[test]
fn connecting_takes_a_round_trip_and_hardly_more() {
    let mut run = Run::new(PairConfig::default());
    run.serve(Site::B, PORT, reader());
    // The first has to find the way to the server's host.
    run.connect(Site::A, PORT, 1, false, both_ways(1));
    run.run_to_end(10 * SECOND_NS, 2);
    let start = run.pair.now();
    run.connect(Site::A, PORT, 1, false, both_ways(1));
    run.run_to_end(10 * SECOND_NS, 2);
    let (clients, _) = run.reports();
    let took_ns = clients[1].connected_at.unwrap().since_ns(start);
    assert!((ROUND_TRIP_NS..ROUND_TRIP_NS + 2 * MILLISECOND_NS).contains(&took_ns), "{took_ns}");
}

#[test]
fn a_refused_port_is_refused() {
    for v6 in [false, true] {
        let mut run = Run::new(lossy());
        run.connect(Site::A, PORT, 1, v6, both_ways(1_000));
        run.run_to_end(10 * SECOND_NS, 1);
        let (clients, servers) = run.reports();
        assert!(servers.is_empty());
        assert_eq!(clients[0].end, End::Refused);
        assert_eq!(clients[0].connected_at, None);
        run.settle();
        assert_eq!(run.pair.tpo(Site::A).handles.edge.get(EdgeCounter::FlowsRefused), 1);
    }
}

/// A scripted client at A of a server at this address.
fn scripted(run: &mut Run, server: std::net::SocketAddr, script: Vec<Action>) -> HostId {
    let v6 = server.is_ipv6();
    let client = ScriptedHost::new(
        ScriptedConfig {
            mac: Site::A.mac(0, 20),
            peer_mac: Site::B.mac(0, 10),
            local: (Site::A.address(20, v6), CLIENT_PORT).into(),
            remote: Some(server),
            isn: 1_000,
        },
        script,
    );
    run.pair.add_scripted(Site::A, client)
}

fn syn() -> Action {
    Action::Send(Segment::syn(1_460))
}

#[test]
fn an_unreachable_host_is_unreachable() {
    for v6 in [false, true] {
        let mut run = Run::new(PairConfig::default());
        // Nobody has this address.
        let script = vec![syn(), Action::Silence { ns: 10 * SECOND_NS }];
        let client = scripted(&mut run, (Site::B.address(99, v6), PORT).into(), script);
        run.pair.run_for(12 * SECOND_NS);
        let host = run.pair.scripted(client);
        assert_eq!(host.outcome(), &Outcome::Done);
        let (at, error) = &host.others()[0];
        assert!(at.as_ns() > ROUND_TRIP_NS);
        // ICMP destination unreachable, host or address, which quotes the SYN.
        let (start, expected) = if v6 { (14 + 40, [1, 3]) } else { (14 + 20, [3, 1]) };
        assert_eq!(error[start..start + 2], expected);
        let ports = [CLIENT_PORT.to_be_bytes(), PORT.to_be_bytes()].concat();
        let quoted = start + 8 + if v6 { 40 } else { 20 };
        assert_eq!(error[quoted..quoted + 4], ports);
        run.settle();
    }
}

#[test]
fn a_silent_host_is_silent() {
    for v6 in [false, true] {
        let mut run = Run::new(PairConfig::default());
        // A server that answers for its address and to nothing else.
        let server = (Site::B.address(30, v6), PORT).into();
        run.pair.add_scripted(
            Site::B,
            ScriptedHost::new(
                ScriptedConfig {
                    mac: Site::B.mac(0, 30),
                    peer_mac: Site::A.mac(0, 20),
                    local: server,
                    remote: None,
                    isn: 0,
                },
                Vec::new(),
            ),
        );
        // Repeated SYNs are answered as little as the first.
        let mut script = Vec::new();
        for seconds in [1, 2, 4, 8] {
            script.extend([syn(), Action::Silence { ns: seconds * SECOND_NS }]);
        }
        let client = scripted(&mut run, server, script);
        run.pair.run_for(200 * SECOND_NS);
        let host = run.pair.scripted(client);
        assert_eq!(host.outcome(), &Outcome::Done);
        // The server's station answers the client's question for it (ARP reply, neighbour
        // advertisement); that is all there is, and nothing says "unreachable".
        let [(_, answer)] = host.others() else { panic!("{:?}", host.others()) };
        assert_eq!(answer[6..12], Site::B.mac(0, 30));
        match v6 {
            false => assert_eq!((&answer[12..14], &answer[20..22]), (&[8, 6][..], &[0, 2][..])),
            true => assert_eq!((&answer[12..14], answer[14 + 40]), (&[0x86, 0xdd][..], 136)),
        }
        run.settle();
    }
}

#[test]
fn no_answer_to_a_syn_before_the_far_host_has_accepted() {
    let mut run = Run::new(PairConfig::default());
    run.serve(Site::B, PORT, reader());
    let server = (Site::B.address(10, false), PORT).into();
    let accept = Pattern { flags: Some(flag::SYN | flag::ACK), ack: Some(1), ..Pattern::default() };
    let script = vec![
        syn(),
        Action::Silence { ns: ROUND_TRIP_NS },
        // The server's host asks for the client's station, which is beyond the WAN.
        Action::Expect { pattern: accept, within_ns: ROUND_TRIP_NS + 5 * MILLISECOND_NS },
        Action::Send(Segment::new(flag::RST, 1, 0)),
        Action::Silence { ns: SECOND_NS },
    ];
    let client = scripted(&mut run, server, script);
    run.pair.run_for(5 * SECOND_NS);
    let host = run.pair.scripted(client);
    assert_eq!(host.outcome(), &Outcome::Done, "{:?}", host.log());
    // The server's host saw the connection come and go.
    assert_eq!(run.pair.streams(Site::B)[0].end, End::Reset);
    run.settle();
}

/// A client without timestamps that draws its sequence numbers at random, and is in TIME-WAIT at
/// its appliance, connects again from a lower one: with its next SYN.
#[test]
fn a_lower_sequence_number_gets_a_port_pair_in_time_wait() {
    let mut run = Run::new(PairConfig::default());
    // The server closes first, so it is for us to wait.
    run.serve(Site::B, PORT, StreamScript::sender(0));
    let flags = |flags, ack| Pattern { flags: Some(flags), ack: Some(ack), ..Pattern::default() };
    let within_ns = 2 * ROUND_TRIP_NS;
    let lower = 0u32.wrapping_sub(1_000_000);
    let again = || Action::Send(Segment { seq: lower, ..Segment::syn(1_460) });
    let await_ = |pattern| Action::Await { pattern, within_ns };
    let script = vec![
        syn(),
        await_(flags(flag::SYN | flag::ACK, 1)),
        Action::Send(Segment::ack(1, 1)),
        await_(flags(flag::FIN | flag::ACK, 1)),
        Action::Send(Segment::fin(1, 2)),
        await_(flags(flag::ACK, 2)),
        Action::Wait { ns: SECOND_NS },
        again(),
        await_(flags(flag::ACK, 2)),
        // As RFC 9293 3.10.7.3 has it.
        Action::Send(Segment::new(flag::RST, 2, 0)),
        Action::Wait { ns: SECOND_NS },
        again(),
        // The server's host is in TIME-WAIT too, and takes our next SYN.
        Action::Await {
            pattern: flags(flag::SYN | flag::ACK, lower.wrapping_add(1)),
            within_ns: 2 * SECOND_NS,
        },
    ];
    let client = scripted(&mut run, (Site::B.address(10, false), PORT).into(), script);
    run.pair.run_for(10 * SECOND_NS);
    let host = run.pair.scripted(client);
    assert_eq!(host.outcome(), &Outcome::Done, "{:?}", host.log());
}

/// What a host still says after a reset is refused; it does not reach the WAN, and no flow is left.
#[test]
fn late_words_after_a_reset_do_not_pass() {
    let mut run = Run::new(PairConfig::default());
    run.serve(Site::B, PORT, StreamScript { close: Close::Never, ..reader() });
    let flags = |flags, ack| Pattern { flags: Some(flags), ack: Some(ack), ..Pattern::default() };
    let await_ = |pattern| Action::Await { pattern, within_ns: 2 * ROUND_TRIP_NS };
    let script = vec![
        syn(),
        await_(flags(flag::SYN | flag::ACK, 1)),
        Action::Send(Segment::ack(1, 1)),
        Action::Send(Segment::new(flag::RST, 1, 0)),
        Action::Wait { ns: SECOND_NS },
        Action::Forget,
        Action::Send(Segment::data(1, 1, b"late")),
        Action::Expect {
            pattern: Pattern { flags: Some(flag::RST), ..Pattern::default() },
            within_ns: MILLISECOND_NS,
        },
    ];
    let client = scripted(&mut run, (Site::B.address(10, false), PORT).into(), script);
    run.pair.run_for(5 * SECOND_NS);
    let host = run.pair.scripted(client);
    assert_eq!(host.outcome(), &Outcome::Done, "{:?}", host.log());
    run.settle();
    // Only the neighbours' words have passed: no entry is left.
    let flows = run.pair.tpo(Site::A).handles.interceptor.get(InterceptorCounter::Flows);
    assert_eq!(flows, 0, "{}", run.describe());
}

/// One end aborts when it has sent and received this much; the other sees a reset.
fn abort(aborting: Site, sent_bytes: u64, received_bytes: u64, config: PairConfig) {
    let mut run = Run::new(config);
    let script = both_ways(5_000_000);
    let aborts = StreamScript { close: Close::Abort { sent_bytes, received_bytes }, ..script };
    let (client, server) = if aborting == Site::A { (aborts, script) } else { (script, aborts) };
    run.serve(Site::B, PORT, server);
    run.connect(Site::A, PORT, 1, false, client);
    run.run_to_end(30 * SECOND_NS, 2);
    let (client, server) = only(&run);
    let expected = match aborting {
        Site::A => (End::Aborted, End::Reset),
        Site::B => (End::Reset, End::Aborted),
    };
    assert_eq!((client.end, server.end), expected);
    let (aborted, reset) =
        if aborting == Site::A { (&client, &server) } else { (&server, &client) };
    let took_ns = reset.ended_at.unwrap().since_ns(aborted.ended_at.unwrap());
    // A reset goes through at once: it does not wait for queued data or for repairs.
    assert!(took_ns < ROUND_TRIP_NS / 2 + 20 * MILLISECOND_NS, "{took_ns}");
    run.settle();
}

#[test]
fn a_reset_goes_through_at_once() {
    for aborting in Site::BOTH {
        abort(aborting, 2_000_000, 0, PairConfig::default());
        abort(aborting, 0, 1_000_000, PairConfig::default());
        abort(aborting, 0, 0, PairConfig::default());
    }
}

#[test]
fn both_ends_may_close_at_once() {
    let mut run = Run::new(PairConfig::default());
    run.serve(Site::B, PORT, StreamScript::sender(0));
    run.connect(Site::A, PORT, 5, false, StreamScript::sender(0));
    run.finish(30 * SECOND_NS);
}

#[test]
fn the_same_port_again_after_the_end() {
    let mut run = Run::new(PairConfig::default());
    run.serve(Site::B, PORT, reader());
    let client = Application::Client {
        remote: (Site::B.address(10, false), PORT).into(),
        local_port: CLIENT_PORT,
        connections: 1,
        start_ns: 0,
        script: StreamScript::sender(10_000),
    };
    for round in 1..=3 {
        run.pair.host(run.a).run(client);
        let done = run.pair.run_until(run.pair.now() + 30 * SECOND_NS, |pair| {
            pair.streams(Site::A).iter().filter(|end| end.ended_at.is_some()).count() == round
        });
        assert!(done, "round {round}: {:?}\n{}", run.pair.streams(Site::A), run.describe());
        assert_eq!(run.pair.streams(Site::B)[round - 1].received_bytes, 10_000);
        // The client's stack keeps the port for 10 s.
        run.pair.run_for(15 * SECOND_NS);
    }
    run.settle();
}

/// A host resets and forgets its connection while its LAN is dead. The other, which only waits, asks
/// after it: the appliance beside it knows of nothing, so the question goes to the host that forgot.
#[test]
fn a_host_that_asks_hears_of_a_reset_that_was_lost() {
    for site in Site::BOTH {
        let mut run = Run::with_keep_alive(PairConfig::default(), Some(5 * SECOND_NS));
        assert!(run.wait_for_session(5 * SECOND_NS), "{}", run.describe());
        let waits = StreamScript { close: Close::Never, ..both_ways(1_000) };
        let reads_late_and_resets = StreamScript {
            read: Read::After { delay_ns: 2 * SECOND_NS },
            close: Close::Abort { sent_bytes: 0, received_bytes: 1_000 },
            ..StreamScript::default()
        };
        run.serve(site.other(), PORT, waits);
        run.connect(site, PORT, 1, false, reads_late_and_resets);
        run.pair.run_for(SECOND_NS);
        run.pair.happen(Event::Lan(site, LinkConfig { black_hole: true, ..cable() }));
        run.pair.run_for(2 * SECOND_NS);
        let (client, server) = only(&run);
        assert_eq!((client.end, server.end), (End::Aborted, End::Open));
        run.pair.happen(Event::Lan(site, cable()));
        run.run_to_end(15 * SECOND_NS, 2);
        assert_eq!(only(&run).1.end, End::Reset, "{}", run.describe());
        run.settle();
    }
}
