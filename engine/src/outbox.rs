//! The outbox of one client: the messages that wait to be sent.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::task::{Context, Poll, Waker};

use bytes::{Buf, Bytes};

/// The memory of a message besides its bytes: queue entry and allocation. With it, empty messages hit the bound too.
const OVERHEAD: usize = 96;

/// A queue of WebSocket frames, bounded in bytes, on one thread.
///
/// The session's transport empties it: a WebSocket writes the frames as they are, a poll gets their payloads.
#[derive(Debug, Default)]
pub(crate) struct Outbox(RefCell<Inner>);

#[derive(Debug, Default)]
struct Inner {
    /// Each entry is one message: complete frames that stay together. The first may be partly written.
    queue: VecDeque<Bytes>,
    /// The bytes of all entries, with their overhead.
    cost: usize,
    /// The waker of a transport that waits for messages.
    transport: Option<Waker>,
    /// The wakers of emitters that wait for room.
    waiting: Vec<Waker>,
    /// True if some entry may be compressed in a poll response.
    compress: bool,
}

impl Outbox {
    /// Adds a message and wakes the transport. False if it exceeds `limit`; a single message always fits into an empty queue.
    #[inline]
    pub(crate) fn push(&self, message: Bytes, compress: bool, limit: usize) -> bool {
        let mut inner = self.0.borrow_mut();
        let cost = message.len() + OVERHEAD;
        if inner.cost + cost > limit && inner.cost > 0 {
            return false;
        }
        inner.cost += cost;
        inner.compress |= compress;
        inner.queue.push_back(message);
        let transport = inner.transport.take();
        drop(inner);
        if let Some(transport) = transport {
            transport.wake();
        }
        true
    }

    /// Returns whether messages of these lengths fit below `limit`, beside the present ones.
    pub(crate) fn has_room_for(&self, lengths: impl Iterator<Item = usize>, limit: usize) -> bool {
        lengths.fold(self.0.borrow().cost, |cost, length| cost + length + OVERHEAD) <= limit
    }

    /// Returns the bytes of all entries, with their overhead.
    pub(crate) fn cost(&self) -> usize {
        self.0.borrow().cost
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.borrow().queue.is_empty()
    }

    /// Wakes the transport, so that it checks the state of its session.
    pub(crate) fn wake(&self) {
        let (transport, waiting) = {
            let mut inner = self.0.borrow_mut();
            (inner.transport.take(), std::mem::take(&mut inner.waiting))
        };
        transport.into_iter().chain(waiting).for_each(Waker::wake);
    }

    /// Registers the transport for the next message.
    #[inline]
    pub(crate) fn register(&self, waker: &Waker) {
        let mut inner = self.0.borrow_mut();
        match &mut inner.transport {
            Some(old) if old.will_wake(waker) => {}
            old => *old = Some(waker.clone()),
        }
    }

    /// Ready when at most half of `limit` is used, so that a waiting emitter can send several messages at once.
    pub(crate) fn poll_room(&self, cx: &mut Context<'_>, limit: usize) -> Poll<()> {
        let mut inner = self.0.borrow_mut();
        if inner.cost <= limit / 2 {
            return Poll::Ready(());
        }
        if !inner.waiting.iter().any(|waker| waker.will_wake(cx.waker())) {
            inner.waiting.push(cx.waker().clone());
        }
        Poll::Pending
    }

    /// Returns the next chunk for a WebSocket.
    ///
    /// A single or long message is returned as it is. Otherwise `buffer` gets copies of as many messages as fit.
    ///
    /// Copying small frames costs less than passing a list of them to the kernel.
    pub(crate) fn next<'a>(&self, buffer: &'a mut [u8]) -> Option<Chunk<'a>> {
        let inner = self.0.borrow();
        let first = inner.queue.front()?;
        let second = inner.queue.get(1).map_or(usize::MAX, Bytes::len);
        if first.len().saturating_add(second) > buffer.len() {
            return Some(Chunk::Message(first.clone()));
        }
        let mut used = 0;
        for message in &inner.queue {
            let Some(place) = buffer.get_mut(used..used + message.len()) else { break };
            place.copy_from_slice(message);
            used += message.len();
        }
        Some(Chunk::Copied(&buffer[..used]))
    }

    /// Removes bytes of the last [`next`](Self::next) that the transport has written.
    pub(crate) fn consume(&self, mut written: usize) {
        let mut inner = self.0.borrow_mut();
        inner.cost -= written;
        while let Some(first) = inner.queue.front_mut() {
            if first.len() > written {
                first.advance(written);
                break;
            }
            written -= first.len();
            inner.queue.pop_front();
            inner.cost -= OVERHEAD;
        }
        let empty = inner.queue.is_empty();
        inner.rest(empty);
    }

    /// Removes all messages. Also returns whether they may be compressed.
    pub(crate) fn drain(&self) -> (VecDeque<Bytes>, bool) {
        let mut inner = self.0.borrow_mut();
        let queue = std::mem::take(&mut inner.queue);
        inner.cost = 0;
        let compress = std::mem::take(&mut inner.compress);
        inner.rest(true);
        (queue, compress)
    }

    /// Removes all messages.
    pub(crate) fn clear(&self) {
        self.drain();
    }
}

impl Inner {
    fn rest(&mut self, empty: bool) {
        // Most outboxes are empty most of the time, and then hold no memory.
        if empty {
            self.queue = VecDeque::new();
        }
        for waker in self.waiting.drain(..) {
            waker.wake();
        }
        if self.waiting.capacity() > 0 {
            self.waiting = Vec::new();
        }
    }
}

/// The next bytes to write.
pub(crate) enum Chunk<'a> {
    Message(Bytes),
    Copied(&'a [u8]),
}

impl std::ops::Deref for Chunk<'_> {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        match self {
            Self::Message(message) => message,
            Self::Copied(bytes) => bytes,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bytes(n: usize) -> Bytes {
        Bytes::from(vec![b'x'; n])
    }

    #[test]
    fn bound_holds_except_for_one_long_message() {
        let outbox = Outbox::default();
        let limit = 2 * OVERHEAD + 10;
        assert!(outbox.push(bytes(500), true, limit), "one message passes an empty queue");
        assert!(!outbox.push(bytes(0), true, limit));
        outbox.consume(500);
        assert!(outbox.push(bytes(6), true, limit) && outbox.push(bytes(4), true, limit));
        assert!(!outbox.push(bytes(0), true, limit), "an empty message costs too");
        outbox.consume(6);
        assert!(outbox.push(bytes(6), true, limit));
    }

    #[test]
    fn small_messages_are_joined_and_partial_writes_continue() {
        let outbox = Outbox::default();
        for message in ["abc", "defg", "hi"] {
            assert!(outbox.push(Bytes::from_static(message.as_bytes()), true, 1000));
        }
        let mut buffer = [0; 8];
        assert_eq!(&*outbox.next(&mut buffer).unwrap(), b"abcdefg");
        outbox.consume(5);
        assert_eq!(&*outbox.next(&mut buffer).unwrap(), b"fghi");
        outbox.consume(4);
        assert!(outbox.next(&mut buffer).is_none() && outbox.is_empty());
    }

    #[test]
    fn long_message_is_not_copied() {
        let outbox = Outbox::default();
        let long = bytes(100);
        outbox.push(long.clone(), true, 1000);
        outbox.push(bytes(1), true, 1000);
        let mut buffer = [0; 50];
        assert!(matches!(outbox.next(&mut buffer).unwrap(), Chunk::Message(message) if message.as_ptr() == long.as_ptr()));
    }

    #[test]
    fn waiting_emitter_is_woken_when_room_is_free() {
        let outbox = Outbox::default();
        outbox.push(bytes(800), true, 1000);
        let mut cx = Context::from_waker(Waker::noop());
        assert!(outbox.poll_room(&mut cx, 1000).is_pending());
        outbox.consume(500);
        assert!(outbox.poll_room(&mut cx, 1000).is_ready());
    }
}
