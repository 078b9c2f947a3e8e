//! The path's MTU by probing (RFC 8899): how long a datagram may be.
//!
//! In: what became of datagrams and of probes, the time. Out: the length of datagrams; the length
//! of the next probe, and when it is due. Never: a clock, ICMP, a byte of a datagram.
//!
//! Lengths are of UDP payloads. Three matter beside the present one: the shortest, which every
//! path has to carry; the base, which nearly every path carries; and the ceiling, which the
//! operator allows. The last one holds from the beginning where it fits into an ordinary packet:
//! a path that carries it costs three probes, and no time.

mod confirming;
mod search;

use confirming::{Answer, Confirming, DOUBT_LOSSES, Fate};
use search::Known;

use crate::time::{MILLISECOND_NS, Time};

/// The base (RFC 8899 section 5.1.2).
const BASE_LEN: u16 = 1_200;
/// Length of an ordinary IP packet: what is longer has to be found first.
const ORDINARY_IP_BYTES: u16 = 1_500;
/// Probes of one length, lost where others arrive, after which it is too long: at 20 % of random
/// loss one length of three thousand is given up wrongly.
const ATTEMPTS: u8 = 5;
/// For how long a length that was just confirmed is not doubted, in nanoseconds.
const CALM_NS: u64 = 500 * MILLISECOND_NS;
/// How far the search is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(u8)]
pub enum PathMtuState {
    /// Asking whether datagrams of the present length pass.
    #[default]
    Confirming,
    /// Looking for a greater length.
    Searching,
    /// Nothing more to be found for now.
    Complete,
    /// As complete, but the path does not even carry the base.
    Error,
}

impl PathMtuState {
    /// All of them.
    pub const ALL: [PathMtuState; 4] = [
        PathMtuState::Confirming,
        PathMtuState::Searching,
        PathMtuState::Complete,
        PathMtuState::Error,
    ];

    /// Its name for people.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            PathMtuState::Confirming => "confirming",
            PathMtuState::Searching => "searching",
            PathMtuState::Complete => "complete",
            PathMtuState::Error => "error",
        }
    }
}

/// What has become of the length of datagrams.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Change {
    /// It is greater than before.
    Raised,
    /// Datagrams of the length before vanish.
    BlackHole,
}

/// A datagram or a probe whose fate is known.
#[derive(Clone, Copy, Debug)]
pub(super) struct Outcome {
    /// Its IP bytes.
    pub(super) ip_bytes: u32,
    /// When it was sent.
    pub(super) sent_at: Time,
    /// Whether it was a probe.
    pub(super) probe: bool,
}

/// Looking for a greater length.
#[derive(Clone, Copy, Debug)]
struct Searching {
    target: u16,
    /// The shortest that was found not to pass.
    too_long: u16,
    attempts: u8,
    due: Time,
    /// A probe of the target is on its way; and a short one is still to follow, which tells its
    /// loss where there is no other traffic.
    waiting: bool,
    follower: bool,
}

#[derive(Clone, Copy, Debug)]
enum Phase {
    Confirming(Confirming),
    Searching(Searching),
    Complete,
}

/// Datagrams that are lost in a row.
#[derive(Clone, Copy, Debug, Default)]
struct Doubts {
    losses: u8,
    /// The shortest of them, and the earliest.
    len: u16,
    sent_at: Time,
    none_before: Time,
}

/// The state of the search.
///
/// ```text
///  begin, or doubts                 it passes
///   ----------> Confirming ---------------------+----------------+
///                 ^     | shorter ones pass     v                | (it was complete)
///     long ones   |     +----------------> Searching             |
///     are lost    |      the length is      |     ^              v
///                 +------- a shorter one    |     |          Complete
///                 |                         +-----)--------> (or Error)
///                 |                    nothing left to try       |
///                 +----------------------------------------------+
///                                     Searching <----------------+ raise timer
/// ```
#[derive(Clone, Copy, Debug)]
pub(super) struct PathMtu {
    len_min: u16,
    base: u16,
    ceiling: u16,
    ip_overhead: u16,
    raise_ns: u64,
    len: u16,
    phase: Phase,
    /// Whether this length was seen to pass; whether the search for a greater one has ended, and
    /// when it begins again.
    is_seen: bool,
    is_searched: bool,
    raise_at: Time,
    doubts: Doubts,
    /// Of what arrived, when the latest of full length was sent; the same of the latest long one,
    /// and its length.
    full_at: Option<Time>,
    long: Option<(Time, u16)>,
    change: Option<Change>,
}

impl PathMtu {
    /// For datagrams of `len_min` to `ceiling`, within IP packets of `ip_overhead` more. After a
    /// search that did not reach the ceiling comes another one, `raise_ns` later.
    pub(super) fn new(len_min: usize, ceiling: usize, ip_overhead: u16, raise_ns: u64) -> Self {
        let short = |len: usize| u16::try_from(len).unwrap_or(u16::MAX);
        let ceiling = short(ceiling);
        let len_min = short(len_min).min(ceiling);
        let mut path = PathMtu {
            len_min,
            base: BASE_LEN.clamp(len_min, ceiling),
            ceiling,
            ip_overhead,
            raise_ns,
            len: ceiling,
            phase: Phase::Complete,
            is_seen: false,
            is_searched: false,
            raise_at: Time::NEVER,
            doubts: Doubts::default(),
            full_at: None,
            long: None,
            change: None,
        };
        path.begin(Time::ZERO);
        path
    }

    /// A session begins, on a path that nothing is known of.
    pub(super) fn begin(&mut self, now: Time) {
        let ordinary = ORDINARY_IP_BYTES.saturating_sub(self.ip_overhead).max(self.base);
        self.len = self.ceiling.min(ordinary);
        (self.is_seen, self.is_searched) = (false, false);
        (self.full_at, self.long, self.change) = (None, None, None);
        self.doubts = Doubts::default();
        self.ask(now, now);
    }

    /// Length of a datagram, at most.
    pub(super) fn datagram_len(&self) -> usize {
        usize::from(self.len)
    }

    /// IP bytes of a full datagram.
    pub(super) fn ip_bytes(&self) -> u64 {
        u64::from(self.len) + u64::from(self.ip_overhead)
    }

    /// IP bytes of a full datagram that nearly every path carries.
    pub(super) fn base_ip_bytes(&self) -> u64 {
        u64::from(self.base) + u64::from(self.ip_overhead)
    }

    /// How far the search is.
    pub(super) fn state(&self) -> PathMtuState {
        match self.phase {
            Phase::Confirming(_) => PathMtuState::Confirming,
            _ if self.len < self.base => PathMtuState::Error,
            Phase::Searching(_) => PathMtuState::Searching,
            Phase::Complete => PathMtuState::Complete,
        }
    }

    /// Whether there is no reason to think that datagrams of this length vanish.
    pub(super) fn is_sound(&self) -> bool {
        self.is_seen && self.doubts.losses == 0 && !matches!(self.phase, Phase::Confirming(_))
    }

    /// What has changed since the last time it was asked.
    pub(super) fn take_change(&mut self) -> Option<Change> {
        self.change.take()
    }

    /// The device takes no longer datagrams than this.
    pub(super) fn limit(&mut self, len: usize) {
        let Ok(len) = u16::try_from(len) else { return };
        if len < self.ceiling && len >= self.len_min {
            self.ceiling = len;
            self.base = self.base.min(len);
            self.len = self.len.min(len);
            self.is_searched = false;
            self.ask(Time::ZERO, Time::ZERO);
        }
    }

    /// The peer is found elsewhere: the path is another one.
    pub(super) fn path_changed(&mut self, now: Time) {
        self.is_seen = false;
        self.is_searched = false;
        self.ask(now, now);
    }

    /// When the next probe is due; [`Time::NEVER`] while one is waited for.
    pub(super) fn due(&self) -> Time {
        match &self.phase {
            Phase::Confirming(asking) => asking.due,
            Phase::Searching(search) if search.follower => Time::ZERO,
            Phase::Searching(search) if search.waiting => Time::NEVER,
            Phase::Searching(search) => search.due,
            Phase::Complete => self.raise_at,
        }
    }

    /// Length of the probe that is due; 0 for one that only has to arrive.
    pub(super) fn probe(&mut self, now: Time) -> usize {
        if matches!(self.phase, Phase::Complete) {
            self.search(now);
        }
        match &self.phase {
            Phase::Confirming(asking) => {
                usize::from(self.lens().get(asking.sent).copied().unwrap_or(0))
            }
            Phase::Searching(search) if search.follower => 0,
            Phase::Searching(search) => usize::from(search.target),
            Phase::Complete => 0,
        }
    }

    /// It was sent; the one after the answer to it comes no earlier than `gap_ns` from now.
    pub(super) fn probe_sent(&mut self, now: Time, gap_ns: u64) {
        let lens = self.len_count();
        match &mut self.phase {
            Phase::Confirming(asking) => {
                if asking.sent == 0 {
                    asking.set_at = now;
                }
                asking.sent += 1;
                if asking.sent >= lens {
                    asking.due = Time::NEVER;
                }
            }
            Phase::Searching(search) if search.follower => search.follower = false,
            Phase::Searching(search) => {
                (search.waiting, search.follower) = (true, true);
                search.due = now + gap_ns;
            }
            Phase::Complete => {}
        }
    }

    /// Something arrived.
    pub(super) fn passed(&mut self, now: Time, outcome: &Outcome, gap_ns: u64) {
        let (len, sent_at) = (self.len_of(outcome), outcome.sent_at);
        if len <= self.len_min && !outcome.probe {
            return;
        }
        if len >= self.len {
            self.full_at = Some(self.full_at.map_or(sent_at, |at| at.max(sent_at)));
            self.is_seen = true;
        }
        if self.long.is_none_or(|(at, _)| sent_at >= at) && len > self.len_min {
            self.long = Some((sent_at, len));
        }
        let doubts = &mut self.doubts;
        if doubts.losses > 0 && len >= doubts.len && sent_at >= doubts.sent_at {
            doubts.losses = 0;
        }
        match &self.phase {
            Phase::Confirming(asking) if len >= self.len && sent_at >= asking.since => {
                self.confirmed(now);
            }
            Phase::Confirming(_) => self.answer(now, outcome, Fate::Passed, gap_ns),
            Phase::Searching(search) if outcome.probe && len > self.len => {
                let too_long = search.too_long.max(len.saturating_add(1));
                let due = search.due;
                self.len = len;
                self.change = Some(Change::Raised);
                self.next_target(now, too_long, due);
            }
            Phase::Searching(_) | Phase::Complete => {}
        }
    }

    /// Something is taken for lost; `overtaken` when that is known from something that was sent
    /// later, and has arrived.
    pub(super) fn lost(&mut self, now: Time, outcome: &Outcome, overtaken: bool, gap_ns: u64) {
        let len = self.len_of(outcome);
        if !outcome.probe {
            self.note_loss(now, len, outcome.sent_at);
            return;
        }
        match &mut self.phase {
            Phase::Confirming(_) => self.answer(now, outcome, Fate::Lost, gap_ns),
            Phase::Searching(search) if len == search.target && search.waiting => {
                search.waiting = false;
                search.attempts += u8::from(overtaken);
                if search.attempts >= ATTEMPTS {
                    let (too_long, due) = (search.target, search.due);
                    self.next_target(now, too_long, due);
                }
            }
            Phase::Searching(_) | Phase::Complete => {}
        }
    }

    /// This should have been answered, and nothing was heard at all.
    pub(super) fn silent(&mut self, now: Time, outcome: &Outcome) {
        let len = self.len_of(outcome);
        if self.doubts.losses == 0 && len > self.len_min {
            (self.doubts.len, self.doubts.sent_at) = (len, outcome.sent_at);
        }
        if len > self.len_min {
            self.doubt(now);
        }
    }

    fn len_of(&self, outcome: &Outcome) -> u16 {
        let ip_bytes = u16::try_from(outcome.ip_bytes).unwrap_or(u16::MAX);
        ip_bytes.saturating_sub(self.ip_overhead)
    }

    /// Lengths of a set of probes, the one in question first; only the first
    /// [`PathMtu::len_count`] count.
    fn lens(&self) -> [u16; 3] {
        match self.len > self.base {
            true => [self.len, self.base, self.len_min],
            false => [self.len, self.len_min, self.len_min],
        }
    }

    fn len_count(&self) -> usize {
        match () {
            () if self.len > self.base && self.base > self.len_min => 3,
            () if self.len > self.len_min => 2,
            () => 1,
        }
    }

    /// Asks whether datagrams of this length pass: what was sent since then and arrives tells.
    fn ask(&mut self, now: Time, since: Time) {
        if self.len <= self.len_min {
            // There is nothing to fall back to.
            self.is_seen = true;
            self.search(now);
            return;
        }
        let asking = Confirming::new(now, since);
        self.phase = Phase::Confirming(asking);
    }

    fn note_loss(&mut self, now: Time, len: u16, sent_at: Time) {
        let full_later = self.full_at.is_some_and(|at| at >= sent_at);
        let long_later = self.long.is_some_and(|(at, long)| at >= sent_at && long >= len);
        if len <= self.len_min || full_later || long_later {
            return;
        }
        let doubts = &mut self.doubts;
        if doubts.losses == 0 {
            (doubts.len, doubts.sent_at) = (len, sent_at);
        }
        doubts.losses = doubts.losses.saturating_add(1);
        doubts.len = doubts.len.min(len);
        doubts.sent_at = doubts.sent_at.min(sent_at);
        if doubts.losses >= DOUBT_LOSSES {
            self.doubt(now);
        }
    }

    fn doubt(&mut self, now: Time) {
        let asking = matches!(self.phase, Phase::Confirming(_));
        if !asking && now >= self.doubts.none_before {
            self.ask(now, self.doubts.sent_at);
        }
    }

    fn confirmed(&mut self, now: Time) {
        self.is_seen = true;
        self.doubts = Doubts { none_before: now + CALM_NS, ..Doubts::default() };
        match self.is_searched {
            true => self.phase = Phase::Complete,
            false => self.search(now),
        }
    }

    /// What became of a probe of a set; once all is known, what follows.
    fn answer(&mut self, now: Time, outcome: &Outcome, fate: Fate, gap_ns: u64) {
        let (lens, count, len) = (self.lens(), self.len_count(), self.len_of(outcome));
        let lens = lens.get(..count).unwrap_or(&[]);
        let Phase::Confirming(asking) = &mut self.phase else { return };
        if outcome.probe && outcome.sent_at >= asking.set_at {
            let answer = Answer { now, len, fate, gap_ns };
            if let Some(len) = asking.answer(&answer, lens, self.is_seen) {
                self.fall(now, len);
            }
        }
    }

    /// Datagrams of the present length vanish; those of `len` do not.
    fn fall(&mut self, now: Time, len: u16) {
        self.len = len;
        self.change = Some(Change::BlackHole);
        (self.full_at, self.long) = (None, None);
        self.is_searched = false;
        self.confirmed(now);
    }

    fn search(&mut self, now: Time) {
        self.next_target(now, self.ceiling.saturating_add(1), now);
    }

    /// Goes on with the next length worth a try, given the shortest that is too long.
    fn next_target(&mut self, now: Time, too_long: u16, due: Time) {
        match self.candidate(too_long) {
            Some(target) => {
                self.is_searched = false;
                self.phase = Phase::Searching(Searching {
                    target,
                    too_long,
                    attempts: 0,
                    due,
                    waiting: false,
                    follower: false,
                });
            }
            None => {
                self.is_searched = true;
                self.phase = Phase::Complete;
                self.raise_at = match self.len < self.ceiling {
                    true => now + self.raise_ns,
                    false => Time::NEVER,
                };
            }
        }
    }

    /// A length that passes, for all that is known, and is the best to be tried.
    fn candidate(&self, too_long: u16) -> Option<u16> {
        let known = Known { passes: self.len, too_long };
        known.candidate(self.base, self.ceiling, self.ip_overhead)
    }
}

#[cfg(test)]
mod tests;
