//! HTTP/1.1 responses, as a client of long-polling reads them.

use memchr::memmem;

/// A whole response.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Response {
    /// The status; 0 if the response has none.
    pub(crate) status: u16,
    pub(crate) body: Vec<u8>,
    /// The bytes that the response took, with its head.
    pub(crate) length: usize,
}

/// Returns the first response of `input`, or nothing while it is incomplete.
///
/// The length of the body is in its head (`content-length`), or the body comes in chunks.
pub(crate) fn decode(input: &[u8]) -> Option<Response> {
    let head_end = memmem::find(input, b"\r\n\r\n")?;
    let head = std::str::from_utf8(&input[..head_end]).unwrap_or_default();
    let status = head.split(' ').nth(1).and_then(|status| status.parse().ok()).unwrap_or(0);
    let (mut length, mut is_chunked) = (0_usize, false);
    for line in head.split("\r\n").skip(1) {
        let Some((name, value)) = line.split_once(':') else { continue };
        if name.eq_ignore_ascii_case("content-length") {
            length = value.trim().parse().unwrap_or(0);
        } else if name.eq_ignore_ascii_case("transfer-encoding") {
            is_chunked = value.trim().eq_ignore_ascii_case("chunked");
        }
    }
    let start = head_end + 4;
    if is_chunked {
        let (body, length) = chunks(input, start)?;
        return Some(Response { status, body, length });
    }
    let end = start.checked_add(length)?;
    let body = input.get(start..end)?.to_vec();
    Some(Response { status, body, length: end })
}

/// Returns a body in chunks, and the place of its end.
fn chunks(input: &[u8], mut at: usize) -> Option<(Vec<u8>, usize)> {
    let mut body = vec![];
    loop {
        let line_end = at + memmem::find(input.get(at..)?, b"\r\n")?;
        let size = usize::from_str_radix(std::str::from_utf8(&input[at..line_end]).ok()?.trim(), 16).ok()?;
        let (start, end) = (line_end + 2, line_end.checked_add(2)?.checked_add(size)?);
        body.extend_from_slice(input.get(start..end)?);
        at = end.checked_add(2)?;
        if input.len() < at {
            return None;
        }
        if size == 0 {
            return Some((body, at));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn body_of_a_known_length_is_read() {
        let input = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nokHTTP/1.1 400";
        assert_eq!(decode(input), Some(Response { status: 200, body: b"ok".to_vec(), length: 40 }));
        assert_eq!(decode(&input[..39]), None);
    }

    #[test]
    fn chunks_are_joined() {
        let input = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n";
        let response = decode(input).unwrap();
        assert_eq!((response.body.as_slice(), response.length), (&b"abcde"[..], input.len()));
        for end in 0..input.len() {
            assert_eq!(decode(&input[..end]), None, "{end}");
        }
    }

    #[test]
    fn absurd_lengths_are_no_response() {
        assert_eq!(decode(format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n", usize::MAX).as_bytes()), None);
        assert_eq!(decode(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nffffffffffffffff\r\nabc"), None);
    }
}
