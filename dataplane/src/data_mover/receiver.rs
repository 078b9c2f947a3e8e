//! The receiving half of a session: numbers and pieces that arrive, in step with each other.

use super::MoverCounter;
use super::config::PeerConfig;
use super::fec::Decoder;
use super::reassembly::{Reassembly, Taken};
use super::received::{BITMAP_LEN_MAX, Received};
use super::session::Sink;
use super::wire::{Acknowledgement, Bitmap, Parity};
use crate::counters::Counters;
use crate::packet_driver::{BufferKind, BufferPool, BufferSlice};
use crate::time::{MICROSECOND_NS, MILLISECOND_NS, Time};

/// Bytes of flags of complete buffers in one acknowledgement, at most.
const COMPLETE_LEN_MAX: usize = 32;
/// Length of an acknowledgement subfield in bytes, at most.
pub(super) const ACK_LEN_MAX: usize = Acknowledgement::BASE_LEN + BITMAP_LEN_MAX + COMPLETE_LEN_MAX;
/// Over how long a rate is measured, in nanoseconds, at least.
const RATE_INTERVAL_NS: u64 = 20 * MILLISECOND_NS;

/// The rate of delivery to the packet driver.
#[derive(Debug, Default)]
struct DeliveryRate {
    since: Time,
    bytes: u64,
    kbytes_per_s: u32,
}

impl DeliveryRate {
    fn count(&mut self, counters: &Counters<MoverCounter>, buffer: &BufferSlice) {
        counters.increment(MoverCounter::BuffersDelivered);
        counters.add(MoverCounter::BuffersDeliveredBytes, buffer.len() as u64);
        self.bytes = self.bytes.saturating_add(buffer.len() as u64);
    }

    /// A piece was restored, and may have completed its buffer.
    fn restored(
        &mut self,
        counters: &Counters<MoverCounter>,
        kind: BufferKind,
        taken: Taken,
        events: &mut impl Sink,
    ) {
        if let Taken::Complete(buffer) = taken {
            self.count(counters, &buffer);
            events.delivered(buffer, kind);
        }
    }

    fn measure(&mut self, now: Time) -> u32 {
        let elapsed_ns = now.since_ns(self.since);
        if elapsed_ns >= RATE_INTERVAL_NS {
            // Bytes in a nanosecond are millions of kilobytes in a second.
            let latest = self.bytes.saturating_mul(1_000_000) / elapsed_ns;
            let smoothed = (u64::from(self.kbytes_per_s) + latest) / 2;
            self.kbytes_per_s = u32::try_from(smoothed).unwrap_or(u32::MAX);
            (self.since, self.bytes) = (now, 0);
        }
        self.kbytes_per_s
    }
}

/// The receiving half of a session.
#[derive(Debug)]
pub(super) struct Receiver {
    pub(super) received: Received,
    pub(super) reassembly: Reassembly,
    pub(super) fec: Decoder,
    /// Whether the packet driver takes buffers more slowly than they come.
    pub(super) backlogged: bool,
    delivery: DeliveryRate,
}

impl Receiver {
    pub(super) fn new(config: &PeerConfig, pool: BufferPool) -> Self {
        Receiver {
            received: Received::new(),
            reassembly: Reassembly::new(config, pool),
            fec: Decoder::new(config.fec),
            backlogged: false,
            delivery: DeliveryRate::default(),
        }
    }

    /// Rate of delivery to the packet driver when it was last measured, in bits per second.
    pub(super) fn delivery_bps(&self) -> u64 {
        u64::from(self.delivery.kbytes_per_s) * 8_000
    }

    /// Begins a session.
    pub(super) fn begin(&mut self, now: Time) {
        self.received.reset();
        self.reassembly.reset();
        self.fec.reset();
        self.delivery = DeliveryRate { since: now, ..DeliveryRate::default() };
    }

    /// A buffer is complete.
    pub(super) fn delivered(
        &mut self,
        counters: &Counters<MoverCounter>,
        buffer: BufferSlice,
        kind: BufferKind,
        events: &mut impl Sink,
    ) {
        self.delivery.count(counters, &buffer);
        events.delivered(buffer, kind);
    }

    /// Takes a parity; false when it contradicts a piece.
    pub(super) fn parity(
        &mut self,
        counters: &Counters<MoverCounter>,
        parity: &Parity,
        bytes: &[u8],
        events: &mut impl Sink,
    ) -> bool {
        let Receiver { fec, reassembly, delivery, .. } = self;
        counters.increment(MoverCounter::ParityIn);
        let restored = fec.take(parity, bytes, reassembly, |kind, taken| {
            delivery.restored(counters, kind, taken, events);
        });
        restored.count(counters);
        !restored.contradiction
    }

    /// A piece of this buffer has come: with parity held for it, others may be restored.
    pub(super) fn restore(
        &mut self,
        counters: &Counters<MoverCounter>,
        logical: u64,
        events: &mut impl Sink,
    ) {
        let Receiver { fec, reassembly, delivery, .. } = self;
        let restored = fec.changed(logical, reassembly, |kind, taken| {
            delivery.restored(counters, kind, taken, events);
        });
        restored.count(counters);
    }

    /// Writes an acknowledgement subfield; its length.
    pub(super) fn acknowledge(
        &mut self,
        now: Time,
        highest_sent: u64,
        out: &mut [u8],
    ) -> Option<usize> {
        let mut received = [0; BITMAP_LEN_MAX];
        let mut complete = [0; COMPLETE_LEN_MAX];
        let (base, received_len) = self.received.report(now, &mut received);
        let complete_len = self.reassembly.report(&mut complete);
        self.received.spent(complete_len);
        let highest_received = self.received.highest();
        let lowest_incomplete = self.reassembly.lowest_incomplete();
        // Without memory, buffers cannot be taken any faster than they are given back.
        let backlogged = self.reassembly.is_short() || self.backlogged;
        let room_bytes = self.reassembly.room_bytes();
        let ack = Acknowledgement {
            highest_sent,
            highest_received,
            backlogged,
            delivery_kbytes_per_s: self.delivery.measure(now),
            room_bytes: u32::try_from(room_bytes).unwrap_or(u32::MAX),
            delay_us: self.received.delay_us(now),
            clock_us: clock_us(now),
            arrivals: self.received.arrivals(),
            lowest_incomplete,
            received: Bitmap {
                base: base.min(highest_received),
                bytes: received.get(..received_len)?,
            },
            complete: Bitmap { base: lowest_incomplete, bytes: complete.get(..complete_len)? },
        };
        ack.emit(out)
    }
}

/// The clock as it is told: its low bits.
fn clock_us(now: Time) -> u32 {
    let us = (now.as_ns() / MICROSECOND_NS) & u64::from(u32::MAX);
    u32::try_from(us).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::super::received::ACK_COST_MIN;
    use super::super::wire::Piece;
    use super::*;
    use crate::packet_driver::{PeerIndex, PoolClass};

    /// A receiver to which the first buffer never comes and the 255 after it have: in every
    /// acknowledgement there are the flags of all of them.
    fn waiting_for_the_first() -> Receiver {
        let pool = BufferPool::new(&[PoolClass { size: 4_096, count: 4, reserve: 0 }]);
        let config = PeerConfig { buffers_max: 256, ..PeerConfig::new(PeerIndex(0), 1_000_000) };
        let mut receiver = Receiver::new(&config.clamped(), pool);
        receiver.begin(Time::ZERO);
        for logical in 1..256 {
            let piece =
                Piece { logical, kind: BufferKind::Stream, buffer_len: 1, offset: 0, len: 1 };
            assert!(matches!(receiver.reassembly.take(&piece, &[0]), Taken::Complete(_)));
        }
        receiver
    }

    #[test]
    fn one_byte_in_128_is_acknowledgement_however_long_acknowledgements_are() {
        const DATAGRAM_LEN: usize = 1_464;
        let mut receiver = waiting_for_the_first();
        let mut now = Time::from_ms(1_000);
        let (mut told_bytes, mut acks, mut full) = (0, 0, 0);
        // 98 Mb/s over a short way: without a limit there would be one each millisecond. One in
        // sixteen comes late by more than a bitmap covers.
        for step in 1..=100_000_u64 {
            now = now + 120 * MICROSECOND_NS;
            let number = if step % 16 == 0 { step } else { step + 3_200 };
            receiver.received.insert(now, number, DATAGRAM_LEN, true);
            while receiver.received.due(MILLISECOND_NS) <= now {
                let len = receiver.acknowledge(now, 0, &mut [0; ACK_LEN_MAX]).unwrap();
                let flags_len = len - Acknowledgement::BASE_LEN;
                assert!(flags_len >= COMPLETE_LEN_MAX);
                told_bytes += ACK_COST_MIN + flags_len;
                acks += 1;
                full += u32::from(len == ACK_LEN_MAX);
            }
        }
        assert!(full > 500, "{full} full ones");
        let data_bytes = 100_000 * DATAGRAM_LEN;
        // What is earned in advance at the start is less than 4 KB.
        assert!((told_bytes - 4_000) * 128 <= data_bytes, "{told_bytes} bytes in {acks}");
        // And they are not kept back either.
        assert!(told_bytes * 150 >= data_bytes, "{told_bytes} bytes in {acks}");
    }

    #[test]
    fn a_rate_settles_on_what_is_delivered() {
        let mut rate = DeliveryRate::default();
        let mut kbytes_per_s = 0;
        for i in 1..=20 {
            rate.bytes += 500_000;
            kbytes_per_s = rate.measure(Time::from_ms(20 * i));
        }
        assert!((24_990..=25_000).contains(&kbytes_per_s), "{kbytes_per_s}");
    }
}
