//! The server's side of WebSocket: the answer to the handshake, masked frames in, unmasked frames out.

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use memchr::memmem;
use sha1::{Digest, Sha1};

pub(crate) const TEXT: u8 = 1;
pub(crate) const BINARY: u8 = 2;
pub(crate) const CLOSE: u8 = 8;
pub(crate) const PING: u8 = 9;
pub(crate) const PONG: u8 = 10;

/// The suffix of RFC 6455 for the answer to a key.
const SUFFIX: &[u8] = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11";

/// Returns the answer to a key of the handshake.
pub(crate) fn accept(key: &[u8]) -> String {
    BASE64_STANDARD.encode(Sha1::new().chain_update(key).chain_update(SUFFIX).finalize())
}

/// Returns the key of a handshake. Load balancers may write the names of headers in lower case.
pub(crate) fn key(head: &[u8]) -> Option<Vec<u8>> {
    const NAME: &[u8] = b"sec-websocket-key:";
    let start = memmem::find(&head.to_ascii_lowercase(), NAME)? + NAME.len();
    let length = memmem::find(&head[start..], b"\r\n").unwrap_or(head.len() - start);
    Some(head[start..start + length].trim_ascii().to_vec())
}

/// Appends the head of a frame.
pub(crate) fn encode_head(out: &mut Vec<u8>, opcode: u8, length: usize) {
    out.push(0x80 | opcode);
    match length {
        0..=125 => out.push(length as u8),
        126..=0xffff => {
            out.push(126);
            out.extend_from_slice(&(length as u16).to_be_bytes());
        }
        _ => {
            out.push(127);
            out.extend_from_slice(&(length as u64).to_be_bytes());
        }
    }
}

/// Appends a frame.
pub(crate) fn encode(out: &mut Vec<u8>, opcode: u8, payload: &[u8]) {
    encode_head(out, opcode, payload.len());
    out.extend_from_slice(payload);
}

/// Returns the opcode of the first frame, the place of its payload and of its end, or nothing while it is incomplete.
pub(crate) fn decode(input: &[u8]) -> Option<(u8, usize, usize)> {
    let &[first, second, ref rest @ ..] = input else { return None };
    let (head, length) = match second & 0x7f {
        126 => (8, u64::from(u16::from_be_bytes(*rest.first_chunk()?))),
        127 => (14, u64::from_be_bytes(*rest.first_chunk()?)),
        length => (6, u64::from(length)),
    };
    let end = usize::try_from(length).ok()?.checked_add(head)?;
    (input.len() >= end).then_some((first & 0x0f, head, end))
}

/// Removes the mask. The input is the mask, and the payload behind it.
pub(crate) fn unmask(masked: &mut [u8]) {
    let Some((&mut mask, payload)) = masked.split_first_chunk_mut::<4>() else { return };
    let mask = u32::from_ne_bytes(mask);
    let wide = u64::from(mask) << 32 | u64::from(mask);
    let (blocks, rest) = payload.as_chunks_mut::<8>();
    for block in blocks {
        *block = (u64::from_ne_bytes(*block) ^ wide).to_ne_bytes();
    }
    for (byte, mask) in rest.iter_mut().zip(wide.to_ne_bytes()) {
        *byte ^= mask;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn key_is_answered_as_in_the_rfc() {
        assert_eq!(accept(b"dGhlIHNhbXBsZSBub25jZQ=="), "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
        assert_eq!(key(b"GET / HTTP/1.1\r\nsec-websocket-key: abc\r\nx: y").unwrap(), b"abc");
        assert_eq!(key(b"GET / HTTP/1.1\r\nx: y"), None);
    }

    #[test]
    fn masked_frames_of_all_lengths_are_read() {
        for length in [0, 1, 7, 8, 125, 126, 0xffff, 0x1_0000] {
            let payload = vec![b'x'; length];
            let mut frame = vec![];
            encode_head(&mut frame, TEXT, length);
            frame[1] |= 0x80;
            let mask = [1, 2, 3, 4];
            frame.extend_from_slice(&mask);
            frame.extend(payload.iter().zip(mask.iter().cycle()).map(|(byte, mask)| byte ^ mask));
            let (opcode, start, end) = decode(&frame).unwrap();
            assert_eq!((opcode, end), (TEXT, frame.len()));
            unmask(&mut frame[start - 4..end]);
            assert_eq!(frame[start..], payload);
            assert_eq!(decode(&frame[..end - 1]), None);
        }
    }
}
