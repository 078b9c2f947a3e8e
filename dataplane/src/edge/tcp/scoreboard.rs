//! What is in flight: one record per segment sent, until it is acknowledged cumulatively
//! (RFC 6675's scoreboard, with the times that RFC 8985 needs).

use super::queue::Queue;
use super::sequence::Position;
use crate::time::Time;

/// Where a segment in flight stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fate {
    /// Sent, nothing known.
    InFlight,
    /// Believed lost, not yet sent again.
    Lost,
    /// The host has it and says so by SACK.
    Sacked,
}

/// One segment: positions `start..end`.
#[derive(Clone, Copy, Debug)]
pub(super) struct Record {
    pub(super) start: Position,
    /// Length in sequence space.
    pub(super) len: u32,
    pub(super) fate: Fate,
    /// Sent more than once: its acknowledgement says little about the round trip.
    pub(super) retransmitted: bool,
    /// When it was last sent.
    pub(super) sent_at: Time,
}

impl Record {
    pub(super) fn end(&self) -> Position {
        self.start + u64::from(self.len)
    }
}

/// The segments in flight in order of positions, without gaps.
#[derive(Debug, Default)]
pub(super) struct Scoreboard {
    pub(super) records: Queue<Record>,
    in_flight: u64,
    lost: u64,
    sacked: u64,
    sacked_count: u32,
    /// No record before this position is lost.
    lost_from: Position,
}

impl Scoreboard {
    /// Bytes believed to be on their way (RFC 6675 "pipe").
    pub(super) fn in_flight(&self) -> u64 {
        self.in_flight
    }

    /// Bytes believed lost and not yet sent again.
    pub(super) fn lost(&self) -> u64 {
        self.lost
    }

    pub(super) fn sacked_count(&self) -> u32 {
        self.sacked_count
    }

    pub(super) fn is_empty(&self) -> bool {
        self.records.is_empty()
    }

    pub(super) fn len(&self) -> usize {
        self.records.len()
    }

    pub(super) fn records(&self) -> impl Iterator<Item = &Record> {
        self.records.iter()
    }

    pub(super) fn last(&self) -> Option<Record> {
        self.records.back().copied()
    }

    /// Adds a segment sent for the first time, behind all others.
    pub(super) fn push(&mut self, start: Position, len: u32, now: Time) {
        self.records.push_back(Record {
            start,
            len,
            fate: Fate::InFlight,
            retransmitted: false,
            sent_at: now,
        });
        self.in_flight += u64::from(len);
    }

    /// Takes the last segment back, as if it had never been sent.
    pub(super) fn unsend_last(&mut self) {
        if let Some(record) = self.records.pop_back() {
            self.forget(&record);
        }
    }

    fn forget(&mut self, record: &Record) {
        let len = u64::from(record.len);
        match record.fate {
            Fate::InFlight => self.in_flight -= len,
            Fate::Lost => self.lost -= len,
            Fate::Sacked => {
                self.sacked -= len;
                self.sacked_count -= 1;
            }
        }
    }

    /// Removes all below `ack`; `delivered` is told of each record that was not known to have
    /// arrived before.
    pub(super) fn acknowledge(&mut self, ack: Position, mut delivered: impl FnMut(&Record)) {
        while let Some(record) = self.records.front().copied() {
            if record.end() <= ack {
                self.records.pop_front();
                self.forget(&record);
                if record.fate != Fate::Sacked {
                    delivered(&record);
                }
                continue;
            }
            if record.start < ack {
                self.trim_front(ack);
            }
            break;
        }
    }

    fn trim_front(&mut self, ack: Position) {
        let Some(record) = self.records.front_mut() else { return };
        let gone = u32::try_from(ack - record.start).unwrap_or(record.len).min(record.len);
        record.start = ack;
        record.len -= gone;
        let gone = u64::from(gone);
        match record.fate {
            Fate::InFlight => self.in_flight -= gone,
            Fate::Lost => self.lost -= gone,
            Fate::Sacked => self.sacked -= gone,
        }
    }

    /// Marks what lies wholly in `start..end` as arrived; `delivered` is told of each record that
    /// was not known to have arrived before.
    pub(super) fn sack(
        &mut self,
        start: Position,
        end: Position,
        mut delivered: impl FnMut(&Record),
    ) {
        let from = self.records.partition_point(|record| record.start < start);
        for record in self.records.range_mut(from..) {
            if record.end() > end {
                break;
            }
            let len = u64::from(record.len);
            match record.fate {
                Fate::Sacked => continue,
                Fate::InFlight => self.in_flight -= len,
                Fate::Lost => self.lost -= len,
            }
            delivered(record);
            record.fate = Fate::Sacked;
            self.sacked += len;
            self.sacked_count += 1;
        }
    }

    /// Calls `judge` on each record in flight, from the front until it answers `None`; marks
    /// those as lost for which it answers true. Returns how many that were.
    pub(super) fn judge(&mut self, mut judge: impl FnMut(&Record) -> Option<bool>) -> u32 {
        let mut count = 0;
        for record in self.records.iter_mut() {
            if record.fate != Fate::InFlight {
                continue;
            }
            match judge(record) {
                None => break,
                Some(false) => {}
                Some(true) => {
                    record.fate = Fate::Lost;
                    self.in_flight -= u64::from(record.len);
                    self.lost += u64::from(record.len);
                    self.lost_from = self.lost_from.min(record.start);
                    count += 1;
                }
            }
        }
        count
    }

    /// What was believed lost is on its way after all.
    pub(super) fn revive_lost(&mut self) {
        for record in self.records.iter_mut() {
            if record.fate == Fate::Lost {
                record.fate = Fate::InFlight;
                self.lost -= u64::from(record.len);
                self.in_flight += u64::from(record.len);
            }
        }
    }

    /// The host may drop what it has SACKed (RFC 2018 section 8): forget what it said.
    pub(super) fn forget_sacks(&mut self) {
        for record in self.records.iter_mut() {
            if record.fate == Fate::Sacked {
                record.fate = Fate::InFlight;
                self.in_flight += u64::from(record.len);
            }
        }
        self.sacked = 0;
        self.sacked_count = 0;
    }

    /// Index and copy of the first lost record.
    pub(super) fn first_lost(&mut self) -> Option<(usize, Record)> {
        if self.lost == 0 {
            self.lost_from = Position::MAX;
            return None;
        }
        let from = self.records.partition_point(|record| record.end() <= self.lost_from);
        let found = self
            .records
            .range(from..)
            .enumerate()
            .find(|(_, record)| record.fate == Fate::Lost)
            .map(|(index, record)| (from + index, *record))?;
        self.lost_from = found.1.start;
        Some(found)
    }

    /// Cuts record `index` so that its first part has `len`: for a smaller segment size.
    pub(super) fn split(&mut self, index: usize, len: u32) {
        let Some(record) = self.records.get_mut(index) else { return };
        if len == 0 || record.len <= len {
            return;
        }
        let mut rest = *record;
        rest.start += u64::from(len);
        rest.len -= len;
        record.len = len;
        if record.fate == Fate::Sacked {
            self.sacked_count += 1;
        }
        self.records.insert(index + 1, rest);
    }

    /// Record `index` was sent again.
    pub(super) fn resent(&mut self, index: usize, now: Time) {
        let Some(record) = self.records.get_mut(index) else { return };
        let len = u64::from(record.len);
        if record.fate == Fate::Lost {
            self.lost -= len;
            self.in_flight += len;
            record.fate = Fate::InFlight;
        }
        record.retransmitted = true;
        record.sent_at = now;
    }

    /// Forgets everything and gives the memory back.
    pub(super) fn clear(&mut self) {
        let mut records = std::mem::take(&mut self.records);
        records.release();
        *self = Scoreboard { records, ..Scoreboard::default() };
    }

    /// Whether nothing is in flight and there is memory for it all the same.
    pub(super) fn is_spare(&self) -> bool {
        self.records.is_spare()
    }

    /// Gives the memory back when nothing is in flight.
    pub(super) fn release(&mut self) {
        if self.records.is_empty() {
            self.clear();
        }
    }

    /// The sums agree with the records (for tests).
    #[cfg(test)]
    pub(super) fn check(&self) {
        let sum = |fate| {
            self.records.iter().filter(|r| r.fate == fate).map(|r| u64::from(r.len)).sum::<u64>()
        };
        assert_eq!(self.in_flight, sum(Fate::InFlight));
        assert_eq!(self.lost, sum(Fate::Lost));
        assert_eq!(self.sacked, sum(Fate::Sacked));
        let sacked = self.records.iter().filter(|r| r.fate == Fate::Sacked).count();
        assert_eq!(self.sacked_count as usize, sacked);
        for (a, b) in self.records.iter().zip(self.records.iter().skip(1)) {
            assert_eq!(a.end(), b.start, "records without gaps");
        }
    }
}
