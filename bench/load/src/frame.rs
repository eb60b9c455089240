//! The client's side of WebSocket frames: masked frames out, unmasked frames in.

pub(crate) const TEXT: u8 = 1;
pub(crate) const BINARY: u8 = 2;
pub(crate) const CLOSE: u8 = 8;
pub(crate) const PING: u8 = 9;
pub(crate) const PONG: u8 = 10;

/// The mask of all frames. A mask of zeros would spare some servers their work.
const MASK: [u8; 4] = [0x37, 0xfa, 0x21, 0x3d];

/// Appends one frame to `out`.
pub(crate) fn encode(out: &mut Vec<u8>, opcode: u8, payload: &[u8]) {
    out.push(0x80 | opcode);
    match payload.len() {
        length @ 0..=125 => out.push(0x80 | length as u8),
        length @ 126..=0xffff => {
            out.push(0x80 | 126);
            out.extend_from_slice(&(length as u16).to_be_bytes());
        }
        length => {
            out.push(0x80 | 127);
            out.extend_from_slice(&(length as u64).to_be_bytes());
        }
    }
    out.extend_from_slice(&MASK);
    out.extend(payload.iter().zip(MASK.iter().cycle()).map(|(byte, mask)| byte ^ mask));
}

/// A whole frame of the server.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Frame<'a> {
    pub(crate) is_final: bool,
    pub(crate) opcode: u8,
    pub(crate) is_deflated: bool,
    pub(crate) payload: &'a [u8],
    /// The bytes that the frame took, with its head.
    pub(crate) length: usize,
}

/// Returns the first frame of `input`, or nothing while it is incomplete.
#[inline]
pub(crate) fn decode(input: &[u8]) -> Option<Frame<'_>> {
    let &[first, second, ref rest @ ..] = input else { return None };
    let (head, length) = match second & 0x7f {
        126 => (4, u64::from(u16::from_be_bytes(*rest.first_chunk()?))),
        127 => (10, u64::from_be_bytes(*rest.first_chunk()?)),
        length => (2, u64::from(length)),
    };
    let end = usize::try_from(length).ok()?.checked_add(head)?;
    let payload = input.get(head..end)?;
    let (is_final, is_deflated) = (first & 0x80 != 0, first & 0x40 != 0);
    Some(Frame { is_final, opcode: first & 0x0f, is_deflated, payload, length: end })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The frame as a server would send it.
    fn unmasked(payload: &[u8]) -> Vec<u8> {
        let mut masked = vec![];
        encode(&mut masked, TEXT, payload);
        let head = masked.len() - payload.len() - MASK.len();
        let mut frame = masked[..head].to_vec();
        frame[1] &= 0x7f;
        frame.extend(masked[head + MASK.len()..].iter().zip(MASK.iter().cycle()).map(|(byte, mask)| byte ^ mask));
        frame
    }

    #[test]
    fn frames_of_all_lengths_are_read() {
        for length in [0, 1, 125, 126, 0xffff, 0x1_0000] {
            let payload = vec![b'x'; length];
            let frame = unmasked(&payload);
            let expected = Frame { is_final: true, opcode: TEXT, is_deflated: false, payload: &payload, length: frame.len() };
            assert_eq!(decode(&frame), Some(expected), "{length}");
        }
    }

    #[test]
    fn incomplete_frame_waits_for_its_end() {
        let frame = unmasked(&[b'x'; 300]);
        for end in 0..frame.len() {
            assert_eq!(decode(&frame[..end]), None, "{end}");
        }
    }

    #[test]
    fn absurd_length_is_no_frame() {
        assert_eq!(decode(&[0x81, 127, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff]), None);
    }
}
