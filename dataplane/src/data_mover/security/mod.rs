//! Security: who the peer is, keys of datagrams, and what is refused before any of that.
//!
//! In: datagrams as they come, messages of the handshake, random bytes from the caller. Out: keys
//! by epoch, datagrams opened or sealed in place. Never: an answer to a stranger, curve
//! arithmetic on the thread that moves data, a clock, a key in a log.
//!
//! | file | what is in it |
//! |---|---|
//! | `key` | the long-lived keys of appliances |
//! | `aead`, `keyring` | sealing and opening one datagram; the keys of a session by epoch |
//! | `noise`, `exchange` | the handshake; the thread that does its arithmetic |
//! | `mac`, `guard` | what is checked before that, on the data path |
//! | `secured` | what a session does with all of it |
//! | `alone` | sealing and opening without a session, for benches |

#[expect(clippy::disallowed_methods, reason = "copies tags")]
mod aead;
#[cfg(any(test, feature = "bench"))]
pub mod alone;
mod exchange;
#[cfg(any(test, feature = "fuzz"))]
pub(super) mod fuzz;
mod guard;
mod key;
mod keyring;
#[expect(clippy::disallowed_methods, reason = "copies codes and cookies")]
mod mac;
#[expect(clippy::disallowed_methods, reason = "copies keys")]
mod noise;
mod secured;

pub(super) use aead::Cipher;
pub(crate) use exchange::Reply;
pub use exchange::{Entropy, ExchangeCounter, KeyExchange};
pub use guard::Outgoing;
pub(super) use guard::{Guard, open};
pub use key::{KEY_LEN, PeerKeys, PresharedKey, PrivateKey, PublicKey};
pub(super) use secured::{Secured, Step};
