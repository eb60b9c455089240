//! The head of a node's answer: read, and passed on to the client as HTTP/1.1 or HTTP/2.

use std::io::Write as _;

use thiserror::Error;

use super::body::Framing;
use super::fields::{Accept, tokens, write_field};
use super::head::{Field, NO_FIELD};

/// The longest head of an answer, and the most fields in it.
pub(crate) const MAX_HEAD: usize = 64 * 1024;
const MAX_FIELDS: usize = 100;

/// A reason why an answer can't be passed on.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
pub(crate) enum BadAnswer {
    #[error("no HTTP/1.1")]
    Malformed,
    #[error("head too long")]
    LongHead,
    #[error("ambiguous end of the body")]
    Ambiguous,
    #[error("switch to a protocol that was not requested")]
    Switch,
    #[error("head not representable in HTTP/2")]
    NoHttp2,
}

/// An answer, from its head.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) body: Framing,
    /// The WebSocket is open.
    pub(crate) switched: bool,
    /// True if the node's connection may be reused behind it.
    pub(crate) keep_alive: bool,
}

/// The request that an answer is read for.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Asked {
    /// The value that opens the WebSocket, if one was asked for.
    pub(crate) upgrade: Option<Accept>,
    /// The answer has no body, whatever its head says.
    pub(crate) bodiless: bool,
    /// True if the client supports chunks.
    pub(crate) chunks: bool,
    /// True if the client's connection ends behind the answer.
    pub(crate) close: bool,
}

/// The head of an answer, as the client gets it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct AnswerHead<'a> {
    answer: Answer,
    /// The framing of the body for the client.
    sent: Framing,
    reason: &'a str,
    fields: &'a [Field<'a>],
    /// True if the client's connection ends behind the answer.
    close: bool,
}

/// Reads the head of the answer at the start of the input, and passes it to `take`. Returns the answer, the framing of
/// its body for the client, and the bytes that were read. Returns `None` for an incomplete head. Interim answers are
/// skipped.
pub(crate) fn read(
    input: &[u8],
    asked: &Asked,
    take: impl FnOnce(&AnswerHead<'_>) -> Result<(), BadAnswer>,
) -> Result<Option<(Answer, Framing, usize)>, BadAnswer> {
    let mut begin = 0;
    loop {
        let mut fields = [NO_FIELD; MAX_FIELDS];
        let mut parsed = httparse::Response::new(&mut fields);
        let length = match parsed.parse(&input[begin..]) {
            Ok(httparse::Status::Complete(length)) => length,
            Ok(httparse::Status::Partial) if input.len() >= MAX_HEAD => return Err(BadAnswer::LongHead),
            Ok(httparse::Status::Partial) => return Ok(None),
            Err(httparse::Error::TooManyHeaders) => return Err(BadAnswer::LongHead),
            Err(_) => return Err(BadAnswer::Malformed),
        };
        begin += length;
        let status = parsed.code.ok_or(BadAnswer::Malformed)?;
        if status < 200 && status != 101 {
            continue;
        }
        let answer = interpret(&parsed, status, asked)?;
        let sent = match answer.body {
            Framing::Chunked | Framing::Close if asked.chunks => Framing::Chunked,
            Framing::Chunked | Framing::Close => Framing::Close,
            framing => framing,
        };
        let close = asked.close || sent == Framing::Close;
        take(&AnswerHead { answer, sent, reason: parsed.reason.unwrap_or_default(), fields: parsed.headers, close })?;
        return Ok(Some((answer, sent, begin)));
    }
}

impl<'a> AnswerHead<'a> {
    /// The status.
    pub(crate) fn status(&self) -> u16 {
        self.answer.status
    }

    /// Returns true if the WebSocket is open.
    pub(crate) fn is_switched(&self) -> bool {
        self.answer.switched
    }

    /// Returns the length of the body, if its framing has it.
    pub(crate) fn length(&self) -> Option<u64> {
        if let Framing::Length(length) = self.sent { Some(length) } else { None }
    }

    /// The fields that are passed on as they came.
    pub(crate) fn fields(&self) -> impl Iterator<Item = &'a Field<'a>> {
        let Self { answer, fields, .. } = *self;
        // Without a body, the length is that of the omitted one.
        let keeps_length = answer.body == Framing::Empty && answer.status != 204 && !answer.switched;
        let passes = move |name: &str| !is_of_the_connection(name) && (keeps_length || !name.eq_ignore_ascii_case("content-length"));
        fields.iter().filter(move |field| passes(field.name))
    }

    /// Writes it as HTTP/1.1.
    pub(crate) fn write(&self, out: &mut Vec<u8>) {
        // Writing to a vector does not fail.
        let _ = write!(out, "HTTP/1.1 {} {}\r\n", self.answer.status, self.reason);
        for field in self.fields() {
            write_field(field.name, field.value, out);
        }
        match self.sent {
            Framing::Length(length) => drop(write!(out, "content-length: {length}\r\n")),
            Framing::Chunked => out.extend_from_slice(b"transfer-encoding: chunked\r\n"),
            Framing::Empty | Framing::Close => {}
        }
        if self.answer.switched {
            out.extend_from_slice(b"connection: Upgrade\r\nupgrade: websocket\r\n");
        } else if self.close {
            out.extend_from_slice(b"connection: close\r\n");
        }
        out.extend_from_slice(b"\r\n");
    }
}

fn interpret(parsed: &httparse::Response<'_, '_>, status: u16, asked: &Asked) -> Result<Answer, BadAnswer> {
    let (mut length, mut chunked, mut keep_alive, mut upgraded, mut accepted) = (None, false, parsed.version == Some(1), false, false);
    for field in parsed.headers.iter() {
        let name = field.name;
        if name.eq_ignore_ascii_case("content-length") {
            let text = std::str::from_utf8(field.value).map_err(|_| BadAnswer::Ambiguous)?;
            let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
            let value: u64 = text.parse().ok().filter(|_| digits).ok_or(BadAnswer::Ambiguous)?;
            if length.replace(value).is_some_and(|first| first != value) {
                return Err(BadAnswer::Ambiguous);
            }
        } else if name.eq_ignore_ascii_case("transfer-encoding") {
            if chunked || !field.value.eq_ignore_ascii_case(b"chunked") {
                return Err(BadAnswer::Ambiguous);
            }
            chunked = true;
        } else if name.eq_ignore_ascii_case("connection") {
            keep_alive &= !tokens(field.value).any(|token| token.eq_ignore_ascii_case(b"close"));
        } else if name.eq_ignore_ascii_case("upgrade") {
            upgraded |= field.value.eq_ignore_ascii_case(b"websocket");
        } else if name.eq_ignore_ascii_case("sec-websocket-accept") {
            accepted |= asked.upgrade.is_some_and(|accept| field.value == accept);
        }
    }
    if status == 101 {
        return match upgraded && accepted && length.unwrap_or(0) == 0 && !chunked {
            true => Ok(Answer { status, body: Framing::Empty, switched: true, keep_alive: false }),
            false => Err(BadAnswer::Switch),
        };
    }
    let body = match (length, chunked) {
        _ if asked.bodiless || status == 204 || status == 304 => Framing::Empty,
        (Some(_), true) => return Err(BadAnswer::Ambiguous),
        (Some(0), false) => Framing::Empty,
        (Some(length), false) => Framing::Length(length),
        (None, true) => Framing::Chunked,
        (None, false) => Framing::Close,
    };
    Ok(Answer { status, body, switched: false, keep_alive: keep_alive && body != Framing::Close })
}

/// Returns true for a field that is for the next hop alone.
fn is_of_the_connection(name: &str) -> bool {
    ["connection", "keep-alive", "proxy-connection", "te", "trailer", "transfer-encoding", "upgrade"]
        .into_iter()
        .any(|known| known.eq_ignore_ascii_case(name))
}

#[cfg(test)]
mod tests {
    use super::*;

    const PLAIN: Asked = Asked { upgrade: None, bodiless: false, chunks: true, close: false };

    fn answer(input: &str, asked: &Asked) -> Result<Option<(Answer, Framing, String)>, BadAnswer> {
        let mut out = vec![];
        let write = |head: &AnswerHead<'_>| {
            head.write(&mut out);
            Ok(())
        };
        let read = read(input.as_bytes(), asked, write)?;
        Ok(read.map(|(answer, framing, length)| {
            assert_eq!(length, input.find("\r\n\r\nBODY").map_or(input.len(), |at| at + 4));
            (answer, framing, String::from_utf8(out).unwrap())
        }))
    }

    #[test]
    fn answer_head_is_rewritten_for_the_client() {
        let input = "HTTP/1.1 200 OK\r\nContent-Length: 4\r\nX-A: b\r\nKeep-Alive: timeout=5\r\nConnection: keep-alive\r\n\r\nBODY";
        let (read, framing, head) = answer(input, &PLAIN).unwrap().unwrap();
        assert_eq!(read, Answer { status: 200, body: Framing::Length(4), switched: false, keep_alive: true });
        assert_eq!((framing, &*head), (Framing::Length(4), "HTTP/1.1 200 OK\r\nX-A: b\r\ncontent-length: 4\r\n\r\n"));

        let (_, _, head) = answer(input, &Asked { close: true, ..PLAIN }).unwrap().unwrap();
        assert!(head.ends_with("connection: close\r\n\r\n"));
        let (read, framing, head) = answer(input, &Asked { bodiless: true, ..PLAIN }).unwrap().unwrap();
        assert_eq!((read.body, framing), (Framing::Empty, Framing::Empty));
        assert!(head.contains("Content-Length: 4"), "{head}");
    }

    #[test]
    fn body_is_chunked_when_the_client_understands_chunks() {
        for input in ["HTTP/1.1 200 OK\r\n\r\nBODY", "HTTP/1.1 200 OK\r\ntransfer-encoding: Chunked\r\n\r\nBODY"] {
            let (_, framing, head) = answer(input, &PLAIN).unwrap().unwrap();
            assert_eq!((framing, &*head), (Framing::Chunked, "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n"));
            let (_, framing, head) = answer(input, &Asked { chunks: false, ..PLAIN }).unwrap().unwrap();
            assert_eq!((framing, &*head), (Framing::Close, "HTTP/1.1 200 OK\r\nconnection: close\r\n\r\n"));
        }
    }

    #[test]
    fn interim_answers_are_skipped() {
        let input = "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nlink: x\r\n\r\nHTTP/1.1 204 No Content\r\n\r\n";
        let (read, _, head) = answer(input, &PLAIN).unwrap().unwrap();
        assert_eq!((read.status, read.body, &*head), (204, Framing::Empty, "HTTP/1.1 204 No Content\r\n\r\n"));
        assert_eq!(answer("HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 20", &PLAIN), Ok(None));
    }

    #[test]
    fn switch_is_refused_when_it_was_not_asked_for() {
        let asked = Asked { upgrade: Some(super::super::fields::accept(b"dGhlIHNhbXBsZSBub25jZQ==")), ..PLAIN };
        let accept = "sec-websocket-accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=";
        let good = format!("HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n{accept}\r\n\r\n");
        let (read, _, head) = answer(&good, &asked).unwrap().unwrap();
        assert!(read.switched && head.contains(accept) && head.contains("upgrade: websocket"), "{head}");
        assert_eq!(answer(&good, &PLAIN), Err(BadAnswer::Switch));
        assert_eq!(answer(&good.replace("s3p", "x3p"), &asked), Err(BadAnswer::Switch));
        assert_eq!(answer(&good.replace("websocket\r\n", "h2c\r\n"), &asked), Err(BadAnswer::Switch));
        assert_eq!(answer(&good.replace(accept, &format!("{accept}\r\ncontent-length: 5")), &asked), Err(BadAnswer::Switch));
    }

    #[test]
    fn ambiguous_answer_is_refused() {
        for fields in [
            "content-length: 4\r\ntransfer-encoding: chunked",
            "content-length: 4\r\ncontent-length: 5",
            "content-length: +4",
            "transfer-encoding: gzip, chunked",
            "transfer-encoding: chunked\r\ntransfer-encoding: chunked",
        ] {
            assert_eq!(answer(&format!("HTTP/1.1 200 OK\r\n{fields}\r\n\r\nBODY"), &PLAIN), Err(BadAnswer::Ambiguous), "{fields}");
        }
        assert_eq!(answer("SSH-2.0-x\r\n", &PLAIN), Err(BadAnswer::Malformed));
    }
}
