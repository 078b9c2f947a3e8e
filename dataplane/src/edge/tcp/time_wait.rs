//! TIME-WAIT: connections that are over, kept in a compact table so that late segments are
//! answered and do not reach a later connection of the same addresses and ports. Connections that
//! ended by a reset are kept too: their hosts' late segments are for nobody else either.

use super::connection::timestamp_at;
use super::segment::{Flags, Segment, Timestamps};
use super::sequence::before;
use crate::frame::FlowKey;
use crate::interceptor::{FlowHasher, FlowMap};
use crate::time::{SECOND_NS, Time};

/// How long an entry is kept: 2 MSL (RFC 9293 3.4.3), MSL being 30 s as in common practice.
pub const TIME_WAIT_NS: u64 = 60 * SECOND_NS;

/// What is kept of a connection in TIME-WAIT.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TimeWait {
    /// SND.NXT.
    pub seq: u32,
    /// RCV.NXT.
    pub ack: u32,
    /// With timestamps: our clock's offset, and the latest of the host's.
    pub timestamps: Option<(u32, u32)>,
}

impl TimeWait {
    /// The acknowledgement that answers a late segment.
    #[must_use]
    pub fn acknowledgement(&self, now: Time) -> Segment {
        let mut segment =
            Segment { seq: self.seq, ack: self.ack, flags: Flags::ACK, ..Segment::default() };
        segment.options.timestamps = self
            .timestamps
            .map(|(offset, echo)| Timestamps { value: timestamp_at(now, offset), echo });
        segment
    }

    /// RFC 6191: a SYN with a later timestamp, or where those say nothing with a higher sequence
    /// number, begins a new connection.
    fn may_reuse(&self, syn: &Segment) -> bool {
        let higher = before(self.ack, syn.seq);
        match (self.timestamps, syn.options.timestamps) {
            (Some((_, recent)), Some(new)) => {
                before(recent, new.value) || (recent == new.value && higher)
            }
            (None, Some(_)) => true,
            (_, None) => higher,
        }
    }
}

/// What to do with a segment of a connection in TIME-WAIT.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TimeWaitVerdict {
    /// Answer with this segment and drop it.
    Answer(Segment),
    /// Drop it.
    Drop,
    /// A SYN that may begin a new connection: the entry is gone.
    Reuse,
}

/// No place.
const NONE: u32 = u32::MAX;

#[derive(Clone, Copy, Debug)]
struct Entry {
    /// `None`: it was reset.
    state: Option<TimeWait>,
    until: Time,
    /// A SYN that may not reuse the addresses and ports was answered.
    challenged: bool,
    /// Its neighbours in the order of age.
    older: u32,
    newer: u32,
}

/// Connections in TIME-WAIT, at most so many; the oldest makes room.
#[derive(Debug)]
pub struct TimeWaitTable {
    entries: FlowMap<Entry>,
    /// The ends of a list through all entries.
    oldest: u32,
    newest: u32,
}

impl TimeWaitTable {
    /// A table with room for `capacity` connections, reserved now.
    #[must_use]
    pub fn new(capacity: usize, hasher: &FlowHasher) -> Self {
        TimeWaitTable { entries: FlowMap::new(capacity, hasher), oldest: NONE, newest: NONE }
    }

    /// Connections in the table.
    #[must_use]
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Whether a connection is here; `key` as in the frames of its host.
    #[must_use]
    pub fn contains(&self, key: &FlowKey) -> bool {
        !self.entries.is_empty() && self.entries.find(key).is_some()
    }

    /// Adds a connection; `key` as in the frames of its host. When the table is full the oldest
    /// goes, which is returned.
    pub fn insert(&mut self, now: Time, key: FlowKey, state: TimeWait) -> Option<FlowKey> {
        self.keep(now, key, Some(state))
    }

    /// Adds a connection that was reset, in the same way.
    pub fn insert_reset(&mut self, now: Time, key: FlowKey) -> Option<FlowKey> {
        self.keep(now, key, None)
    }

    /// Forgets a connection: its addresses and ports are in use again.
    pub fn remove(&mut self, key: &FlowKey) {
        if let Some(place) = self.entries.find(key) {
            self.remove_at(place);
        }
    }

    fn keep(&mut self, now: Time, key: FlowKey, state: Option<TimeWait>) -> Option<FlowKey> {
        self.remove(&key);
        let recycled = if self.entries.is_full() { self.remove_at(self.oldest) } else { None };
        let until = now + TIME_WAIT_NS;
        let entry = Entry { state, until, challenged: false, older: self.newest, newer: NONE };
        let place = self.entries.insert(key, entry)?;
        match self.entries.at_mut(self.newest) {
            Some(newest) => newest.newer = place,
            None => self.oldest = place,
        }
        self.newest = place;
        recycled
    }

    fn remove_at(&mut self, place: u32) -> Option<FlowKey> {
        let (key, Entry { older, newer, .. }) = self.entries.remove_at(place)?;
        match self.entries.at_mut(older) {
            Some(older) => older.newer = newer,
            None => self.oldest = newer,
        }
        match self.entries.at_mut(newer) {
            Some(newer) => newer.older = older,
            None => self.newest = older,
        }
        Some(key)
    }

    /// Judges a segment from a host; `None` when its connection is not here.
    pub fn segment(
        &mut self,
        now: Time,
        key: &FlowKey,
        segment: &Segment,
    ) -> Option<TimeWaitVerdict> {
        let place = self.entries.find(key)?;
        let (_, entry) = *self.entries.at(place)?;
        if entry.until <= now {
            self.remove_at(place);
            return None;
        }
        let is_first = segment.flags.has(Flags::SYN) && !segment.flags.has(Flags::ACK);
        let Some(state) = entry.state else {
            return Some(match segment.refusal() {
                None => TimeWaitVerdict::Drop,
                Some(_) if is_first => {
                    self.remove_at(place);
                    TimeWaitVerdict::Reuse
                }
                Some(refusal) => TimeWaitVerdict::Answer(refusal),
            });
        };
        if segment.flags.has(Flags::RST) {
            // RFC 1337: a RST does not end TIME-WAIT; but for the one with which a host that
            // connects anew, having forgotten the old connection, answers our acknowledgement
            // (RFC 9293 3.10.7.3). Its next SYN then finds the way free.
            if entry.challenged && segment.seq == state.ack {
                self.remove_at(place);
            }
            return Some(TimeWaitVerdict::Drop);
        }
        if is_first {
            if state.may_reuse(segment) {
                self.remove_at(place);
                return Some(TimeWaitVerdict::Reuse);
            }
            if let Some(entry) = self.entries.at_mut(place) {
                entry.challenged = true;
            }
        }
        if segment.sequence_len() == 0 && segment.seq == state.ack {
            return Some(TimeWaitVerdict::Drop);
        }
        Some(TimeWaitVerdict::Answer(state.acknowledgement(now)))
    }

    /// Forgets what has had its time; at most `budget` entries a call.
    pub fn expire(&mut self, now: Time, budget: usize) {
        for _ in 0..budget {
            if self.next_timeout() > now {
                return;
            }
            self.remove_at(self.oldest);
        }
    }

    /// When [`TimeWaitTable::expire`] is next worth calling.
    #[must_use]
    pub fn next_timeout(&self) -> Time {
        self.entries.at(self.oldest).map_or(Time::NEVER, |(_, oldest)| oldest.until)
    }
}
