//! Round trip time and retransmission timeout (RFC 6298).

use super::config::TcpConfig;

/// Smoothed round trip time of one connection.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Rtt {
    /// SRTT; 0 before the first sample.
    pub(super) smoothed_ns: u64,
    /// RTTVAR.
    pub(super) variation_ns: u64,
    /// The latest sample.
    pub(super) latest_ns: u64,
    /// The smallest sample.
    pub(super) min_ns: u64,
    /// Times the timeout has been doubled since the last progress.
    pub(super) backoff: u8,
}

impl Rtt {
    /// Takes a sample from an acknowledgement of segments that were each sent once (Karn): the
    /// time since the oldest of them was sent, which includes the host's delay and so decides the
    /// timeout, and since the newest, which is the path's.
    pub(super) fn sample(&mut self, oldest_ns: u64, newest_ns: u64) {
        let rtt_ns = oldest_ns.max(1);
        let newest_ns = newest_ns.max(1);
        self.latest_ns = newest_ns;
        self.min_ns = if self.min_ns == 0 { newest_ns } else { self.min_ns.min(newest_ns) };
        if self.smoothed_ns == 0 {
            self.smoothed_ns = rtt_ns;
            self.variation_ns = rtt_ns / 2;
        } else {
            let error = self.smoothed_ns.abs_diff(rtt_ns);
            self.variation_ns = self.variation_ns - self.variation_ns / 4 + error / 4;
            self.smoothed_ns = (self.smoothed_ns - self.smoothed_ns / 8 + rtt_ns / 8).max(1);
        }
    }

    /// RTO without back-off.
    pub(super) fn timeout_base_ns(&self, config: &TcpConfig) -> u64 {
        if self.smoothed_ns == 0 {
            return config.rto_initial_ns;
        }
        let timeout = self.smoothed_ns.saturating_add(self.variation_ns.saturating_mul(4));
        timeout.clamp(config.rto_min_ns, config.rto_max_ns)
    }

    /// RTO with back-off (RFC 6298 5.5).
    pub(super) fn timeout_ns(&self, config: &TcpConfig) -> u64 {
        let doublings = u32::from(self.backoff.min(32));
        self.timeout_base_ns(config).saturating_mul(1 << doublings).min(config.rto_max_ns)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::time::MILLISECOND_NS;

    #[test]
    fn follows_rfc_6298() {
        let config = TcpConfig::for_mtu(1500, true);
        let mut rtt = Rtt::default();
        assert_eq!(rtt.timeout_ns(&config), config.rto_initial_ns);
        rtt.sample(100 * MILLISECOND_NS, 100 * MILLISECOND_NS);
        assert_eq!(rtt.timeout_ns(&config), 300 * MILLISECOND_NS);
        for _ in 0..100 {
            rtt.sample(MILLISECOND_NS, MILLISECOND_NS);
        }
        assert_eq!(rtt.timeout_ns(&config), config.rto_min_ns);
        rtt.backoff = 3;
        assert_eq!(rtt.timeout_ns(&config), 8 * config.rto_min_ns);
        rtt.backoff = 200;
        assert_eq!(rtt.timeout_ns(&config), config.rto_max_ns);
        assert_eq!(rtt.min_ns, MILLISECOND_NS);
    }
}
