//! Connections to nodes that wait for their next request.

use std::cell::RefCell;
use std::net::SocketAddr;
use std::sync::Arc;
use std::task::{Context, Waker};
use std::time::Duration;

use sociable_protocol::maps::Map;
use tokio::net::TcpStream;

use crate::limits::descriptors::{Descriptors, Held};

/// The most idle connections to one node, of each worker. Further ones are closed.
const MAX_IDLE: usize = 512;

/// The idle connections of one worker. They use descriptors only while enough are left for clients. The newest is
/// reused first, so the others expire.
#[derive(Debug)]
pub(crate) struct Pool {
    descriptors: Arc<Descriptors>,
    idle: RefCell<Map<SocketAddr, Vec<Idle>>>,
}

#[derive(Debug)]
struct Idle {
    stream: TcpStream,
    /// The second of the worker in which the connection became idle.
    since: u32,
    /// The descriptor of the idle connection. An active connection's descriptor is counted with its client.
    _held: Held,
}

impl Pool {
    pub(crate) fn new(descriptors: Arc<Descriptors>) -> Self {
        Self { descriptors, idle: RefCell::default() }
    }

    /// Returns a connection to this node that is still open and has no unread bytes.
    pub(crate) fn checkout(&self, address: SocketAddr) -> Option<TcpStream> {
        let mut idle = self.idle.borrow_mut();
        let waiting = idle.get_mut(&address)?;
        while let Some(Idle { stream, .. }) = waiting.pop() {
            if is_quiet(&stream) {
                return Some(stream);
            }
        }
        None
    }

    /// Keeps an idle connection whose answer was read completely. One with unexpected bytes is closed: they belong to
    /// no request.
    pub(crate) fn put(&self, address: SocketAddr, stream: TcpStream, now: u32) {
        // The look takes the place of the waker of the task that had it.
        if !is_quiet(&stream) {
            return;
        }
        let Some(held) = self.descriptors.hold_spare() else { return };
        let mut idle = self.idle.borrow_mut();
        let waiting = idle.entry(address).or_default();
        if waiting.len() < MAX_IDLE {
            waiting.push(Idle { stream, since: now, _held: held });
        }
    }

    /// Closes connections that were idle for longer. Nodes close them too, and would then lose a request. This comes
    /// well before that.
    pub(crate) fn sweep(&self, now: u32, longest: Duration) {
        self.idle.borrow_mut().retain(|_, waiting| {
            waiting.retain(|idle| u64::from(now.saturating_sub(idle.since)) < longest.as_secs());
            !waiting.is_empty()
        });
    }
}

fn is_quiet(stream: &TcpStream) -> bool {
    stream.poll_read_ready(&mut Context::from_waker(Waker::noop())).is_pending()
}
