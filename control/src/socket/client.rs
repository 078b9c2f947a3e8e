//! `tpoctl`'s end of the control socket.

use std::io::{BufReader, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};

use super::SocketError;
use super::protocol::{Line, RESPONSE_LENGTH_MAX, Request, Response, read_line, to_line};

/// A connection to a running tpo.
#[derive(Debug)]
pub struct Client {
    path: PathBuf,
    reader: BufReader<UnixStream>,
}

impl Client {
    /// Connects to the socket at `path`.
    ///
    /// # Errors
    /// Nobody answers there.
    pub fn connect(path: &Path) -> Result<Self, SocketError> {
        let stream = UnixStream::connect(path)
            .map_err(|source| SocketError::NoServer { path: path.into(), source })?;
        Ok(Client { path: path.into(), reader: BufReader::new(stream) })
    }

    /// Asks, and waits for the answer.
    ///
    /// # Errors
    /// The connection ended before the answer, or what came is none.
    pub fn ask(&mut self, request: &Request) -> Result<Response, SocketError> {
        let asked = to_line(request).and_then(|line| self.reader.get_mut().write_all(&line));
        // Who turns a client away may have said so and closed already: read first.
        match read_line(&mut self.reader, RESPONSE_LENGTH_MAX) {
            Ok(Line::Whole(bytes)) => serde_json::from_slice(&bytes)
                .map_err(|error| self.closed(format!("its answer cannot be read: {error}"))),
            Ok(Line::TooLong) => Err(self.closed("its answer is too long".into())),
            Ok(Line::End) => Err(self.closed(match asked {
                Ok(()) => "it ended before it answered".into(),
                Err(error) => error.to_string(),
            })),
            Err(error) => Err(self.closed(error.to_string())),
        }
    }

    fn closed(&self, reason: String) -> SocketError {
        SocketError::Closed { path: self.path.clone(), reason }
    }
}
