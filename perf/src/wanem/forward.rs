//! The loop that moves frames between the ports and through the emulator.
//!
//! In: frames from both ports, requests from the control socket, a flag to stop. Out: frames,
//! answers. Never: a frame changed (unless it is to arrive damaged), or gone without a counter.

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Instant;

use dataplane::time::Time;
use dataplane_sim::link::Delivery;
use dpdk_wrapper::{Burst, Mbuf};
use serde_json::{Value, json};

use super::Direction;
use super::command::Command;
use super::control::{ControlSocket, Request};
use super::emulator::Emulator;
use super::ip_length::{damage, ip_length};
use super::port::Ports;
use super::{report, wait};

const BURST_MBUFS: usize = 32;
/// A delivery that is duplicated takes two places in a burst.
const DELIVERY_MBUFS_MAX: usize = 2;

const _: () = assert!(BURST_MBUFS >= DELIVERY_MBUFS_MAX);

/// Everything that the loop owns.
#[derive(Debug)]
pub struct Forwarder {
    /// Before the ports, so that its mbufs are back in the pool before that goes.
    emulator: Emulator<Mbuf>,
    /// Due and not yet taken by the port, per direction.
    due: [Burst<BURST_MBUFS>; 2],
    arrived: Burst<BURST_MBUFS>,
    tallies: [Tallies; 2],
    /// When each port was last asked for frames.
    polled: [Time; 2],
    /// When a frame last came or went.
    moved: Time,
    ports: Ports,
    start: Instant,
}

/// What happened at the ports, per direction.
#[derive(Clone, Copy, Debug, Default)]
struct Tallies {
    frames_received: u64,
    frames_sent: u64,
    /// Times that the port did not take all frames at once; they are offered again.
    tx_full: u64,
    /// Second copies for which there was no mbuf.
    copies_failed: u64,
}

impl Forwarder {
    /// The loop's state; nothing moves yet.
    #[must_use]
    pub fn new(ports: Ports, emulator: Emulator<Mbuf>) -> Self {
        Forwarder {
            emulator,
            due: [Burst::new(), Burst::new()],
            arrived: Burst::new(),
            tallies: [Tallies::default(); 2],
            polled: [Time::ZERO; 2],
            moved: Time::ZERO,
            ports,
            start: Instant::now(),
        }
    }

    /// Moves frames until `stop` is set.
    pub fn run(&mut self, stop: &AtomicBool, control: Option<&ControlSocket>) {
        while !stop.load(Ordering::Relaxed) {
            let mut work = false;
            for direction in Direction::BOTH {
                work |= self.receive(direction);
            }
            for direction in Direction::BOTH {
                work |= self.transmit(direction);
            }
            if let Some(request) = control.and_then(ControlSocket::next_request) {
                self.answer(&request);
                work = true;
            }
            if !work {
                self.wait();
            }
        }
    }

    /// Everything counted so far.
    #[must_use]
    pub fn stats(&mut self) -> Value {
        match self.emulator.command(self.now(), &Command::Stats) {
            Ok(mut stats) => {
                let adds_up = self.adds_up(&stats);
                stats["ports"] = self.port_stats();
                stats["adds_up"] = adds_up.into();
                stats
            }
            Err(error) => report::refusal(&error.to_string()),
        }
    }

    fn now(&self) -> Time {
        Time::from_ns(u64::try_from(self.start.elapsed().as_nanos()).unwrap_or(u64::MAX))
    }

    /// Takes what arrived for one direction; whether there was anything.
    ///
    /// When exactly a frame arrived nobody knows, only that it was after the port was last asked:
    /// the frames of a burst are taken to be spread evenly over that time, which is right on
    /// average, where taking the present would always be late.
    fn receive(&mut self, direction: Direction) -> bool {
        let index = direction.index();
        let count = self.ports.ports[index].rx.rx_burst(&mut self.arrived) as u64;
        let now = self.now();
        let before = std::mem::replace(&mut self.polled[index], now);
        if count == 0 {
            return false;
        }
        self.moved = now;
        self.tallies[index].frames_received += count;
        let unknown_ns = now.since_ns(before);
        for (number, frame) in (0_u64..).zip(self.arrived.drain()) {
            let arrival = before + unknown_ns * (2 * number + 1) / (2 * count);
            let ip_bytes = ip_length(frame.data());
            self.emulator.arrive(direction, arrival, ip_bytes, frame);
        }
        true
    }

    /// Sends what is due in one direction; whether there was anything.
    fn transmit(&mut self, direction: Direction) -> bool {
        let now = self.now();
        let index = direction.index();
        while self.due[index].room() >= DELIVERY_MBUFS_MAX {
            let Some(delivery) = self.emulator.depart(direction, now) else { break };
            self.put_due(direction, delivery);
        }
        let due = &mut self.due[index];
        if due.is_empty() {
            return false;
        }
        let sent = self.ports.ports[direction.out_port()].tx.tx_burst(due);
        let tallies = &mut self.tallies[index];
        tallies.frames_sent += sent as u64;
        tallies.tx_full += u64::from(!due.is_empty());
        self.moved = now;
        true
    }

    /// Puts a delivery, damaged and copied as it says, where the port will take it.
    fn put_due(&mut self, direction: Direction, delivery: Delivery<Mbuf>) {
        let mut frame = delivery.item;
        if let Some((byte, mask)) =
            delivery.corrupt.and_then(|random| damage(frame.data_len(), random))
            && let Some(byte) = frame.data_mut().get_mut(byte)
        {
            *byte ^= mask;
        }
        let due = &mut self.due[direction.index()];
        for _ in 1..delivery.copies {
            let copy = frame.copy(&self.ports.pool);
            if copy.is_none_or(|copy| due.push(copy).is_err()) {
                self.tallies[direction.index()].copies_failed += 1;
            }
        }
        // The caller has seen to the room.
        let _ = due.push(frame);
    }

    fn answer(&mut self, request: &Request) {
        let answer = match request.command {
            Command::Stats => self.stats(),
            ref command => self
                .emulator
                .command(self.now(), command)
                .unwrap_or_else(|error| report::refusal(&error.to_string())),
        };
        // Who asked may be gone.
        let _ = request.answer.try_send(answer);
    }

    fn wait(&self) {
        match wait::sleep_for(self.now(), self.emulator.next_time(), self.moved) {
            Some(duration) => thread::sleep(duration),
            None => dpdk_wrapper::eal::pause(),
        }
    }

    /// Whether links and ports agree on every frame.
    fn adds_up(&self, stats: &Value) -> bool {
        let ports_agree = Direction::BOTH.iter().all(|direction| {
            let counters = &stats[direction.name().replace('-', "_")]["counters"];
            let tallies = &self.tallies[direction.index()];
            let waiting = self.due[direction.index()].len() as u64;
            counters["packets_in"] == tallies.frames_received
                && counters["packets_out"] == tallies.frames_sent + tallies.copies_failed + waiting
        });
        ports_agree && stats["adds_up"] == true
    }

    fn port_stats(&self) -> Value {
        let port = |inward: Direction, outward: Direction| {
            let device = &self.ports.ports[inward.index()].port;
            let device = device.stats().unwrap_or_default();
            json!({
                "frames_received": self.tallies[inward.index()].frames_received,
                "frames_sent": self.tallies[outward.index()].frames_sent,
                "tx_full": self.tallies[outward.index()].tx_full,
                "copies_failed": self.tallies[outward.index()].copies_failed,
                "rx_missed": device.rx_missed,
                "rx_no_mbuf": device.rx_no_mbuf,
                "tx_errors": device.tx_errors,
            })
        };
        json!({
            "a": port(Direction::AToB, Direction::BToA),
            "b": port(Direction::BToA, Direction::AToB),
        })
    }
}
