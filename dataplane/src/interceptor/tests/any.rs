//! Any frames at all.

use super::*;

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    /// Any frames, also damaged good ones: no panic, one action each, sums that add up, and no
    /// frame changed that goes on.
    #[test]
    fn any_frames_at_all(
        bursts in prop::collection::vec(
            (any::<bool>(), prop::collection::vec(
                (0..8usize, prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..3),
                 prop::collection::vec(any::<u8>(), 0..100)), 1..20)), 1..6),
    ) {
        let mut bench = Bench::with(16, UP);
        for (from_lan, burst) in bursts {
            let side = if from_lan { Side::Lan } else { Side::Wan };
            let mut frames = Vec::new();
            for (kind, damage, noise) in burst {
                let request = arp(HOST, HOST_MAC, OWN_LAN, ArpOperation::Request);
                let mut frame = match kind {
                    0 => bench.syn(80),
                    1 => bench.tcp(HOST6, SERVER6, 80, ACK, 1),
                    2 => bench.udp(SERVER, OWN_WAN, PORT),
                    3 => bench.ping(HOST6, OWN_LAN6),
                    4 => arp_frame(&mut bench, request, MacAddr::BROADCAST),
                    5 => solicitation(&mut bench, HOST6, OWN_LAN6),
                    6 => {
                        let whole = bench.syn(80);
                        let [first, _] = fragments(&mut bench, &whole);
                        first
                    }
                    _ => bench.frame(&noise),
                };
                for (at, value) in damage {
                    if !frame.head().is_empty() {
                        let at = at.index(frame.head().len());
                        frame.head_mut()[at] = value;
                    }
                }
                frames.push(frame);
            }
            let before: Vec<_> = frames.iter().map(|frame| frame.head().to_vec()).collect();
            let mut actions = Vec::new();
            bench.interceptor.classify(side, &mut frames, bench.now, &mut actions);
            prop_assert_eq!(actions.len(), frames.len());
            for ((frame, before), action) in frames.iter().zip(&before).zip(&actions) {
                prop_assert!(*action == Action::Answer || frame.head() == &before[..]);
            }
            bench.check_sums();
            while bench.interceptor.next_request(&mut bench.source, bench.now).is_some() {}
            bench.now = bench.now + SECOND_NS;
            bench.interceptor.housekeeping(bench.now);
        }
        prop_assert_eq!(bench.source.in_use(), 0);
    }
}
