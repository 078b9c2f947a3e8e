//! Keys as files and text: base64, one key a file.
//!
//! In: text, files that only their owner can read, the system's randomness. Out: typed keys, or a
//! sentence that says what to do. Never: a secret in an error, a log or a configuration shown; a
//! file replaced.

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use dataplane::data_mover::security::{KEY_LEN, PeerKeys, PresharedKey, PrivateKey, PublicKey};
use zeroize::Zeroizing;

use crate::args::KeyCommand;
use crate::config::{Config, Encryption};

const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
/// Length of a key in base64, padding included.
const TEXT_LEN: usize = KEY_LEN.div_ceil(3) * 4;
/// Bits of a file's mode that let others than its owner at it.
const OTHERS: u32 = 0o077;
/// More than a key and white space around it is no key.
const FILE_LEN_MAX: u64 = 256;

/// Why a key could not be had.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    /// A key file that is not there.
    #[error(
        "{key}: {path} does not exist; make it with `tpo genkey {path}`, or name the right file",
        path = .path.display()
    )]
    Missing {
        /// What names it.
        key: &'static str,
        /// The file.
        path: PathBuf,
    },
    /// A file, or standard input, or output.
    #[error("{}: {error}", .path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// What the system says.
        error: io::Error,
    },
    /// Others can read it.
    #[error(
        "{path}: others than its owner can get at it; protect it with `chmod 600 {path}`, and if \
         they may have read it, make a new one with `tpo genkey`",
        path = .0.display()
    )]
    Exposed(PathBuf),
    /// It holds something else.
    #[error("{}: not a key: {reason}; `tpo genkey` makes one", .path.display())]
    NotAKey {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// The key of a peer is our own.
    #[error(
        "peer {0}: its public_key is our own: each appliance needs a key of its own; write what \
         `tpo pubkey` prints there"
    )]
    OurOwn(String),
    /// The system gave no randomness.
    #[error("no randomness from the system: {0}")]
    Random(io::Error),
}

/// The keys of an appliance and its peers.
#[derive(Clone, Debug)]
pub struct Keys {
    /// Our own.
    pub own: PrivateKey,
    /// Those of the peers, in the order of the configuration; `None` where nothing is encrypted.
    pub peers: Vec<Option<PeerKeys>>,
}

impl Keys {
    /// The keys that a configuration names; `None` when it names none.
    ///
    /// # Errors
    /// A file that cannot be read, that others can read, or that holds no key.
    pub fn load(config: &Config) -> Result<Option<Self>, KeyError> {
        let Some(path) = &config.key_file else { return Ok(None) };
        let own = PrivateKey::new(*read("key_file", path)?);
        let public = own.public();
        let mut peers = Vec::new();
        for peer in &config.peers {
            let keys = match (peer.encryption, peer.public_key) {
                (Encryption::On, Some(theirs)) if theirs == public => {
                    return Err(KeyError::OurOwn(peer.name.clone()));
                }
                (Encryption::On, Some(public)) => {
                    let psk = peer.psk_file.as_deref().map(|path| read("psk_file", path));
                    let psk = psk.transpose()?;
                    Some(PeerKeys { public, psk: psk.map(|key| PresharedKey::new(*key)) })
                }
                _ => None,
            };
            peers.push(keys);
        }
        Ok(Some(Keys { own, peers }))
    }
}

/// The secret in a file that only its owner can read.
fn read(key: &'static str, path: &Path) -> Result<Zeroizing<[u8; KEY_LEN]>, KeyError> {
    let io = |error: io::Error| match error.kind() {
        io::ErrorKind::NotFound => KeyError::Missing { key, path: path.into() },
        _ => KeyError::Io { path: path.into(), error },
    };
    let file = File::open(path).map_err(io)?;
    let metadata = file.metadata().map_err(io)?;
    if metadata.is_file() && metadata.mode() & OTHERS != 0 {
        return Err(KeyError::Exposed(path.into()));
    }
    key_in(file, path)
}

fn key_in(source: impl Read, path: &Path) -> Result<Zeroizing<[u8; KEY_LEN]>, KeyError> {
    let mut text = Zeroizing::new(String::new());
    let read = source.take(FILE_LEN_MAX).read_to_string(&mut text);
    read.map_err(|error| KeyError::Io { path: path.into(), error })?;
    decode(text.trim()).map_err(|reason| KeyError::NotAKey { path: path.into(), reason })
}

/// 32 bytes as base64 (RFC 4648 section 4).
#[must_use]
pub fn encode(key: &[u8; KEY_LEN]) -> String {
    let mut text = String::with_capacity(TEXT_LEN);
    for chunk in key.chunks(3) {
        let at = |index: usize| u32::from(chunk.get(index).copied().unwrap_or(0));
        let bits = at(0) << 16 | at(1) << 8 | at(2);
        for place in 0..4 {
            let index = bits >> (18 - 6 * place) & 0x3f;
            let letter = ALPHABET.get(index as usize).copied().map_or('=', char::from);
            text.push(if place > chunk.len() { '=' } else { letter });
        }
    }
    text
}

/// A key from base64.
///
/// # Errors
/// What is wrong with the text, without the text.
pub fn decode(text: &str) -> Result<Zeroizing<[u8; KEY_LEN]>, String> {
    let wrong = || format!("a key is {TEXT_LEN} letters of base64, the last of them \"=\"");
    let bytes = text.as_bytes();
    if bytes.len() != TEXT_LEN || bytes.last() != Some(&b'=') {
        return Err(wrong());
    }
    let mut key = Zeroizing::new([0; KEY_LEN]);
    let mut bits = 0_u32;
    let mut count = 0;
    let mut place = key.iter_mut();
    for letter in bytes.iter().take(TEXT_LEN - 1) {
        let value = ALPHABET.iter().position(|known| known == letter).ok_or_else(wrong)?;
        bits = bits << 6 | u32::try_from(value).map_err(|_| wrong())?;
        count += 6;
        if count >= 8 {
            count -= 8;
            let byte = u8::try_from(bits >> count & 0xff).map_err(|_| wrong())?;
            place.next().map(|place| *place = byte).ok_or_else(wrong)?;
            bits &= (1 << count) - 1;
        }
    }
    // The bits that are left over are 0, or two texts would be the same key.
    if bits == 0 { Ok(key) } else { Err(wrong()) }
}

/// Random bytes of the system.
///
/// # Errors
/// The system gave none.
pub fn random(bytes: &mut [u8]) -> io::Result<()> {
    File::open("/dev/urandom")?.read_exact(bytes)
}

/// Carries out `tpo genkey` and `tpo pubkey`: what to print.
///
/// # Errors
/// A file that cannot be read or made, or is no key.
pub fn run(command: &KeyCommand) -> Result<String, KeyError> {
    match command {
        KeyCommand::Genkey { file } => {
            let mut bytes = Zeroizing::new([0; KEY_LEN]);
            random(&mut *bytes).map_err(KeyError::Random)?;
            let text = Zeroizing::new(format!("{}\n", encode(&bytes)));
            let Some(path) = file else { return Ok(text.to_string()) };
            let io = |error| KeyError::Io { path: path.clone(), error };
            let mut options = OpenOptions::new();
            let mut file =
                options.write(true).create_new(true).mode(0o600).open(path).map_err(io)?;
            file.write_all(text.as_bytes()).map_err(io)?;
            Ok(public_of(&bytes))
        }
        KeyCommand::Pubkey { file: Some(path) } => Ok(public_of(&*read("FILE", path)?)),
        KeyCommand::Pubkey { file: None } => {
            Ok(public_of(&*key_in(io::stdin().lock(), Path::new("standard input"))?))
        }
    }
}

fn public_of(key: &[u8; KEY_LEN]) -> String {
    let PublicKey(public) = PrivateKey::new(*key).public();
    format!("{}\n", encode(&public))
}

#[cfg(test)]
mod tests {
    use std::fs::{self, Permissions};
    use std::os::unix::fs::PermissionsExt;

    use proptest::prelude::*;

    use super::*;
    use crate::socket::testing::Folder;

    proptest! {
        #[test]
        fn decode_inverts_encode(key: [u8; KEY_LEN]) {
            let text = encode(&key);
            prop_assert_eq!(text.len(), TEXT_LEN);
            prop_assert_eq!(*decode(&text).unwrap(), key);
        }

        #[test]
        fn any_text_is_a_key_or_refused(text in "\\PC{0,60}") {
            if let Ok(key) = decode(&text) {
                prop_assert_eq!(encode(&key), text);
            }
        }
    }

    #[test]
    fn base64_is_that_of_everybody_else() {
        let key: [u8; KEY_LEN] = std::array::from_fn(|i| u8::try_from(i * 7 + 3).unwrap());
        assert_eq!(encode(&key), "AwoRGB8mLTQ7QklQV15lbHN6gYiPlp2kq7K5wMfO1dw=");
        assert_eq!(encode(&[0; KEY_LEN]), format!("{}=", "A".repeat(43)));
        assert!(decode(&format!("{}B=", "A".repeat(42))).is_err(), "two texts for one key");
    }

    #[test]
    fn a_key_is_made_once_and_for_its_owner_only() {
        let folder = Folder::new();
        let path = folder.0.join("a.key");
        let genkey = KeyCommand::Genkey { file: Some(path.clone()) };
        let public = run(&genkey).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().mode() & 0o777, 0o600);
        assert_eq!(run(&KeyCommand::Pubkey { file: Some(path.clone()) }).unwrap(), public);
        let again = run(&genkey).unwrap_err().to_string();
        assert!(again.contains("a.key: ") && again.contains("exists"), "{again}");

        for mode in [0o640, 0o604, 0o620] {
            fs::set_permissions(&path, Permissions::from_mode(mode)).unwrap();
            let error = read("key_file", &path).unwrap_err().to_string();
            assert!(error.contains("chmod 600"), "{error}");
        }
        fs::set_permissions(&path, Permissions::from_mode(0o600)).unwrap();
        fs::write(&path, "secret words").unwrap();
        let error = read("key_file", &path).unwrap_err().to_string();
        assert!(error.contains("not a key") && !error.contains("secret"), "{error}");
    }
}
