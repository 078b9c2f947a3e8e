//! Two sessions over a bad link in virtual time.

mod auto;
mod fixed;
mod harness;
mod hostile;
mod lifecycle;
mod sharing;
mod throughput;
