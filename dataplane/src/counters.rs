//! Counters: declared once per stage, written by the one worker that owns the stage, read by
//! the control thread without stopping it.
//!
//! [`counters!`](crate::counters!) yields the enum, its names, units and help texts; every front
//! end (prompt, JSON, Prometheus) prints from that one list.

use std::marker::PhantomData;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// What a counter says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Something came in. Per stage, `In` = `Out` + `Drop` (of the same unit).
    In,
    /// Something went out or was consumed on purpose.
    Out,
    /// Something was not forwarded; the name is the reason.
    Drop,
    /// Anything else worth knowing.
    Info,
}

/// The declaration of one counter.
#[derive(Clone, Copy, Debug)]
pub struct Definition {
    /// Name in snake case, unique within its stage.
    pub name: &'static str,
    /// What one count is: `frames`, `bytes`, `buffers`, ...
    pub unit: &'static str,
    /// What the counter says.
    pub kind: Kind,
    /// One sentence for an operator.
    pub help: &'static str,
}

/// An enum made by [`counters!`](crate::counters!).
pub trait Counter: Copy {
    /// Name of the stage, the prefix of each counter's full name.
    const STAGE: &'static str;
    /// One definition per variant, in order of the variants.
    const DEFINITIONS: &'static [Definition];
    /// Place of this variant in [`Self::DEFINITIONS`].
    fn index(self) -> usize;
}

/// The counters of one stage: cheap to clone, one writer, any number of readers.
#[derive(Debug)]
pub struct Counters<C> {
    values: Arc<[AtomicU64]>,
    counter: PhantomData<fn(C)>,
}

impl<C> Clone for Counters<C> {
    fn clone(&self) -> Self {
        Counters { values: Arc::clone(&self.values), counter: PhantomData }
    }
}

impl<C: Counter> Default for Counters<C> {
    fn default() -> Self {
        Counters {
            values: C::DEFINITIONS.iter().map(|_| AtomicU64::new(0)).collect(),
            counter: PhantomData,
        }
    }
}

impl<C: Counter> Counters<C> {
    /// Adds `n`. Only the stage's own worker calls this: a load and a store, no locked add.
    pub fn add(&self, counter: C, n: u64) {
        if let Some(value) = self.values.get(counter.index()) {
            value.store(value.load(Ordering::Relaxed).wrapping_add(n), Ordering::Relaxed);
        }
    }

    /// Adds one.
    pub fn increment(&self, counter: C) {
        self.add(counter, 1);
    }

    /// Sets a gauge.
    pub fn set(&self, counter: C, value: u64) {
        if let Some(slot) = self.values.get(counter.index()) {
            slot.store(value, Ordering::Relaxed);
        }
    }

    /// The present value.
    #[must_use]
    pub fn get(&self, counter: C) -> u64 {
        self.values.get(counter.index()).map_or(0, |value| value.load(Ordering::Relaxed))
    }

    /// All definitions with their present values.
    pub fn iter(&self) -> impl Iterator<Item = (&'static Definition, u64)> + '_ {
        C::DEFINITIONS.iter().zip(self.values.iter().map(|value| value.load(Ordering::Relaxed)))
    }
}

/// The counters of all replicas of a stage, read as one: their sums.
#[derive(Debug)]
pub struct Totals<C> {
    each: Box<[Counters<C>]>,
}

impl<C> Clone for Totals<C> {
    fn clone(&self) -> Self {
        Totals { each: self.each.clone() }
    }
}

impl<C> FromIterator<Counters<C>> for Totals<C> {
    fn from_iter<I: IntoIterator<Item = Counters<C>>>(each: I) -> Self {
        Totals { each: each.into_iter().collect() }
    }
}

impl<C: Counter> Totals<C> {
    /// The counters of each replica.
    #[must_use]
    pub fn each(&self) -> &[Counters<C>] {
        &self.each
    }

    /// The sum of a counter.
    #[must_use]
    pub fn get(&self, counter: C) -> u64 {
        self.each.iter().fold(0, |sum, each| sum.wrapping_add(each.get(counter)))
    }
}

/// Declares the counters of a stage.
///
/// ```
/// dataplane::counters! {
///     /// Counters of an example stage.
///     pub enum ExampleCounter, "example" {
///         FramesIn: In, "frames_in", "frames", "Frames given to the stage.";
///         TooShort: Drop, "too_short", "frames", "Frames shorter than an Ethernet header.";
///     }
/// }
/// let counters = dataplane::counters::Counters::<ExampleCounter>::default();
/// counters.increment(ExampleCounter::TooShort);
/// assert_eq!(counters.get(ExampleCounter::TooShort), 1);
/// ```
#[macro_export]
macro_rules! counters {
    ($(#[$meta:meta])* $vis:vis enum $name:ident, $stage:literal {
        $($variant:ident: $kind:ident, $label:literal, $unit:literal, $help:literal;)+
    }) => {
        $(#[$meta])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        $vis enum $name {
            $(#[doc = $help] $variant),+
        }

        impl $crate::counters::Counter for $name {
            const STAGE: &'static str = $stage;
            const DEFINITIONS: &'static [$crate::counters::Definition] = &[
                $($crate::counters::Definition {
                    name: $label,
                    unit: $unit,
                    kind: $crate::counters::Kind::$kind,
                    help: $help,
                }),+
            ];

            fn index(self) -> usize {
                self as usize
            }
        }
    };
}
