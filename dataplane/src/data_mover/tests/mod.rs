//! Two sessions over a bad link in virtual time.

mod harness;
mod hostile;
mod lifecycle;
mod sharing;
mod throughput;
