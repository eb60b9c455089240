//! The state that the stream of a connection shares with the request that is being answered.

use std::cell::{Cell, RefCell};
use std::task::{Poll, Waker};

use memchr::memmem;

const HEAD_END: &[u8] = b"\r\n\r\n";
const END: u32 = u32::from_be_bytes(*b"\r\n\r\n");
/// The end of a head with an empty line after it. A balancer marks with it that its client has sent more.
const END_AND_LINE: u64 = u64::from_be_bytes(*b"\0\0\r\n\r\n\r\n");

/// The bare refusals of actix-http for unreadable requests, and the replacements with a reason.
const REFUSALS: [(&[u8], &[u8]); 2] = [
    (
        b"HTTP/1.1 400 Bad Request\r\ncontent-length: 0\r\n",
        b"HTTP/1.1 400 Bad Request\r\ncontent-type: text/plain; charset=utf-8\r\ncontent-length: 114\r\nconnection: close\r\n\r\n\
          The request is malformed. In its target, quotes, angle brackets and bytes beyond ASCII have to be percent-encoded.",
    ),
    (
        b"HTTP/1.1 431 Request Header Fields Too Large\r\ncontent-length: 0\r\n",
        b"HTTP/1.1 431 Request Header Fields Too Large\r\ncontent-type: text/plain; charset=utf-8\r\ncontent-length: 72\r\nconnection: close\r\n\r\n\
          The head of the request is too long: 96 fields and 128 KiB are the most.",
    ),
];

/// The state shared by a connection's stream and the request that is being answered.
#[derive(Debug, Default)]
pub(crate) struct Line {
    /// True if the `App` has a request, and nothing of its response is written.
    answering: Cell<bool>,
    /// True if the request has or had a body.
    body: Cell<bool>,
    /// True if the client has sent more than the head of the request.
    more: Cell<bool>,
    /// The last eight bytes received, the last one lowest.
    tail: Cell<u64>,
    /// True if the HTTP server has all of the response, but may not have written it.
    ended: Cell<bool>,
    /// True if all of the response is written.
    written: Cell<bool>,
    waiting: RefCell<Option<Waker>>,
}

impl Line {
    /// Notes that the `App` has a request, with or without a body.
    pub(super) fn ask(&self, body: bool) {
        self.answering.set(true);
        self.body.set(body);
        self.ended.set(false);
        self.written.set(false);
    }

    /// Notes that the HTTP server has all of the response.
    pub(super) fn end_response(&self) {
        self.ended.set(true);
    }

    /// Returns once for each request of the `App` whether its response is written.
    pub(super) fn has_answered(&self) -> bool {
        self.written.take()
    }

    /// Notes that a request without a body is answered beside the `App`.
    pub(super) fn begin_direct(&self) {
        self.answering.set(true);
        self.body.set(false);
        self.more.set(false);
    }

    /// Notes that the response to that request is ready.
    pub(super) fn end_direct(&self) {
        self.answering.set(false);
    }

    /// Waits until the client has sent something after its request, which has no body.
    pub(crate) async fn more(&self) {
        std::future::poll_fn(|cx| {
            if self.more.take() && !self.body.get() {
                return Poll::Ready(());
            }
            *self.waiting.borrow_mut() = Some(cx.waker().clone());
            Poll::Pending
        })
        .await;
    }

    /// Notes that the HTTP server has written, and whether nothing is left.
    pub(super) fn wrote(&self, all: bool) {
        if all && self.ended.take() {
            self.written.set(true);
        }
    }

    /// Notes bytes of the client.
    pub(super) fn read(&self, bytes: &[u8]) {
        if self.answering.get() {
            self.more.set(!bytes.is_empty());
            if let Some(waker) = self.waiting.take() {
                waker.wake();
            }
            return;
        }
        let tail = match bytes.last_chunk() {
            Some(last) => u64::from_be_bytes(*last),
            None => bytes.iter().fold(self.tail.get(), |tail, byte| tail << 8 | u64::from(*byte)),
        };
        self.tail.set(tail);
        // Input after a body that ends like a head goes unnoticed and waits for the poll. A search would cost every request.
        self.more.set(tail & 0xffff_ffff != u64::from(END) || tail & 0xffff_ffff_ffff == END_AND_LINE);
    }

    /// Returns the replacement for bytes that actix-http writes by itself, if they are a bare refusal.
    pub(super) fn replacement(&self, bytes: &[u8]) -> Option<&'static [u8]> {
        if bytes.starts_with(b"HTTP/1.1 100 ") {
            return None;
        }
        let refusal = if self.answering.replace(false) { None } else { REFUSALS.iter().find(|(bare, _)| bytes.starts_with(bare)) };
        // Only a whole answer, with nothing after it.
        refusal.filter(|_| memmem::find(bytes, HEAD_END) == bytes.len().checked_sub(HEAD_END.len())).map(|(_, reply)| *reply)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refusals_have_the_stated_length() {
        for (bare, reply) in REFUSALS {
            let reply = std::str::from_utf8(reply).unwrap();
            let (head, body) = reply.split_once("\r\n\r\n").unwrap();
            assert!(head.contains(&format!("content-length: {}\r\n", body.len())), "{body}: {}", body.len());
            assert_eq!(reply.lines().next(), std::str::from_utf8(bare).unwrap().lines().next());
        }
    }

    #[test]
    fn line_detects_input_after_a_poll() {
        let get = "GET / HTTP/1.1\r\nHost: a\r\n\r\n";
        let post = "POST / HTTP/1.1\r\nContent-Length: 1\r\n\r\n3";
        for (reads, more) in [
            (vec![get.to_owned()], false),
            // The end of the stream is no further request.
            (vec![get.to_owned(), String::new()], false),
            (vec![get[..20].to_owned(), get[20..].to_owned()], false),
            (get.split_inclusive('\n').map(str::to_owned).collect(), false),
            (get.chars().map(String::from).collect(), false),
            (vec![format!("{get}{post}")], true),
            (vec![format!("{get}\r\n")], true),
            (vec![get[..20].to_owned(), format!("{}4", &get[20..])], true),
            (vec![post.to_owned(), get.to_owned()], false),
        ] {
            let line = Line::default();
            reads.iter().for_each(|read| line.read(read.as_bytes()));
            line.ask(false);
            assert_eq!(line.more.get(), more, "{reads:?}");
            line.read(post.as_bytes());
            assert!(line.more.get());
        }
    }

    #[test]
    fn line_replaces_only_refusals_by_actix_http() {
        let line = Line::default();
        let bare = b"HTTP/1.1 400 Bad Request\r\ncontent-length: 0\r\ndate: now\r\n\r\n";
        assert!(line.replacement(bare).is_some());
        line.ask(true);
        assert_eq!(line.replacement(b"HTTP/1.1 100 Continue\r\n\r\n"), None);
        assert_eq!(line.replacement(bare), None);
        assert!(line.replacement(bare).is_some());
        assert_eq!(line.replacement(&[&bare[..], b"behind"].concat()), None);
    }
}
