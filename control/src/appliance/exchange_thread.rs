//! The thread of the key exchange: curve arithmetic beside the workers.
//!
//! In: a key exchange, peers that come and go. Out: turns of it. Never: a turn on a worker's core
//! while there is another.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, mpsc};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use dataplane::data_mover::security::{KeyExchange, PeerKeys};
use dataplane::packet_driver::PeerIndex;

/// Between two looks at what there is to do: bounds how many handshakes are read in a second, and
/// what a handshake waits.
const REST: Duration = Duration::from_millis(4);

/// Another peer has a place, or none; and who is to be told when that is done.
type Change = (PeerIndex, Option<PeerKeys>, mpsc::Sender<()>);

/// A key exchange at work; ends when it is dropped.
#[derive(Debug)]
pub(super) struct ExchangeThread {
    stop: Arc<AtomicBool>,
    changes: mpsc::Sender<Change>,
    thread: Option<JoinHandle<()>>,
}

impl ExchangeThread {
    /// Starts the thread on a core that no worker has, as far as there is one.
    ///
    /// # Errors
    /// The system refused a thread.
    pub(super) fn start(mut exchange: KeyExchange, taken: &[usize]) -> std::io::Result<Self> {
        let stop = Arc::new(AtomicBool::new(false));
        let told = Arc::clone(&stop);
        let (changes, receiver) = mpsc::channel::<Change>();
        let free = free_core(taken);
        let thread = thread::Builder::new().name("keys".into()).spawn(move || {
            if let Some(id) = free {
                core_affinity::set_for_current(core_affinity::CoreId { id });
            }
            while !told.load(Ordering::Acquire) {
                for (peer, keys, done) in receiver.try_iter() {
                    exchange.change_peer(peer, keys);
                    let _ = done.send(());
                }
                exchange.turn();
                thread::sleep(REST);
            }
        })?;
        Ok(ExchangeThread { stop, changes, thread: Some(thread) })
    }

    /// Another peer has this place, or none. Waits until that is so, or until `deadline`; says
    /// whether it is.
    pub(super) fn change_peer(
        &self,
        peer: PeerIndex,
        keys: Option<PeerKeys>,
        deadline: Instant,
    ) -> bool {
        let (done, waiting) = mpsc::channel();
        let _ = self.changes.send((peer, keys, done));
        let left = deadline.saturating_duration_since(Instant::now());
        waiting.recv_timeout(left).is_ok()
    }
}

impl Drop for ExchangeThread {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Release);
        if let Some(thread) = self.thread.take() {
            // A panic there has been reported already.
            let _ = thread.join();
        }
    }
}

fn free_core(taken: &[usize]) -> Option<usize> {
    let cores = thread::available_parallelism().map_or(1, usize::from);
    (0..cores).find(|core| !taken.contains(core))
}
