//! Tests of the TCP: state tables, and pairs of connections over a bad channel in virtual time.

mod channel;
mod support;
mod transfer;
