//! The server's side of long-polling. A request is searched for its kind, its session and its end, and for nothing else.

use memchr::memmem;

/// The character between the packets of a body.
pub(crate) const SEPARATOR: u8 = 0x1e;

/// A request of a client. A session is the number that the server gave.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Request<'a> {
    /// A handshake of WebSocket, with its head.
    Upgrade(&'a [u8]),
    /// A GET for a new session.
    Open,
    /// A GET for the packets of a session.
    Poll(usize),
    /// A POST with packets.
    Post(usize, &'a [u8]),
}

/// Returns the first request and its length, or nothing while it is incomplete.
pub(crate) fn decode(input: &[u8]) -> Option<(Request<'_>, usize)> {
    let end = memmem::find(input, b"\r\n\r\n")? + 4;
    let head = &input[..end];
    let session = || number_after(head, b"&sid=");
    if head.starts_with(b"POST") {
        let length = number_after(head, b"Content-Length: ").unwrap_or(0);
        let body = input.get(end..end.checked_add(length)?)?;
        return Some((Request::Post(session().unwrap_or(usize::MAX), body), end + length));
    }
    let request = if memmem::find(head, b"transport=polling").is_none() {
        Request::Upgrade(head)
    } else {
        session().map_or(Request::Open, Request::Poll)
    };
    Some((request, end))
}

/// Returns the digits behind a text.
fn number_after(head: &[u8], text: &[u8]) -> Option<usize> {
    let start = memmem::find(head, text)? + text.len();
    let digits = head[start..].iter().take_while(|byte| byte.is_ascii_digit());
    Some(digits.fold(0, |number: usize, digit| number.wrapping_mul(10).wrapping_add(usize::from(digit - b'0'))))
}

/// Returns a response with a body.
pub(crate) fn response(body: &[u8]) -> Vec<u8> {
    let mut response = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", body.len()).into_bytes();
    response.extend_from_slice(body);
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_are_told_apart() {
        let get = b"GET /socket.io/?EIO=4&transport=polling HTTP/1.1\r\nHost: a\r\n\r\n";
        assert_eq!(decode(get), Some((Request::Open, get.len())));
        let poll = b"GET /socket.io/?EIO=4&transport=polling&sid=12 HTTP/1.1\r\nHost: a\r\n\r\n";
        assert_eq!(decode(poll), Some((Request::Poll(12), poll.len())));
        let post = b"POST /socket.io/?EIO=4&transport=polling&sid=12 HTTP/1.1\r\nContent-Length: 2\r\n\r\n40GET";
        assert_eq!(decode(post), Some((Request::Post(12, b"40"), post.len() - 3)));
        let upgrade = b"GET /socket.io/?EIO=4&transport=websocket HTTP/1.1\r\n\r\n";
        assert_eq!(decode(upgrade), Some((Request::Upgrade(upgrade), upgrade.len())));
        for end in 0..post.len() - 3 {
            assert_eq!(decode(&post[..end]), None, "{end}");
        }
    }
}
