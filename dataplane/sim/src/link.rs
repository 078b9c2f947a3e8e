//! The model of one direction of a link: a queue, a serialiser, and a wire with faults.
//!
//! In: packets (any type) with their IP length, the time, a configuration that may change at run
//! time. Out: packets that are due, each with what happened to it, and when to ask again.
//! Never: a clock, randomness that is not seeded, memory without a limit.
//!
//! A packet meets, in this order: the cut or the black hole, the MTU, the queue (tail drop),
//! serialisation, loss, corruption, duplication, delay with jitter or reordering. The simulator
//! and the WAN emulator drive the same model, one in virtual time and one in real time.

mod config;
mod counters;
mod loss;
mod random;
mod serializer;
#[cfg(test)]
mod tests;

use std::cmp::{Ordering, Reverse};
use std::collections::{BinaryHeap, VecDeque};

use dataplane::counters::Counters;
use dataplane::time::Time;

pub use config::{LinkConfig, Loss, Windows};
pub use counters::{LinkCounter, Tally, add_up};
pub use random::Random;

use counters::Fate;
use loss::LossProcess;
use serializer::{Serializer, rescaled_ns};

/// A packet that has arrived.
#[derive(Debug, PartialEq, Eq)]
pub struct Delivery<T> {
    /// When it was due; not later than the time it was asked for.
    pub at: Time,
    /// Its IP length, as given when it was put on the link.
    pub ip_len: u64,
    /// What was put on the link.
    pub item: T,
    /// How often it arrives: 1, or 2 if the link duplicated it. The second copy is the caller's
    /// to make; it is counted as delivered.
    pub copies: u32,
    /// If the packet is to arrive damaged, a random number that says where.
    pub corrupt: Option<u64>,
}

/// One direction of a link, carrying packets of type `T`.
#[derive(Debug)]
pub struct Link<T> {
    config: LinkConfig,
    items_max: usize,
    counters: Counters<LinkCounter>,
    /// The latest time seen: time does not run backwards here.
    now: Time,
    serializer: Serializer,
    /// Head: on its way out until `head_done`; the rest waits for it, in order.
    queue: VecDeque<Queued<T>>,
    head_done: Time,
    /// IP bytes that wait behind the head.
    waiting_bytes: u64,
    /// IP bytes anywhere on the link, second copies included.
    held: Tally,
    flight: Flight<T>,
    faults: Faults,
}

#[derive(Debug)]
struct Queued<T> {
    ip_len: u64,
    item: T,
}

/// The sources of randomness, one stream per fault: turning one on leaves the others as they were.
#[derive(Debug)]
struct Faults {
    loss: LossProcess,
    corrupt: Random,
    duplicate: Random,
    jitter: Random,
    reorder: Random,
}

impl<T> Link<T> {
    /// An empty link that holds at most `items_max` packets; `seed` fixes all that is random.
    #[must_use]
    pub fn new(config: LinkConfig, items_max: usize, seed: u64) -> Self {
        Link {
            config,
            items_max,
            counters: Counters::default(),
            now: Time::ZERO,
            serializer: Serializer::default(),
            queue: VecDeque::new(),
            head_done: Time::ZERO,
            waiting_bytes: 0,
            held: Tally::default(),
            flight: Flight::default(),
            faults: Faults {
                loss: LossProcess::new(Random::for_purpose(seed, 1), Random::for_purpose(seed, 6)),
                corrupt: Random::for_purpose(seed, 2),
                duplicate: Random::for_purpose(seed, 3),
                jitter: Random::for_purpose(seed, 4),
                reorder: Random::for_purpose(seed, 5),
            },
        }
    }

    /// Puts a packet of `ip_len` IP bytes on the link.
    ///
    /// What is not IP (ARP) has `ip_len` 0: it takes its turn and the delay, but no capacity, and
    /// no fault but a cut or a black hole strikes it.
    pub fn push(&mut self, now: Time, ip_len: u64, item: T) {
        self.advance(now);
        let tally = Tally { packets: 1, bytes: ip_len };
        Fate::In.count(&self.counters, tally);
        if let Some(fate) = self.refusal(ip_len) {
            fate.count(&self.counters, tally);
            return;
        }
        self.held = self.held.plus(tally);
        if self.queue.is_empty() {
            self.queue.push_back(Queued { ip_len, item });
            self.begin_head(self.now);
            self.advance(self.now);
        } else {
            self.queue.push_back(Queued { ip_len, item });
            self.waiting_bytes += ip_len;
            let peak = self.counters.get(LinkCounter::QueueBytesPeak).max(self.waiting_bytes);
            self.counters.set(LinkCounter::QueueBytesPeak, peak);
        }
    }

    /// The next packet that is due at `now`, earliest first.
    pub fn pop(&mut self, now: Time) -> Option<Delivery<T>> {
        self.advance(now);
        let flying = self.flight.pop(self.now)?;
        let tally = flying.tally();
        Fate::Out.count(&self.counters, tally);
        self.held = self.held.minus(tally);
        if flying.corrupt.is_some() {
            self.counters.add(LinkCounter::PacketsCorrupted, u64::from(flying.copies));
        }
        let Flying { at, ip_len, item, copies, corrupt, .. } = flying;
        Some(Delivery { at, ip_len, item, copies, corrupt })
    }

    /// When to call [`Self::pop`] next: nothing can be due earlier. A packet may turn out to be
    /// lost then; in that case this moves on. [`Time::NEVER`] for an empty link.
    #[must_use]
    pub fn next_time(&self) -> Time {
        let from_queue = match self.queue.front() {
            Some(_) => self.head_done + self.config.delay_ns,
            None => Time::NEVER,
        };
        from_queue.min(self.flight.next_time())
    }

    /// Changes the configuration from `now` on. Packets in flight arrive as they would have; those
    /// in the queue leave it at the new rate, and a queue that has become too long shrinks by
    /// itself. Cutting the link loses all of them.
    pub fn set_config(&mut self, now: Time, config: LinkConfig) {
        self.advance(now);
        if config.rate_bps != self.config.rate_bps {
            let left_ns = self.head_done.since_ns(self.now);
            self.head_done = self.now + rescaled_ns(left_ns, self.config.rate_bps, config.rate_bps);
            self.serializer.reset();
        }
        self.config = config;
        if !self.config.up {
            Fate::Down.count(&self.counters, self.held);
            self.held = Tally::default();
            self.waiting_bytes = 0;
            self.queue.clear();
            self.flight.clear();
        }
        self.advance(self.now);
    }

    /// The configuration in force.
    #[must_use]
    pub fn config(&self) -> &LinkConfig {
        &self.config
    }

    /// What the link did so far; the handle stays valid and can be read by another thread.
    #[must_use]
    pub fn counters(&self) -> &Counters<LinkCounter> {
        &self.counters
    }

    /// What is on the link now, second copies included.
    #[must_use]
    pub fn held(&self) -> Tally {
        self.held
    }

    /// IP bytes that wait for serialisation behind the packet on its way out.
    #[must_use]
    pub fn waiting_bytes(&self) -> u64 {
        self.waiting_bytes
    }

    /// Why a packet cannot be taken, if so.
    fn refusal(&self, ip_len: u64) -> Option<Fate> {
        let config = &self.config;
        let waits = !self.queue.is_empty() && ip_len > 0;
        if !config.up {
            Some(Fate::Down)
        } else if config.black_hole
            || config.black_hole_windows.is_some_and(|w| w.contain(self.now))
        {
            Some(Fate::BlackHole)
        } else if config.mtu_bytes != 0 && ip_len > config.mtu_bytes {
            Some(Fate::Oversize)
        } else if waits && self.waiting_bytes.saturating_add(ip_len) > config.queue_bytes_max {
            Some(Fate::Queue)
        } else if self.queue.len() + self.flight.len() >= self.items_max {
            Some(Fate::Memory)
        } else {
            None
        }
    }

    /// Starts serialising the head of the queue at `start`.
    fn begin_head(&mut self, start: Time) {
        if let Some(head) = self.queue.front() {
            self.head_done = start + self.serializer.duration_ns(head.ip_len, self.config.rate_bps);
        }
    }

    /// Moves onto the wire what has left the queue by `now`.
    fn advance(&mut self, now: Time) {
        self.now = self.now.max(now);
        while self.head_done <= self.now {
            let Some(sent) = self.queue.pop_front() else { return };
            let sent_at = self.head_done;
            if let Some(next) = self.queue.front() {
                self.waiting_bytes -= next.ip_len;
                self.begin_head(sent_at);
            }
            self.launch(sent_at, sent);
        }
    }

    /// Puts on the wire what finished serialisation at `sent_at`, or loses it.
    fn launch(&mut self, sent_at: Time, sent: Queued<T>) {
        let Queued { ip_len, item } = sent;
        let due = sent_at + self.config.delay_ns;
        if ip_len == 0 {
            self.flight.push_in_order(Flying::untouched(due, ip_len, item));
            return;
        }
        // Every stream is asked for every packet, so that what strikes one packet does not depend
        // on what struck another.
        let config = &self.config;
        let lost = self.faults.loss.next(config.loss);
        let duplicated = self.faults.duplicate.chance(config.duplicate_probability);
        let corrupted = self.faults.corrupt.chance(config.corrupt_probability);
        let place = self.faults.corrupt.next_u64();
        let jitter_ns = self.faults.jitter.up_to(config.jitter_ns);
        let held_back = self.faults.reorder.chance(config.reorder_probability);
        let tally = Tally { packets: 1, bytes: ip_len };
        if lost {
            Fate::Loss.count(&self.counters, tally);
            self.held = self.held.minus(tally);
            return;
        }
        let mut flying = Flying::untouched(due + jitter_ns, ip_len, item);
        flying.corrupt = corrupted.then_some(place);
        if duplicated {
            flying.copies = 2;
            Fate::Duplicated.count(&self.counters, tally);
            self.held = self.held.plus(tally);
        }
        if held_back {
            flying.at = flying.at + config.reorder_delay_ns;
            self.counters.increment(LinkCounter::PacketsHeldBack);
            self.flight.push_any_order(flying);
        } else if config.jitter_reorders && config.jitter_ns > 0 {
            self.flight.push_any_order(flying);
        } else {
            self.flight.push_in_order(flying);
        }
    }
}

/// A packet on the wire.
#[derive(Debug)]
struct Flying<T> {
    at: Time,
    /// Place in the order in which packets left the queue: decides between equal times.
    number: u64,
    ip_len: u64,
    item: T,
    copies: u32,
    corrupt: Option<u64>,
}

impl<T> Flying<T> {
    fn untouched(at: Time, ip_len: u64, item: T) -> Self {
        Flying { at, number: 0, ip_len, item, copies: 1, corrupt: None }
    }

    fn tally(&self) -> Tally {
        let copies = u64::from(self.copies);
        Tally { packets: copies, bytes: copies * self.ip_len }
    }
}

impl<T> PartialEq for Flying<T> {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl<T> Eq for Flying<T> {}

impl<T> PartialOrd for Flying<T> {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl<T> Ord for Flying<T> {
    fn cmp(&self, other: &Self) -> Ordering {
        (self.at, self.number).cmp(&(other.at, other.number))
    }
}

/// The packets on the wire.
///
/// Almost all of them arrive in the order in which they were sent, and for those a queue does; only
/// what is overtaken or overtakes needs a heap.
#[derive(Debug)]
struct Flight<T> {
    in_order: VecDeque<Flying<T>>,
    any_order: BinaryHeap<Reverse<Flying<T>>>,
    launched: u64,
    /// When the latest packet that keeps the order is due.
    latest_in_order: Time,
}

impl<T> Default for Flight<T> {
    fn default() -> Self {
        Flight {
            in_order: VecDeque::new(),
            any_order: BinaryHeap::new(),
            launched: 0,
            latest_in_order: Time::ZERO,
        }
    }
}

impl<T> Flight<T> {
    fn len(&self) -> usize {
        self.in_order.len() + self.any_order.len()
    }

    /// Adds a packet that does not overtake the in-order packets before it: it is late if they are.
    fn push_in_order(&mut self, mut flying: Flying<T>) {
        flying.at = flying.at.max(self.latest_in_order);
        self.latest_in_order = flying.at;
        flying.number = self.next_number();
        self.in_order.push_back(flying);
    }

    /// Adds a packet that arrives when it arrives.
    fn push_any_order(&mut self, mut flying: Flying<T>) {
        flying.number = self.next_number();
        self.any_order.push(Reverse(flying));
    }

    fn next_number(&mut self) -> u64 {
        self.launched += 1;
        self.launched
    }

    fn next_time(&self) -> Time {
        let in_order = self.in_order.front().map_or(Time::NEVER, |flying| flying.at);
        let any_order = self.any_order.peek().map_or(Time::NEVER, |Reverse(flying)| flying.at);
        in_order.min(any_order)
    }

    /// The earliest packet due at `now`; of two at the same time, the one sent first.
    fn pop(&mut self, now: Time) -> Option<Flying<T>> {
        let from_heap = match (self.in_order.front(), self.any_order.peek()) {
            (Some(ordered), Some(Reverse(other))) => other < ordered,
            (ordered, _) => ordered.is_none(),
        };
        if self.next_time() > now {
            None
        } else if from_heap {
            self.any_order.pop().map(|Reverse(flying)| flying)
        } else {
            self.in_order.pop_front()
        }
    }

    fn clear(&mut self) {
        self.in_order.clear();
        self.any_order.clear();
        self.latest_in_order = Time::ZERO;
    }
}
