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
        "{path} does not exist; name the right file, or make it with `tpo genkey {path}`{}",
        .kind.advice(),
        path = .path.display()
    )]
    Missing {
        /// What it is to hold.
        kind: Secret,
        /// The file.
        path: PathBuf,
    },
    /// A file, or standard input.
    #[error("{}: cannot be read: {error}; name a file that tpo may read", .path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// What the system says.
        error: io::Error,
    },
    /// A file that would be replaced.
    #[error(
        "{path}: exists already, and a key is never replaced; name another file, or remove this one \
         if nobody needs its key",
        path = .0.display()
    )]
    Exists(PathBuf),
    /// A file that cannot be made.
    #[error(
        "{}: cannot be made: {error}; name a file in a folder that is there and may be written",
        .path.display()
    )]
    Unwritable {
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
        "it is our own: each appliance needs a key of its own; write what `tpo pubkey` prints there"
    )]
    OurOwn,
    /// The system gave no randomness.
    #[error("no randomness from the system: {0}")]
    Random(io::Error),
}

/// What a key file holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Secret {
    /// The private key of an appliance.
    Private,
    /// The secret of a pair.
    Shared,
}

impl Secret {
    fn advice(self) -> &'static str {
        match self {
            Secret::Private => "",
            Secret::Shared => " at one end and copy it to the other",
        }
    }
}

/// Why the keys of a configuration could not be had: all that is wrong, each with the key of the
/// file that it is about.
#[derive(Debug, thiserror::Error)]
#[error("{}", .0.iter().map(|(key, error)| format!("{key}: {error}")).collect::<Vec<_>>().join("\n"))]
pub struct KeyErrors(pub Vec<(String, KeyError)>);

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
    /// Every file that cannot be read, that others can read, or that holds no key.
    pub fn load(config: &Config) -> Result<Option<Self>, KeyErrors> {
        let Some(path) = &config.key_file else { return Ok(None) };
        let mut errors = Vec::new();
        let own = read(Secret::Private, path).map(|key| PrivateKey::new(*key));
        let own = own.map_err(|error| errors.push(("key_file".to_owned(), error))).ok();
        let public = own.as_ref().map(PrivateKey::public);
        let mut peers = Vec::new();
        for (index, peer) in config.peers.iter().enumerate() {
            let theirs = peer.public_key.filter(|_| peer.encryption == Encryption::On);
            if theirs.is_some() && theirs == public {
                errors.push((format!("peer[{index}].public_key"), KeyError::OurOwn));
            }
            let psk_file = peer.psk_file.as_deref().filter(|_| theirs.is_some());
            let psk = psk_file.map(|path| read(Secret::Shared, path)).transpose();
            let psk = psk.unwrap_or_else(|error| {
                errors.push((format!("peer[{index}].psk_file"), error));
                None
            });
            let psk = psk.map(|key| PresharedKey::new(*key));
            peers.push(theirs.map(|public| PeerKeys { public, psk }));
        }
        match own.filter(|_| errors.is_empty()) {
            Some(own) => Ok(Some(Keys { own, peers })),
            None => Err(KeyErrors(errors)),
        }
    }
}

/// The secret in a file that only its owner can read.
fn read(kind: Secret, path: &Path) -> Result<Zeroizing<[u8; KEY_LEN]>, KeyError> {
    let io = |error: io::Error| match error.kind() {
        io::ErrorKind::NotFound => KeyError::Missing { kind, path: path.into() },
        _ => KeyError::Unreadable { path: path.into(), error },
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
    read.map_err(|error| match error.kind() {
        io::ErrorKind::InvalidData => KeyError::NotAKey { path: path.into(), reason: not_a_key() },
        _ => KeyError::Unreadable { path: path.into(), error },
    })?;
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

fn not_a_key() -> String {
    format!("a key is {TEXT_LEN} letters of base64, the last of them \"=\"")
}

/// A key from base64.
///
/// # Errors
/// What is wrong with the text, without the text.
pub fn decode(text: &str) -> Result<Zeroizing<[u8; KEY_LEN]>, String> {
    let wrong = not_a_key;
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
            let io = |error: io::Error| match error.kind() {
                io::ErrorKind::AlreadyExists => KeyError::Exists(path.clone()),
                _ => KeyError::Unwritable { path: path.clone(), error },
            };
            let mut options = OpenOptions::new();
            let mut file =
                options.write(true).create_new(true).mode(0o600).open(path).map_err(io)?;
            if let Err(error) = file.write_all(text.as_bytes()) {
                // Half a key would be in the way of the next one.
                let _ = std::fs::remove_file(path);
                return Err(io(error));
            }
            Ok(public_of(&bytes))
        }
        KeyCommand::Pubkey { file: Some(path) } => Ok(public_of(&*read(Secret::Private, path)?)),
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
    fn every_key_file_that_is_wrong_is_named_by_its_key() {
        let text = include_str!("config/tests/complete.toml");
        let machine = crate::machine::Machine {
            cores: vec![0, 1, 2, 3],
            memory: crate::config::Size(8 << 30),
            hugepages_free: crate::config::Size(0),
        };
        let mut config = Config::parse(Path::new("a.toml"), text, &machine).unwrap().0;
        let folder = Folder::new();
        let file = |name: &str| folder.0.join(name);
        config.key_file = Some(file("a.key"));
        config.peers[0].psk_file = Some(file("a-b.psk"));
        let errors = Keys::load(&config).unwrap_err().to_string();
        let lines: Vec<_> = errors.lines().collect();
        assert_eq!(lines.len(), 2, "{errors}");
        let genkey = format!("make it with `tpo genkey {}`", file("a.key").display());
        assert!(lines[0].starts_with("key_file: ") && lines[0].ends_with(&genkey), "{errors}");
        assert!(lines[1].starts_with("peer[0].psk_file: "), "{errors}");
        assert!(lines[1].ends_with("at one end and copy it to the other"), "{errors}");

        let genkey = KeyCommand::Genkey { file: config.key_file.clone() };
        let public = decode(run(&genkey).unwrap().trim()).unwrap();
        config.peers[0].public_key = Some(PublicKey(*public));
        fs::create_dir(file("a-b.psk")).unwrap();
        let errors = Keys::load(&config).unwrap_err().to_string();
        let lines: Vec<_> = errors.lines().collect();
        assert!(lines[0].starts_with("peer[0].public_key: it is our own"), "{errors}");
        assert!(
            lines[1].contains("cannot be read") && lines[1].contains("name a file"),
            "{errors}"
        );
        config.peers[0].public_key = Some(PublicKey([9; 32]));
        fs::remove_dir(file("a-b.psk")).unwrap();
        run(&KeyCommand::Genkey { file: config.peers[0].psk_file.clone() }).unwrap();
        assert!(Keys::load(&config).unwrap().is_some());
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
            let error = read(Secret::Private, &path).unwrap_err().to_string();
            assert!(error.contains("chmod 600"), "{error}");
        }
        fs::set_permissions(&path, Permissions::from_mode(0o600)).unwrap();
        fs::write(&path, "secret words").unwrap();
        let error = read(Secret::Private, &path).unwrap_err().to_string();
        assert!(error.contains("not a key") && !error.contains("secret"), "{error}");
    }
}
