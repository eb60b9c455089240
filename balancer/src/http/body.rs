//! The end of a body: read in one framing, written in another.
//!
//! No framing of a sender is passed on. Chunks are decoded without extensions and trailers, and encoded again. The
//! receiver therefore reads exactly the same body.

use std::io::Write as _;

use thiserror::Error;

/// The framing that marks the end of a body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Framing {
    /// No body.
    Empty,
    /// By its length.
    Length(u64),
    /// By an empty chunk.
    Chunked,
    /// By the end of the connection: answers alone.
    Close,
}

/// An error of a chunked body.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
#[error("malformed chunk")]
pub(crate) struct BadChunk;

/// The longest line with the size of a chunk, with what may stand behind it.
const MAX_SIZE_LINE: u16 = 256;
/// The longest trailer section.
const MAX_TRAILERS: u16 = 8 * 1024;

/// A decoder that removes the framing of a body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Decoder {
    /// The remaining length of the body, 0 at its end.
    Length(u64),
    /// The state within chunks.
    Chunked(Chunk),
    /// All bytes until the connection ends.
    Close,
}

/// The position within chunks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Chunk {
    /// In the line with the size: the size so far, its digits, the bytes of the line.
    Size(u64, u8, u16),
    /// In the extension behind the size, which is skipped.
    Extension(u64, u16),
    /// Behind the CR of that line.
    SizeEnd(u64),
    /// In the data, of which so much is to come.
    Data(u64),
    /// Behind the data: its CR.
    DataCr,
    /// Behind the CR: the LF.
    DataLf,
    /// At the start of a trailer line, which is skipped: the bytes so far.
    Trailer(u16),
    /// In a trailer line.
    TrailerLine(u16),
    /// Behind the CR of a trailer line.
    TrailerEnd(u16),
    /// Behind the CR of the last line.
    LastLf,
    /// At the end.
    Done,
}

impl Decoder {
    pub(crate) fn new(framing: Framing) -> Self {
        match framing {
            Framing::Empty => Self::Length(0),
            Framing::Length(length) => Self::Length(length),
            Framing::Chunked => Self::Chunked(Chunk::Size(0, 0, 0)),
            Framing::Close => Self::Close,
        }
    }

    /// Returns true if the whole body was read. A body that ends with its connection is never complete.
    pub(crate) fn is_done(&self) -> bool {
        matches!(self, Self::Length(0) | Self::Chunked(Chunk::Done))
    }

    /// Removes and returns the next piece of the body from the front of the input, if there is one. Framing is removed
    /// too. The input behind the body stays.
    pub(crate) fn next<'a>(&mut self, input: &mut &'a [u8]) -> Result<Option<&'a [u8]>, BadChunk> {
        match self {
            Self::Length(left) => Ok(split_piece(left, input)),
            Self::Close => Ok(Some(std::mem::take(input)).filter(|piece| !piece.is_empty())),
            Self::Chunked(chunk) => chunk.next(input),
        }
    }
}

/// At most `left` bytes of the input.
fn split_piece<'a>(left: &mut u64, input: &mut &'a [u8]) -> Option<&'a [u8]> {
    let length = usize::try_from(*left).unwrap_or(usize::MAX).min(input.len());
    if length == 0 {
        return None;
    }
    let (piece, rest) = input.split_at(length);
    *input = rest;
    *left -= length as u64;
    Some(piece)
}

impl Chunk {
    fn next<'a>(&mut self, input: &mut &'a [u8]) -> Result<Option<&'a [u8]>, BadChunk> {
        loop {
            if let Self::Data(left) = self {
                let piece = split_piece(left, input);
                if *left == 0 {
                    *self = Self::DataCr;
                }
                if piece.is_some() || *self != Self::DataCr {
                    return Ok(piece);
                }
                continue;
            }
            if *self == Self::Done {
                return Ok(None);
            }
            let Some((byte, rest)) = input.split_first() else { return Ok(None) };
            *input = rest;
            *self = self.step(*byte)?;
        }
    }

    /// Handles one byte of the framing.
    fn step(self, byte: u8) -> Result<Self, BadChunk> {
        Ok(match (self, byte) {
            (Self::Size(size, digits, seen), _) if byte.is_ascii_hexdigit() => {
                // Sixteen digits are more than anybody sends.
                if digits == 15 || seen == MAX_SIZE_LINE {
                    return Err(BadChunk);
                }
                let digit = (byte as char).to_digit(16).unwrap_or_default();
                Self::Size(size << 4 | u64::from(digit), digits + 1, seen + 1)
            }
            (Self::Size(size, 1.., _), b'\r') => Self::SizeEnd(size),
            (Self::Size(size, 1.., seen), b';') => Self::Extension(size, seen + 1),
            (Self::Extension(size, _), b'\r') => Self::SizeEnd(size),
            (Self::Extension(size, seen), b'\t' | b' '..=b'~' | 0x80..) if seen < MAX_SIZE_LINE => Self::Extension(size, seen + 1),
            (Self::SizeEnd(0), b'\n') => Self::Trailer(0),
            (Self::SizeEnd(size), b'\n') => Self::Data(size),
            (Self::DataCr, b'\r') => Self::DataLf,
            (Self::DataLf, b'\n') => Self::Size(0, 0, 0),
            (Self::Trailer(_), b'\r') => Self::LastLf,
            // A continuation line is as ambiguous here as in a head.
            (Self::Trailer(seen), b'!'..=b'~') if seen < MAX_TRAILERS => Self::TrailerLine(seen + 1),
            (Self::TrailerLine(seen), b'\r') => Self::TrailerEnd(seen),
            (Self::TrailerLine(seen), b'\t' | b' '..=b'~' | 0x80..) if seen < MAX_TRAILERS => Self::TrailerLine(seen + 1),
            (Self::TrailerEnd(seen), b'\n') => Self::Trailer(seen + 2),
            (Self::LastLf, b'\n') => Self::Done,
            _ => return Err(BadChunk),
        })
    }
}

/// Puts a piece of a body into its new framing.
pub(crate) fn encode(framing: Framing, piece: &[u8], out: &mut Vec<u8>) {
    if framing == Framing::Chunked {
        // Writing to a vector does not fail.
        let _ = write!(out, "{:x}\r\n", piece.len());
        out.extend_from_slice(piece);
        out.extend_from_slice(b"\r\n");
    } else {
        out.extend_from_slice(piece);
    }
}

/// Ends a body.
pub(crate) fn finish(framing: Framing, out: &mut Vec<u8>) {
    if framing == Framing::Chunked {
        out.extend_from_slice(b"0\r\n\r\n");
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Decodes what comes in pieces of these lengths: the body, what was left behind it, and whether it was whole.
    fn decode(framing: Framing, wire: &[u8], cut: usize) -> Result<(Vec<u8>, Vec<u8>, bool), BadChunk> {
        let mut decoder = Decoder::new(framing);
        let (mut body, mut left) = (vec![], vec![]);
        for mut piece in wire.chunks(cut.max(1)) {
            while let Some(data) = decoder.next(&mut piece)? {
                body.extend_from_slice(data);
            }
            left.extend_from_slice(piece);
        }
        Ok((body, left, decoder.is_done()))
    }

    #[test]
    fn chunks_decode_the_same_wherever_they_are_cut() {
        let wire = b"4;a=b\r\nwiki\r\n0005\r\npedia\r\n0\r\nx-sum: 1\r\n\r\nGET /";
        for cut in 1..wire.len() {
            let (body, left, done) = decode(Framing::Chunked, wire, cut).unwrap();
            assert_eq!((&body[..], &left[..], done), (&b"wikipedia"[..], &b"GET /"[..], true), "cut at {cut}");
        }
    }

    #[test]
    fn malformed_chunk_is_refused() {
        let wrong: [&[u8]; 14] = [
            b"\r\n",
            b";\r\n",
            b"g\r\n",
            b"-1\r\n",
            b"+1\r\n",
            b" 1\r\n",
            b"1 \r\n",
            b"0x1\r\n",
            b"1\nab",
            b"1\r\rab",
            b"1\r\nab\r\n",
            b"1\r\na\n0\r\n\r\n",
            b"0\r\n folded\r\n\r\n",
            b"1;\0\r\na",
        ];
        for wire in wrong {
            assert_eq!(decode(Framing::Chunked, wire, 64), Err(BadChunk), "{}", wire.escape_ascii());
        }
        assert_eq!(decode(Framing::Chunked, b"1111111111111111\r\n", 64), Err(BadChunk));
        assert_eq!(decode(Framing::Chunked, &[b"1;".as_slice(), &[b'x'; 300]].concat(), 64), Err(BadChunk));
        assert_eq!(decode(Framing::Chunked, &[b"0\r\n".as_slice(), &b"a: b\r\n".repeat(2000)].concat(), 64), Err(BadChunk));
    }

    #[test]
    fn body_ends_after_its_length() {
        assert_eq!(decode(Framing::Length(3), b"abcdef", 2), Ok((b"abc".to_vec(), b"def".to_vec(), true)));
        assert_eq!(decode(Framing::Length(9), b"abcdef", 4), Ok((b"abcdef".to_vec(), vec![], false)));
        assert_eq!(decode(Framing::Empty, b"abc", 3), Ok((vec![], b"abc".to_vec(), true)));
        assert_eq!(decode(Framing::Close, b"abc", 2), Ok((b"abc".to_vec(), vec![], false)));
    }

    proptest! {
        #[test]
        fn chunks_decode_to_what_was_encoded(pieces in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 1..200), 0..8), cut in 1usize..300, behind in proptest::collection::vec(any::<u8>(), 0..20)) {
            let mut wire = vec![];
            for piece in &pieces {
                encode(Framing::Chunked, piece, &mut wire);
            }
            finish(Framing::Chunked, &mut wire);
            wire.extend_from_slice(&behind);
            prop_assert_eq!(decode(Framing::Chunked, &wire, cut), Ok((pieces.concat(), behind, true)));
        }

        #[test]
        fn decoder_does_not_panic_on_any_bytes(wire in proptest::collection::vec(prop_oneof![Just(b'\r'), Just(b'\n'), Just(b'0'), Just(b'f'), Just(b';'), any::<u8>()], 0..200), cut in 1usize..50) {
            let _ = decode(Framing::Chunked, &wire, cut);
        }
    }
}
