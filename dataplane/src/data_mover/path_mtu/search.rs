//! Which length is worth the next probe.

/// Lengths of IP packets that links and tunnels are known for: tried before all others.
pub(super) const USUAL_IP_BYTES: [u16; 19] = [
    1_280, 1_340, 1_360, 1_380, 1_400, 1_420, 1_440, 1_450, 1_460, 1_472, 1_480, 1_492, 1_500,
    1_536, 2_002, 4_352, 4_464, 8_166, 9_000,
];
/// Between a length that passes and one that does not, so much is not worth a probe.
pub(super) const GAP_LEN: u16 = 32;

/// What is known of a path.
#[derive(Clone, Copy, Debug)]
pub(super) struct Known {
    /// The longest that passes.
    pub(super) passes: u16,
    /// The shortest that does not.
    pub(super) too_long: u16,
}

impl Known {
    /// The length to be tried next, if any: first the base, then the ceiling, which most paths
    /// take; then halves of what is left, by usual lengths while there are any.
    pub(super) fn candidate(&self, base: u16, ceiling: u16, ip_overhead: u16) -> Option<u16> {
        let open = |len: u16| len > self.passes && len < self.too_long;
        if let Some(first) = [base, ceiling].into_iter().find(|len| open(*len)) {
            return Some(first);
        }
        let usual = || {
            let lens = USUAL_IP_BYTES.iter().map(|bytes| bytes.saturating_sub(ip_overhead));
            lens.filter(|len| open(*len))
        };
        let left = self.too_long.saturating_sub(self.passes);
        match usual().count() {
            0 if left > GAP_LEN => Some(self.passes + left / 2),
            0 => None,
            count => usual().nth(count / 2),
        }
    }
}
