//! A host without a stack: it sends exactly the segments its script names, when it names them, and
//! says whether exactly what it expects comes back. For all that a well-behaved stack never does.
//!
//! In: frames, the time, a script. Out: frames, the outcome, a log of all that came. By itself it
//! only asks once for the MAC address of its peer and answers those who ask for its own.

mod resolve;
mod segment;

use std::collections::VecDeque;
use std::net::SocketAddr;

use dataplane::time::Time;

use segment::{Addressing, Raw};

pub use segment::{Damage, Segment, flag};

/// What a scripted host is like.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ScriptedConfig {
    /// Its MAC address.
    pub mac: [u8; 6],
    /// MAC address that its frames go to.
    pub peer_mac: [u8; 6],
    /// Its end of the connection.
    pub local: SocketAddr,
    /// The other end; `None` for whoever sends the first SYN.
    pub remote: Option<SocketAddr>,
    /// Its initial sequence number.
    pub isn: u32,
}

/// One step of a script.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// Sends a segment.
    Send(Segment),
    /// Sends a frame as it is.
    Frame(Vec<u8>),
    /// Does nothing for this long.
    Wait {
        /// In nanoseconds.
        ns: u64,
    },
    /// The next segment must match, and come in time.
    Expect {
        /// What it must be like.
        pattern: Pattern,
        /// In nanoseconds.
        within_ns: u64,
    },
    /// Some segment must match, and come in time; those before it do not matter.
    Await {
        /// What it must be like.
        pattern: Pattern,
        /// In nanoseconds.
        within_ns: u64,
    },
    /// No segment may come for this long.
    Silence {
        /// In nanoseconds.
        ns: u64,
    },
    /// Segments that came and were not looked at do not matter.
    Forget,
}

/// What a segment must be like; `None` does not matter.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Pattern {
    /// All flags but PSH.
    pub flags: Option<u8>,
    /// Sequence number, counted from the peer's SYN.
    pub seq: Option<u32>,
    /// Acknowledgement number, counted from the own SYN.
    pub ack: Option<u32>,
}

impl Pattern {
    /// A segment with these flags (PSH does not matter).
    #[must_use]
    pub fn flags(flags: u8) -> Self {
        Pattern { flags: Some(flags), ..Pattern::default() }
    }

    /// And this acknowledgement number.
    #[must_use]
    pub fn acking(self, ack: u32) -> Self {
        Pattern { ack: Some(ack), ..self }
    }

    fn matches(&self, seen: &Seen) -> bool {
        self.flags.is_none_or(|flags| flags == seen.flags & !flag::PSH)
            && self.seq.is_none_or(|seq| seq == seen.seq)
            && self.ack.is_none_or(|ack| ack == seen.ack)
    }
}

/// A segment that came in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Seen {
    /// When.
    pub at: Time,
    /// Sequence number, counted from the peer's SYN.
    pub seq: u32,
    /// Acknowledgement number, counted from the own SYN; 0 without the flag.
    pub ack: u32,
    /// Bits of [`flag`].
    pub flags: u8,
    /// The window field, unscaled.
    pub window: u16,
    /// Options as on the wire.
    pub options: Vec<u8>,
    /// Data.
    pub payload: Vec<u8>,
}

/// How far a script has come.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It goes on.
    Running,
    /// Every step was as it should be.
    Done,
    /// A step was not.
    Failed {
        /// Which, from 0.
        step: usize,
        /// What came instead; `None` when nothing did.
        instead: Option<Seen>,
    },
}

/// A scripted host.
#[derive(Debug)]
pub struct ScriptedHost {
    config: ScriptedConfig,
    script: Vec<Action>,
    step: usize,
    /// When the present step began; `None` before it was looked at.
    since: Option<Time>,
    outcome: Outcome,
    peer_isn: Option<u32>,
    unread: VecDeque<Seen>,
    log: Vec<Seen>,
    others: Vec<(Time, Vec<u8>)>,
    replies: Vec<Vec<u8>>,
    /// Whether it has asked for its peer, and so shown where it is.
    introduced: bool,
}

impl ScriptedHost {
    /// A host that follows `script`.
    #[must_use]
    pub fn new(config: ScriptedConfig, script: Vec<Action>) -> Self {
        ScriptedHost {
            config,
            script,
            step: 0,
            since: None,
            outcome: Outcome::Running,
            peer_isn: None,
            unread: VecDeque::new(),
            log: Vec::new(),
            others: Vec::new(),
            replies: Vec::new(),
            introduced: false,
        }
    }

    /// How far it has come.
    #[must_use]
    pub fn outcome(&self) -> &Outcome {
        &self.outcome
    }

    /// All segments of its connection that came, also those no step looked at.
    #[must_use]
    pub fn log(&self) -> &[Seen] {
        &self.log
    }

    /// All frames to its MAC address that are not segments of its connection: ICMP, for one.
    #[must_use]
    pub fn others(&self) -> &[(Time, Vec<u8>)] {
        &self.others
    }

    /// A frame has come in.
    pub fn receive(&mut self, now: Time, frame: &[u8]) {
        let own = self.config.local.ip();
        if let Some(reply) = resolve::answer(frame, self.config.mac, own) {
            self.replies.push(reply);
            return;
        }
        match segment::parse(frame).filter(|raw| self.is_ours(raw)) {
            Some(raw) => self.note(now, raw),
            None if frame.starts_with(&self.config.mac) => self.others.push((now, frame.to_vec())),
            None => {}
        }
    }

    /// Takes the steps that are due; frames to send are appended to `out`.
    pub fn poll(&mut self, now: Time, out: &mut Vec<Vec<u8>>) {
        out.append(&mut self.replies);
        if let (Some(remote), false) = (self.config.remote, self.introduced) {
            self.introduced = true;
            let (mac, peer_mac) = (self.config.mac, self.config.peer_mac);
            out.push(resolve::question(mac, peer_mac, self.config.local.ip(), remote.ip()));
        }
        while self.outcome == Outcome::Running {
            let Some(action) = self.script.get(self.step).cloned() else {
                self.outcome = Outcome::Done;
                return;
            };
            let since = *self.since.get_or_insert(now);
            match self.take(now, since, &action, out) {
                Verdict::Done => {
                    self.step += 1;
                    self.since = None;
                }
                Verdict::Waits => return,
                Verdict::Failed(instead) => {
                    self.outcome = Outcome::Failed { step: self.step, instead };
                }
            }
        }
    }

    /// When to call [`ScriptedHost::poll`] next, if no frame comes in until then.
    #[must_use]
    pub fn next_time(&self) -> Time {
        let (Outcome::Running, Some(action)) = (&self.outcome, self.script.get(self.step)) else {
            return Time::NEVER;
        };
        let Some(since) = self.since else { return Time::ZERO };
        match action {
            Action::Wait { ns } | Action::Silence { ns } => since + *ns,
            Action::Expect { within_ns, .. } | Action::Await { within_ns, .. } => {
                since + *within_ns
            }
            _ => Time::ZERO,
        }
    }

    fn is_ours(&self, raw: &Raw) -> bool {
        let known = self.config.remote.is_none_or(|remote| remote == raw.source);
        raw.destination == self.config.local && known
    }

    fn note(&mut self, now: Time, raw: Raw) {
        self.config.remote.get_or_insert(raw.source);
        if raw.flags & flag::SYN != 0 {
            self.peer_isn.get_or_insert(raw.seq);
        }
        let acknowledges = raw.flags & flag::ACK != 0;
        let seen = Seen {
            at: now,
            seq: raw.seq.wrapping_sub(self.peer_isn.unwrap_or(0)),
            ack: if acknowledges { raw.ack.wrapping_sub(self.config.isn) } else { 0 },
            flags: raw.flags,
            window: raw.window,
            options: raw.options,
            payload: raw.payload,
        };
        self.log.push(seen.clone());
        self.unread.push_back(seen);
    }

    fn take(&mut self, now: Time, since: Time, action: &Action, out: &mut Vec<Vec<u8>>) -> Verdict {
        match action {
            Action::Send(segment) => {
                let Some(remote) = self.config.remote else { return Verdict::Failed(None) };
                out.push(segment.frame(&Addressing {
                    mac: self.config.mac,
                    peer_mac: self.config.peer_mac,
                    local: self.config.local,
                    remote,
                    isn: self.config.isn,
                    peer_isn: self.peer_isn.unwrap_or(0),
                }));
                Verdict::Done
            }
            Action::Frame(frame) => {
                out.push(frame.clone());
                Verdict::Done
            }
            Action::Wait { ns } => Verdict::after(now, since + *ns),
            Action::Forget => {
                self.unread.clear();
                Verdict::Done
            }
            Action::Silence { ns } => match self.unread.pop_front() {
                Some(seen) => Verdict::Failed(Some(seen)),
                None => Verdict::after(now, since + *ns),
            },
            Action::Expect { pattern, within_ns } => match self.unread.pop_front() {
                Some(seen) if pattern.matches(&seen) => Verdict::Done,
                Some(seen) => Verdict::Failed(Some(seen)),
                None => Verdict::until(now, since + *within_ns),
            },
            Action::Await { pattern, within_ns } => {
                while let Some(seen) = self.unread.pop_front() {
                    if pattern.matches(&seen) {
                        return Verdict::Done;
                    }
                }
                Verdict::until(now, since + *within_ns)
            }
        }
    }
}

enum Verdict {
    Done,
    Waits,
    Failed(Option<Seen>),
}

impl Verdict {
    fn after(now: Time, end: Time) -> Self {
        if now >= end { Verdict::Done } else { Verdict::Waits }
    }

    fn until(now: Time, end: Time) -> Self {
        if now >= end { Verdict::Failed(None) } else { Verdict::Waits }
    }
}
