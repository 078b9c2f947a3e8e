//! A DPDK port as a wire.
//!
//! In: a device. Out: frames. Never: a frame that waits where the port has room for it.

use std::collections::VecDeque;

use dataplane::frame::ip::protocol;
use dpdk_wrapper::mbuf::ChecksumStatus;
use dpdk_wrapper::{
    Burst, Eal, Mbuf, Mempool, Port, PortConfig, RxOffloads, RxQueue, TxOffloads, TxQueue,
};

use super::link::{Link, Wire};
use super::packet::{self, ETHERNET, IPV4};

/// Frames taken and sent at a time.
const BURST: usize = 32;
/// Frames that wait for the port, at most.
const WAITING_MAX: usize = 256;

/// A port.
pub struct Device {
    rx: RxQueue,
    burst: Burst<BURST>,
    /// A frame in several pieces.
    pieces: Vec<u8>,
    link: DeviceLink,
    /// Goes last.
    _port: Port,
}

/// Its way out.
pub struct DeviceLink {
    tx: TxQueue,
    pool: Mempool,
    waiting: VecDeque<Mbuf>,
    sending: Burst<BURST>,
    checksums: bool,
    frames_lost: u64,
}

impl Device {
    /// Opens the port of a device that the EAL was started with. With `checksums`, those of TCP are
    /// left to it, if it takes them.
    ///
    /// # Errors
    /// What DPDK says.
    pub fn open(
        eal: &Eal,
        device: &str,
        pool: &Mempool,
        checksums: bool,
    ) -> Result<Self, Box<dyn std::error::Error>> {
        let name = device.split(',').next().unwrap_or(device);
        let port = Port::open(eal, name)?;
        let (rx_offloads, tx_offloads) = match checksums {
            true => (RxOffloads::TCP_CKSUM, TxOffloads::TCP_CKSUM),
            false => (RxOffloads::NONE, TxOffloads::NONE),
        };
        let config = PortConfig { rx_offloads, tx_offloads, ..PortConfig::default() };
        let queues = port.configure(&config, std::slice::from_ref(pool))?;
        port.start()?;
        let granted = queues.granted;
        let (mut rx, mut tx) = (queues.rx, queues.tx);
        let (rx, tx) = rx.pop().zip(tx.pop()).ok_or("the device has no queues")?;
        let link = DeviceLink {
            tx,
            pool: pool.clone(),
            waiting: VecDeque::with_capacity(2 * WAITING_MAX),
            sending: Burst::new(),
            checksums: checksums && granted.tx_offloads.contains(tx_offloads),
            frames_lost: 0,
        };
        Ok(Device { rx, burst: Burst::new(), pieces: Vec::new(), link, _port: port })
    }
}

impl Wire for Device {
    type Link = DeviceLink;

    fn receive(&mut self, mut take: impl FnMut(&[u8], bool, &mut DeviceLink)) -> usize {
        let count = self.rx.rx_burst(&mut self.burst);
        for mbuf in self.burst.drain() {
            let l4 = mbuf.rx_checksums().l4;
            let known = matches!(l4, ChecksumStatus::Good | ChecksumStatus::Unfilled);
            if mbuf.is_contiguous() {
                take(mbuf.data(), known, &mut self.link);
                continue;
            }
            self.pieces.clear();
            mbuf.segments().for_each(|piece| self.pieces.extend_from_slice(piece));
            take(&self.pieces, known, &mut self.link);
        }
        count
    }

    fn link(&mut self) -> &mut DeviceLink {
        &mut self.link
    }

    fn flush(&mut self) -> usize {
        self.link.flush()
    }

    fn frames_lost(&self) -> u64 {
        self.link.frames_lost
    }
}

impl Link for DeviceLink {
    fn has_room(&self) -> bool {
        self.waiting.len() < WAITING_MAX
    }

    fn emit<R>(&mut self, len: usize, write: impl FnOnce(&mut [u8]) -> R) -> R {
        let mut mbuf = self.pool.alloc();
        let Some(frame) = mbuf.as_mut().and_then(|mbuf| mbuf.append(len).ok()) else {
            self.frames_lost += 1;
            return write(&mut vec![0; len]);
        };
        let result = write(frame);
        let left = self.checksums && packet::begin_checksums(frame);
        if !left {
            packet::fill_checksums(frame);
        }
        if let Some(mut mbuf) = mbuf {
            if left {
                // TCP over IPv4, behind headers that fit.
                let _ = mbuf.complete_on_transmit(protocol::TCP, true, (ETHERNET, IPV4), None);
            }
            self.waiting.push_back(mbuf);
        }
        result
    }
}

impl DeviceLink {
    fn flush(&mut self) -> usize {
        let mut sent = 0;
        loop {
            while self.sending.len() < BURST
                && let Some(mbuf) = self.waiting.pop_front()
            {
                // There is room.
                let _ = self.sending.push(mbuf);
            }
            let taken = self.tx.tx_burst(&mut self.sending);
            sent += taken;
            if taken == 0 || self.waiting.is_empty() {
                return sent;
            }
        }
    }
}
