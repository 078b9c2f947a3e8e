//! A flag for each of many consecutive numbers, in a ring.
//!
//! In: numbers. Out: their flags, one at a time or by eight. Never: a word on which numbers they are
//! of; who has the ring knows.

/// The flags. Numbers that are a multiple of their count apart share one.
#[derive(Debug)]
pub(super) struct Flags(Box<[u64]>);

impl Flags {
    /// None of `count` flags is set, at least 64; their count is a power of two.
    pub(super) fn new(count: usize) -> Self {
        Flags(vec![0; (count / 64).next_power_of_two()].into_boxed_slice())
    }

    /// Sets none.
    pub(super) fn clear(&mut self) {
        self.0.fill(0);
    }

    fn word(&self, number: u64) -> usize {
        let mask = self.0.len() as u64 - 1;
        usize::try_from((number / 64) & mask).unwrap_or(0)
    }

    pub(super) fn get(&self, number: u64) -> bool {
        self.0.get(self.word(number)).is_some_and(|word| word >> (number % 64) & 1 == 1)
    }

    pub(super) fn set(&mut self, number: u64, flag: bool) {
        let word = self.word(number);
        if let Some(word) = self.0.get_mut(word) {
            *word = *word & !(1 << (number % 64)) | u64::from(flag) << (number % 64);
        }
    }

    /// Clears the flags of `from..=to`, which are no more than there are.
    pub(super) fn clear_range(&mut self, from: u64, to: u64) {
        let mut at = from;
        while at <= to {
            let word = self.word(at);
            let end = (at | 63).min(to);
            let count = end - at + 1;
            let mask = if count == 64 { u64::MAX } else { ((1 << count) - 1) << (at % 64) };
            if let Some(word) = self.0.get_mut(word) {
                *word &= !mask;
            }
            at = end + 1;
        }
    }

    /// The flags of eight numbers from `number` on, the lowest bit first.
    pub(super) fn byte(&self, number: u64) -> u8 {
        let word = |number| self.0.get(self.word(number)).copied().unwrap_or(0);
        let shift = number % 64;
        // They may begin in one word and end in the next.
        let [byte, ..] =
            (word(number) >> shift | (word(number + 7) << 1) << (63 - shift)).to_le_bytes();
        byte
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn a_ring_of_flags_agrees_with_an_array(
            operations in proptest::collection::vec((0..2_000_u64, 0..130_u64, 0..3), 0..100),
        ) {
            const COUNT: usize = 128;
            let mut flags = Flags::new(COUNT);
            let mut oracle = [false; COUNT];
            let place = |number: u64| usize::try_from(number).unwrap() % COUNT;
            for (number, len, operation) in operations {
                match operation {
                    0 => {
                        let to = number + len.min(COUNT as u64 - 1);
                        flags.clear_range(number, to);
                        (number..=to).for_each(|number| oracle[place(number)] = false);
                    }
                    flag => {
                        flags.set(number, flag == 1);
                        oracle[place(number)] = flag == 1;
                    }
                }
                for number in number..number + 70 {
                    prop_assert_eq!(flags.get(number), oracle[place(number)]);
                    let byte = (0..8).fold(0, |byte, bit| {
                        byte | u8::from(oracle[place(number + bit)]) << bit
                    });
                    prop_assert_eq!(flags.byte(number), byte);
                }
            }
            flags.clear();
            prop_assert!((0..COUNT as u64).all(|number| !flags.get(number)));
        }
    }
}
