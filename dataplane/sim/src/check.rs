//! What hosts saw, and whether it may be so.
//!
//! Safety holds at every moment: what was received is a prefix of what was sent, and an end is
//! seen only after everything before it. Progress is demanded once the network is whole again and
//! has had time.

use std::fmt;
use std::net::SocketAddr;

use dataplane::time::Time;

/// How a connection stands for one of its ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// Not ended (yet).
    Open,
    /// Both directions were closed and acknowledged.
    Orderly,
    /// The peer refused it.
    Refused,
    /// The peer reset it.
    Reset,
    /// The peer reset it when this end had sent and read everything and closed: the stream it got
    /// is whole, the peer has forgotten the connection.
    ResetAfterClose,
    /// This end reset it, as its script says.
    Aborted,
}

/// One end of a TCP connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StreamReport {
    /// Address of this end.
    pub local: SocketAddr,
    /// Address of the other end.
    pub remote: SocketAddr,
    /// Bytes handed to TCP.
    pub sent_bytes: u64,
    /// Bytes that the script wants to send.
    pub send_bytes: u64,
    /// Whether this end closed its direction.
    pub send_closed: bool,
    /// Bytes read.
    pub received_bytes: u64,
    /// Where the first byte was that is not what the other end sends there.
    pub mismatch_at: Option<u64>,
    /// When the connection was established.
    pub connected_at: Option<Time>,
    /// When the first byte was read.
    pub first_byte_at: Option<Time>,
    /// When the end of the other direction was read.
    pub end_of_stream_at: Option<Time>,
    /// How it stands.
    pub end: End,
    /// When it ended.
    pub ended_at: Option<Time>,
    /// Of an end that begins and takes turns: from the first byte of each own turn to the last of
    /// the peer's, in nanoseconds.
    pub exchanges_ns: Vec<u64>,
}

impl StreamReport {
    /// An end of a connection that is yet to be made.
    #[must_use]
    pub fn new(local: SocketAddr, remote: SocketAddr, send_bytes: u64) -> Self {
        StreamReport {
            local,
            remote,
            sent_bytes: 0,
            send_bytes,
            send_closed: false,
            received_bytes: 0,
            mismatch_at: None,
            connected_at: None,
            first_byte_at: None,
            end_of_stream_at: None,
            end: End::Open,
            ended_at: None,
            exchanges_ns: Vec::new(),
        }
    }
}

/// What became of a series of datagrams.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ProbeReport {
    /// Datagrams sent.
    pub sent: u64,
    /// Of them, those that came back unchanged; copies count again.
    pub returned: u64,
    /// What came that was never sent.
    pub wrong: u64,
    /// Round trip times in nanoseconds, in order of arrival.
    pub round_trips_ns: Vec<u64>,
}

/// Something that must not be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    /// What.
    pub what: Wrong,
    /// As seen by this end.
    pub seen_by: StreamReport,
}

/// What must not be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wrong {
    /// A byte differs from what was sent.
    Content,
    /// More was received than was sent.
    NeverSent,
    /// The stream ended before its last byte, or before the other end closed it.
    EarlyEnd,
    /// A server has a connection of which no client knows.
    NoClient,
    /// The sender saw an orderly end, and the receiver lacks bytes.
    SilentLoss,
    /// The connection did not finish.
    Unfinished,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?} at {} from {}", self.what, self.seen_by.local, self.seen_by.remote)
    }
}

/// Everything that must not be at any moment. `clients` and `servers` are the ends of all
/// connections, each pair of addresses used once.
#[must_use]
pub fn safety(clients: &[StreamReport], servers: &[StreamReport]) -> Vec<Violation> {
    let mut found = Vec::new();
    for server in servers {
        let client = clients.iter().find(|c| c.local == server.remote && c.remote == server.local);
        let Some(client) = client else {
            found.push(Violation { what: Wrong::NoClient, seen_by: server.clone() });
            continue;
        };
        for (sender, receiver) in [(client, server), (server, client)] {
            let wrongs = direction(sender, receiver);
            let seen = wrongs.map(|what| Violation { what, seen_by: receiver.clone() });
            found.extend(seen);
        }
    }
    let heard = |client: &&StreamReport| client.received_bytes > 0 || client.mismatch_at.is_some();
    let alone = clients.iter().filter(|client| {
        !servers.iter().any(|s| s.remote == client.local && s.local == client.remote)
    });
    for client in alone.filter(heard) {
        found.push(Violation { what: Wrong::NeverSent, seen_by: client.clone() });
    }
    found
}

fn direction(sender: &StreamReport, receiver: &StreamReport) -> impl Iterator<Item = Wrong> {
    let ended = receiver.end_of_stream_at.is_some();
    let complete = receiver.received_bytes == sender.sent_bytes;
    [
        receiver.mismatch_at.is_some().then_some(Wrong::Content),
        (receiver.received_bytes > sender.sent_bytes).then_some(Wrong::NeverSent),
        (ended && !(complete && sender.send_closed)).then_some(Wrong::EarlyEnd),
    ]
    .into_iter()
    .flatten()
}

/// Everything that must not be once all has had time to finish: connections that are neither
/// orderly nor complete (unless an end was meant to abort), and bytes lost without a reset.
#[must_use]
pub fn finished(clients: &[StreamReport], servers: &[StreamReport]) -> Vec<Violation> {
    let mut found = safety(clients, servers);
    for client in clients {
        let server = servers.iter().find(|s| s.remote == client.local && s.local == client.remote);
        let ends = [Some(client), server].into_iter().flatten();
        if ends.clone().any(|end| end.end == End::Open) || server.is_none() {
            found.push(Violation { what: Wrong::Unfinished, seen_by: client.clone() });
        }
    }
    found.extend(lost_silently(clients, servers));
    found
}

/// Receivers that lack bytes of a sender that saw an orderly end.
#[must_use]
pub fn lost_silently(clients: &[StreamReport], servers: &[StreamReport]) -> Vec<Violation> {
    let mut found = Vec::new();
    for client in clients {
        let server = servers.iter().find(|s| s.remote == client.local && s.local == client.remote);
        let Some(server) = server else { continue };
        for (sender, receiver) in [(client, server), (server, client)] {
            let short = receiver.received_bytes < sender.sent_bytes;
            if sender.end == End::Orderly && short {
                found.push(Violation { what: Wrong::SilentLoss, seen_by: receiver.clone() });
            }
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pair() -> (StreamReport, StreamReport) {
        let (a, b) = (([10, 0, 0, 1], 1000).into(), ([10, 0, 0, 2], 80).into());
        let end = |local, remote| StreamReport {
            sent_bytes: 100,
            send_closed: true,
            received_bytes: 100,
            end_of_stream_at: Some(Time::ZERO),
            end: End::Orderly,
            ..StreamReport::new(local, remote, 100)
        };
        (end(a, b), end(b, a))
    }

    fn wrongs(client: &StreamReport, server: &StreamReport) -> Vec<Wrong> {
        let (clients, servers) = (std::slice::from_ref(client), std::slice::from_ref(server));
        finished(clients, servers).iter().map(|violation| violation.what).collect()
    }

    #[test]
    fn each_wrong_is_found() {
        type Change = fn(&mut StreamReport, &mut StreamReport);
        let cases: [(Change, &[Wrong]); 8] = [
            (|_, _| {}, &[]),
            (|c, _| c.mismatch_at = Some(3), &[Wrong::Content]),
            (|c, _| c.received_bytes = 101, &[Wrong::NeverSent, Wrong::EarlyEnd]),
            (|c, _| c.received_bytes = 99, &[Wrong::EarlyEnd, Wrong::SilentLoss]),
            (|c, _| c.send_closed = false, &[Wrong::EarlyEnd]),
            (|c, _| c.end = End::Open, &[Wrong::Unfinished]),
            (
                |c, s| {
                    (s.received_bytes, s.end_of_stream_at, s.end) = (50, None, End::Reset);
                    c.end = End::Orderly;
                },
                &[Wrong::SilentLoss],
            ),
            (
                |c, s| {
                    (s.received_bytes, s.end_of_stream_at, s.end) = (50, None, End::Reset);
                    c.end = End::Reset;
                },
                &[],
            ),
        ];
        for (change, expected) in cases {
            let (mut client, mut server) = pair();
            change(&mut client, &mut server);
            assert_eq!(wrongs(&client, &server), expected);
        }
    }

    #[test]
    fn ends_without_a_counterpart_are_found() {
        let (client, server) = pair();
        assert_eq!(safety(&[], &[server])[0].what, Wrong::NoClient);
        assert_eq!(safety(std::slice::from_ref(&client), &[])[0].what, Wrong::NeverSent);
    }
}
