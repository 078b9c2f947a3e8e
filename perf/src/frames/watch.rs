//! Whether the device under test had its core when it took no frames.
//!
//! In: the file in which the kernel says how long a thread has waited for its core
//! (`/proc/PID/task/TID/schedstat`), frames that found no room, and when. Out: how many of them came
//! while the thread waited, and its longest wait. Never: a look at the file more often than
//! [`LOOK_NS`]: each takes a microsecond of the generator.
//!
//! The kernel adds a wait when it is over, so each reaches from its length before the look that did
//! not see it yet to the one that does.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;

/// Between two looks, and the shortest wait for which a frame may have found no room.
const LOOK_NS: u64 = 250_000;
const NS_PER_S: u128 = 1_000_000_000;

/// Looks after one thread; without one, nothing waits.
#[derive(Debug)]
pub(super) struct Watch {
    file: Option<File>,
    hz: u64,
    /// What the kernel has said last.
    waited_ns: u64,
    looked: u64,
    /// Frames that found no room, and when, as far as it is not known yet why.
    refused: Vec<(u64, u64)>,
    /// Of those that found no room, the ones that came while the thread waited.
    pub(super) waiting: u64,
    /// The longest wait, in nanoseconds.
    pub(super) wait_ns_max: u64,
}

impl Watch {
    /// From now on, in a clock of `hz` ticks a second.
    ///
    /// # Errors
    /// There is no such thread.
    pub(super) fn new(thread: Option<&Path>, hz: u64, now: u64) -> io::Result<Self> {
        let mut watch = Watch {
            file: thread.map(File::open).transpose()?,
            hz,
            waited_ns: 0,
            looked: now,
            refused: Vec::new(),
            waiting: 0,
            wait_ns_max: 0,
        };
        watch.waited_ns = watch.read().unwrap_or(0);
        Ok(watch)
    }

    /// So many frames have found no room.
    pub(super) fn refused(&mut self, now: u64, count: u64) {
        if count > 0 && self.file.is_some() {
            self.refused.push((now, count));
        }
    }

    /// Looks, if it is time.
    pub(super) fn look(&mut self, now: u64) {
        if self.file.is_some() && now.saturating_sub(self.looked) >= self.ticks(LOOK_NS) {
            self.look_now(now);
        }
    }

    /// Looks.
    pub(super) fn look_now(&mut self, now: u64) {
        // A thread that has ended waits no more.
        let waited_ns = self.read().unwrap_or(self.waited_ns);
        let wait_ns = waited_ns.saturating_sub(self.waited_ns);
        self.wait_ns_max = self.wait_ns_max.max(wait_ns);
        // A shorter one fills no ring.
        if wait_ns >= LOOK_NS {
            let since = self.looked.saturating_sub(self.ticks(wait_ns));
            let meanwhile = self.refused.drain(..).filter(|(at, _)| *at >= since);
            self.waiting += meanwhile.map(|(_, count)| count).sum::<u64>();
        }
        (self.waited_ns, self.looked) = (waited_ns, now);
    }

    fn ticks(&self, ns: u64) -> u64 {
        let ticks = u128::from(ns) * u128::from(self.hz) / NS_PER_S;
        u64::try_from(ticks).unwrap_or(u64::MAX)
    }

    /// Nanoseconds that it has run, that it has waited, and how often it ran.
    fn read(&self) -> Option<u64> {
        let mut bytes = [0; 96];
        let count = self.file.as_ref()?.read_at(&mut bytes, 0).ok()?;
        let text = std::str::from_utf8(bytes.get(..count)?).ok()?;
        text.split_ascii_whitespace().nth(1)?.parse().ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: u64 = 1_000_000;

    /// A clock of nanoseconds, and a file that says what the test wants.
    fn watch(name: &str) -> (Watch, impl Fn(u64)) {
        let path = std::env::temp_dir().join(format!("tpo-watch-{name}-{}", std::process::id()));
        let file = File::create(&path).unwrap();
        let waited = move |ns: u64| {
            let text = format!("12345678 {ns:020} 7\n");
            file.write_all_at(text.as_bytes(), 0).unwrap();
        };
        waited(5);
        let watch = Watch::new(Some(&path), 1_000_000_000, 0).unwrap();
        std::fs::remove_file(&path).unwrap();
        (watch, waited)
    }

    #[test]
    fn what_is_refused_during_a_wait_is_told_from_what_is_refused_before_it() {
        let (mut watch, waited) = watch("wait");
        watch.refused(2 * MS, 3);
        watch.look(2 * MS);
        // It goes away after that look and is back at 9: two looks see nothing of it.
        watch.refused(7 * MS, 40);
        watch.look(7 * MS);
        watch.refused(8 * MS, 50);
        watch.look(8 * MS);
        waited(5 + 5 * MS);
        watch.refused(8 * MS + LOOK_NS / 2, 1);
        watch.look(8 * MS + LOOK_NS / 2);
        assert_eq!((watch.waiting, watch.wait_ns_max), (0, 0), "it is not time to look");
        watch.look(9 * MS);
        assert_eq!((watch.waiting, watch.wait_ns_max), (91, 5 * MS));
        // Neither a thread that does not wait nor a short wait long after explains anything.
        watch.refused(20 * MS, 9);
        watch.look(20 * MS);
        waited(5 + 5 * MS + 1_000);
        watch.look(30 * MS);
        assert_eq!((watch.waiting, watch.wait_ns_max), (91, 5 * MS));
    }

    #[test]
    fn without_a_thread_nothing_waits_and_one_that_is_not_there_is_told() {
        let mut watch = Watch::new(None, 1_000_000_000, 0).unwrap();
        watch.refused(MS, 3);
        watch.look(10 * MS);
        assert_eq!((watch.waiting, watch.wait_ns_max), (0, 0));
        assert!(Watch::new(Some(Path::new("/proc/0/schedstat")), 1, 0).is_err());
    }
}
