//! What happens, read off the bytes of an input; where they are over, zeros.

pub struct Script<'a> {
    rest: &'a [u8],
}

impl<'a> Script<'a> {
    pub fn new(bytes: &'a [u8]) -> Self {
        Self { rest: bytes }
    }

    pub fn over(&self) -> bool {
        self.rest.is_empty()
    }

    pub fn byte(&mut self) -> u8 {
        self.bytes(1).first().copied().unwrap_or(0)
    }

    /// At most so many of the next bytes.
    pub fn bytes(&mut self, size: usize) -> &'a [u8] {
        let (taken, rest) = self.rest.split_at(size.min(self.rest.len()));
        self.rest = rest;
        taken
    }

    pub fn yes(&mut self) -> bool {
        self.byte() % 2 == 1
    }

    /// One of `count` cases.
    pub fn one_of(&mut self, count: usize) -> usize {
        let number = if count <= 256 { usize::from(self.byte()) } else { self.number(2) as usize };
        number % count.max(1)
    }

    /// A number of so many bytes.
    pub fn number(&mut self, bytes: usize) -> u64 {
        self.bytes(bytes).iter().fold(0, |number, byte| number << 8 | u64::from(*byte))
    }

    /// A number from `low` to `high`, mostly near the edges.
    pub fn between(&mut self, low: u64, high: u64) -> u64 {
        let width = high - low;
        let step = match self.byte() % 6 {
            0 => 0,
            1 => u64::from(self.byte()),
            2 => self.number(2),
            3 => width - u64::from(self.byte()).min(width),
            4 => self.number(4),
            _ => self.number(8),
        };
        if width == u64::MAX { step } else { low + step % (width + 1) }
    }
}
