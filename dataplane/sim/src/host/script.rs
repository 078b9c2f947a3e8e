//! What the applications of a host do: plain data.

use std::net::SocketAddr;

use crate::content::Content;

/// When an end of a connection may send.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pace {
    /// As fast as TCP takes it.
    Free,
    /// Once this many bytes have come from the peer.
    AfterReceived(u64),
    /// In turns: `own_bytes`, then wait for `peer_bytes`, and so on.
    Turns {
        /// Bytes of one own turn.
        own_bytes: u64,
        /// Bytes of one turn of the peer.
        peer_bytes: u64,
        /// Whether this end begins.
        first: bool,
    },
}

/// How an end of a connection reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Read {
    /// At once.
    Free,
    /// Not before this long after connecting: the window closes.
    After {
        /// In nanoseconds.
        delay_ns: u64,
    },
    /// This much, this often.
    Slow {
        /// Bytes a time.
        bytes: u64,
        /// Between times, in nanoseconds.
        interval_ns: u64,
    },
}

/// How an end of a connection ends it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Close {
    /// Its own direction, once all is sent; it goes on reading.
    AfterSending,
    /// Once all is sent and the peer has closed its direction.
    AfterPeer,
    /// With a reset, once both numbers of bytes are reached.
    Abort {
        /// Bytes sent.
        sent_bytes: u64,
        /// Bytes received.
        received_bytes: u64,
    },
    /// Not at all.
    Never,
}

/// What one end of a TCP connection does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StreamScript {
    /// Bytes to send.
    pub send_bytes: u64,
    /// When.
    pub pace: Pace,
    /// How to read.
    pub read: Read,
    /// How to end.
    pub close: Close,
}

impl Default for StreamScript {
    /// Sends nothing, reads all, closes after the peer.
    fn default() -> Self {
        StreamScript { send_bytes: 0, pace: Pace::Free, read: Read::Free, close: Close::AfterPeer }
    }
}

impl StreamScript {
    /// Sends this much, then closes its direction; reads all.
    #[must_use]
    pub fn sender(send_bytes: u64) -> Self {
        StreamScript { send_bytes, close: Close::AfterSending, ..Default::default() }
    }

    /// Bytes it may have sent once `received_bytes` have come.
    pub(super) fn allowed_bytes(&self, received_bytes: u64) -> u64 {
        let allowed = match self.pace {
            Pace::Free => u64::MAX,
            Pace::AfterReceived(bytes) if received_bytes >= bytes => u64::MAX,
            Pace::AfterReceived(_) => 0,
            Pace::Turns { own_bytes, peer_bytes, first } => {
                let turns = received_bytes / peer_bytes.max(1) + u64::from(first);
                turns.saturating_mul(own_bytes)
            }
        };
        allowed.min(self.send_bytes)
    }
}

/// An application of a host.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Application {
    /// Accepts connections.
    Server {
        /// Port it listens on.
        port: u16,
        /// Connections that may be in the making at a time.
        backlog: usize,
        /// What each does.
        script: StreamScript,
    },
    /// Opens connections, all at once, from consecutive ports.
    Client {
        /// The server.
        remote: SocketAddr,
        /// First local port.
        local_port: u16,
        /// How many.
        connections: u16,
        /// When, in nanoseconds.
        start_ns: u64,
        /// What each does.
        script: StreamScript,
    },
    /// Sends datagrams back.
    UdpEcho {
        /// Port it is bound to.
        port: u16,
    },
    /// Sends datagrams and expects them back.
    UdpClient {
        /// The server.
        remote: SocketAddr,
        /// Local port.
        local_port: u16,
        /// What to send.
        probe: Probe,
    },
    /// Sends echo requests; every host answers them.
    Ping {
        /// The host; the port is without meaning.
        remote: SocketAddr,
        /// Identifier of the requests.
        identifier: u16,
        /// What to send.
        probe: Probe,
    },
}

/// A series of datagrams.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Probe {
    /// When to begin, in nanoseconds.
    pub start_ns: u64,
    /// Between two, in nanoseconds.
    pub interval_ns: u64,
    /// How many.
    pub count: u16,
    /// Bytes of payload, at least 2.
    pub len: usize,
}

/// The contents of both directions of a connection: they differ between connections, and both
/// ends know them.
#[derive(Clone, Copy, Debug)]
pub(super) struct Contents {
    pub(super) from_client: Content,
    pub(super) from_server: Content,
}

impl Contents {
    pub(super) fn new(base: Content, client: SocketAddr, server: SocketAddr) -> Self {
        let ports = u64::from(client.port()) << 16 | u64::from(server.port());
        let own = base.part(ports);
        Contents { from_client: own.part(1), from_server: own.part(2) }
    }
}
