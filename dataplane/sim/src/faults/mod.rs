//! Random faults: whatever happens, hosts see nothing wrong; once the network is whole again
//! everything comes to an end, and new connections work.
//!
//! In: a seed. Out: what was drawn, and the promise that it broke, if any. Never: a clock; the same
//! seed gives the same run.

mod draw;

use dataplane::time::{SECOND_NS, Time};

pub use draw::{Client, Draw, HEALED_NS, Series, WHAT, What};

use crate::check::ProbeReport;
use crate::host::Application;
use crate::pair::Site;
use crate::run::{Broken, CLIENT_PORT, HOST, PORT, Promise, Run};

/// Hosts ask so long after the last word of the other: a reset that is lost on a dead LAN is not
/// sent again for ever; with or without tpo, a host that only waits learns of it by asking.
const KEEP_ALIVE_NS: u64 = 5 * SECOND_NS;
/// When everything has ended, at the latest, counted from when the network is whole.
const END_NS: u64 = 120 * SECOND_NS;
/// Connections that a server lets be in the making at a time; more are refused.
const BACKLOG: usize = 4;
/// Port of UDP servers.
const ECHO_PORT: u16 = 7;

/// Runs what was drawn.
///
/// # Errors
/// The first promise that is broken.
pub fn run(draw: &Draw) -> Result<(), Broken> {
    let mut run = Run::with_keep_alive(draw.config.clone(), Some(KEEP_ALIVE_NS));
    run.forgotten_at = draw.both_killed_ns().map(Time::from_ns);
    start_connections(&mut run, draw);
    start_packets(&mut run, draw);
    while run.pair.now() < Time::from_ns(HEALED_NS) {
        run.pair.run_for(SECOND_NS / 2);
        run.safety()?;
    }
    // Whole again: all that is left ends, in order or by a reset, and nothing hangs.
    let end = run.pair.now() + END_NS;
    while !run.all_ended() && run.pair.now() < end {
        run.pair.run_for(SECOND_NS / 10);
    }
    run.ended()?;
    // One end may only now find out that the other has begun anew.
    run.pair.run_for(5 * SECOND_NS);
    if !run.wait_for_session(SECOND_NS) {
        return Err(run.broken(Promise::Session, ""));
    }
    run.service(10 * SECOND_NS)?;
    run.rest()?;
    packets_unchanged(&mut run)
}

fn start_connections(run: &mut Run, draw: &Draw) {
    for site in Site::BOTH {
        for (port, script) in (PORT..).zip(&draw.servers[site.index()]) {
            run.serve_many(site, port, BACKLOG, *script);
        }
    }
    for client in &draw.clients {
        let Client { start_ns, site, server, v6, script } = *client;
        run.connect_at(start_ns, site, PORT + server, 1, v6, script);
    }
}

fn start_packets(run: &mut Run, draw: &Draw) {
    for (identifier, (site, series)) in (1..).zip(Site::BOTH.into_iter().zip(&draw.series)) {
        let (host, remote) = (run.host_of(site), site.other().address(HOST, series.v6));
        let host = run.pair.host(host);
        host.run(Application::UdpEcho { port: ECHO_PORT });
        let (remote, local_port) = ((remote, ECHO_PORT).into(), CLIENT_PORT);
        host.run(Application::Ping { remote, identifier, probe: series.probe });
        host.run(Application::UdpClient { remote, local_port, probe: series.probe });
    }
}

/// Packets may be lost, and come twice where the WAN makes two of one; none is made up.
fn packets_unchanged(run: &mut Run) -> Result<(), Broken> {
    for site in Site::BOTH {
        let host = run.host_of(site);
        let probes: Vec<ProbeReport> = run.pair.host(host).probes().cloned().collect();
        if let Some(wrong) = probes.iter().find(|probe| probe.wrong > 0) {
            let ProbeReport { sent, returned, wrong, .. } = wrong;
            let seen = format!("{site:?}: {sent} packets sent, {returned} returned, {wrong} wrong");
            return Err(run.broken(Promise::Whole, &seen));
        }
    }
    Ok(())
}
