//! Receive and transmit queues: the packet path.
//!
//! In: bursts. Out: bursts. Never: an allocation, a lock, or an mbuf lost: what a device did not
//! take stays in the burst.

use std::cell::Cell;
use std::marker::PhantomData;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use super::Shared;
use crate::burst::Burst;
use crate::errno::Errno;
use crate::ffi;

/// Keeps the polling of one queue and the stopping of its port apart.
///
/// The poller marks itself busy and then looks whether the gate is open; the stopper shuts the
/// gate and then waits while the poller is busy. With both in sequentially consistent order at
/// least one of them sees the other. The poller pays one uncontended exchange per burst on a
/// cache line of its own.
#[derive(Debug, Default)]
#[repr(align(64))]
pub(super) struct Gate {
    open: AtomicBool,
    busy: AtomicBool,
}

impl Gate {
    /// Lets the poller in. Call after the port has started.
    pub(super) fn open(&self) {
        self.open.store(true, Ordering::SeqCst);
    }

    /// Shuts the poller out; it is out when this returns. Call before the port stops.
    pub(super) fn shut(&self) {
        self.open.store(false, Ordering::SeqCst);
        while self.busy.load(Ordering::SeqCst) {
            // A burst takes microseconds, unless its thread is not running.
            std::thread::yield_now();
        }
    }

    /// Runs `poll` if the gate is open.
    #[inline]
    fn pass<T>(&self, poll: impl FnOnce() -> T) -> Option<T> {
        self.busy.swap(true, Ordering::SeqCst);
        let result = self.open.load(Ordering::SeqCst).then(poll);
        self.busy.store(false, Ordering::Release);
        result
    }
}

/// What both kinds of queue are. `Send`, for its worker; not `Sync`: one poller at a time.
#[derive(Debug)]
struct Queue {
    port: Arc<Shared>,
    gate: Arc<Gate>,
    port_id: u16,
    index: u16,
    _one_poller: PhantomData<Cell<()>>,
}

impl Queue {
    fn new(port: &Arc<Shared>, gate: &Arc<Gate>, index: u16) -> Self {
        Queue {
            port: Arc::clone(port),
            gate: Arc::clone(gate),
            port_id: port.id.0,
            index,
            _one_poller: PhantomData,
        }
    }
}

/// A receive queue. Handed out once, neither `Clone` nor `Copy`; keeps its port open.
#[derive(Debug)]
pub struct RxQueue(Queue);

/// A transmit queue. Handed out once, neither `Clone` nor `Copy`; keeps its port open.
#[derive(Debug)]
pub struct TxQueue {
    queue: Queue,
    /// The device sends chains of mbufs.
    chains: bool,
}

/// A packet whose offload request the driver refuses.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("packet {ready} of the burst asks for offloads that the device refuses: {errno}")]
pub struct PrepareError {
    /// Packets in front of it, which are ready.
    pub ready: usize,
    /// The driver's reason.
    pub errno: Errno,
}

impl RxQueue {
    pub(super) fn new(port: &Arc<Shared>, gate: &Arc<Gate>, index: u16) -> Self {
        RxQueue(Queue::new(port, gate, index))
    }

    /// Receives packets into the free room of `burst`, behind what is in it; returns how many.
    ///
    /// Pass an empty burst of 32 or more: vectorised drivers receive nothing into very small room.
    /// While the port is stopped this receives nothing.
    #[inline]
    pub fn rx_burst<const N: usize>(&mut self, burst: &mut Burst<N>) -> usize {
        self.rx_burst_at_most(burst, N)
    }

    /// As [`RxQueue::rx_burst`], but no more than `most` packets.
    #[inline]
    pub fn rx_burst_at_most<const N: usize>(&mut self, burst: &mut Burst<N>, most: usize) -> usize {
        let Queue { gate, port_id, index, .. } = &self.0;
        let spare = burst.spare();
        #[expect(clippy::cast_possible_truncation, reason = "a burst has at most 65535")]
        let room = spare.len().min(most) as u16;
        let into = spare.as_mut_ptr().cast::<*mut ffi::rte_mbuf>();
        let received = gate.pass(|| {
            // SAFETY: the port is started (the gate is open) and this is the queue's only poller
            // (`&mut` of a value that exists once); room for `room` pointers.
            unsafe { ffi::shim_rx_burst(*port_id, *index, into, room) }
        });
        let received = usize::from(received.unwrap_or(0));
        // SAFETY: the driver filled that many slots and gave the mbufs up.
        unsafe { burst.grow(received) };
        received
    }

    /// Packets that wait in the queue; `None` when the driver cannot tell or the port is stopped.
    #[must_use]
    pub fn waiting(&mut self) -> Option<u32> {
        let Queue { gate, port_id, index, .. } = &self.0;
        // SAFETY: the port is started (the gate is open), the queue exists.
        let count = gate.pass(|| unsafe { ffi::shim_rx_queue_count(*port_id, *index) })?;
        u32::try_from(count).ok()
    }

    /// The port's number.
    #[must_use]
    pub fn port(&self) -> super::PortId {
        self.0.port.id
    }

    /// The queue's number on its port.
    #[must_use]
    pub fn index(&self) -> u16 {
        self.0.index
    }
}

impl TxQueue {
    pub(super) fn new(port: &Arc<Shared>, gate: &Arc<Gate>, index: u16, chains: bool) -> Self {
        TxQueue { queue: Queue::new(port, gate, index), chains }
    }

    /// Sends packets from the front of `burst`; returns how many the device took.
    ///
    /// Those are gone. The others stay in `burst`, in order, moved to its front: whether to retry,
    /// keep or drop them is the caller's policy. While the port is stopped this takes nothing.
    ///
    /// A queue without [`TxOffloads::MULTI_SEGS`](crate::TxOffloads::MULTI_SEGS) takes nothing
    /// from the first chained mbuf on: such drivers read past the first segment. Linearize before.
    #[inline]
    pub fn tx_burst<const N: usize>(&mut self, burst: &mut Burst<N>) -> usize {
        let Queue { gate, port_id, index, .. } = &self.queue;
        let acceptable = if self.chains {
            burst.len()
        } else {
            burst.iter().position(|mbuf| !mbuf.is_contiguous()).unwrap_or(burst.len())
        };
        if acceptable == 0 {
            return 0;
        }
        #[expect(clippy::cast_possible_truncation, reason = "a burst has at most 65535")]
        let count = acceptable as u16;
        let from = burst.as_mut_ptr();
        let sent = gate.pass(|| {
            // SAFETY: the port is started (the gate is open) and this is the queue's only user;
            // `count` mbufs that are ours.
            unsafe { ffi::shim_tx_burst(*port_id, *index, from, count) }
        });
        let sent = usize::from(sent.unwrap_or(0));
        // SAFETY: the first `sent` belong to the driver now.
        unsafe { burst.forget_front(sent) };
        sent
    }

    /// Lets the driver check and finish the headers of packets that ask for offloads (e.g. the
    /// pseudo header checksum); call before [`TxQueue::tx_burst`] when any does.
    ///
    /// # Errors
    ///
    /// [`PrepareError`] names the first packet that is not acceptable.
    pub fn tx_prepare<const N: usize>(&mut self, burst: &mut Burst<N>) -> Result<(), PrepareError> {
        let Queue { gate, port_id, index, .. } = &self.queue;
        #[expect(clippy::cast_possible_truncation, reason = "a burst has at most 65535")]
        let count = burst.len() as u16;
        let mbufs = burst.as_mut_ptr();
        // SAFETY: as in `tx_burst`; the mbufs stay ours.
        let ready = gate.pass(|| unsafe { ffi::shim_tx_prepare(*port_id, *index, mbufs, count) });
        match ready {
            Some(ready) if ready < count => {
                Err(PrepareError { ready: usize::from(ready), errno: Errno::last() })
            }
            _ => Ok(()),
        }
    }

    /// The port's number.
    #[must_use]
    pub fn port(&self) -> super::PortId {
        self.queue.port.id
    }

    /// The queue's number on its port.
    #[must_use]
    pub fn index(&self) -> u16 {
        self.queue.index
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;

    #[test]
    fn a_shut_gate_lets_nobody_in() {
        let gate = Gate::default();
        assert_eq!(gate.pass(|| 1), None, "shut from the start");
        gate.open();
        assert_eq!(gate.pass(|| 1), Some(1));
        gate.shut();
        assert_eq!(gate.pass(|| 1), None);
    }

    #[test]
    fn shutting_waits_for_the_burst_under_way() {
        let gate = Arc::new(Gate::default());
        gate.open();
        let shut = Arc::new(AtomicBool::new(false));
        let (inside, is_inside) = mpsc::channel();
        let poller = {
            let (gate, shut) = (Arc::clone(&gate), Arc::clone(&shut));
            std::thread::spawn(move || {
                gate.pass(|| {
                    inside.send(()).unwrap();
                    // Until the other thread tries, and long enough for it to get it wrong.
                    while gate.open.load(Ordering::SeqCst) {
                        std::thread::yield_now();
                    }
                    for _ in 0..1000 {
                        std::thread::yield_now();
                    }
                    shut.load(Ordering::SeqCst)
                })
            })
        };
        is_inside.recv().unwrap();
        gate.shut();
        shut.store(true, Ordering::SeqCst);
        assert_eq!(poller.join().unwrap(), Some(false), "shut returned during a burst");
    }
}
