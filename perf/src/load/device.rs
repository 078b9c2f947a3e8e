//! A DPDK port as a wire.
//!
//! In: a device, what it is asked for. Out: frames of mbufs, each in one piece. Never: a frame that
//! waits where the port has room for it.

use std::collections::VecDeque;

use dpdk_wrapper::mbuf::{ChecksumStatus, IpVersion, L4Protocol, TxOffload};
use dpdk_wrapper::{
    Burst, Eal, Mbuf, Mempool, Port, PortConfig, RxOffloads, RxQueue, TxOffloads, TxQueue,
};

use super::link::{Link, Wire};
use super::packet::{self, ETHERNET, IPV4};

/// Frames taken and sent at a time.
const BURST: usize = 32;
/// Frames that wait for the port, at most.
const WAITING_MAX: usize = 256;
/// Bytes of the stack's TCP header in a segment with data: it has no options then.
const TCP: u8 = 20;

/// What a port is asked for, where it has it.
#[derive(Clone, Copy, Debug, Default)]
pub struct Offloads {
    /// Checksums of TCP.
    pub checksums: bool,
    /// Large segments are handed over to be cut. Without it they leave whole, as one packet.
    pub segmentation: bool,
}

/// A port.
pub struct Device {
    rx: RxQueue,
    burst: Burst<BURST>,
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
    offloads: Offloads,
    frames_lost: u64,
}

impl Device {
    /// Opens the port of a device that the EAL was started with.
    ///
    /// # Errors
    /// What DPDK says.
    pub fn open(
        eal: &Eal,
        device: &str,
        pool: &Mempool,
        wanted: Offloads,
    ) -> Result<Self, Box<dyn std::error::Error>> {
        let name = device.split(',').next().unwrap_or(device);
        let port = Port::open(eal, name)?;
        let rx_offloads =
            if wanted.checksums { RxOffloads::TCP_CKSUM } else { RxOffloads::default() };
        let tx_offloads =
            if wanted.checksums { TxOffloads::TCP_CKSUM } else { TxOffloads::default() };
        let config = PortConfig { rx_offloads, tx_offloads, ..PortConfig::default() };
        let queues = port.configure(&config, std::slice::from_ref(pool))?;
        port.start()?;
        let granted = queues.granted;
        let (mut rx, mut tx) = (queues.rx, queues.tx);
        let (rx, tx) = rx.pop().zip(tx.pop()).ok_or("the device has no queues")?;
        let offloads = Offloads {
            checksums: granted.tx_offloads.contains(tx_offloads) && wanted.checksums,
            ..wanted
        };
        let link = DeviceLink {
            tx,
            pool: pool.clone(),
            waiting: VecDeque::with_capacity(2 * WAITING_MAX),
            sending: Burst::new(),
            offloads,
            frames_lost: 0,
        };
        Ok(Device { rx, burst: Burst::new(), link, _port: port })
    }

    /// What the port does.
    #[must_use]
    pub fn offloads(&self) -> Offloads {
        self.link.offloads
    }
}

impl Wire for Device {
    type Link = DeviceLink;

    fn receive(&mut self, mut take: impl FnMut(&[u8], bool, &mut DeviceLink)) -> usize {
        let count = self.rx.rx_burst(&mut self.burst);
        for mut mbuf in self.burst.drain() {
            // The pool's frames have room for the longest.
            if !mbuf.is_contiguous() && mbuf.linearize().is_err() {
                self.link.frames_lost += 1;
                continue;
            }
            let known =
                matches!(mbuf.rx_checksums().l4, ChecksumStatus::Good | ChecksumStatus::Unfilled);
            take(mbuf.data(), known, &mut self.link);
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

    fn emit<R>(&mut self, len: usize, segment_size: u16, write: impl FnOnce(&mut [u8]) -> R) -> R {
        let mut mbuf = self.pool.alloc();
        let Some(frame) = mbuf.as_mut().and_then(|mbuf| mbuf.append(len).ok()) else {
            self.frames_lost += 1;
            return write(&mut vec![0; len]);
        };
        let result = write(frame);
        let cut = segment_size > 0 && self.offloads.segmentation;
        let left = (cut || self.offloads.checksums) && packet::begin_checksums(frame);
        if !left {
            packet::fill_checksums(frame);
        }
        if let Some(mut mbuf) = mbuf {
            if left {
                complete_on_transmit(&mut mbuf, if cut { segment_size } else { 0 });
            }
            self.waiting.push_back(mbuf);
        }
        result
    }
}

fn complete_on_transmit(mbuf: &mut Mbuf, segment_size: u16) {
    #[expect(clippy::cast_possible_truncation, reason = "14 and 20")]
    let base = TxOffload::new(IpVersion::V4, ETHERNET as u8, IPV4 as u16);
    let l4_checksum = Some(L4Protocol::Tcp);
    let offload = TxOffload { l4_len: TCP, l4_checksum, segment_size, ..base };
    // These lengths fit, and the protocol is named.
    let _ = mbuf.set_tx_offload(&offload);
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
