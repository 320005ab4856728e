//! Random numbers as a function of a seed (SplitMix64).

/// A source of numbers.
#[derive(Clone, Debug)]
pub struct Random(u64);

impl Random {
    /// From a seed.
    #[must_use]
    pub fn new(seed: u64) -> Random {
        Random(seed)
    }

    /// A new source that depends on `bytes` as well.
    #[must_use]
    pub fn and(mut self, bytes: &[u8]) -> Random {
        for byte in bytes {
            self.0 = self.0.wrapping_add(u64::from(*byte) + 1);
            self.0 = self.any();
        }
        self
    }

    /// Any number.
    pub fn any(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        mixed ^ (mixed >> 31)
    }

    /// A number below `end`. 0 if `end` is 0.
    pub fn below(&mut self, end: usize) -> usize {
        if end == 0 { 0 } else { (self.any() >> 11) as usize % end }
    }

    /// One element of `of`.
    pub fn pick<T: Copy>(&mut self, of: &[T]) -> T {
        of[self.below(of.len())]
    }

    /// Start and end of a part of something with length `len`. The part is not empty unless `len` is 0. Short parts are
    /// as likely as long ones.
    pub fn range(&mut self, len: usize) -> (usize, usize) {
        let start = self.below(len);
        let longest = (len - start).max(1);
        let most = 1 << self.below(usize::BITS as usize - longest.leading_zeros() as usize);
        let end = start + 1 + self.below(longest.min(most));
        (start, end.min(len))
    }
}
