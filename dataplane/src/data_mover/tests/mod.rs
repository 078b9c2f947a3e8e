//! Two sessions over a bad link in virtual time.

mod auto;
mod deadlines;
mod fixed;
mod harness;
mod hostile;
mod insider;
mod lifecycle;
mod sealed;
mod sharing;
mod throughput;
