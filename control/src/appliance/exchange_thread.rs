//! The thread of the key exchange: curve arithmetic beside the workers.
//!
//! In: a key exchange. Out: turns of it. Never: a turn on a worker's core while there is another.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use dataplane::data_mover::security::KeyExchange;

/// Between two looks at what there is to do: bounds how many handshakes are read in a second, and
/// what a handshake waits.
const REST: Duration = Duration::from_millis(4);

/// A key exchange at work; ends when it is dropped.
#[derive(Debug)]
pub(super) struct ExchangeThread {
    stop: Arc<AtomicBool>,
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
        let free = free_core(taken);
        let thread = thread::Builder::new().name("keys".into()).spawn(move || {
            if let Some(id) = free {
                core_affinity::set_for_current(core_affinity::CoreId { id });
            }
            while !told.load(Ordering::Acquire) {
                exchange.turn();
                thread::sleep(REST);
            }
        })?;
        Ok(ExchangeThread { stop, thread: Some(thread) })
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
