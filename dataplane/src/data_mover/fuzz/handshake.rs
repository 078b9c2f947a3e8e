//! One end of a pair, driven by bytes: strangers who know its public key, and a peer with the
//! right key that writes what it likes into its handshakes.
//!
//! In: any bytes, as a list of things that happen. Out: nothing; a panic when a stranger is told
//! more than it asked, or comes by a session.

use std::net::SocketAddr;

use super::{End, Script, address, private_key};
use crate::data_mover::security::{PeerKeys, fuzz};
use crate::data_mover::session::State;
use crate::data_mover::wire::{
    DatagramHeader, DatagramKind, Exchange, HEADER_LEN, Hello, Limits, SUBFIELD_LEN, SessionId,
    SubfieldKind, WIRE_VERSION,
};
use crate::time::{MILLISECOND_NS, Time};

/// What the appliance under test has said, and what was said to it.
#[derive(Default)]
struct Said {
    /// Its latest initiation.
    initiation: Option<Vec<u8>>,
    /// Whether its peer has answered one.
    answered: bool,
    bytes_in: usize,
    bytes_out: usize,
}

/// Drives one end by bytes.
///
/// # Panics
/// When what must hold does not.
pub(crate) fn handshake(bytes: &[u8]) {
    drive(bytes);
}

fn drive(bytes: &[u8]) -> End {
    let mut script = Script(bytes);
    let mut end = End::new(1);
    let mut now = Time::from_ms(1);
    let mut said = Said::default();
    while let Some(code) = script.byte() {
        if happen(&mut end, &mut now, code, &mut script, &mut said).is_none() {
            break;
        }
        end.turn(now);
        said.listen(&mut end);
        // Nobody has sent a datagram under any keys: only its own initiations can have come to
        // something.
        let is_up = matches!(end.session().map(|session| session.state()), Some(State::Up(_)));
        assert!(said.answered || !is_up);
    }
    end
}

impl Said {
    /// Takes what was sent.
    fn listen(&mut self, end: &mut End) {
        while let Some(datagram) = end.out.pop_front() {
            if let Ok((DatagramHeader { kind: DatagramKind::Session, .. }, ..)) =
                DatagramHeader::parse(&datagram)
            {
                assert!(self.answered);
                continue;
            }
            assert!(datagram.len() <= Exchange::LEN_MAX);
            let exchange = Exchange::parse(&datagram);
            if exchange.is_ok_and(|exchange| exchange.kind == SubfieldKind::Initiation) {
                self.initiation = Some(datagram);
            } else {
                self.bytes_out += datagram.len();
            }
        }
        // Of what is not asked for by ourselves, no more than came.
        assert!(self.bytes_out <= self.bytes_in, "{} for {}", self.bytes_out, self.bytes_in);
    }
}

/// One thing happens; `None` at the end of the script.
fn happen(
    end: &mut End,
    now: &mut Time,
    code: u8,
    script: &mut Script<'_>,
    said: &mut Said,
) -> Option<()> {
    let (own, public) = (private_key(1), private_key(2).public());
    let peer = PeerKeys { public, psk: None };
    let from = if code & 0x80 == 0 { address(0) } else { stranger(script.byte()?) };
    let datagram = match code % 6 {
        0 => {
            *now = *now + u64::from(script.byte()?) * 16 * MILLISECOND_NS;
            return Some(());
        }
        1 => {
            let kind =
                if code & 0x40 == 0 { SubfieldKind::Initiation } else { SubfieldKind::Response };
            let (epoch, session) = (script.byte()?, session_of(end, script.byte()?));
            let len = usize::from(script.byte()?);
            fuzz::exchange(&peer.public, kind, epoch, session, &script.bytes(len))
        }
        2 => {
            let (epoch, fill) = (script.byte()?, script.byte()?);
            let payload = payload(end, code, script)?;
            fuzz::initiation(&own, &peer, epoch, fill, &payload)
        }
        3 => {
            let session = session_of(end, script.byte()?);
            let payload = payload(end, code, script)?;
            let asked = said.initiation.as_deref()?;
            said.answered = true;
            fuzz::response(&own, &peer, asked, session, &payload)
        }
        4 => {
            let (kind, session) = (script.byte()?, session_of(end, script.byte()?));
            let len = usize::from(script.byte()?);
            Some(hello_datagram(kind, session, &script.bytes(len)))
        }
        _ => {
            let len = usize::from(script.byte()?);
            Some(script.bytes(len))
        }
    };
    // What is too long to be written is not sent.
    if let Some(datagram) = datagram {
        said.bytes_in += datagram.len();
        end.receive(*now, from, datagram);
    }
    Some(())
}

fn stranger(number: u8) -> SocketAddr {
    SocketAddr::from(([198, 51, 100, number], 4980))
}

/// A session id that the appliance answers to, or another.
fn session_of(end: &mut End, code: u8) -> SessionId {
    let own = end.session().and_then(|session| session.handshake.as_ref().map(|h| h.own.session));
    match own {
        Some(own) if code < 0xf0 => own,
        _ => SessionId(u32::from(code) << 10),
    }
}

/// What stands in a message of a handshake: a HELLO with values that no peer has, or any bytes.
fn payload(end: &mut End, code: u8, script: &mut Script<'_>) -> Option<Vec<u8>> {
    if code & 0x20 != 0 {
        let len = usize::from(script.byte()?);
        return Some(script.bytes(len));
    }
    let (flags, number) = (script.byte()?, u64::from(script.byte()?));
    let limit = u32::from(script.word()?);
    let echo = session_of(end, script.byte()?);
    let digest = end.session().map_or(0, |session| session.us.digest);
    let hello = Hello {
        session: SessionId(u32::from(script.word()?) << 10),
        incarnation: number << (flags & 0x30),
        attempt: u32::from(script.byte()?),
        echo_session: echo,
        echo_incarnation: u64::from(script.byte()?),
        reply_wanted: flags & 1 != 0,
        aes: flags & 2 != 0,
        renewal: flags & 4 != 0,
        zstd: flags & 8 != 0,
        version_min: WIRE_VERSION.wrapping_add(flags >> 7),
        version_max: WIRE_VERSION.wrapping_add(flags >> 6 & 1),
        limits: Limits {
            buffer_len_max: limit << (flags & 0xf),
            buffers_max: limit,
            reassembly_bytes_max: limit << (flags & 0xf),
            numbers_max: limit,
        },
        digest: if flags & 8 == 0 { digest } else { number },
        stamp: number,
        echo_stamp: u64::from(limit),
    };
    let mut bytes = vec![0; Hello::LEN];
    hello.emit(&mut bytes)?;
    Some(bytes)
}

/// A datagram of the HELLO type with one subfield of any kind.
fn hello_datagram(kind: u8, session: SessionId, body: &[u8]) -> Vec<u8> {
    let mut out = vec![0; HEADER_LEN];
    let field_len = u16::try_from(SUBFIELD_LEN + body.len()).unwrap_or(u16::MAX);
    let header = DatagramHeader { kind: DatagramKind::Hello, key_epoch: 1, field_len, session };
    header.emit(&mut out);
    out.push(kind);
    out.extend(u16::try_from(body.len()).unwrap_or(u16::MAX).to_be_bytes());
    out.extend(body);
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data_mover::security::ExchangeCounter as X;
    use crate::data_mover::{DemuxCounter, Mismatch};

    /// What is counted once a script of the corpus is over.
    fn counted<const N: usize>(script: &[u8], of: [X; N]) -> [u64; N] {
        let counters = drive(script).exchange.counters();
        of.map(|counter| counters.get(counter))
    }

    #[test]
    fn the_scripts_of_the_corpus_do_what_their_names_say() {
        macro_rules! script {
            ($name:literal) => {
                include_bytes!(concat!("../../../../fuzz/corpus/handshake/", $name))
            };
        }
        let of_ours = [X::Done, X::DropUnauthentic, X::DropHello];
        assert_eq!(counted(script!("initiation"), of_ours), [3, 0, 0]);
        assert_eq!(counted(script!("initiations"), of_ours), [13, 0, 0]);
        assert_eq!(counted(script!("odd_payload"), of_ours), [1, 0, 1]);
        assert_eq!(counted(script!("stranger"), of_ours), [1, 1, 0]);
        assert_eq!(counted(script!("flood"), of_ours), [1, 25, 0]);
        let state = |script: &[u8]| drive(script).session().map(|session| session.state());
        for answered in [&script!("response")[..], script!("response_renewal"), script!("both")] {
            assert!(matches!(state(answered), Some(State::Up(_))), "{:?}", state(answered));
        }
        let versions = Mismatch::Version { min: 4, max: 4 };
        assert_eq!(state(script!("another_version")), Some(State::Mismatch(versions)));
        let digest = Mismatch::Digest { theirs: 5 };
        assert_eq!(state(script!("disagrees")), Some(State::Mismatch(digest)));
        let of_others = drive(script!("flood")).sessions.counters();
        assert_eq!(of_others.get(DemuxCounter::DropCookie), 15);
        let forged = drive(script!("cookie")).sessions.counters();
        assert_eq!(forged.get(DemuxCounter::DropForged), 1);
    }
}
