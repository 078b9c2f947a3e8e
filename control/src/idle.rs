//! What a worker does while there is nothing to do: spin, sleep a little, at last wait.
//!
//! In: how long there has been nothing, when there will be something, sockets of the drivers, a
//! doorbell that other workers ring. Out: the thread, awake again. Never: a wait while something
//! lies in a ring, one longer than [`WAIT_MS_MAX`].
//!
//! ```text
//!   turns without work -> spin -> short sleeps, each longer -> wait for a frame or the bell
//! ```
//!
//! A device without a socket can only be polled, so its worker stays with the short sleeps.

use std::io;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering, fence};
use std::thread;
use std::time::{Duration, Instant};

use dataplane::time::{MICROSECOND_NS, MILLISECOND_NS, Time};
use dpdk_wrapper::eal;
use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags};
use nix::sys::eventfd::{EfdFlags, EventFd};

use crate::args::Idle;

/// Idle turns before the first sleep: the next frame of a burst is rarely further away.
const SPINS: u32 = 24;
/// The first sleep; each further one is longer by a quarter.
const SLEEP_NS_MIN: u64 = 20 * MICROSECOND_NS;
/// The longest sleep. A port is polled, so this bounds what a frame waits for a sleeping worker.
const SLEEP_NS_MAX: u64 = 250 * MICROSECOND_NS;
/// Below this, waiting for a deadline is spinning: waking up takes as long.
const SPIN_NS: u64 = 8 * MICROSECOND_NS;
/// Time without work before the first wait. Short sleeps gather frames, a wait ends with the
/// first one.
const WAIT_AFTER_NS: u64 = 5 * MILLISECOND_NS;
/// The longest wait: what no socket and no bell tells of is seen this late.
const WAIT_MS_MAX: u64 = 4;
/// Short sleeps after a wait that ended for nothing: a socket with an error is always readable.
const SLEEPS_AFTER_FALSE_ALARM: u32 = 256;
/// Handles that one call reports, at most. More than these are reported by the next one.
const EVENTS: usize = 8;
/// The bell among the handles.
const BELL: u64 = 1;
/// Any socket among them.
const SOCKET: u64 = 0;

const _: () = assert!(SLEEP_NS_MAX < MILLISECOND_NS, "frames would wait for a worker to wake up");
const _: () = assert!(WAIT_MS_MAX <= 10, "orders of the control thread would wait");

/// Wakes a waiting worker from other threads.
#[derive(Debug)]
pub struct Doorbell {
    waits: AtomicBool,
    event: EventFd,
}

impl Doorbell {
    /// A bell of a worker that does not wait.
    ///
    /// # Errors
    /// The process may open no more files.
    pub fn new() -> io::Result<Self> {
        let flags = EfdFlags::EFD_CLOEXEC | EfdFlags::EFD_NONBLOCK;
        let event = EventFd::from_value_and_flags(0, flags)?;
        Ok(Doorbell { waits: AtomicBool::new(false), event })
    }

    /// Whether its worker waits. To be asked after a full fence behind what it is to see.
    #[must_use]
    pub fn is_heard(&self) -> bool {
        self.waits.load(Ordering::Relaxed)
    }

    /// Wakes the worker, if it waits.
    pub fn ring(&self) {
        fence(Ordering::SeqCst);
        if self.is_heard() && self.waits.swap(false, Ordering::SeqCst) {
            // Full is rung already.
            let _ = self.event.write(1);
        }
    }
}

/// What a worker can wait for: its bell and the sockets of its devices.
#[derive(Debug)]
pub struct Wakeup {
    epoll: Epoll,
    bell: Arc<Doorbell>,
    /// Open as long as they are waited for.
    _sockets: Vec<OwnedFd>,
}

impl Wakeup {
    /// Waits for `bell` and for frames in any of `sockets`.
    ///
    /// # Errors
    /// The process may open no more files.
    pub fn new(bell: Arc<Doorbell>, sockets: Vec<OwnedFd>) -> io::Result<Self> {
        let epoll = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC)?;
        epoll.add(&bell.event, EpollEvent::new(EpollFlags::EPOLLIN, BELL))?;
        for socket in &sockets {
            epoll.add(socket, EpollEvent::new(EpollFlags::EPOLLIN, SOCKET))?;
        }
        Ok(Wakeup { epoll, bell, _sockets: sockets })
    }

    /// Waits at most `most_ms` milliseconds, not at all unless `is_quiet` once others see that
    /// this worker waits; whether a socket ended it.
    fn wait(&self, most_ms: u16, is_quiet: impl Fn() -> bool) -> bool {
        self.bell.waits.store(true, Ordering::SeqCst);
        fence(Ordering::SeqCst);
        let mut events = [EpollEvent::empty(); EVENTS];
        let count = match is_quiet() {
            // Cut short by a signal is awake, too.
            true => self.epoll.wait(&mut events, most_ms).unwrap_or(0),
            false => 0,
        };
        self.bell.waits.store(false, Ordering::SeqCst);
        let mut by_socket = false;
        for event in events.iter().take(count) {
            if event.data() == BELL {
                let _ = self.bell.event.read();
            } else {
                by_socket = true;
            }
        }
        by_socket
    }
}

/// How a worker backs off, turn by turn.
#[derive(Debug)]
pub(crate) struct Backoff {
    idle: Idle,
    wakeup: Option<Wakeup>,
    turns: u32,
    sleep_ns: u64,
    slept_ns: u64,
    /// Short sleeps still to come before the next wait.
    sleeps_due: u32,
    /// The last wait was ended by a socket, and nothing has come of it yet.
    alarmed: bool,
}

impl Backoff {
    /// A worker that has just worked; without a `wakeup` it never waits.
    pub(crate) fn new(idle: Idle, wakeup: Option<Wakeup>) -> Self {
        Backoff {
            idle,
            wakeup,
            turns: 0,
            sleep_ns: SLEEP_NS_MIN,
            slept_ns: 0,
            sleeps_due: 0,
            alarmed: false,
        }
    }

    /// There was work.
    pub(crate) fn reset(&mut self) {
        self.turns = 0;
        self.sleep_ns = SLEEP_NS_MIN;
        self.slept_ns = 0;
        self.sleeps_due = 0;
        self.alarmed = false;
    }

    /// Lets time pass, at most until `next`; for how long the thread slept, in nanoseconds.
    /// `is_quiet` says whether nothing waits that no socket and no bell tells of.
    pub(crate) fn wait(&mut self, now: Time, next: Time, is_quiet: impl Fn() -> bool) -> u64 {
        self.turns = self.turns.saturating_add(1);
        let left_ns = next.since_ns(now);
        if self.idle == Idle::Spin || self.turns <= SPINS || left_ns < SPIN_NS {
            eal::pause();
            return 0;
        }
        if std::mem::take(&mut self.alarmed) {
            self.sleeps_due = SLEEPS_AFTER_FALSE_ALARM;
        }
        let left_ms = left_ns / MILLISECOND_NS;
        if let Some(wakeup) = &self.wakeup
            && self.slept_ns >= WAIT_AFTER_NS
            && self.sleeps_due == 0
            && left_ms > 0
            && is_quiet()
        {
            let most_ms = u16::try_from(left_ms.min(WAIT_MS_MAX)).unwrap_or(1);
            let before = Instant::now();
            self.alarmed = wakeup.wait(most_ms, is_quiet);
            return u64::try_from(before.elapsed().as_nanos()).unwrap_or(u64::MAX);
        }
        self.sleeps_due = self.sleeps_due.saturating_sub(1);
        let sleep_ns = self.sleep_ns.min(left_ns - SPIN_NS / 2);
        self.sleep_ns = (self.sleep_ns + self.sleep_ns / 4).min(SLEEP_NS_MAX);
        self.slept_ns = self.slept_ns.saturating_add(sleep_ns);
        thread::sleep(Duration::from_nanos(sleep_ns));
        sleep_ns
    }
}

#[cfg(test)]
mod tests {
    use std::os::fd::AsFd;
    use std::os::unix::net::UnixStream;
    use std::sync::mpsc;

    use super::*;

    /// Idle long enough to wait next.
    fn tired(wakeup: Wakeup) -> Backoff {
        let mut backoff = Backoff::new(Idle::Backoff, Some(wakeup));
        backoff.turns = SPINS;
        backoff.slept_ns = WAIT_AFTER_NS;
        backoff
    }

    fn socket() -> (UnixStream, OwnedFd) {
        let (ours, theirs) = UnixStream::pair().unwrap();
        (ours, theirs.as_fd().try_clone_to_owned().unwrap())
    }

    #[test]
    fn a_bell_that_nobody_waits_for_is_not_heard() {
        let bell = Arc::new(Doorbell::new().unwrap());
        bell.ring();
        assert!(bell.event.read().is_err(), "nothing was written");
        let wakeup = Wakeup::new(Arc::clone(&bell), Vec::new()).unwrap();
        // Rung between the decision to wait and the wait: it ends at once, and the bell is empty.
        assert!(!wakeup.wait(u16::MAX, || {
            assert!(bell.is_heard());
            bell.ring();
            true
        }));
        assert!(!bell.is_heard());
        assert!(bell.event.read().is_err(), "read by the wait");
    }

    #[test]
    fn another_thread_ends_a_wait() {
        let bell = Arc::new(Doorbell::new().unwrap());
        let wakeup = Wakeup::new(Arc::clone(&bell), Vec::new()).unwrap();
        let (about_to, told) = mpsc::channel();
        let thread = thread::spawn(move || {
            wakeup.wait(u16::MAX, || {
                about_to.send(()).unwrap();
                true
            })
        });
        told.recv().unwrap();
        bell.ring();
        assert!(!thread.join().unwrap());
    }

    #[test]
    fn what_lies_in_a_ring_forbids_the_wait() {
        let bell = Arc::new(Doorbell::new().unwrap());
        let wakeup = Wakeup::new(Arc::clone(&bell), Vec::new()).unwrap();
        assert!(!wakeup.wait(u16::MAX, || false));
        assert!(!bell.is_heard());
    }

    #[test]
    fn a_frame_ends_a_wait_and_a_socket_that_is_always_readable_costs_sleeps_only() {
        use std::io::Write;
        let (mut ours, theirs) = socket();
        let bell = Arc::new(Doorbell::new().unwrap());
        let mut backoff = tired(Wakeup::new(bell, vec![theirs]).unwrap());
        ours.write_all(b"frame").unwrap();
        backoff.wait(Time::ZERO, Time::NEVER, || true);
        assert!(backoff.alarmed);
        // Nothing came of it: short sleeps, for a while.
        for due in (0..SLEEPS_AFTER_FALSE_ALARM).rev() {
            assert!(backoff.wait(Time::ZERO, Time::NEVER, || true) <= SLEEP_NS_MAX);
            assert_eq!(backoff.sleeps_due, due);
            assert!(!backoff.alarmed);
        }
        backoff.wait(Time::ZERO, Time::NEVER, || true);
        assert!(backoff.alarmed);
        // Work came of it: the next wait is as good as any.
        backoff.reset();
        assert_eq!((backoff.sleeps_due, backoff.alarmed), (0, false));
    }

    #[test]
    fn a_deadline_within_a_millisecond_is_not_waited_over() {
        let bell = Arc::new(Doorbell::new().unwrap());
        let mut backoff = tired(Wakeup::new(bell, Vec::new()).unwrap());
        let near = Time::ZERO + MILLISECOND_NS / 2;
        assert!(backoff.wait(Time::ZERO, near, || unreachable!()) < MILLISECOND_NS / 2);
    }
}
