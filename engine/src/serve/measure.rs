//! The measure of requests that pass to the HTTP server: where the next one starts.

use std::borrow::Cow;

use crate::http::direct::length;

/// The longest head that is measured.
const MAX_HEAD: usize = 16 * 1024;
/// The most header fields of a head that is measured.
const MAX_FIELDS: usize = 96;

/// The position in the bytes of a connection.
///
/// An error of the measure would let a client hide a request in another. So whatever is unusual makes the position unknown for good.
#[derive(Debug, Default)]
pub(super) enum Measure {
    /// At the start of a request, with nothing under way.
    #[default]
    Start,
    /// In the head of a request, of which these bytes are known.
    Head(Vec<u8>),
    /// In the body of a request, before so many bytes. With none left, the response is due.
    Body(usize),
    Unknown,
}

impl Measure {
    pub(super) fn at_start(&self) -> bool {
        matches!(self, Self::Start)
    }

    /// Notes that the response to the last request is written.
    pub(super) fn answered(&mut self) {
        if matches!(self, Self::Body(0)) {
            *self = Self::Start;
        }
    }

    /// Notes bytes that go to the HTTP server.
    pub(super) fn pass(&mut self, bytes: &[u8]) {
        *self = match std::mem::replace(self, Self::Unknown) {
            _ if bytes.is_empty() => Self::Unknown,
            Self::Start => Self::after(bytes.into()),
            Self::Head(mut head) => {
                head.extend_from_slice(bytes);
                Self::after(head.into())
            }
            Self::Body(left) => left.checked_sub(bytes.len()).map_or(Self::Unknown, Self::Body),
            Self::Unknown => Self::Unknown,
        };
    }

    /// Returns the position after these bytes, which begin with a request.
    fn after(bytes: Cow<'_, [u8]>) -> Self {
        let mut fields = [const { std::mem::MaybeUninit::uninit() }; MAX_FIELDS];
        let mut request = httparse::Request::new(&mut []);
        match request.parse_with_uninit_headers(&bytes, &mut fields) {
            Ok(httparse::Status::Complete(head)) if request.version == Some(1) => match body(&request) {
                Some(body) => (head.saturating_add(body)).checked_sub(bytes.len()).map_or(Self::Unknown, Self::Body),
                None => Self::Unknown,
            },
            Ok(httparse::Status::Partial) if bytes.len() <= MAX_HEAD => Self::Head(bytes.into_owned()),
            _ => Self::Unknown,
        }
    }
}

/// Returns the length of a request's body. None if anything but one `Content-Length` may decide it.
fn body(request: &httparse::Request<'_, '_>) -> Option<usize> {
    let mut announced = None;
    for field in &*request.headers {
        let is = |name: &str| field.name.eq_ignore_ascii_case(name);
        if is("transfer-encoding") || is("upgrade") || is("expect") {
            return None;
        }
        if is("content-length") && announced.replace(length(field.value)?).is_some() {
            return None;
        }
    }
    (request.method != Some("CONNECT")).then_some(announced.unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use super::*;

    const GET: &str = "GET / HTTP/1.1\r\nHost: a\r\n\r\n";
    const POST: &str = "POST / HTTP/1.1\r\nContent-Length: 3\r\n\r\nabc";

    /// Returns whether the next request starts after these reads, once they are answered.
    fn starts_after(reads: &[&str]) -> bool {
        let mut measure = Measure::default();
        reads.iter().for_each(|read| measure.pass(read.as_bytes()));
        measure.answered();
        measure.at_start()
    }

    #[test]
    fn start_follows_a_whole_request() {
        assert!(starts_after(&[GET]) && starts_after(&[POST]));
        assert!(starts_after(&[&GET[..9], &GET[9..20], &GET[20..]]));
        assert!(starts_after(&[&POST[..20], &POST[20..40], &POST[40..]]));
        assert!(!starts_after(&[&GET[..20]]) && !starts_after(&[&POST[..POST.len() - 1]]));
        let mut measure = Measure::default();
        measure.pass(GET.as_bytes());
        assert!(!measure.at_start(), "the response is due");
    }

    #[test]
    fn start_is_unknown_after_an_unusual_request() {
        let pipelined = format!("{GET}{GET}");
        for reads in [
            &[&*pipelined][..],
            &[GET, "G"],
            &["POST / HTTP/1.1\r\nContent-Length: 3\r\n\r\nabcd"],
            &["POST / HTTP/1.1\r\nContent-Length: 3\r\nContent-Length: 3\r\n\r\nabc"],
            &["POST / HTTP/1.1\r\nContent-Length: +3\r\n\r\nabc"],
            &["POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"],
            &["GET / HTTP/1.1\r\nUpgrade: websocket\r\n\r\n"],
            &["GET / HTTP/1.0\r\n\r\n"],
            &["CONNECT a:1 HTTP/1.1\r\n\r\n"],
            &["GET  HTTP\r\n\r\n"],
            &[""],
        ] {
            assert!(!starts_after(reads), "{reads:?}");
            let mut measure = Measure::default();
            reads.iter().for_each(|read| measure.pass(read.as_bytes()));
            measure.pass(GET.as_bytes());
            measure.answered();
            assert!(!measure.at_start(), "{reads:?}, then another");
        }
        assert!(!starts_after(&[&format!("GET / HTTP/1.1\r\nX: {}", "x".repeat(MAX_HEAD))]));
    }
}
