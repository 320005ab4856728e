//! A source of any values for fields, also of values that the format can't hold.

use super::values::RpcIds;
use super::wire::MAX_STRING_UNITS;

/// Makes ops from a number. The same number makes the same op.
pub(super) struct Source {
    pub(super) state: u64,
    /// Whether strings and numbers may be beyond what the format holds.
    pub(super) hostile: bool,
}

impl Source {
    /// xorshift64*
    fn next(&mut self) -> u64 {
        self.state ^= self.state >> 12;
        self.state ^= self.state << 25;
        self.state ^= self.state >> 27;
        self.state.wrapping_mul(0x2545_F491_4F6C_DD1D)
    }

    fn below(&mut self, n: usize) -> usize {
        (self.next() >> 33) as usize % n
    }

    pub(super) fn pick<T: Copy>(&mut self, of: &[T]) -> T {
        of[self.below(of.len())]
    }

    pub(super) fn bool(&mut self) -> bool {
        self.below(2) == 1
    }

    pub(super) fn u8(&mut self) -> u8 {
        self.next() as u8
    }

    pub(super) fn u16(&mut self) -> u16 {
        self.next() as u16
    }

    pub(super) fn i16(&mut self) -> i16 {
        let any = self.next() as i16;
        self.pick(&[i16::MIN, -1, 0, 1, 3, i16::MAX, any])
    }

    pub(super) fn i32(&mut self) -> i32 {
        let any = self.next() as i32;
        self.pick(&[i32::MIN, RpcIds::INVALID_CALL_ID, 0, 1, i32::MAX, any])
    }

    pub(super) fn i64(&mut self) -> i64 {
        let any = self.next() as i64;
        self.pick(&[
            i64::MIN,
            i64::MIN + 1,
            -1,
            0,
            1,
            127,
            128,
            i64::MAX - 1,
            i64::MAX,
            any,
            any >> 20,
        ])
    }

    pub(super) fn u64(&mut self) -> u64 {
        if self.hostile && self.below(4) == 0 {
            return self.pick(&[i64::MAX as u64 + 1, u64::MAX - 1, u64::MAX]);
        }
        let any = self.next() >> 1;
        self.pick(&[0, 1, 1001, 1 << 30, 1 << 48, i64::MAX as u64, any, any >> 20])
    }

    /// A string that the format holds; a hostile one may be a little too long.
    pub(super) fn str(&mut self) -> String {
        self.string(MAX_STRING_UNITS)
    }

    pub(super) fn text(&mut self) -> String {
        // All of these lengths fit a text, so a hostile text needs no other.
        self.string(MAX_STRING_UNITS)
    }

    fn string(&mut self, units: usize) -> String {
        const CHARS: [char; 10] = ['/', 'x', '\0', '\u{7F}', '\u{80}', 'é', '\u{7FF}', '\u{800}', '€', '😀'];
        match self.below(16) {
            0 => String::new(),
            1 => "/.reserved/.inodes/16385/..".to_owned(),
            2 => "a\0b".to_owned(),
            3 => "\u{D7FF}\u{E000}\u{FFFD}\u{FFFF}\u{10000}\u{10FFFF}".to_owned(),
            4 => {
                let char = self.pick(&CHARS);
                let longest = units / char.len_utf16();
                let more = if self.hostile { self.below(3) } else { 0 };
                char.to_string().repeat(longest - 1 + self.below(2) + more)
            }
            _ => (0..self.below(12)).map(|_| self.pick(&CHARS)).collect(),
        }
    }

    pub(super) fn some<T>(&mut self, make: fn(&mut Source) -> T) -> Option<T> {
        self.bool().then(|| make(self))
    }

    pub(super) fn list<T>(&mut self, make: fn(&mut Source) -> T) -> Vec<T> {
        (0..self.below(4)).map(|_| make(self)).collect()
    }

    pub(super) fn bytes(&mut self) -> Vec<u8> {
        (0..self.below(300)).map(|_| self.u8()).collect()
    }
}
