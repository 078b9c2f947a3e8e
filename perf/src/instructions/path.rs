//! The whole path of optimized TCP in the clear: the turns of one appliance of a pair, with hosts
//! and links around it that do not count.

use dataplane::time::{MICROSECOND_NS, MILLISECOND_NS, SECOND_NS};
use dataplane_sim::host::{Application, Close, StreamScript};
use dataplane_sim::link::LinkConfig;
use dataplane_sim::pair::{Pair, PairConfig, Site};

use super::{Work, WorkError, counted};

const PORT: u16 = 80;
const RATE_BPS: u64 = 100_000_000;
const WARM_UP_NS: u64 = 300 * MILLISECOND_NS;
const MEASURED_NS: u64 = 100 * MILLISECOND_NS;

fn meter(turn: &mut dyn FnMut()) -> u64 {
    counted(turn);
    0
}

fn run(stage: &'static str, site: Site) -> Result<Work, WorkError> {
    let config = PairConfig {
        rate_bps: RATE_BPS,
        encrypted: [false, false],
        compress: false,
        ..PairConfig::default()
    };
    let config = config.with_wan(|wan| {
        wan.rate_bps = RATE_BPS;
        wan.delay_ns = 5 * MILLISECOND_NS;
    });
    let cable = LinkConfig {
        rate_bps: 1_000_000_000,
        delay_ns: 50 * MICROSECOND_NS,
        ..LinkConfig::default()
    };
    let mut pair = Pair::new(config);
    let [client, server] = Site::BOTH.map(|site| pair.add_host(site, site.host(10), &cable));
    pair.run_for(SECOND_NS / 4);
    let script = StreamScript { close: Close::Never, ..StreamScript::sender(u64::MAX) };
    let listener = Application::Server { port: PORT, backlog: 4, script: StreamScript::sender(0) };
    pair.host(server).run(listener);
    let start_ns = pair.now().as_ns();
    pair.host(client).run(Application::Client {
        remote: (Site::B.address(10, false), PORT).into(),
        local_port: 20_000,
        connections: 1,
        start_ns,
        script,
    });
    pair.run_for(WARM_UP_NS);
    let received = |pair: &Pair| -> u64 {
        pair.streams(Site::B).iter().map(|stream| stream.received_bytes).sum()
    };
    let before = received(&pair);
    pair.measure(site, meter);
    pair.run_for(MEASURED_NS);
    let bytes = received(&pair) - before;
    if bytes < RATE_BPS / 8 * MEASURED_NS / SECOND_NS / 2 {
        return Err(WorkError::new(stage, format!("only {bytes} bytes have come")));
    }
    Ok(Work { stage, item: "KiB", items: bytes / 1_024, bytes })
}

/// Everything between the sending host and the WAN.
pub(super) fn source() -> Result<Work, WorkError> {
    run("path source", Site::A)
}

/// Everything between the WAN and the receiving host.
pub(super) fn destination() -> Result<Work, WorkError> {
    run("path destination", Site::B)
}
