//! The control socket: lines in, JSON lines out.
//!
//! In: connections on a UNIX socket. Out: commands to the forwarding loop, one at a time, each
//! with a way to answer. Never: a packet; the loop is not waited for beyond a limit.

use std::fs;
use std::io::{self, BufRead, BufReader, Write};
use std::os::unix::fs::FileTypeExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread;
use std::time::Duration;

use serde_json::Value;

use super::command::Command;
use super::report;

const ANSWER_TIMEOUT: Duration = Duration::from_secs(5);
const REQUESTS_MAX: usize = 16;
const LINE_BYTES_MAX: u64 = 4096;

/// A command that waits for its answer.
#[derive(Debug)]
pub struct Request {
    /// What is asked.
    pub command: Command,
    /// Where the answer goes; nobody may be listening any more.
    pub answer: SyncSender<Value>,
}

/// A socket that is listened on; removed when dropped.
#[derive(Debug)]
pub struct ControlSocket {
    path: PathBuf,
    requests: Receiver<Request>,
}

impl ControlSocket {
    /// Listens at `path`, in threads of its own. A socket left there by a dead process is
    /// replaced.
    ///
    /// # Errors
    ///
    /// When the path cannot be used, or a live process listens there.
    pub fn listen(path: &Path) -> io::Result<ControlSocket> {
        remove_dead(path)?;
        let listener = UnixListener::bind(path)?;
        let (sender, requests) = sync_channel(REQUESTS_MAX);
        thread::Builder::new().name("control".to_owned()).spawn(move || {
            for stream in listener.incoming().flatten() {
                let sender = sender.clone();
                // Without a thread for it, a connection is closed; the next one may do better.
                let _ = thread::Builder::new()
                    .name("control connection".to_owned())
                    .spawn(move || serve(&stream, &sender));
            }
        })?;
        Ok(ControlSocket { path: path.to_owned(), requests })
    }

    /// The next request, if there is one.
    #[must_use]
    pub fn next_request(&self) -> Option<Request> {
        self.requests.try_recv().ok()
    }
}

impl Drop for ControlSocket {
    fn drop(&mut self) {
        // Somebody else may have removed it; there is nothing to be done about it then.
        let _ = fs::remove_file(&self.path);
    }
}

fn remove_dead(path: &Path) -> io::Result<()> {
    let is_socket = fs::symlink_metadata(path).is_ok_and(|meta| meta.file_type().is_socket());
    let refused = |error: &io::Error| error.kind() == io::ErrorKind::ConnectionRefused;
    if is_socket && UnixStream::connect(path).is_err_and(|error| refused(&error)) {
        fs::remove_file(path)?;
    }
    Ok(())
}

/// Answers each line of one connection until it ends.
fn serve(stream: &UnixStream, sender: &SyncSender<Request>) {
    let mut reader = BufReader::new(stream);
    loop {
        let mut line = String::new();
        match io::Read::take(&mut reader, LINE_BYTES_MAX).read_line(&mut line) {
            Ok(0) | Err(_) => return,
            Ok(_) => {}
        }
        let answer = match Command::parse(&line) {
            Ok(command) => ask(command, sender),
            Err(error) => report::refusal(&error.to_string()),
        };
        let mut writer = stream;
        if writeln!(writer, "{answer}").is_err() {
            return;
        }
    }
}

fn ask(command: Command, sender: &SyncSender<Request>) -> Value {
    let (answer, answers) = sync_channel(1);
    if sender.try_send(Request { command, answer }).is_err() {
        return report::refusal("too many commands at once, or the emulator is stopping");
    }
    answers
        .recv_timeout(ANSWER_TIMEOUT)
        .unwrap_or_else(|_| report::refusal("the emulator did not answer"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn temporary(name: &str) -> PathBuf {
        std::env::temp_dir().join(format!("wanem-{}-{name}", std::process::id()))
    }

    fn exchange(path: &Path, lines: &str, answers: usize) -> Vec<Value> {
        let mut stream = UnixStream::connect(path).unwrap();
        stream.write_all(lines.as_bytes()).unwrap();
        let reader = BufReader::new(stream);
        let answers = reader.lines().take(answers);
        answers.map(|line| serde_json::from_str(&line.unwrap()).unwrap()).collect()
    }

    #[test]
    fn lines_become_requests_and_answers_come_back_in_order() {
        let path = temporary("order");
        let socket = ControlSocket::listen(&path).unwrap();
        let client = {
            let path = path.clone();
            thread::spawn(move || exchange(&path, "stats\nbogus\ndown\n", 3))
        };
        for (number, expected) in
            [Command::Stats, Command::parse("down").unwrap()].iter().enumerate()
        {
            let request = socket.requests.recv_timeout(ANSWER_TIMEOUT).unwrap();
            assert_eq!(request.command, *expected);
            request.answer.send(number.into()).unwrap();
        }
        let answers = client.join().unwrap();
        assert_eq!(answers[0], 0);
        assert!(answers[1]["error"].as_str().unwrap().contains("bogus"));
        assert_eq!(answers[2], 1);
        drop(socket);
        assert!(!path.exists());
    }

    #[test]
    fn a_live_socket_is_left_alone_and_a_dead_one_replaced() {
        let path = temporary("dead");
        let live = UnixListener::bind(&path).unwrap();
        assert!(ControlSocket::listen(&path).is_err());
        drop(live);
        let socket = ControlSocket::listen(&path).unwrap();
        drop(socket);
    }
}
