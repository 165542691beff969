//! A fuzzer's bytes as decisions: numbers, choices and lengths, one after the other.
//!
//! Enters: bytes. Leaves: values; zero once the bytes are used up, so that every input is a whole
//! story. Must never happen here: a panic.

/// What is left of an input.
#[derive(Clone, Copy)]
pub(crate) struct Feed<'a>(&'a [u8]);

impl<'a> Feed<'a> {
    /// Begins at the first byte.
    pub(crate) const fn new(bytes: &'a [u8]) -> Self {
        Self(bytes)
    }

    /// Whether all is used up.
    pub(crate) const fn is_over(&self) -> bool {
        self.0.is_empty()
    }

    /// The next byte.
    pub(crate) fn byte(&mut self) -> u8 {
        let (first, rest) = self.0.split_first().map_or((0, self.0), |(f, r)| (*f, r));
        self.0 = rest;
        first
    }

    /// One of `n` choices; `n` is at least 1.
    pub(crate) fn pick(&mut self, n: usize) -> usize {
        usize::from(self.byte()) % n
    }

    /// Two bytes.
    pub(crate) fn short(&mut self) -> u16 {
        u16::from_le_bytes([self.byte(), self.byte()])
    }

    /// The next bytes: as many as a byte says, and are left.
    pub(crate) fn some(&mut self) -> &'a [u8] {
        let n = usize::from(self.byte()).min(self.0.len());
        let (head, rest) = self.0.split_at(n);
        self.0 = rest;
        head
    }

    /// All that is left.
    pub(crate) fn rest(&mut self) -> &'a [u8] {
        std::mem::take(&mut self.0)
    }
}
