//! A device string: what DPDK opens as a port.
//!
//! In: `"0000:03:00.0"` or `"net_af_xdp0,iface=lan0"`. Out: which of the two kinds it is, split
//! into name and arguments. Never: whether the device exists.

use std::fmt;

/// What DPDK opens as a port.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Device {
    /// A PCI function, by its full address, with device arguments (may be empty).
    Pci {
        /// `domain:bus:device.function`, lower case.
        address: String,
        /// What follows the first comma.
        arguments: String,
    },
    /// A virtual device, with its arguments (may be empty).
    Virtual {
        /// Driver name and a suffix: `net_af_xdp0`.
        name: String,
        /// What follows the first comma.
        arguments: String,
    },
}

/// What the names of virtual Ethernet devices begin with.
const VIRTUAL_PREFIXES: [&str; 3] = ["net_", "eth_", "virtio_user"];

impl Device {
    /// Reads a device string.
    ///
    /// # Errors
    /// A sentence that says what a device looks like.
    pub fn parse(text: &str) -> Result<Self, String> {
        let (name, arguments) = text.split_once(',').unwrap_or((text, ""));
        let plain = |c: char| c.is_ascii_graphic() && c != '"';
        if !arguments.chars().all(plain) {
            return Err(format!(
                "device arguments \"{arguments}\" must be printable, without spaces"
            ));
        }
        let arguments = arguments.to_owned();
        if let Some(address) = pci_address(name) {
            return Ok(Device::Pci { address, arguments });
        }
        let word = name.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_');
        if word && VIRTUAL_PREFIXES.iter().any(|prefix| name.starts_with(prefix)) {
            return Ok(Device::Virtual { name: name.to_owned(), arguments });
        }
        Err(format!(
            "\"{name}\" is not a device; write a PCI address as in \"0000:03:00.0\", \
             or a DPDK vdev as in \"net_af_xdp0,iface=lan0\""
        ))
    }

    /// The name by which DPDK knows the port.
    #[must_use]
    pub fn name(&self) -> &str {
        match self {
            Device::Pci { address, .. } => address,
            Device::Virtual { name, .. } => name,
        }
    }

    /// The value of a device argument: `argument("iface")`.
    #[must_use]
    pub fn argument(&self, key: &str) -> Option<&str> {
        let (Device::Pci { arguments, .. } | Device::Virtual { arguments, .. }) = self;
        arguments.split(',').find_map(|pair| pair.strip_prefix(key)?.strip_prefix('='))
    }
}

impl fmt::Display for Device {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (Device::Pci { arguments, .. } | Device::Virtual { arguments, .. }) = self;
        let comma = if arguments.is_empty() { "" } else { "," };
        write!(f, "{}{comma}{arguments}", self.name())
    }
}

/// The full, lower-case form of a PCI address; the domain may be left out.
fn pci_address(text: &str) -> Option<String> {
    let parts: Vec<&str> = text.split(':').collect();
    let (domain, bus, slot) = match parts[..] {
        [bus, slot] => ("0000", bus, slot),
        [domain, bus, slot] => (domain, bus, slot),
        _ => return None,
    };
    let (device, function) = slot.split_once('.')?;
    let hex = |text: &str, length: usize| {
        text.len() == length && text.chars().all(|c| c.is_ascii_hexdigit())
    };
    let valid = hex(domain, 4)
        && hex(bus, 2)
        && hex(device, 2)
        && matches!(function.as_bytes(), [b'0'..=b'7']);
    valid.then(|| format!("{domain}:{bus}:{slot}").to_ascii_lowercase())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn devices_are_pci_functions_or_vdevs() {
        let pci = Device::parse("03:00.1").unwrap();
        assert_eq!(pci.to_string(), "0000:03:00.1");
        assert_eq!(
            Device::parse("0000:AF:00.0,rx_vec_en=1").unwrap().to_string(),
            "0000:af:00.0,rx_vec_en=1"
        );
        let vdev = Device::parse("net_af_xdp0,iface=lan0,queue_count=1").unwrap();
        assert_eq!(vdev.name(), "net_af_xdp0");
        assert_eq!(vdev.argument("iface"), Some("lan0"));
        assert_eq!(vdev.argument("if"), None);
        assert_eq!(vdev.to_string(), "net_af_xdp0,iface=lan0,queue_count=1");
        for text in
            ["", "lan0", "0000:03:00.8", "0000:03:00", "3:0.0", "net_null 0", "net_tap0,iface=a b"]
        {
            assert!(Device::parse(text).is_err(), "{text}");
        }
    }
}
