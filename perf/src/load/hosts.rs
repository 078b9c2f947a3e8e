//! All hosts of one LAN: whose frame it is, who has something to do.
//!
//! In: frames, the time. Out: frames, each connection handed to its application when something has
//! happened to it. Never: more work at a time than what has come and a few timers.

use std::net::{Ipv4Addr, SocketAddrV4};

use super::connection::{Connection, Phase, Received};
use super::link::Link;
use super::packet::{self, ARP_FRAME, ETHERNET, Mac, Segment};
use super::stack::{Stack, Way};
use super::{Limits, NS_PER_MS};

/// The servers' address and port.
pub(super) const SERVER: SocketAddrV4 = SocketAddrV4::new(Ipv4Addr::new(10, 2, 0, 1), 80);
/// The first client's address; the others follow.
const CLIENT: u32 = u32::from_be_bytes([10, 1, 0, 1]);
/// Connections of one client, and the first of their ports.
const PORTS: usize = 40_000;
const FIRST_PORT: u16 = 20_000;
/// Clients; their connections are told apart by address and port.
const CLIENTS: u32 = 16;
/// Connections that there are ends for.
pub(super) const NUMBERS: usize = CLIENTS as usize * PORTS;
/// Packets of one connection before others have their turn.
const TRAIN: usize = 64;
/// Connections whose timers are looked at in a turn.
const LOOKS: usize = 16;
const ASK_AGAIN_NS: u64 = 100 * NS_PER_MS;
const NOBODY: u32 = u32::MAX;
// Numbers fit.
const _: () = assert!(NUMBERS < NOBODY as usize && FIRST_PORT as usize + PORTS <= 65_536);

/// What is done with connections.
pub(super) trait Application {
    /// Something may have happened to this one.
    fn step(&mut self, connection: &mut Connection, seen: &mut Seen, now: u64);
}

/// What the hosts of a LAN have seen.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Seen {
    /// Bytes received and compared.
    pub(super) bytes: u64,
    /// Connections opened, closed in order, refused, and reset by others.
    pub(super) opened: u64,
    pub(super) closed: u64,
    pub(super) refused: u64,
    pub(super) resets: u64,
    /// Looks at a connection that found bytes not as they were sent, and where the first was.
    pub(super) wrong: u64,
    pub(super) first_wrong: Option<(usize, u64)>,
    /// Segments with a wrong checksum, and of connections that there are none of.
    pub(super) damaged: u64,
    pub(super) strays: u64,
    /// The longest frame received, in bytes.
    pub(super) frame_bytes_max: usize,
}

impl Seen {
    pub(super) fn take(&mut self, number: usize, received: Received) {
        self.bytes += received.bytes;
        if let Some(at) = received.wrong_at {
            self.wrong += 1;
            self.first_wrong = self.first_wrong.or(Some((number, at)));
        }
    }
}

/// Which side a LAN is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Side {
    Client,
    Server,
}

impl Side {
    /// The station of all its hosts.
    fn mac(self) -> Mac {
        [2, 0, 0, 0, 0x10, if self == Side::Client { 1 } else { 2 }]
    }

    fn first_ip(self) -> Ipv4Addr {
        if self == Side::Client { CLIENT.into() } else { *SERVER.ip() }
    }

    fn has(self, ip: Ipv4Addr) -> bool {
        match self {
            Side::Client => (0..CLIENTS).contains(&u32::from(ip).wrapping_sub(CLIENT)),
            Side::Server => ip == *SERVER.ip(),
        }
    }

    fn other(self) -> Side {
        if self == Side::Client { Side::Server } else { Side::Client }
    }
}

/// All hosts of one LAN.
pub(super) struct Hosts<A> {
    pub(super) app: A,
    pub(super) seen: Seen,
    side: Side,
    limits: Limits,
    head: Option<[u8; ETHERNET]>,
    asked_at: Option<u64>,
    connections: Vec<Connection>,
    free: Vec<usize>,
    /// The place of each connection, by its number.
    places: Vec<u32>,
    /// Places of those that have something to do.
    listed: Vec<usize>,
    /// Where looking at timers goes on.
    look: usize,
}

impl<A: Application> Hosts<A> {
    pub(super) fn new(side: Side, limits: Limits, app: A) -> Self {
        Hosts {
            app,
            seen: Seen::default(),
            side,
            limits,
            head: None,
            asked_at: None,
            connections: Vec::new(),
            free: Vec::new(),
            places: vec![NOBODY; NUMBERS],
            listed: Vec::new(),
            look: 0,
        }
    }

    /// Whether the station of the other LAN is known.
    pub(super) fn knows_other(&self) -> bool {
        self.head.is_some()
    }

    /// Connections that are not over.
    pub(super) fn live(&self) -> usize {
        self.connections.len() - self.free.len()
    }

    /// All connections, those that are over included.
    pub(super) fn all(&mut self) -> impl Iterator<Item = (usize, &mut Connection)> {
        self.connections.iter_mut().enumerate()
    }

    /// Asks who has the other LAN's address, now and then.
    pub(super) fn ask<L: Link>(&mut self, link: &mut L, now: u64) {
        if self.asked_at.is_some_and(|at| now < at + ASK_AGAIN_NS) || !link.has_room() {
            return;
        }
        self.asked_at = Some(now);
        let own = (self.side.mac(), self.side.first_ip());
        let target = self.side.other().first_ip();
        link.emit(ARP_FRAME, |frame| packet::write_arp(frame, own, None, target));
    }

    /// Opens the connection of this number; its place, or `None` where it is in use.
    pub(super) fn open(&mut self, number: usize) -> Option<usize> {
        let (client, server) = ends(number);
        let place = self.place_for(number)?;
        let connection = &mut self.connections[place];
        if connection.stack.connect(client, server).is_err() {
            self.release(place);
            return None;
        }
        self.list(place);
        Some(place)
    }

    /// A connection by its place.
    pub(super) fn connection(&mut self, place: usize) -> &mut Connection {
        &mut self.connections[place]
    }

    /// The same beside what is done with it.
    pub(super) fn app_and_connection(&mut self, place: usize) -> (&mut A, &mut Connection) {
        (&mut self.app, &mut self.connections[place])
    }

    /// This one has something to do.
    pub(super) fn list(&mut self, place: usize) {
        let connection = &mut self.connections[place];
        if !connection.is_listed {
            connection.is_listed = true;
            self.listed.push(place);
        }
    }

    /// A frame has come; `is_sound`: its checksums are known to be right.
    pub(super) fn receive<L: Link>(
        &mut self,
        frame: &[u8],
        is_sound: bool,
        link: &mut L,
        now: u64,
    ) {
        self.seen.frame_bytes_max = self.seen.frame_bytes_max.max(frame.len());
        match packet::read(frame, self.side.mac()) {
            Some(packet::Seen::Question { mac, ip, target }) if self.side.has(target) => {
                let own = (self.side.mac(), target);
                if link.has_room() {
                    link.emit(ARP_FRAME, |f| packet::write_arp(f, own, Some(mac), ip));
                }
            }
            Some(packet::Seen::Answer { mac, ip }) if self.side.other().has(ip) => {
                self.head = Some(packet::head(self.side.mac(), mac));
            }
            Some(packet::Seen::Segment(_)) if !is_sound && !packet::is_sound(frame) => {
                self.seen.damaged += 1;
            }
            Some(packet::Seen::Segment(segment)) => self.segment(&segment, link, now),
            _ => {}
        }
    }

    fn segment<L: Link>(&mut self, segment: &Segment<'_>, link: &mut L, now: u64) {
        let (client, server) = match self.side {
            Side::Client => (segment.destination, segment.source),
            Side::Server => (segment.source, segment.destination),
        };
        let number = number_of(client, server);
        let place = number.and_then(|number| match self.places[number] {
            NOBODY if segment.is_first && self.side == Side::Server => self.accept(number),
            NOBODY => None,
            place => Some(place as usize),
        });
        let (Some(place), Some(head)) = (place, &self.head) else {
            self.seen.strays += 1;
            return;
        };
        let way = Way { head, link, now };
        self.connections[place].stack.ingress(segment.packet, way);
        self.list(place);
    }

    fn accept(&mut self, number: usize) -> Option<usize> {
        let place = self.place_for(number)?;
        let listens = self.connections[place].stack.listen(SERVER);
        if listens.is_err() {
            self.release(place);
            return None;
        }
        Some(place)
    }

    /// Does what is to be done; whether there was anything.
    pub(super) fn turn<L: Link>(&mut self, link: &mut L, now: u64) -> bool {
        self.look_at_timers(now);
        let Some(head) = self.head else { return false };
        let mut listed = std::mem::take(&mut self.listed);
        let worked = !listed.is_empty();
        let mut done = 0;
        for &place in &listed {
            if !link.has_room() {
                break;
            }
            done += 1;
            let connection = &mut self.connections[place];
            connection.is_listed = false;
            if connection.phase == Phase::Free {
                continue;
            }
            self.app.step(connection, &mut self.seen, now);
            let way = Way { head: &head, link: &mut *link, now };
            if !connection.stack.egress(TRAIN, way) {
                self.list(place);
            } else if connection.phase == Phase::Done {
                self.release(place);
            } else {
                connection.due = connection.stack.due(now);
            }
        }
        // Those that had no turn are first the next time.
        let again = std::mem::take(&mut self.listed);
        listed.drain(..done);
        listed.extend(again);
        self.listed = listed;
        worked
    }

    fn look_at_timers(&mut self, now: u64) {
        for _ in 0..LOOKS.min(self.connections.len()) {
            self.look = (self.look + 1) % self.connections.len();
            if self.connections[self.look].due <= now {
                self.list(self.look);
            }
        }
    }

    /// A place for a connection that begins; `None` where it has one, or none is left.
    fn place_for(&mut self, number: usize) -> Option<usize> {
        if *self.places.get(number)? != NOBODY {
            return None;
        }
        let place = self.free.pop().unwrap_or_else(|| {
            let seed = self.connections.len() as u64 + 1;
            self.connections.push(Connection::new(Stack::new(self.limits, seed)));
            self.connections.len() - 1
        });
        self.places[number] = u32::try_from(place).ok()?;
        self.connections[place].begin(number);
        Some(place)
    }

    fn release(&mut self, place: usize) {
        let connection = &mut self.connections[place];
        connection.stack.forget();
        (connection.phase, connection.due) = (Phase::Free, u64::MAX);
        self.places[connection.number] = NOBODY;
        self.free.push(place);
    }
}

/// The ends of a connection, the client's first.
fn ends(number: usize) -> (SocketAddrV4, SocketAddrV4) {
    let host = u32::try_from(number / PORTS).unwrap_or(0);
    let port = FIRST_PORT + u16::try_from(number % PORTS).unwrap_or(0);
    (SocketAddrV4::new((CLIENT + host).into(), port), SERVER)
}

/// The connection between these ends.
fn number_of(client: (Ipv4Addr, u16), server: (Ipv4Addr, u16)) -> Option<usize> {
    let port = usize::from(client.1.checked_sub(FIRST_PORT)?);
    let is_ours = Side::Client.has(client.0) && server == (*SERVER.ip(), SERVER.port());
    let host = u32::from(client.0).wrapping_sub(CLIENT) as usize;
    (is_ours && port < PORTS).then_some(host * PORTS + port)
}
