//! A scanner that validates JSON and finds its values, without building anything.
//!
//! The grammar is that of RFC 8259, as in `JSON.parse`: no comments, trailing commas, or raw control characters in strings. Lone surrogates in
//! escapes pass. The scanner does not recurse: each open level is one bit. So a nested text costs no stack and, up to 64 levels, no memory.

use std::ops::Range;

/// The reason why a text is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    /// The text is not JSON, or not of the required kind.
    Syntax,
    /// The text is nested deeper than allowed.
    Depth,
}

/// A listener for the scanner's findings. The default ignores them at no cost.
pub(crate) trait Listener {
    /// Handles the start of an object or array.
    fn open(&mut self) {}
    /// Handles a key, as written between its quotes.
    fn key(&mut self, _raw: &[u8]) {}
    /// Handles a string, number or literal, as written.
    fn scalar(&mut self, _raw: &[u8]) {}
    /// Handles the end of the innermost object or array.
    fn close(&mut self) {}
}

impl Listener for () {}

/// The array in a text.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Array {
    /// The first element.
    pub(crate) first: Range<usize>,
    /// From the beginning of the first element to the end of the last.
    pub(crate) all: Range<usize>,
    /// From the beginning of the second element to the end of the last.
    pub(crate) rest: Range<usize>,
    /// The number of elements.
    pub(crate) count: usize,
}

/// Scans a text that has to be one array, which counts as the first level.
#[inline]
pub(crate) fn array(text: &[u8], max_depth: usize, listener: &mut impl Listener) -> Result<Array, Fault> {
    let mut scanner = Scanner { text, at: 0 };
    let mut array = Array::default();
    scanner.whitespace();
    scanner.expect(b'[')?;
    let inner_depth = max_depth.checked_sub(1).ok_or(Fault::Depth)?;
    scanner.whitespace();
    if !scanner.accept(b']') {
        loop {
            let element = scanner.value(inner_depth, listener)?;
            match array.count {
                0 => (array.first, array.all.start) = (element.clone(), element.start),
                1 => array.rest.start = element.start,
                _ => {}
            }
            array.all.end = element.end;
            array.count += 1;
            scanner.whitespace();
            match scanner.next() {
                Some(b',') => {}
                Some(b']') => break,
                _ => return Err(Fault::Syntax),
            }
        }
    }
    if array.count > 1 {
        array.rest.end = array.all.end;
    }
    scanner.end()?;
    Ok(array)
}

/// Scans a text that has to be one value. Returns its range without the whitespace around it.
pub(crate) fn scan_value(text: &[u8], max_depth: usize) -> Result<Range<usize>, Fault> {
    let mut scanner = Scanner { text, at: 0 };
    let value = scanner.value(max_depth, &mut ())?;
    scanner.end()?;
    Ok(value)
}

/// Scans the next of several values separated by commas, from `at` on. Returns its range, and where to continue.
pub(crate) fn next(text: &[u8], at: usize) -> Option<(Range<usize>, usize)> {
    let mut scanner = Scanner { text, at };
    let value = scanner.value(usize::MAX, &mut ()).ok()?;
    scanner.whitespace();
    scanner.accept(b',');
    Some((value, scanner.at))
}

struct Scanner<'a> {
    text: &'a [u8],
    at: usize,
}

impl Scanner<'_> {
    /// Scans one value, with whitespace before it.
    #[inline]
    fn value(&mut self, max_depth: usize, listener: &mut impl Listener) -> Result<Range<usize>, Fault> {
        let mut open = Open::default();
        self.whitespace();
        let start = self.at;
        loop {
            // A value begins here.
            self.whitespace();
            let begin = self.at;
            match self.next() {
                Some(bracket @ (b'[' | b'{')) => {
                    if open.depth == max_depth {
                        return Err(Fault::Depth);
                    }
                    let object = bracket == b'{';
                    open.push(object);
                    listener.open();
                    self.whitespace();
                    if !self.accept(if object { b'}' } else { b']' }) {
                        if object {
                            self.key(listener)?;
                        }
                        continue;
                    }
                    open.pop();
                    listener.close();
                }
                scalar => {
                    match scalar {
                        Some(b'"') => self.string()?,
                        Some(b'-' | b'0'..=b'9') => self.number(begin)?,
                        Some(b't') => self.literal(b"rue")?,
                        Some(b'f') => self.literal(b"alse")?,
                        Some(b'n') => self.literal(b"ull")?,
                        _ => return Err(Fault::Syntax),
                    }
                    listener.scalar(&self.text[begin..self.at]);
                }
            }
            // A value has ended here, and perhaps some of those around it.
            loop {
                let Some(object) = open.last() else { return Ok(start..self.at) };
                self.whitespace();
                match (self.next(), object) {
                    (Some(b','), true) => {
                        self.whitespace();
                        self.key(listener)?;
                        break;
                    }
                    (Some(b','), false) => break,
                    (Some(b'}'), true) | (Some(b']'), false) => {
                        open.pop();
                        listener.close();
                    }
                    _ => return Err(Fault::Syntax),
                }
            }
        }
    }

    /// Scans a key and the colon after it.
    fn key(&mut self, listener: &mut impl Listener) -> Result<(), Fault> {
        self.expect(b'"')?;
        let begin = self.at;
        self.string()?;
        listener.key(&self.text[begin..self.at - 1]);
        self.whitespace();
        self.expect(b':')
    }

    /// Scans the rest of a string after its first quote.
    #[inline]
    fn string(&mut self) -> Result<(), Fault> {
        loop {
            self.at += plain(&self.text[self.at..]);
            match self.next() {
                Some(b'"') => return Ok(()),
                Some(b'\\') => match self.next() {
                    Some(b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't') => {}
                    Some(b'u') => {
                        let digits = self.text.get(self.at..self.at + 4).ok_or(Fault::Syntax)?;
                        if !digits.iter().all(u8::is_ascii_hexdigit) {
                            return Err(Fault::Syntax);
                        }
                        self.at += 4;
                    }
                    _ => return Err(Fault::Syntax),
                },
                _ => return Err(Fault::Syntax),
            }
        }
    }

    /// Scans the rest of a number whose first character is at `begin`.
    fn number(&mut self, begin: usize) -> Result<(), Fault> {
        let first = match self.text[begin] {
            b'-' => self.next(),
            digit => Some(digit),
        };
        match first {
            Some(b'0') => {}
            Some(b'1'..=b'9') => self.digits(),
            _ => return Err(Fault::Syntax),
        }
        if self.accept(b'.') {
            self.some_digits()?;
        }
        if self.accept(b'e') || self.accept(b'E') {
            let _ = self.accept(b'+') || self.accept(b'-');
            self.some_digits()?;
        }
        Ok(())
    }

    fn digits(&mut self) {
        while self.peek().is_some_and(|byte| byte.is_ascii_digit()) {
            self.at += 1;
        }
    }

    fn some_digits(&mut self) -> Result<(), Fault> {
        let begin = self.at;
        self.digits();
        if self.at > begin { Ok(()) } else { Err(Fault::Syntax) }
    }

    fn literal(&mut self, rest: &[u8]) -> Result<(), Fault> {
        if !self.text[self.at..].starts_with(rest) {
            return Err(Fault::Syntax);
        }
        self.at += rest.len();
        Ok(())
    }

    #[inline]
    fn whitespace(&mut self) {
        while let Some(b' ' | b'\n' | b'\r' | b'\t') = self.peek() {
            self.at += 1;
        }
    }

    #[inline]
    fn peek(&self) -> Option<u8> {
        self.text.get(self.at).copied()
    }

    #[inline]
    fn next(&mut self) -> Option<u8> {
        let byte = self.peek()?;
        self.at += 1;
        Some(byte)
    }

    #[inline]
    fn accept(&mut self, byte: u8) -> bool {
        let found = self.peek() == Some(byte);
        self.at += usize::from(found);
        found
    }

    #[inline]
    fn expect(&mut self, byte: u8) -> Result<(), Fault> {
        if self.accept(byte) { Ok(()) } else { Err(Fault::Syntax) }
    }

    /// Requires that only whitespace follows.
    fn end(&mut self) -> Result<(), Fault> {
        self.whitespace();
        if self.at == self.text.len() { Ok(()) } else { Err(Fault::Syntax) }
    }
}

/// Returns how many bytes at the front of `text` are ordinary in a string: no quote, backslash or control character. Reads eight bytes at a time.
#[inline]
fn plain(text: &[u8]) -> usize {
    const LOW: u64 = u64::from_ne_bytes([0x01; 8]);
    const HIGH: u64 = u64::from_ne_bytes([0x80; 8]);
    // The high bit of each byte that is zero. A borrow can set bits above the first, so only the lowest bit counts.
    let zero = |word: u64| word.wrapping_sub(LOW) & !word & HIGH;
    let (words, rest) = text.as_chunks::<8>();
    let mut length = 0;
    for word in words {
        let word = u64::from_le_bytes(*word);
        let control = word.wrapping_sub(LOW * 0x20) & !word & HIGH;
        let special = zero(word ^ (LOW * b'"' as u64)) | zero(word ^ (LOW * b'\\' as u64)) | control;
        if special != 0 {
            return length + special.trailing_zeros() as usize / 8;
        }
        length += 8;
    }
    length + rest.iter().position(|byte| matches!(byte, b'"' | b'\\' | 0..0x20)).unwrap_or(rest.len())
}

/// The open levels around a value: one bit each, set for an object. The innermost 64 need no memory.
#[derive(Default)]
struct Open {
    innermost: u64,
    outer: Vec<u64>,
    depth: usize,
}

impl Open {
    #[inline]
    fn push(&mut self, object: bool) {
        if self.depth > 0 && self.depth.is_multiple_of(64) {
            self.outer.push(self.innermost);
        }
        self.innermost = self.innermost << 1 | u64::from(object);
        self.depth += 1;
    }

    #[inline]
    fn pop(&mut self) {
        self.innermost >>= 1;
        self.depth = self.depth.saturating_sub(1);
        if self.depth.is_multiple_of(64)
            && let Some(outer) = self.outer.pop()
        {
            self.innermost = outer;
        }
    }

    #[inline]
    fn last(&self) -> Option<bool> {
        (self.depth > 0).then_some(self.innermost & 1 == 1)
    }
}

#[cfg(test)]
mod tests;
