//! tpo's end of the control socket.
//!
//! In: connections, at most [`CLIENTS_MAX`] at a time, each with a thread of its own. Out: orders
//! to the control thread, answers to the clients. Never: a client that holds up another or the
//! control thread; more than one request of a client in memory.

use std::collections::HashMap;
use std::fs::{self, DirBuilder, Permissions};
use std::io::{self, BufReader, ErrorKind, Write};
use std::net::Shutdown;
use std::os::unix::fs::{DirBuilderExt, FileTypeExt, PermissionsExt};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use super::SocketError;
use super::protocol::{Line, REQUEST_LENGTH_MAX, Request, Response, read_line, to_line};
use crate::cli::Source;

/// Most connections at a time; one more is told so and closed.
pub const CLIENTS_MAX: usize = 16;
/// A client that says nothing for this long is closed.
const IDLE_TIMEOUT: Duration = Duration::from_secs(60);
/// A client that does not take its answer for this long is closed.
const WRITE_TIMEOUT: Duration = Duration::from_secs(10);
/// How long the end of the server waits for answers that are being written.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(1);
/// Pause after the system refused a connection (out of file descriptors, say).
const REFUSED_PAUSE: Duration = Duration::from_millis(100);

/// The control socket of a running tpo. Dropping it closes every connection and removes it.
#[derive(Debug)]
pub struct Server {
    path: PathBuf,
    shared: Arc<Shared>,
    accepting: Option<JoinHandle<()>>,
}

#[derive(Debug)]
struct Shared {
    stopping: AtomicBool,
    clients: Mutex<HashMap<u64, UnixStream>>,
}

impl Shared {
    /// A thread that panicked leaves the table as good as it was.
    fn clients(&self) -> MutexGuard<'_, HashMap<u64, UnixStream>> {
        self.clients.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn shut_down(&self, how: Shutdown) {
        for client in self.clients().values() {
            let _ = client.shutdown(how);
        }
    }
}

impl Server {
    /// Opens the socket at `path`, readable and writable by its owner alone, and serves it.
    ///
    /// A socket that a killed tpo left behind is replaced.
    ///
    /// # Errors
    /// Another tpo answers there, something else has the name, or the system refused.
    pub fn open(path: &Path, source: Source) -> Result<Self, SocketError> {
        let listener = listen(path)?;
        let shared =
            Arc::new(Shared { stopping: AtomicBool::new(false), clients: Mutex::default() });
        let accepting = {
            let shared = Arc::clone(&shared);
            thread::Builder::new()
                .name("control-socket".into())
                .spawn(move || accept(&listener, &shared, &source))
                .map_err(|source| system(path, "start a thread for it", source))?
        };
        Ok(Server { path: path.into(), shared, accepting: Some(accepting) })
    }

    /// Where it is.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.shared.stopping.store(true, Ordering::Release);
        // Wakes the accepting thread. If it cannot be reached, it is not waited for.
        let woken = UnixStream::connect(&self.path).is_ok();
        if let Some(accepting) = self.accepting.take().filter(|_| woken) {
            let _ = accepting.join();
        }
        let _ = fs::remove_file(&self.path);
        // No more requests; answers under way, like that to `quit`, still go out.
        self.shared.shut_down(Shutdown::Read);
        let begin = Instant::now();
        while !self.shared.clients().is_empty() && begin.elapsed() < CLOSE_TIMEOUT {
            thread::sleep(Duration::from_millis(1));
        }
        self.shared.shut_down(Shutdown::Both);
    }
}

/// Whether a server could be at `path`: for a look before anything else is started.
///
/// # Errors
/// Another tpo answers there, or something else has the name.
pub fn check_free(path: &Path) -> Result<(), SocketError> {
    let Ok(found) = fs::symlink_metadata(path) else { return Ok(()) };
    if !found.file_type().is_socket() {
        return Err(SocketError::NotASocket { path: path.into() });
    }
    match UnixStream::connect(path) {
        Ok(_) => Err(SocketError::InUse { path: path.into() }),
        Err(_) => Ok(()),
    }
}

/// Makes the socket under a private name, then moves it into place: it is never open to others,
/// and what it replaces is replaced at once.
fn listen(path: &Path) -> Result<UnixListener, SocketError> {
    check_free(path)?;
    let folder = path.parent().unwrap_or(Path::new("/"));
    DirBuilder::new()
        .recursive(true)
        .mode(0o755)
        .create(folder)
        .map_err(|source| system(folder, "create the folder", source))?;
    let private = folder.join(format!(".{}", std::process::id()));
    let made = DirBuilder::new().mode(0o700).create(&private);
    match made {
        Err(error) if error.kind() != ErrorKind::AlreadyExists => {
            return Err(system(folder, "create the socket", error));
        }
        _ => {}
    }
    let listener = move_into_place(&private, path);
    let _ = fs::remove_dir_all(&private);
    listener.map_err(|source| system(path, "create the socket", source))
}

fn move_into_place(private: &Path, path: &Path) -> io::Result<UnixListener> {
    let unfinished = private.join("s");
    let listener = UnixListener::bind(&unfinished)?;
    fs::set_permissions(&unfinished, Permissions::from_mode(0o600))?;
    fs::rename(&unfinished, path)?;
    Ok(listener)
}

fn system(path: &Path, action: &'static str, source: io::Error) -> SocketError {
    SocketError::System { path: path.into(), action, source }
}

fn accept(listener: &UnixListener, shared: &Arc<Shared>, source: &Source) {
    for number in 0_u64.. {
        let connection = listener.accept();
        if shared.stopping.load(Ordering::Acquire) {
            return;
        }
        let Ok((stream, _)) = connection else {
            thread::sleep(REFUSED_PAUSE);
            continue;
        };
        // A client that cannot be served is closed: dropping the stream does that.
        let _ = admit(stream, number, shared, source);
    }
}

/// Gives a client its thread, or turns it away.
fn admit(
    mut stream: UnixStream,
    number: u64,
    shared: &Arc<Shared>,
    source: &Source,
) -> io::Result<()> {
    stream.set_read_timeout(Some(IDLE_TIMEOUT))?;
    stream.set_write_timeout(Some(WRITE_TIMEOUT))?;
    let mut clients = shared.clients();
    if clients.len() >= CLIENTS_MAX {
        drop(clients);
        let refusal = format!("{CLIENTS_MAX} connections are open already: close one");
        return stream.write_all(&to_line(&Response::refused(refusal, false))?);
    }
    clients.insert(number, stream.try_clone()?);
    drop(clients);
    let (thread_shared, source) = (Arc::clone(shared), source.clone());
    let spawned = thread::Builder::new().name(format!("control-{number}")).spawn(move || {
        // The client has gone or is not worth waiting for: either way it is closed.
        let _ = converse(&stream, &source);
        thread_shared.clients().remove(&number);
    });
    if spawned.is_err() {
        shared.clients().remove(&number);
    }
    spawned.map(drop)
}

fn converse(stream: &UnixStream, source: &Source) -> io::Result<()> {
    let mut reader = BufReader::new(stream);
    let mut writer = stream;
    loop {
        let (response, last) = match read_line(&mut reader, REQUEST_LENGTH_MAX)? {
            Line::End => return Ok(()),
            Line::TooLong => {
                let error = format!("a request is at most {REQUEST_LENGTH_MAX} bytes long");
                (Response::refused(error, true), true)
            }
            Line::Whole(bytes) => match serde_json::from_slice::<Request>(&bytes) {
                Err(error) => (Response::refused(format!("not a request: {error}"), true), true),
                // A command is one line wherever it comes from.
                Ok(request) if request.command.contains(['\n', '\r']) => {
                    (Response::refused("a command is one line", true), false)
                }
                Ok(request) => (source.ask(&request.command, request.json).into(), false),
            },
        };
        writer.write_all(&to_line(&response)?)?;
        if last {
            return Ok(());
        }
    }
}
