//! Two sessions over a bad link in virtual time.

mod harness;
mod hostile;
mod insider;
mod lifecycle;
mod sealed;
mod throughput;
