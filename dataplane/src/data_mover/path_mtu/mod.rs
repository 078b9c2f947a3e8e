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

use confirming::{Confirming, DOUBT_LOSSES, Fate};
use search::Known;

use crate::time::{MILLISECOND_NS, Time};

/// The base (RFC 8899 section 5.1.2).
const BASE_LEN: u16 = 1_200;
/// Length of an ordinary IP packet: what is longer has to be found first.
const ORDINARY_IP_BYTES: u16 = 1_500;
/// Probes of one length, lost where others arrive, after which it is too long: at 20 % of random
/// loss one length of three thousand is given up wrongly.
const ATTEMPTS: u8 = 5;
/// For how long nothing more is asked about a length that was just confirmed, in nanoseconds: where
/// much is lost, questions would be more than what they are about.
const CALM_NS: u64 = 500 * MILLISECOND_NS;
/// Of the longest time that an answer takes: how many of it a probe of the search is waited for.
/// Usually one sent behind it tells its loss long before.
const SEARCH_ANSWERS: u64 = 8;

/// How far the search is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(u8)]
pub enum PathMtuState {
    /// Asking whether datagrams of the present length pass.
    #[default]
    Confirming,
    /// Looking for a greater length.
    Searching,
    /// The search has ended.
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

/// How quickly probes may follow each other, in nanoseconds.
#[derive(Clone, Copy, Debug)]
pub(super) struct Pace {
    /// What an answer usually takes.
    pub(super) round_ns: u64,
    /// What it takes at most.
    pub(super) answer_ns: u64,
    /// What keeps probes of this length to a small share of what is sent.
    pub(super) share_ns: u64,
}

/// Looking for a greater length.
#[derive(Clone, Copy, Debug)]
struct Searching {
    target: u16,
    /// The shortest that was found not to pass.
    too_long: u16,
    attempts: u8,
    due: Time,
    /// A probe of the target is on its way, and waited for until then; and a short one is still to
    /// follow, which tells its loss where there is no other traffic.
    waiting: Option<Time>,
    follower: bool,
}

#[derive(Clone, Copy, Debug)]
enum Phase {
    Confirming(Confirming),
    Searching(Searching),
    Complete,
}

/// Datagrams that are lost in a row. From [`DOUBT_LOSSES`] on there is a question to be asked,
/// unless one of them, or of those sent later, arrives before it is.
#[derive(Clone, Copy, Debug, Default)]
struct Doubts {
    losses: u8,
    /// The shortest of them, and the earliest.
    len: u16,
    sent_at: Time,
    /// Nothing is asked before.
    calm_until: Time,
}

impl Doubts {
    fn note(&mut self, losses: u8, len: u16, sent_at: Time) {
        let (len_min, earliest) = match self.losses {
            0 => (len, sent_at),
            _ => (self.len.min(len), self.sent_at.min(sent_at)),
        };
        (self.len, self.sent_at) = (len_min, earliest);
        self.losses = self.losses.saturating_add(losses);
    }

    /// When to ask.
    fn due(&self) -> Time {
        if self.losses >= DOUBT_LOSSES { self.calm_until } else { Time::NEVER }
    }
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
    /// When the earliest long datagram was sent that neither has arrived nor was followed by one
    /// that has.
    unanswered_at: Option<Time>,
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
            unanswered_at: None,
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
        (self.full_at, self.long, self.unanswered_at) = (None, None, None);
        self.change = None;
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

    /// Whether datagrams of this length may vanish, for all that is known.
    pub(super) fn is_asking(&self) -> bool {
        matches!(self.phase, Phase::Confirming(_)) || self.doubts.losses >= DOUBT_LOSSES
    }

    /// When there is a probe to be sent, or an end to waiting for what has become of one.
    pub(super) fn due(&self) -> Time {
        let doubts_due = self.doubts.due();
        match &self.phase {
            Phase::Confirming(asking) => asking.due,
            Phase::Searching(search) if search.follower => Time::ZERO,
            Phase::Searching(search) => search.waiting.unwrap_or(search.due).min(doubts_due),
            Phase::Complete => self.raise_at.min(doubts_due),
        }
    }

    /// Does what is due, but for sending probes.
    pub(super) fn on_timeout(&mut self, now: Time) {
        match &self.phase {
            Phase::Confirming(_) => self.end_set(now),
            _ if self.doubts.due() <= now => self.ask(now, self.doubts.sent_at),
            Phase::Complete if self.raise_at <= now => self.search(now),
            Phase::Searching(_) | Phase::Complete => {}
        }
    }

    /// Length of the probe that is to be sent now, if any; 0 for one that only has to arrive.
    pub(super) fn probe(&mut self, now: Time) -> Option<usize> {
        self.on_timeout(now);
        if self.due() > now {
            return None;
        }
        match &self.phase {
            Phase::Confirming(asking) => {
                let next = asking.next(now, self.len_count())?;
                self.lens().get(next).copied().map(usize::from)
            }
            Phase::Searching(search) if search.follower => Some(0),
            Phase::Searching(search) => Some(usize::from(search.target)),
            Phase::Complete => None,
        }
    }

    /// It was sent.
    pub(super) fn probe_sent(&mut self, now: Time, pace: &Pace) {
        let count = self.len_count();
        match &mut self.phase {
            Phase::Confirming(asking) => asking.probe_sent(now, count, pace),
            Phase::Searching(search) if search.follower => search.follower = false,
            Phase::Searching(search) => {
                let gap_ns = pace.round_ns.max(pace.share_ns);
                let waited_ns = pace.answer_ns.saturating_mul(SEARCH_ANSWERS);
                (search.waiting, search.follower) = (Some(now + waited_ns.max(gap_ns)), true);
                search.due = now + gap_ns;
            }
            Phase::Complete => {}
        }
    }

    /// A datagram was sent that is no probe.
    pub(super) fn sent(&mut self, now: Time, ip_bytes: usize) {
        if ip_bytes > usize::from(self.len_min) + usize::from(self.ip_overhead) {
            self.unanswered_at.get_or_insert(now);
        }
    }

    /// Something arrived.
    pub(super) fn passed(&mut self, now: Time, outcome: &Outcome) {
        let (len, sent_at) = (self.len_of(outcome), outcome.sent_at);
        if len <= self.len_min && !outcome.probe {
            return;
        }
        if len >= self.len {
            self.full_at = Some(self.full_at.map_or(sent_at, |at| at.max(sent_at)));
            self.is_seen = true;
        }
        if len > self.len_min {
            if self.long.is_none_or(|(at, _)| sent_at >= at) {
                self.long = Some((sent_at, len));
            }
            self.unanswered_at = self.unanswered_at.filter(|at| *at > sent_at);
        }
        let doubts = &mut self.doubts;
        if doubts.losses > 0 && len >= doubts.len && sent_at >= doubts.sent_at {
            doubts.losses = 0;
        }
        match &self.phase {
            Phase::Confirming(asking) if len >= self.len && sent_at >= asking.since => {
                self.confirmed(now);
            }
            Phase::Confirming(_) => self.answer(now, outcome, Fate::Passed),
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
    pub(super) fn lost(&mut self, now: Time, outcome: &Outcome, overtaken: bool) {
        let len = self.len_of(outcome);
        if !outcome.probe {
            self.note_loss(len, outcome.sent_at);
            self.on_timeout(now);
            return;
        }
        match &mut self.phase {
            Phase::Confirming(_) => self.answer(now, outcome, Fate::Lost),
            Phase::Searching(search) if len == search.target && search.waiting.is_some() => {
                search.waiting = None;
                search.attempts += u8::from(overtaken);
                if search.attempts >= ATTEMPTS {
                    let (too_long, due) = (search.target, search.due);
                    self.next_target(now, too_long, due);
                }
            }
            Phase::Searching(_) | Phase::Complete => {}
        }
    }

    /// Nothing is heard, although answers take no longer than `answer_ns`.
    pub(super) fn silent(&mut self, now: Time, answer_ns: u64) {
        if let Some(sent_at) = self.unanswered_at.filter(|at| now.since_ns(*at) >= answer_ns) {
            self.doubts.note(DOUBT_LOSSES, self.len, sent_at);
            self.on_timeout(now);
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

    fn note_loss(&mut self, len: u16, sent_at: Time) {
        let full_later = self.full_at.is_some_and(|at| at >= sent_at);
        let long_later = self.long.is_some_and(|(at, long)| at >= sent_at && long >= len);
        // What is longer than datagrams are now is from before a black hole.
        let matters = len > self.len_min && len <= self.len;
        if matters && !full_later && !long_later {
            self.doubts.note(1, len, sent_at);
        }
    }

    fn confirmed(&mut self, now: Time) {
        self.is_seen = true;
        self.doubts = Doubts { calm_until: now + CALM_NS, ..Doubts::default() };
        match self.is_searched {
            true => self.phase = Phase::Complete,
            false => self.search(now),
        }
    }

    /// What became of a probe of a set.
    fn answer(&mut self, now: Time, outcome: &Outcome, fate: Fate) {
        let (lens, count, len) = (self.lens(), self.len_count(), self.len_of(outcome));
        if let Phase::Confirming(asking) = &mut self.phase
            && outcome.probe
        {
            asking.answer(outcome.sent_at, len, fate, lens.get(..count).unwrap_or(&[]));
            self.end_set(now);
        }
    }

    /// What follows from a set of probes, once it is over.
    fn end_set(&mut self, now: Time) {
        let (lens, count) = (self.lens(), self.len_count());
        if let Phase::Confirming(asking) = &mut self.phase
            && asking.is_over(now, count)
            && let Some(len) = asking.end(now, lens.get(..count).unwrap_or(&[]), self.is_seen)
        {
            self.fall(now, len);
        }
    }

    /// Datagrams of the present length vanish; those of `len` do not.
    fn fall(&mut self, now: Time, len: u16) {
        self.len = len;
        self.change = Some(Change::BlackHole);
        (self.full_at, self.long, self.unanswered_at) = (None, None, None);
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
                    waiting: None,
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
