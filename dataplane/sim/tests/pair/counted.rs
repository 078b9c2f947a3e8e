//! What the appliances count is what was on the LAN.

use dataplane::edge::LanCounter;
use dataplane::frame::ETHERNET_LEN;
use dataplane::pipeline::port::PortCounter;
use dataplane::time::SECOND_NS;
use dataplane_sim::pair::{PairConfig, Site};

use crate::support::{Expect, PORT, Run, both_ways};

/// Frames that are no flow's (resolution of link addresses, bridged to the other side too): bytes,
/// at most. The headers of the flows alone are more.
const OTHERS_BYTES: u64 = 10_000;
const BYTES: u64 = 500_000;

#[test]
fn ip_bytes_of_hosts_are_those_of_the_lan_ports() {
    let mut run = Run::new(PairConfig::default());
    run.serve(Site::B, PORT, both_ways(BYTES));
    run.connect(Site::A, PORT, 3, false, both_ways(BYTES / 2));
    run.finish(60 * SECOND_NS);
    for site in Site::BOTH {
        let tpo = run.pair.tpo(site);
        let handles = &tpo.handles;
        let port = |counter| handles.port.get(counter);
        // A port that cuts large segments is given fewer and longer frames than are on its cable.
        let given = port(PortCounter::LanFramesOut);
        assert_eq!(given < tpo.tally.lan_frames_out, site == Site::A, "large segments");
        let ip_bytes = |bytes, frames| bytes - frames * ETHERNET_LEN as u64;
        for (counter, on_port) in [
            (
                LanCounter::BytesToPeer,
                ip_bytes(port(PortCounter::LanBytesIn), port(PortCounter::LanFramesIn)),
            ),
            (
                LanCounter::BytesFromPeer,
                ip_bytes(tpo.tally.lan_bytes_out, tpo.tally.lan_frames_out),
            ),
        ] {
            let counted = handles.lan[0].get(counter);
            assert!(counted > 3 * BYTES / 2, "{site:?} {counter:?} {counted}");
            let others = on_port.checked_sub(counted);
            assert!(others.is_some_and(|others| others < OTHERS_BYTES), "{counter:?} {others:?}");
        }
    }
}
