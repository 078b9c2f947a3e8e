//! Connections in number: very many that are open, very many that come and go, and the ageing of a
//! large flow table.
//!
//! In: how many, how long. Out: figures with their bars, each of what one appliance does on one
//! core. Never: a figure of connections that were not answered byte by byte.

mod host;

use dataplane::edge::EdgeCounter;
use dataplane::edge::flow::Flow;
use dataplane::frame::{FlowKey, MacAddr, ip::protocol};
use dataplane::interceptor::{
    Config as InterceptorConfig, Decision, Interceptor, InterceptorCounter, Networks, Own,
    PassReason, RuleTable, SideConfig, Timeouts,
};
use dataplane::time::{MILLISECOND_NS, Time};
use dataplane_sim::pair::Site;
use dpdk_wrapper::eal::tsc;
use dpdk_wrapper::{Eal, Mempool, MempoolConfig};
use serde::Serialize;

use crate::optimized::frame::{MbufFrame, MbufSource};
use crate::optimized::pair::{self, Kind, Pair, Place, Spread};
use host::{Done, Host, Plan};

/// How many of each.
#[derive(Clone, Copy, Debug)]
pub struct Size {
    /// Open connections.
    pub open: usize,
    /// Of these, with requests.
    pub active: usize,
    /// Connections that come and go, and how many of that.
    pub churn: usize,
    /// See above.
    pub cycles: u64,
    /// Requests.
    pub requests: u64,
    /// Entries of the flow table that ages.
    pub entries: usize,
}

impl Size {
    /// For figures that are published.
    pub const FULL: Size = Size {
        open: 100_000,
        active: 10_000,
        churn: 16_384,
        cycles: 200_000,
        requests: 500_000,
        entries: 1_000_000,
    };
    /// For a look.
    pub const QUICK: Size = Size { open: 100_000, cycles: 50_000, requests: 100_000, ..Size::FULL };
}

/// Frames that wait at the client's port, at most.
const LAN_QUEUE: usize = 64;
/// Bytes of buffers of each appliance.
const BUFFER_BYTES: usize = 1 << 30;
/// Connections of an appliance that another, with more of them, is compared with: so many that what
/// has a limit of its own is as large as in that.
const FEW: usize = 20_000;
/// How long nothing may happen.
const TURNS_MAX: usize = 2_000_000;
/// One figure.
#[derive(Clone, Debug, Serialize)]
pub struct Figure {
    /// What it is.
    pub name: &'static str,
    /// The unit.
    pub unit: &'static str,
    /// The value.
    pub value: f64,
    /// At least, or at most; `None` where it is only reported.
    pub bar: Option<Bar>,
    /// Why a bar is missed, where that was found out.
    pub reason: Option<&'static str>,
}

/// A bar.
#[derive(Clone, Copy, Debug, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Bar {
    /// The value is to be this or more.
    AtLeast(f64),
    /// The value is to be this or less.
    AtMost(f64),
}

impl Figure {
    fn new(name: &'static str, unit: &'static str, value: f64, bar: Option<Bar>) -> Self {
        Figure { name, unit, value, bar, reason: None }
    }

    /// Whether the bar is reached.
    #[must_use]
    pub fn is_reached(&self) -> bool {
        match self.bar {
            None => true,
            Some(Bar::AtLeast(bar)) => self.value >= bar,
            Some(Bar::AtMost(bar)) => self.value <= bar,
        }
    }

    /// Whether it lets the run succeed.
    #[must_use]
    pub fn passes(&self) -> bool {
        self.is_reached() || self.reason.is_some()
    }

    /// As a line.
    #[must_use]
    pub fn text(&self) -> String {
        let bar = match self.bar {
            None => "reported".to_owned(),
            Some(Bar::AtLeast(bar)) => format!("at least {bar}"),
            Some(Bar::AtMost(bar)) => format!("at most {bar}"),
        };
        let verdict = match (self.bar, self.is_reached(), self.reason) {
            (None, _, _) => "",
            (_, true, _) => ": ok",
            (_, false, Some(_)) => ": stated",
            _ => ": missed",
        };
        let mut line =
            format!("{:<56} {:>12.2} {:<14} {bar}{verdict}", self.name, self.value, self.unit);
        if let (false, Some(reason)) = (self.is_reached(), self.reason) {
            line += &format!("\n    {reason}");
        }
        line
    }
}

/// What tells how much memory the process has asked for and not given back, and how often it has
/// asked.
pub type Allocated = fn() -> (usize, usize);

/// A run under way.
struct Run<'a> {
    eal: &'a Eal,
    allocated: Allocated,
    size: Size,
    told: &'a mut dyn FnMut(&Figure),
    figures: Vec<Figure>,
}

impl Run<'_> {
    fn tell(&mut self, figure: Figure) {
        (self.told)(&figure);
        self.figures.push(figure);
    }

    fn kind(connections: usize) -> Kind {
        Kind {
            connections,
            encrypted: true,
            compress: false,
            verifies: true,
            cuts: false,
            spread: Spread::Together,
            buffer_bytes: BUFFER_BYTES,
        }
    }

    fn pair(&self, pool: &Mempool, connections: usize) -> Result<Pair<Host>, String> {
        let source = MbufSource(pool.clone());
        let hosts = Site::BOTH
            .map(|site| Host::new(Place::new(site, &source), connections, self.eal.tsc_hz()));
        let mut pair = Pair::new(self.eal, &source, Self::kind(connections), hosts)?;
        for frame in pair.hosts()[0].ask() {
            pair.send(Site::A, Some(frame));
        }
        for _ in 0..1_000 {
            pair.turn(LAN_QUEUE);
        }
        Ok(pair)
    }
}

/// What both hosts have done.
fn done(pair: &mut Pair<Host>) -> Done {
    let [client, server] = pair.hosts().map(|host| host.done);
    Done { wrong: client.wrong + server.wrong, ..client }
}

/// Turns everything until `is_done`; what has happened, or that it never does.
fn turn_until(
    pair: &mut Pair<Host>,
    what: &str,
    is_done: impl Fn(&Done) -> bool,
) -> Result<(), String> {
    let (mut last, mut silent) = (Done::default(), 0);
    loop {
        let now = done(pair);
        if now.wrong > 0 {
            return Err(format!("{what}: {} are wrong: {now:?}\n{}", now.wrong, pair.counters()));
        }
        if is_done(&now) {
            return Ok(());
        }
        silent = if now == last { silent + 1 } else { 0 };
        if silent > TURNS_MAX {
            return Err(format!("never: {what}: {now:?}\n{}", pair.counters()));
        }
        last = now;
        pair.turn(LAN_QUEUE);
    }
}

/// Lets what is under way come to an end.
fn settle(pair: &mut Pair<Host>) {
    pair.hosts()[0].follow(Plan::Nothing, 0..0);
    for _ in 0..TURNS_MAX {
        if pair.hosts()[0].is_quiet() {
            break;
        }
        pair.turn(LAN_QUEUE);
    }
}

/// Ticks of each appliance.
fn ticks(pair: &Pair<Host>) -> [u64; 2] {
    pair.ticks().map(|ticks| ticks.iter().sum())
}

/// Resident memory of the process in bytes.
fn resident_bytes() -> f64 {
    let statm = std::fs::read_to_string("/proc/self/statm").unwrap_or_default();
    let pages = statm.split_whitespace().nth(1).and_then(|pages| pages.parse::<f64>().ok());
    pages.unwrap_or(f64::NAN) * 4_096.0
}

/// Measures everything.
///
/// # Errors
/// What did not come about, in words.
pub fn run(
    eal: &Eal,
    size: Size,
    allocated: Allocated,
    told: &mut dyn FnMut(&Figure),
) -> Result<Vec<Figure>, String> {
    let pool = Mempool::new(eal, &MempoolConfig::new("connections", pair::FRAMES))
        .map_err(|error| error.to_string())?;
    let mut run = Run { eal, allocated, size, told, figures: Vec::new() };
    run.memory(&pool)?;
    run.open(&pool)?;
    run.churn(&pool)?;
    run.ageing();
    Ok(run.figures)
}

impl Run<'_> {
    /// What an appliance reserves for each connection that it may have.
    fn memory(&mut self, pool: &Mempool) -> Result<(), String> {
        let reserved = |connections: usize| -> Result<usize, String> {
            let (before, _) = (self.allocated)();
            let kind = Self::kind(connections);
            let source = MbufSource(pool.clone());
            let hosts = Site::BOTH.map(|site| Host::new(Place::new(site, &source), 1, 1));
            let pair = Pair::new(self.eal, &source, kind, hosts)?;
            let (after, _) = (self.allocated)();
            drop(pair);
            Ok(after.saturating_sub(before))
        };
        let (few, many) = (reserved(FEW)?, reserved(FEW + self.size.open)?);
        // Two appliances, each with places for twice as many.
        let each = (many.saturating_sub(few)) as f64 / (4 * self.size.open) as f64;
        let name = "memory reserved for a place for a connection";
        self.tell(Figure::new(name, "bytes", each, Some(Bar::AtMost(1_024.0))));
        let flow_bytes = size_of::<Flow<MbufFrame>>() as f64;
        self.tell(Figure::new("of these, the flow, at rest", "bytes", flow_bytes, None));
        Ok(())
    }

    fn open(&mut self, pool: &Mempool) -> Result<(), String> {
        let Size { open, active, requests, .. } = self.size;
        let mut pair = self.pair(pool, open)?;
        let resident = resident_bytes();
        let before = ticks(&pair);
        pair.hosts()[0].follow(Plan::Open, 0..open);
        turn_until(&mut pair, "all are open", |done| done.opened >= open as u64)?;
        let after = ticks(&pair);
        let per = |ticks: u64, count: u64| ticks as f64 / count.max(1) as f64;
        for (name, site) in [
            ("opening one: ticks of the appliance that it is opened at", 0),
            ("opening one: ticks of the appliance that opens it", 1),
        ] {
            let ticks = per(after[site] - before[site], open as u64);
            self.tell(Figure::new(name, "ticks", ticks, None));
        }
        settle(&mut pair);
        let flows = Site::BOTH.map(|site| pair.handles(site).edge.get(EdgeCounter::Flows));
        if flows != [open as u64; 2] {
            return Err(format!("{flows:?} are open, not {open}\n{}", pair.counters()));
        }
        // Of both appliances.
        let each = (resident_bytes() - resident) / (2 * open) as f64;
        self.tell(Figure::new(
            "memory that an open, idle connection touches beside it",
            "bytes",
            each,
            Some(Bar::AtMost(1_024.0)),
        ));
        for (name, range) in [
            ("requests/s of a core, 100,000 open, 10,000 active", 0..active),
            ("requests/s of a core, 100,000 open, 100 active", 0..100),
        ] {
            let (before, answered) = (ticks(&pair), done(&mut pair).answered);
            pair.hosts()[0].follow(Plan::Ask, range);
            let until = answered + requests;
            turn_until(&mut pair, "all are answered", |done| done.answered >= until)?;
            let after = ticks(&pair);
            let slower = (0..2).map(|site| after[site] - before[site]).max().unwrap_or(0);
            let rate = self.eal.tsc_hz() as f64 / per(slower, requests);
            self.tell(Figure::new(name, "1/s", rate, None));
            settle(&mut pair);
        }
        Ok(())
    }

    fn churn(&mut self, pool: &Mempool) -> Result<(), String> {
        let Size { churn, cycles, .. } = self.size;
        let mut pair = self.pair(pool, churn)?;
        pair.hosts()[0].follow(Plan::Churn, 0..churn);
        // More than the tables for TIME-WAIT hold: from then on the oldest make room.
        let warm = 4 * churn as u64;
        turn_until(&mut pair, "connections come and go", |done| done.closed >= warm)?;
        let (before, started) = (ticks(&pair), done(&mut pair).closed);
        let (_, asked) = (self.allocated)();
        turn_until(&mut pair, "they go on to", |done| done.closed >= started + cycles)?;
        let (_, asked_after) = (self.allocated)();
        let after = ticks(&pair);
        let closed = done(&mut pair).closed - started;
        for (name, site) in [
            ("connections/s of a core, where they are opened at", 0),
            ("connections/s of a core, where they are opened from", 1),
        ] {
            let ticks = (after[site] - before[site]) as f64 / closed as f64;
            let rate = self.eal.tsc_hz() as f64 / ticks;
            self.tell(Figure::new(name, "1/s", rate, Some(Bar::AtLeast(20_000.0))));
        }
        let again = done(&mut pair).again;
        self.tell(Figure::new("of these, segments that hosts sent again", "", again as f64, None));
        self.tell(Figure::new(
            "allocations meanwhile, TIME-WAIT full and recycled",
            "",
            (asked_after - asked) as f64,
            Some(Bar::AtMost(0.0)),
        ));
        Ok(())
    }

    /// What housekeeping costs where a million flows are in the table, all of which stay.
    fn ageing(&mut self) {
        const EVERY_NS: u64 = 50 * MILLISECOND_NS;
        let side = || SideConfig { mac: MacAddr([2; 6]), addresses: vec![], gateways: vec![] };
        let networks = Networks::default();
        let mut interceptor = Interceptor::new(InterceptorConfig {
            own: Own { lan: side(), wan: side(), port: 4980 },
            rules: std::sync::Arc::new(RuleTable::new(Vec::new(), networks)),
            peers: Vec::new(),
            // Flows that pass may have half of it.
            flows: 2 * self.size.entries,
            neighbours: 1_024,
            timeouts: Timeouts::default(),
            secret: [1, 2],
        });
        let mut now = Time::from_ms(1);
        for n in 0..self.size.entries {
            let [_, _, a, b] = u32::try_from(n).unwrap_or(0).to_be_bytes();
            let port = u16::try_from(n >> 16).unwrap_or(0) + 1_024;
            let key = FlowKey::new(
                std::net::IpAddr::from([10, 0, a, b]),
                std::net::IpAddr::from([10, 1, 0, 1]),
                port,
                80,
                protocol::TCP,
                0,
            );
            let _ = interceptor.insert(&key, Decision::pass(PassReason::NoRule), now);
        }
        interceptor.housekeeping(now);
        let flows = interceptor.counters().get(InterceptorCounter::Flows);
        self.tell(Figure::new("flows in the table that ages", "", flows as f64, None));
        let mut each: Vec<u64> = (0..400)
            .map(|_| {
                now = now + EVERY_NS;
                let begun = tsc();
                interceptor.housekeeping(now);
                tsc() - begun
            })
            .collect();
        each.sort_unstable();
        let median = each[each.len() / 2] as f64;
        let share = median / (self.eal.tsc_hz() as f64 * EVERY_NS as f64 / 1e9);
        self.tell(Figure::new(
            "ageing of a flow table with 1,000,000 flows, of a core",
            "%",
            100.0 * share,
            Some(Bar::AtMost(2.0)),
        ));
        let longest = each.last().copied().unwrap_or(0) as f64 / self.eal.tsc_hz() as f64 * 1e6;
        self.tell(Figure::new("longest step of it", "us", longest, None));
    }
}
