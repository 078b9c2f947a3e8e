//! For tests: a folder for sockets, and a control thread with its socket in it.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use super::Server;
use crate::cli::fake::Fake;
use crate::cli::{Executor, Orders};

/// A folder that goes away with the test.
pub(crate) struct Folder(pub(crate) PathBuf);

impl Folder {
    pub(crate) fn new() -> Self {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let path = std::env::temp_dir().join(format!("tpo-socket-{}-{number}", std::process::id()));
        fs::create_dir_all(&path).unwrap();
        Folder(path)
    }

    pub(crate) fn socket(&self) -> PathBuf {
        self.0.join("a.sock")
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// A running tpo: a control thread with the fake appliance, and its socket.
pub(crate) struct Running {
    server: Option<Server>,
    ended: Arc<AtomicBool>,
    control: Option<JoinHandle<Executor<Fake>>>,
}

impl Running {
    pub(crate) fn at(path: &Path) -> Self {
        let (source, orders) = Orders::new();
        let server = Server::open(path, source).unwrap();
        let ended = Arc::new(AtomicBool::new(false));
        let control = {
            let ended = Arc::clone(&ended);
            thread::spawn(move || {
                let mut executor = Executor::new(Fake::default());
                while !ended.load(Ordering::Relaxed) {
                    orders.serve(&mut executor, Duration::from_millis(1));
                }
                executor
            })
        };
        Running { server: Some(server), ended, control: Some(control) }
    }

    pub(crate) fn end(mut self) -> Executor<Fake> {
        self.server.take();
        self.ended.store(true, Ordering::Relaxed);
        self.control.take().unwrap().join().unwrap()
    }
}
