//! Connections to nodes that wait for their next request.

use std::cell::RefCell;
use std::net::SocketAddr;
use std::sync::Arc;
use std::task::{Context, Waker};
use std::time::Duration;

use tokio::net::TcpStream;

use crate::limits::descriptors::{Descriptors, Held};
use crate::maps::Map;

/// The most that are kept for one node, by each worker. Those beyond it are closed.
const MAX_IDLE: usize = 512;

/// The connections of one worker. They take descriptors only as long as enough are left for clients. The last that came is the first to go: the others get old and are closed.
#[derive(Debug)]
pub(crate) struct Pool {
    descriptors: Arc<Descriptors>,
    idle: RefCell<Map<SocketAddr, Vec<Idle>>>,
}

#[derive(Debug)]
struct Idle {
    stream: TcpStream,
    /// The second of the worker in which it came.
    since: u32,
    /// Its descriptor: that of the client for whom it was opened is counted with the client.
    _held: Held,
}

impl Pool {
    pub(crate) fn new(descriptors: Arc<Descriptors>) -> Self {
        Self { descriptors, idle: RefCell::default() }
    }

    /// A connection to this node on which nothing has come, not even its end.
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

    /// Keeps a connection of which all was read that was asked for. One on which something comes unasked is closed: whose it is nobody knows.
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

    /// Closes those that have waited for longer. A node closes them too, and a request that comes at that moment would be lost: so it is done
    /// here well before.
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
