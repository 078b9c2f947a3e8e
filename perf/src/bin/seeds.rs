//! Random faults over many seeds, in the simulator's virtual time: every promise to hosts is kept.
//!
//! Prints each seed that breaks one, with the command that replays it, and then exits 1.

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::process::ExitCode;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use clap::Parser;
use dataplane_sim::faults::{self, Draw, WHAT};
use dataplane_sim::run::{Broken, Promise};

/// Runs a pair of appliances under random faults, once for every seed, in virtual time.
#[derive(Debug, Parser)]
#[command(name = "seeds", version)]
struct Options {
    /// How many seeds
    #[arg(default_value_t = 10_000, value_parser = clap::value_parser!(u64).range(1..))]
    count: u64,
    /// The first
    #[arg(long, value_name = "SEED", default_value_t = 1)]
    from: u64,
    /// Threads
    #[arg(long, default_value_t = 2, value_parser = clap::value_parser!(u16).range(1..=1_024))]
    jobs: u16,
}

/// What all threads share.
struct Progress {
    options: Options,
    begun: Instant,
    next: AtomicU64,
    tally: Mutex<Tally>,
}

/// What came of the seeds so far.
struct Tally {
    done: u64,
    failed: Vec<u64>,
    slowest: (Duration, u64),
    /// Seeds that drew each of [`WHAT`].
    drawn: Vec<u64>,
    told: Instant,
}

impl Progress {
    fn new(options: Options) -> Self {
        let begun = Instant::now();
        let tally = Tally {
            done: 0,
            failed: Vec::new(),
            slowest: (Duration::ZERO, 0),
            drawn: vec![0; WHAT.len()],
            told: begun,
        };
        Progress { next: AtomicU64::new(0), tally: Mutex::new(tally), options, begun }
    }

    /// Runs seeds until there are none left.
    fn work(&self) {
        loop {
            let number = self.next.fetch_add(1, Ordering::Relaxed);
            if number >= self.options.count {
                return;
            }
            let seed = self.options.from.wrapping_add(number);
            let begun = Instant::now();
            let draw = Draw::of_seed(seed);
            let outcome = caught(|| faults::run(&draw));
            self.note(seed, &draw, outcome, begun.elapsed());
        }
    }

    fn note(&self, seed: u64, draw: &Draw, outcome: Result<(), Broken>, took: Duration) {
        let Ok(mut tally) = self.tally.lock() else { return };
        tally.done += 1;
        tally.slowest = tally.slowest.max((took, seed));
        for (count, (_, has)) in tally.drawn.iter_mut().zip(WHAT) {
            *count += u64::from(has(draw));
        }
        if let Err(broken) = outcome {
            tally.failed.push(seed);
            println!("seed {seed}: {}", self.told(&broken));
            println!("replay: perf/run seeds 1 --from {seed}");
        }
        if tally.told.elapsed() >= Duration::from_secs(10) {
            tally.told = Instant::now();
            let (done, failed) = (tally.done, tally.failed.len());
            let each = done as f64 / self.begun.elapsed().as_secs_f64();
            println!("{done} of {} seeds, {failed} failed, {each:.1} a second", self.options.count);
        }
    }

    /// A replay tells all; among many seeds the promise and the first lines of what was seen do.
    fn told(&self, broken: &Broken) -> String {
        if self.options.count == 1 {
            return broken.to_string();
        }
        let lines = broken.seen.lines().filter(|line| !line.is_empty()).take(4);
        let short = |line: &str| line.chars().take(200).collect::<String>();
        lines.fold(format!("broken: {}", broken.promise.text()), |text, line| {
            text + "\n    " + &short(line)
        })
    }

    fn summary(self) -> ExitCode {
        let seconds = self.begun.elapsed().as_secs_f64();
        let Ok(tally) = self.tally.into_inner() else { return ExitCode::FAILURE };
        let Options { count, from, .. } = self.options;
        println!("drawn by so many of {count} seeds:");
        for ((what, _), drawn) in WHAT.iter().zip(&tally.drawn) {
            println!("  {drawn:6}  {what}");
        }
        let (slowest, seed) = tally.slowest;
        println!(
            "{count} seeds from {from} in {seconds:.0} s ({:.2} s each; slowest: {seed} with {:.1} s): {} failed {:?}",
            seconds / count.max(1) as f64,
            slowest.as_secs_f64(),
            tally.failed.len(),
            tally.failed,
        );
        if tally.failed.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
    }
}

/// A worker that panics is a promise that is broken.
fn caught(run: impl FnOnce() -> Result<(), Broken>) -> Result<(), Broken> {
    catch_unwind(AssertUnwindSafe(run)).unwrap_or_else(|payload| {
        Err(Broken { promise: Promise::NoPanic, seen: message(payload.as_ref()) })
    })
}

fn message(payload: &(dyn Any + Send)) -> String {
    let text = payload.downcast_ref::<String>().map(String::as_str);
    text.or_else(|| payload.downcast_ref::<&str>().copied()).unwrap_or("a panic").to_owned()
}

fn main() -> ExitCode {
    let progress = Progress::new(Options::parse());
    thread::scope(|scope| {
        for _ in 0..progress.options.jobs {
            scope.spawn(|| progress.work());
        }
    });
    progress.summary()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_is_a_broken_promise() {
        let broken = caught(|| panic!("workers spin at {}", 7)).unwrap_err();
        assert_eq!((broken.promise, &*broken.seen), (Promise::NoPanic, "workers spin at 7"));
        assert!(caught(|| Ok(())).is_ok());
    }
}
