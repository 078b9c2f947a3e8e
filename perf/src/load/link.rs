//! What a port must offer.

/// The way out of a port.
pub trait Link {
    /// Whether it takes another frame now.
    fn has_room(&self) -> bool;

    /// Sends a frame of `len` bytes, written by `write`, checksums aside: these are the link's to
    /// fill in.
    fn emit<R>(&mut self, len: usize, write: impl FnOnce(&mut [u8]) -> R) -> R;
}

/// A port.
pub trait Wire {
    /// Its way out.
    type Link: Link;

    /// Hands over frames that have come, a bounded number of them, each with whether its checksums
    /// are known to be right; how many there were.
    fn receive(&mut self, take: impl FnMut(&[u8], bool, &mut Self::Link)) -> usize;

    /// Its way out.
    fn link(&mut self) -> &mut Self::Link;

    /// Lets go of what was sent; how many frames.
    fn flush(&mut self) -> usize;

    /// Frames that there was no memory for.
    fn frames_lost(&self) -> u64 {
        0
    }
}
