//! The headers of outbound frames.

use super::{BINARY, FIN, MAX_HEADER, TEXT};

/// A final frame, uncompressed and unmasked.
pub(super) struct Frame<'a> {
    pub(super) opcode: u8,
    pub(super) payload: &'a [u8],
    /// The frame with its header.
    pub(super) whole: &'a [u8],
}

/// Returns an iterator over encoded frames. Any other input ends the iteration.
pub(super) fn raw_frames(mut bytes: &[u8]) -> impl Iterator<Item = Frame<'_>> {
    std::iter::from_fn(move || {
        let all = bytes;
        let (&first, rest) = bytes.split_first()?;
        let (&short, rest) = rest.split_first()?;
        let (length, rest) = match short {
            126 => rest.split_first_chunk().map(|(n, rest)| (usize::from(u16::from_be_bytes(*n)), rest))?,
            127 => rest.split_first_chunk().map(|(n, rest)| (u64::from_be_bytes(*n) as usize, rest))?,
            n @ 0..126 => (usize::from(n), rest),
            _ => return None,
        };
        let (payload, rest) = rest.split_at_checked(length)?;
        let opcode = Some(first ^ FIN).filter(|opcode| matches!(*opcode, TEXT | BINARY))?;
        bytes = rest;
        Some(Frame { opcode, payload, whole: &all[..all.len() - rest.len()] })
    })
}

/// Returns the header of a final frame, and its length. `opcode` may have reserved bits.
pub(super) fn frame_header(opcode: u8, length: usize) -> ([u8; MAX_HEADER], usize) {
    let mut header = [0; MAX_HEADER];
    header[0] = FIN | opcode;
    let used = match length {
        0..=125 => {
            header[1] = length as u8;
            2
        }
        126..=0xFFFF => {
            header[1] = 126;
            header[2..4].copy_from_slice(&(length as u16).to_be_bytes());
            4
        }
        _ => {
            header[1] = 127;
            header[2..10].copy_from_slice(&(length as u64).to_be_bytes());
            10
        }
    };
    (header, used)
}
