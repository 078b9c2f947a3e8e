//! Tests of the TCP: state tables, and pairs of connections over a bad channel in virtual time.

mod channel;
mod closing;
mod handshake;
mod random;
mod receiving;
mod segments;
mod sending;
mod stamps;
mod support;
mod table;
mod transfer;
