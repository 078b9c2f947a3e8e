//! A LAN: hosts on a learning switch, each behind a link of its own with its faults, and a port
//! that leads elsewhere.
//!
//! In: frames that come in at the port, the time. Out: frames that leave at the port, when to be
//! called next. Never: a frame sent back to where it came from.

#[cfg(test)]
mod tests;

use std::collections::HashMap;

use dataplane::time::Time;

use crate::host::Host;
use crate::link::{Link, LinkConfig, Random};
use crate::scripted::ScriptedHost;

const ETHERNET_LEN: usize = 14;
/// Packets that a cable holds at most.
const CABLE_PACKETS_MAX: usize = 10_000;

/// Which station of a LAN.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct StationId(usize);

/// What is at the end of a cable.
pub enum Station {
    /// A host with a stack.
    Host(Box<Host>),
    /// A host that does what its script says.
    Scripted(Box<ScriptedHost>),
}

struct Cable {
    station: Station,
    to_switch: Link<Vec<u8>>,
    to_station: Link<Vec<u8>>,
    /// When the station next has something to do, if no frame comes in until then.
    due: Time,
}

impl Cable {
    fn find_due(&mut self, now: Time) {
        self.due = match &mut self.station {
            Station::Host(host) => host.next_time(now),
            Station::Scripted(host) => host.next_time(),
        };
    }
}

/// A LAN.
pub struct Lan {
    cables: Vec<Cable>,
    /// Where each MAC address was seen; `None` is the port.
    learned: HashMap<[u8; 6], Option<StationId>>,
    random: Random,
}

impl Lan {
    /// A LAN without hosts; `seed` fixes the faults of its cables.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Lan { cables: Vec::new(), learned: HashMap::new(), random: Random::new(seed) }
    }

    /// Connects a station by a cable that is like `link` in both directions.
    pub fn connect(&mut self, station: Station, link: &LinkConfig) -> StationId {
        let mut cable = || Link::new(link.clone(), CABLE_PACKETS_MAX, self.random.next_u64());
        let (to_switch, to_station) = (cable(), cable());
        self.cables.push(Cable { station, to_switch, to_station, due: Time::ZERO });
        StationId(self.cables.len() - 1)
    }

    /// Changes the cables of all stations.
    pub fn set_links(&mut self, now: Time, link: &LinkConfig) {
        for cable in &mut self.cables {
            cable.to_switch.set_config(now, link.clone());
            cable.to_station.set_config(now, link.clone());
        }
    }

    /// A host of this LAN.
    ///
    /// # Panics
    /// When the station is not a host.
    pub fn host(&mut self, id: StationId) -> &mut Host {
        // It may be told to do something.
        self.cables[id.0].due = Time::ZERO;
        match &mut self.cables[id.0].station {
            Station::Host(host) => host,
            Station::Scripted(_) => panic!("station {} is scripted", id.0),
        }
    }

    /// A scripted host of this LAN.
    ///
    /// # Panics
    /// When the station is not scripted.
    pub fn scripted(&mut self, id: StationId) -> &mut ScriptedHost {
        self.cables[id.0].due = Time::ZERO;
        match &mut self.cables[id.0].station {
            Station::Scripted(host) => host,
            Station::Host(_) => panic!("station {} is a host", id.0),
        }
    }

    /// All hosts of this LAN.
    pub fn hosts(&self) -> impl Iterator<Item = &Host> {
        self.cables.iter().filter_map(|cable| match &cable.station {
            Station::Host(host) => Some(&**host),
            Station::Scripted(_) => None,
        })
    }

    /// A frame comes in at the port.
    pub fn inject(&mut self, now: Time, frame: &[u8]) {
        self.switch(now, None, frame, &mut Vec::new());
    }

    /// Does what is due; frames that leave at the port are appended to `out`.
    pub fn step(&mut self, now: Time, out: &mut Vec<Vec<u8>>) {
        let mut frames = Vec::new();
        loop {
            let mut moved = false;
            for index in 0..self.cables.len() {
                moved |= self.deliver(now, index);
                moved |= self.collect(now, index, &mut frames);
                for frame in frames.drain(..) {
                    self.switch(now, Some(StationId(index)), &frame, out);
                }
            }
            if !moved {
                return;
            }
        }
    }

    /// When to call [`Lan::step`] next, if no frame comes in until then.
    #[must_use]
    pub fn next_time(&self) -> Time {
        let times = self.cables.iter().map(|cable| {
            cable.due.min(cable.to_switch.next_time()).min(cable.to_station.next_time())
        });
        times.min().unwrap_or(Time::NEVER)
    }

    /// Runs the LAN by itself until `end`, or until nothing is left to be done; when that was.
    /// Frames that leave at the port are lost.
    pub fn run(&mut self, start: Time, end: Time) -> Time {
        let (mut now, mut lost) = (start, Vec::new());
        loop {
            self.step(now, &mut lost);
            lost.clear();
            let next = self.next_time();
            if next > end {
                return now;
            }
            now = next.max(now);
        }
    }

    // Frames that have arrived at a station, and what the station then sends.
    fn deliver(&mut self, now: Time, index: usize) -> bool {
        let cable = &mut self.cables[index];
        let Cable { station, to_switch, to_station, due } = cable;
        let mut moved = false;
        while let Some(delivery) = to_station.pop(now) {
            for frame in arrivals(delivery) {
                match station {
                    Station::Host(host) => host.receive(now, &frame),
                    Station::Scripted(host) => host.receive(now, &frame),
                }
            }
            moved = true;
        }
        if !moved && now < *due {
            return false;
        }
        let mut sent = Vec::new();
        match station {
            Station::Host(host) => host.poll(now, &mut sent),
            Station::Scripted(host) => host.poll(now, &mut sent),
        }
        for frame in sent {
            to_switch.push(now, ip_len(&frame), frame);
            moved = true;
        }
        cable.find_due(now);
        moved
    }

    // Frames that have arrived at the switch from a station.
    fn collect(&mut self, now: Time, index: usize, frames: &mut Vec<Vec<u8>>) -> bool {
        while let Some(delivery) = self.cables[index].to_switch.pop(now) {
            frames.extend(arrivals(delivery));
        }
        !frames.is_empty()
    }

    fn switch(&mut self, now: Time, from: Option<StationId>, frame: &[u8], out: &mut Vec<Vec<u8>>) {
        let (Some(destination), Some(source)) = (mac(frame, 0), mac(frame, 6)) else { return };
        if source[0] & 1 == 0 {
            self.learned.insert(source, from);
        }
        let known = self.learned.get(&destination).filter(|_| destination[0] & 1 == 0).copied();
        for (index, cable) in self.cables.iter_mut().enumerate() {
            let to = Some(StationId(index));
            if to != from && known.is_none_or(|known| known == to) {
                cable.to_station.push(now, ip_len(frame), frame.to_vec());
            }
        }
        if from.is_some() && known.is_none_or(|known| known.is_none()) {
            out.push(frame.to_vec());
        }
    }
}

fn mac(frame: &[u8], at: usize) -> Option<[u8; 6]> {
    frame.get(at..at + 6)?.try_into().ok()
}

/// IP bytes of a frame, as links count them: 0 when it is not IP.
#[must_use]
pub fn ip_len(frame: &[u8]) -> u64 {
    let field = |at: usize| frame.get(at..at + 2).and_then(|field| field.try_into().ok());
    let tag_len = if field(12) == Some([0x81, 0x00]) { 4 } else { 0 };
    match field(12 + tag_len).map(u16::from_be_bytes) {
        Some(0x0800 | 0x86dd) => frame.len().saturating_sub(ETHERNET_LEN + tag_len) as u64,
        _ => 0,
    }
}

/// The frames that a delivery is: damaged, or twice, as the link says. Damage strikes behind the
/// Ethernet header, where a checksum can find it.
pub fn arrivals(delivery: crate::link::Delivery<Vec<u8>>) -> impl Iterator<Item = Vec<u8>> {
    let mut frame = delivery.item;
    if let Some(random) = delivery.corrupt {
        let bits = (frame.len().saturating_sub(ETHERNET_LEN) as u64).max(1) * 8;
        let at = ETHERNET_LEN as u64 * 8 + random % bits;
        if let Some(byte) = usize::try_from(at / 8).ok().and_then(|at| frame.get_mut(at)) {
            *byte ^= 1 << (at % 8);
        }
    }
    let count = usize::try_from(delivery.copies).unwrap_or(1);
    std::iter::repeat_n(frame, count)
}
