//! The part of MessagePack that finds and validates values without building them. rmp-serde decodes and encodes types.
//!
//! Nothing here recurses, and no length is trusted before enough bytes are present.

use std::ops::Range;

use crate::parser::scan::Fault;

/// Null.
pub(crate) const NIL: u8 = 0xc0;
/// A map of up to 15 pairs; the low bits hold their number.
pub(crate) const SMALL_MAP: u8 = 0x80;
/// An extension of one byte.
pub(crate) const FIXED_EXTENSION_1: u8 = 0xd4;
/// An extension of eight bytes.
const FIXED_EXTENSION_8: u8 = 0xd7;

/// The beginning of a value: a whole scalar, or the number of values in an array or map.
#[derive(Debug)]
pub(crate) struct Token {
    pub(crate) kind: Kind,
    /// The content of a string, binary or extension. Empty otherwise; the next token starts at its end.
    pub(crate) body: Range<usize>,
}

/// The kind of a value.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Kind {
    Nil,
    Bool,
    Unsigned(u64),
    Signed(i64),
    Float(f64),
    Text,
    Binary,
    /// An extension of this type.
    Extension(i8),
    Array(u32),
    Map(u32),
}

/// Returns the token at `at`, if it is complete.
pub(crate) fn token(bytes: &[u8], at: usize) -> Option<Token> {
    let mut reader = Reader { bytes, at };
    let [marker] = reader.take()?;
    let (kind, length) = match marker {
        0x00..=0x7f => (Kind::Unsigned(marker.into()), 0),
        0x80..=0x8f => (Kind::Map((marker & 0x0f).into()), 0),
        0x90..=0x9f => (Kind::Array((marker & 0x0f).into()), 0),
        0xa0..=0xbf => (Kind::Text, (marker & 0x1f).into()),
        NIL => (Kind::Nil, 0),
        0xc1 => return None,
        0xc2 | 0xc3 => (Kind::Bool, 0),
        0xc4 => (Kind::Binary, reader.u8()?.into()),
        0xc5 => (Kind::Binary, reader.u16()?.into()),
        0xc6 => (Kind::Binary, reader.u32()?),
        0xc7 => reader.u8().map(u32::from).and_then(|length| reader.extension(length))?,
        0xc8 => reader.u16().map(u32::from).and_then(|length| reader.extension(length))?,
        0xc9 => reader.u32().and_then(|length| reader.extension(length))?,
        0xca => (Kind::Float(f32::from_be_bytes(reader.take()?).into()), 0),
        0xcb => (Kind::Float(f64::from_be_bytes(reader.take()?)), 0),
        0xcc => (Kind::Unsigned(reader.u8()?.into()), 0),
        0xcd => (Kind::Unsigned(reader.u16()?.into()), 0),
        0xce => (Kind::Unsigned(reader.u32()?.into()), 0),
        0xcf => (Kind::Unsigned(u64::from_be_bytes(reader.take()?)), 0),
        0xd0 => (Kind::Signed(i8::from_be_bytes(reader.take()?).into()), 0),
        0xd1 => (Kind::Signed(i16::from_be_bytes(reader.take()?).into()), 0),
        0xd2 => (Kind::Signed(i32::from_be_bytes(reader.take()?).into()), 0),
        0xd3 => (Kind::Signed(i64::from_be_bytes(reader.take()?)), 0),
        FIXED_EXTENSION_1..=0xd8 => reader.extension(1 << (marker - FIXED_EXTENSION_1))?,
        0xd9 => (Kind::Text, reader.u8()?.into()),
        0xda => (Kind::Text, reader.u16()?.into()),
        0xdb => (Kind::Text, reader.u32()?),
        0xdc => (Kind::Array(reader.u16()?.into()), 0),
        0xdd => (Kind::Array(reader.u32()?), 0),
        0xde => (Kind::Map(reader.u16()?.into()), 0),
        0xdf => (Kind::Map(reader.u32()?), 0),
        0xe0..=0xff => (Kind::Signed((marker as i8).into()), 0),
    };
    let end = reader.at.checked_add(length as usize).filter(|end| *end <= bytes.len())?;
    Some(Token { kind, body: reader.at..end })
}

struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl Reader<'_> {
    fn take<const N: usize>(&mut self) -> Option<[u8; N]> {
        let taken = *self.bytes.get(self.at..)?.first_chunk()?;
        self.at += N;
        Some(taken)
    }

    fn u8(&mut self) -> Option<u8> {
        self.take().map(u8::from_be_bytes)
    }

    fn u16(&mut self) -> Option<u16> {
        self.take().map(u16::from_be_bytes)
    }

    fn u32(&mut self) -> Option<u32> {
        self.take().map(u32::from_be_bytes)
    }

    fn extension(&mut self, length: u32) -> Option<(Kind, u32)> {
        self.take().map(|kind| (Kind::Extension(i8::from_be_bytes(kind)), length))
    }
}

/// A validated value.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Skipped {
    /// The start of the next value.
    pub(crate) end: usize,
    /// True if the value is or contains an extension: see [`without_extensions`].
    pub(crate) extended: bool,
}

/// Validates the value at `at` with all its content.
pub(crate) fn skip(bytes: &[u8], mut at: usize, max_depth: usize) -> Result<Skipped, Fault> {
    // The number of missing values of each open array or map, never 0.
    let mut open: Vec<u64> = Vec::new();
    let mut extended = false;
    loop {
        let token = token(bytes, at).ok_or(Fault::Syntax)?;
        at = token.body.end;
        if let Some(lacks) = open.last_mut() {
            *lacks -= 1;
        }
        let inside = match token.kind {
            Kind::Array(length) => Some(u64::from(length)),
            Kind::Map(length) => Some(u64::from(length) * 2),
            Kind::Text => {
                std::str::from_utf8(&bytes[token.body]).map_err(|_| Fault::Syntax)?;
                None
            }
            Kind::Extension(_) => {
                extended = true;
                None
            }
            _ => None,
        };
        if let Some(inside) = inside {
            if open.len() >= max_depth {
                return Err(Fault::Depth);
            }
            // Each value has at least one byte.
            if inside > (bytes.len() - at) as u64 {
                return Err(Fault::Syntax);
            }
            open.push(inside);
        }
        while open.last() == Some(&0) {
            open.pop();
        }
        if open.is_empty() {
            return Ok(Skipped { end: at, extended });
        }
    }
}

/// Copies validated values, and replaces extensions as notepack.io does.
///
/// Type 0 with one byte is `undefined`, here null. Type 0 with eight bytes is a date, here its ISO 8601 text, as in JSON. In its variable form type 0
/// is an `ArrayBuffer`, here binary. Any other extension becomes an array of type and bytes.
pub(crate) fn without_extensions(bytes: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while let Some(token) = token(bytes, at) {
        let (marker, body) = (bytes[at], &bytes[token.body.clone()]);
        match (token.kind, marker, body) {
            (Kind::Extension(0), FIXED_EXTENSION_1, _) => out.push(NIL),
            (Kind::Extension(0), FIXED_EXTENSION_8, body) => match body.first_chunk().and_then(|bytes| date(i64::from_be_bytes(*bytes))) {
                Some(date) => write_text(&mut out, &date),
                None => out.push(NIL),
            },
            (Kind::Extension(0), 0xc7..=0xc9, body) => write_binary(&mut out, body),
            (Kind::Extension(kind), _, body) => {
                out.extend_from_slice(&[0x92, 0xd0, kind as u8]);
                write_binary(&mut out, body);
            }
            _ => out.extend_from_slice(&bytes[at..token.body.end]),
        }
        at = token.body.end;
    }
    out
}

/// Returns a time in milliseconds since 1970 in the form of `Date.prototype.toISOString`. `None` if it is out of range.
fn date(milliseconds: i64) -> Option<String> {
    const DAY: i64 = 86_400_000;
    const GREATEST: u64 = 100_000_000 * DAY as u64;
    if milliseconds.unsigned_abs() > GREATEST {
        return None;
    }
    let (days, time) = (milliseconds.div_euclid(DAY), milliseconds.rem_euclid(DAY));
    // Years count from March, in eras of 400, so that a leap day is the last of its year.
    let days = days + 719_468;
    let (era, day) = (days.div_euclid(146_097), days.rem_euclid(146_097));
    let year = (day - day / 1_460 + day / 36_524 - day / 146_096) / 365;
    let day = day - (year * 365 + year / 4 - year / 100);
    let month = (day * 5 + 2) / 153;
    let day = day - (month * 153 + 2) / 5 + 1;
    let (month, january_or_february) = if month < 10 { (month + 3, 0) } else { (month - 9, 1) };
    let year = era * 400 + year + january_or_february;

    let year = match year {
        0..=9_999 => format!("{year:04}"),
        _ => format!("{year:+07}"),
    };
    let (hours, minutes, seconds) = (time / 3_600_000, time / 60_000 % 60, time / 1_000 % 60);
    Some(format!("{year}-{month:02}-{day:02}T{hours:02}:{minutes:02}:{seconds:02}.{:03}Z", time % 1_000))
}

/// Writes a string.
pub(crate) fn write_text(out: &mut Vec<u8>, text: &str) {
    match text.len() {
        length @ 0..=31 => out.push(0xa0 | length as u8),
        length => write_length(out, [0xd9, 0xda, 0xdb], length),
    }
    out.extend_from_slice(text.as_bytes());
}

/// Writes binary.
pub(crate) fn write_binary(out: &mut Vec<u8>, bytes: &[u8]) {
    write_length(out, [0xc4, 0xc5, 0xc6], bytes.len());
    out.extend_from_slice(bytes);
}

/// Writes the head of an array.
pub(crate) fn write_array(out: &mut Vec<u8>, length: usize) {
    match length {
        0..=15 => out.push(0x90 | length as u8),
        // Lengths of one byte have no form of their own.
        16..=0xff => out.extend_from_slice(&[0xdc, 0, length as u8]),
        _ => write_length(out, [0xdc, 0xdc, 0xdd], length),
    }
}

/// Writes a number.
pub(crate) fn write_unsigned(out: &mut Vec<u8>, number: u64) {
    match number {
        0..=0x7f => out.push(number as u8),
        0x80..=0xffff_ffff => write_length(out, [0xcc, 0xcd, 0xce], number as usize),
        _ => {
            out.push(0xcf);
            out.extend_from_slice(&number.to_be_bytes());
        }
    }
}

/// Writes a marker and a number of one, two or four bytes. No message is longer than such a number.
fn write_length(out: &mut Vec<u8>, markers: [u8; 3], length: usize) {
    match length {
        0..=0xff => out.extend_from_slice(&[markers[0], length as u8]),
        0x100..=0xffff => {
            out.push(markers[1]);
            out.extend_from_slice(&(length as u16).to_be_bytes());
        }
        _ => {
            out.push(markers[2]);
            out.extend_from_slice(&(length as u32).to_be_bytes());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn dates_are_written_as_in_javascript() {
        let expected = [
            (0, "1970-01-01T00:00:00.000Z"),
            (-1, "1969-12-31T23:59:59.999Z"),
            (951_782_400_000, "2000-02-29T00:00:00.000Z"),
            (1_767_225_599_999, "2025-12-31T23:59:59.999Z"),
            (-62_198_755_200_000, "-000001-01-01T00:00:00.000Z"),
            (253_402_300_800_000, "+010000-01-01T00:00:00.000Z"),
            (8_640_000_000_000_000, "+275760-09-13T00:00:00.000Z"),
        ];
        for (milliseconds, text) in expected {
            assert_eq!(date(milliseconds).as_deref(), Some(text));
        }
        assert_eq!(date(8_640_000_000_000_001), None);
        assert_eq!(date(i64::MIN), None);
    }

    #[test]
    fn extensions_are_replaced_as_by_notepack() {
        let replaced = |bytes: &[u8]| without_extensions(bytes);
        assert_eq!(replaced(&[0x92, 0xd4, 0, 0, 1]), [0x92, NIL, 1]);
        assert_eq!(replaced(&[0xc7, 2, 0, 8, 9]), [0xc4, 2, 8, 9]);
        assert_eq!(replaced(&[0xd5, 5, 8, 9]), [0x92, 0xd0, 5, 0xc4, 2, 8, 9]);
        assert_eq!(&replaced(&[0xd7, 0, 0, 0, 0, 0, 0, 0, 0, 0])[1..], b"1970-01-01T00:00:00.000Z");
        assert_eq!(replaced(&[0xd7, 0, 0x7f, 0, 0, 0, 0, 0, 0, 0]), [NIL]);
    }

    #[test]
    fn announced_length_is_not_trusted() {
        for bytes in
            [&[0xdd, 0xff, 0xff, 0xff, 0xff][..], &[0xdf, 0xff, 0xff, 0xff, 0xff], &[0xdb, 0xff, 0xff, 0xff, 0xff], &[0x81, 1], &[0xc1]]
        {
            assert_eq!(skip(bytes, 0, 100), Err(Fault::Syntax));
        }
    }

    #[test]
    fn depth_is_bounded() {
        let nested = [vec![0x91; 1_000_000], vec![NIL]].concat();
        assert_eq!(skip(&nested, 0, 1_000), Err(Fault::Depth));
        assert_eq!(skip(&nested, 0, 1_000_000), Ok(Skipped { end: nested.len(), extended: false }));
    }

    #[test]
    fn numbers_and_lengths_are_read_back() {
        for number in [0, 0x7f, 0x80, 0xff, 0x100, 0xffff, 0x1_0000, 0xffff_ffff, 0x1_0000_0000, u64::MAX] {
            let mut out = vec![];
            write_unsigned(&mut out, number);
            assert_eq!(token(&out, 0).unwrap().kind, Kind::Unsigned(number));
        }
        for length in [0, 15, 16, 31, 32, 255, 256, 0xffff, 0x1_0000] {
            let mut out = vec![];
            write_array(&mut out, length);
            assert_eq!(token(&out, 0).unwrap().kind, Kind::Array(length as u32));
            let mut out = vec![];
            write_text(&mut out, &"x".repeat(length));
            assert_eq!(skip(&out, 0, 0).unwrap().end, out.len());
            let mut out = vec![];
            write_binary(&mut out, &vec![0; length]);
            assert_eq!(skip(&out, 0, 0).unwrap().end, out.len());
        }
    }

    proptest! {
        #[test]
        fn no_bytes_panic(bytes in prop::collection::vec(any::<u8>(), 0..60)) {
            if let Ok(skipped) = skip(&bytes, 0, 20) {
                without_extensions(&bytes[..skipped.end]);
            }
        }
    }
}
