//! One direction: frames into one port, and what of them comes out of the other.
//!
//! In: empty frames, a transmit queue, frames that came back. Out: counts. Never: more frames in
//! flight than its window, a frame that came back unseen (one of a burst is compared whole).

use dpdk_wrapper::{Burst, Mempool, TxQueue};

use super::content::{Content, HEAD_LEN, Seen, Way};

/// Frames made, sent and received at a time.
pub const BURST: usize = 32;

/// What became of the frames of one direction.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Frames that the port took.
    pub sent: u64,
    /// Frames that came back.
    pub received: u64,
    /// Frames that were compared with what they should be.
    pub compared: u64,
    /// Of these, not as they were sent.
    pub changed: u64,
    /// Of these, behind one with a higher number.
    pub overtaken: u64,
}

/// One direction.
#[derive(Debug)]
pub struct Lane {
    way: Way,
    content: Content,
    tx: TxQueue,
    /// Frames made, not taken by the port yet.
    sending: Burst<BURST>,
    next: u64,
    window: u64,
    latest: Option<u64>,
    counts: Counts,
}

impl Lane {
    /// A direction that has sent nothing; at most `window` frames are in flight.
    #[must_use]
    pub fn new(way: Way, content: Content, tx: TxQueue, window: u64) -> Self {
        Lane {
            way,
            content,
            tx,
            sending: Burst::new(),
            // Only what goes forth begins flows.
            next: if way == Way::Forth { 0 } else { content.flows() },
            window,
            latest: None,
            counts: Counts::default(),
        }
    }

    /// What became of its frames.
    #[must_use]
    pub fn counts(&self) -> Counts {
        self.counts
    }

    /// Frames on their way.
    #[must_use]
    pub fn in_flight(&self) -> u64 {
        self.counts.sent.saturating_sub(self.counts.received)
    }

    /// Frames that have not come back count as lost: others take their places.
    pub fn forget_lost(&mut self) {
        self.counts.sent = self.counts.received;
    }

    /// Sends a burst, if its window has room; how many frames the port took.
    pub fn send(&mut self, pool: &Mempool) -> usize {
        if self.sending.is_empty() {
            if self.in_flight() + BURST as u64 > self.window {
                return 0;
            }
            self.make(pool, BURST);
        }
        let taken = self.tx.tx_burst(&mut self.sending);
        self.counts.sent += taken as u64;
        taken
    }

    /// The number of the frame that is made next.
    pub(super) fn next_number(&self) -> u64 {
        self.next
    }

    /// Makes and sends so many, whatever is in flight; how many the port took. The others are
    /// gone, as if they had been sent.
    pub(super) fn send_exactly(&mut self, count: usize, pool: &Mempool) -> usize {
        // What the port did not take while there was a window.
        self.sending.clear();
        let next = self.next + count as u64;
        self.make(pool, count);
        let taken = self.tx.tx_burst(&mut self.sending);
        self.sending.clear();
        self.next = next;
        self.counts.sent += taken as u64;
        taken
    }

    /// The number in one of its frames.
    pub(super) fn number_of(&self, frame: &[u8]) -> Option<u64> {
        self.content.number(self.way, frame)
    }

    fn make(&mut self, pool: &Mempool, count: usize) {
        if !pool.alloc_bulk(&mut self.sending, count) {
            return;
        }
        for mbuf in self.sending.iter_mut() {
            let head = self.content.head(self.way, self.next);
            // The pool's frames are made for the longest, and hold what follows the headers.
            if let Ok(bytes) = mbuf.append(self.content.len(self.next))
                && let Some(front) = bytes.first_chunk_mut()
            {
                *front = head;
            }
            self.next += 1;
        }
    }

    /// Frames that came out of the other port; how many there were.
    pub fn take(&mut self, burst: &mut Burst<BURST>) -> usize {
        let count = burst.len();
        let Some(last) = burst.last() else { return 0 };
        if !self.compare(last.data()) {
            return self.take_ours(burst);
        }
        // The device's own are not to be counted, wherever in the burst they are: questions for
        // neighbours are shorter than any of ours.
        if burst.iter().any(|mbuf| mbuf.data_len() < HEAD_LEN) {
            return self.take_ours(burst);
        }
        self.counts.received += count as u64;
        burst.clear();
        count
    }

    /// The same, where it is known how many of them are not the device's own.
    pub(super) fn take_known(&mut self, burst: &mut Burst<BURST>, ours: usize) -> usize {
        if let Some(last) = burst.last() {
            self.compare(last.data());
        }
        self.counts.received += ours as u64;
        burst.clear();
        ours
    }

    /// Compares a frame whole; whether it is one of ours.
    fn compare(&mut self, frame: &[u8]) -> bool {
        self.counts.compared += 1;
        match self.content.check(self.way, frame) {
            Seen::Sound(number) => {
                let overtaken = self.latest.is_some_and(|latest| number <= latest);
                self.counts.overtaken += u64::from(overtaken);
                self.latest = self.latest.max(Some(number));
            }
            Seen::Changed => self.counts.changed += 1,
            Seen::Foreign => return false,
        }
        true
    }

    /// The same, where some may be the device's own.
    fn take_ours(&mut self, burst: &mut Burst<BURST>) -> usize {
        let ours =
            |mbuf: &&dpdk_wrapper::Mbuf| self.content.check(self.way, mbuf.data()) != Seen::Foreign;
        let count = burst.iter().filter(ours).count();
        self.counts.received += count as u64;
        burst.clear();
        count
    }
}
