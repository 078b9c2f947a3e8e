//! The control socket: how `tpoctl` reaches a running tpo.
//!
//! A UNIX stream socket that only its owner may open. Each request and each answer is one line of
//! JSON: `{"command": "show peer", "json": true}` and
//! `{"ok": true, "reply": {...}}`, `{"ok": true, "text": "..."}` or
//! `{"ok": false, "usage": false, "error": "..."}`.

mod client;
mod protocol;
mod server;

#[cfg(test)]
pub(crate) mod testing;
#[cfg(test)]
mod tests;

use std::path::PathBuf;

pub use client::Client;
pub use protocol::{REQUEST_LENGTH_MAX, Request, Response};
pub use server::{CLIENTS_MAX, Server, check_free};

/// Where appliances have their sockets unless their configuration says otherwise.
pub const SOCKET_FOLDER: &str = "/run/tpo";

/// Why there is no connection between tpo and tpoctl.
#[derive(Debug, thiserror::Error)]
pub enum SocketError {
    /// Another tpo has the socket.
    #[error(
        "{}: in use: another tpo answers here; stop it, or set another control_socket",
        .path.display()
    )]
    InUse {
        /// The socket.
        path: PathBuf,
    },
    /// Something else has the name.
    #[error("{}: not a socket: remove it, or set another control_socket", .path.display())]
    NotASocket {
        /// What is there.
        path: PathBuf,
    },
    /// The system refused.
    #[error("{}: cannot {action}: {source}", .path.display())]
    System {
        /// The socket or its folder.
        path: PathBuf,
        /// What was tried.
        action: &'static str,
        /// Why it did not work.
        source: std::io::Error,
    },
    /// Nobody answers.
    #[error("{}: no tpo answers here ({source}): start it, or name another with --socket", .path.display())]
    NoServer {
        /// The socket.
        path: PathBuf,
        /// Why not.
        source: std::io::Error,
    },
    /// The connection ended before the answer.
    #[error("{}: tpo closed the connection: {reason}", .path.display())]
    Closed {
        /// The socket.
        path: PathBuf,
        /// What is known about it.
        reason: String,
    },
}
