//! The long-lived keys: who an appliance is, and what a pair shares besides.
//!
//! In: 32 bytes from the operator. Out: typed keys, and the public half of a private one. Never: a
//! secret in a debug print, or left in memory that is given back.

use std::fmt;

use snow::params::DHChoice;
use snow::resolvers::{CryptoResolver, DefaultResolver};
use zeroize::Zeroizing;

/// Length of every key in bytes.
pub const KEY_LEN: usize = 32;

/// Proves who we are: a secret scalar of Curve25519 (RFC 7748).
#[derive(Clone)]
pub struct PrivateKey(Zeroizing<[u8; KEY_LEN]>);

/// Says who an appliance is: its point on Curve25519.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PublicKey(pub [u8; KEY_LEN]);

/// A secret that two appliances share besides: who breaks the curve some day still needs it.
#[derive(Clone)]
pub struct PresharedKey(Zeroizing<[u8; KEY_LEN]>);

/// By what a peer is known.
#[derive(Clone, Debug)]
pub struct PeerKeys {
    /// Its public key.
    pub public: PublicKey,
    /// What we share with it besides, if anything.
    pub psk: Option<PresharedKey>,
}

impl PeerKeys {
    /// The pre-shared key; zeros stand for none.
    pub(super) fn psk_bytes(&self) -> &[u8; KEY_LEN] {
        self.psk.as_ref().map_or(&[0; KEY_LEN], |psk| &psk.0)
    }
}

impl PrivateKey {
    /// From any 32 random bytes.
    #[must_use]
    pub fn new(bytes: [u8; KEY_LEN]) -> Self {
        PrivateKey(Zeroizing::new(bytes))
    }

    /// Its public half.
    #[must_use]
    pub fn public(&self) -> PublicKey {
        let mut public = [0; KEY_LEN];
        // The resolver has this one curve, whose points have this one length.
        if let Some(mut curve) = DefaultResolver.resolve_dh(&DHChoice::Curve25519) {
            curve.set(self.bytes());
            public.iter_mut().zip(curve.pubkey()).for_each(|(to, from)| *to = *from);
        }
        PublicKey(public)
    }

    /// The secret itself, to be written down for its owner only.
    #[must_use]
    pub fn bytes(&self) -> &[u8; KEY_LEN] {
        &self.0
    }
}

impl PresharedKey {
    /// From 32 random bytes.
    #[must_use]
    pub fn new(bytes: [u8; KEY_LEN]) -> Self {
        PresharedKey(Zeroizing::new(bytes))
    }
}

impl fmt::Debug for PrivateKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PrivateKey of {:?}", self.public())
    }
}

impl fmt::Debug for PresharedKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("PresharedKey")
    }
}

impl fmt::Debug for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().take(4).try_for_each(|byte| write!(f, "{byte:02x}"))?;
        f.write_str("...")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_public_half_is_that_of_rfc_7748() {
        // RFC 7748 section 6.1, Alice's keys.
        let private = [
            0x77, 0x07, 0x6d, 0x0a, 0x73, 0x18, 0xa5, 0x7d, 0x3c, 0x16, 0xc1, 0x72, 0x51, 0xb2,
            0x66, 0x45, 0xdf, 0x4c, 0x2f, 0x87, 0xeb, 0xc0, 0x99, 0x2a, 0xb1, 0x77, 0xfb, 0xa5,
            0x1d, 0xb9, 0x2c, 0x2a,
        ];
        let public = [
            0x85, 0x20, 0xf0, 0x09, 0x89, 0x30, 0xa7, 0x54, 0x74, 0x8b, 0x7d, 0xdc, 0xb4, 0x3e,
            0xf7, 0x5a, 0x0d, 0xbf, 0x3a, 0x0d, 0x26, 0x38, 0x1a, 0xf4, 0xeb, 0xa4, 0xa9, 0x8e,
            0xaa, 0x9b, 0x4e, 0x6a,
        ];
        assert_eq!(PrivateKey::new(private).public(), PublicKey(public));
    }

    #[test]
    fn secrets_are_not_printed() {
        let private = PrivateKey::new([0x5a; KEY_LEN]);
        let printed = format!("{private:?} {:?}", PresharedKey::new([0x5a; KEY_LEN]));
        assert!(!printed.contains("5a") && !printed.contains("90"), "{printed}");
    }
}
