//! The work of each stage on input that is always the same, for a count of its instructions.
//!
//! In: nothing. Out: what was done, stage by stage, in the order of [`settle`]. Never: a clock, a
//! random number, an instruction beyond the stages between two counts.
//!
//! Whoever counts (callgrind, started by `perf/run instructions`) counts within [`counted`], and
//! begins anew after each [`settle`].

mod edge;
mod mover;
mod passing;
mod path;
mod single;

use std::hint::black_box;

use serde::Serialize;

/// What a stage did while it was counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Work {
    /// The stage.
    pub stage: &'static str,
    /// What one item is.
    pub item: &'static str,
    /// How many there were.
    pub items: u64,
    /// Bytes of payload in them; 0 where they do not matter.
    pub bytes: u64,
}

/// Why there is nothing to count.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{stage}: {reason}")]
pub struct WorkError {
    /// The stage.
    pub stage: &'static str,
    /// What went wrong.
    pub reason: String,
}

impl WorkError {
    fn new(stage: &'static str, reason: impl ToString) -> Self {
        WorkError { stage, reason: reason.to_string() }
    }
}

/// Does the work of all stages; `done` is told each when its count is settled.
///
/// # Errors
/// [`WorkError`]: a stage did not do what it is there for.
pub fn run(done: &mut dyn FnMut(Work)) -> Result<(), WorkError> {
    let stages = [
        single::parse,
        single::classify,
        passing::run,
        edge::receive,
        edge::send,
        single::aggregate,
        single::disaggregate,
        single::compress,
        single::decompress,
        single::seal,
        single::open,
        single::ring,
        mover::send,
        mover::receive,
        path::source,
        path::destination,
    ];
    for stage in stages {
        let work = stage()?;
        if work.items == 0 {
            return Err(WorkError::new(work.stage, "nothing was done"));
        }
        settle();
        done(work);
    }
    Ok(())
}

/// Instructions within it count.
#[inline(never)]
fn counted(work: &mut dyn FnMut()) {
    work();
    // The call above is not the last thing, so that this is left after it.
    black_box(());
}

/// The count of a stage ends here.
#[inline(never)]
fn settle() {
    black_box(());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_stage_does_the_same_work_each_time() {
        let works = || {
            let mut works = Vec::new();
            run(&mut |work| works.push(work)).unwrap();
            works
        };
        let first = works();
        assert_eq!(first.len(), 16);
        assert_eq!(first, works());
    }
}
