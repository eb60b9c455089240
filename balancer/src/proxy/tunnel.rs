//! An open WebSocket: bytes between client and node.
//!
//! All tunnels of a worker read into its one buffer and write from there. A tunnel has memory of its own only while a
//! side accepts no bytes. The memory holds at most one read for each direction. Then it stops reading from the other side. `waiting.rs`
//! counts these bytes.

use std::future::Future;
use std::io;
use std::mem;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::Duration;

use socket2::SockRef;
use tokio::net::TcpStream;

use crate::proxy::permit::Permit;
use crate::proxy::stream::{Stream, Wire, WriteBuffer};
use crate::table::LoadGuard;
use crate::worker::Worker;
use crate::worker::deadlines::{Deadline, Status};

/// The messages of a node without a message of the client after which acknowledgements are delayed.
const ONE_WAY: u8 = 4;

/// A tunnel, as the future that ends with it.
#[derive(Debug)]
pub(crate) struct Tunnel<C> {
    worker: Rc<Worker>,
    client: C,
    node: TcpStream,
    up: Way,
    down: Way,
    deadline: Deadline,
    /// The number of the node's messages since the last message of the client.
    one_way: u8,
    /// The seconds of silence after which the tunnel closes.
    idle: u32,
    /// The counts of the tunnel, released at its end. A stream of HTTP/2 is admitted with its connection.
    _counted: (LoadGuard, Option<Permit>),
}

/// One direction.
#[derive(Debug, Default)]
struct Way {
    waiting: WriteBuffer,
    state: State,
    /// The part of the waiting bytes that is counted.
    counted: u32,
}

impl Way {
    #[inline]
    fn count(&mut self, worker: &Worker) {
        let kept = self.waiting.len();
        if kept != self.counted as usize {
            worker.state.waiting.adjust(self.counted as usize, kept);
            self.counted = kept as u32;
        }
    }
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum State {
    #[default]
    Open,
    /// The source ended, and the other side is not closed yet.
    Ending,
    Ended,
}

impl<C> Tunnel<C> {
    /// A tunnel between these two, of which some is read already.
    pub(crate) fn new(
        worker: Rc<Worker>,
        client: C,
        node: TcpStream,
        deadline: Deadline,
        idle: Duration,
        counted: (LoadGuard, Option<Permit>),
    ) -> Self {
        deadline.extend(idle);
        let idle = u32::try_from(idle.as_secs()).unwrap_or(u32::MAX);
        Self { worker, client, node, up: Way::default(), down: Way::default(), deadline, one_way: 0, idle, _counted: counted }
    }

    /// Adds the bytes that client and node sent before the tunnel was open.
    pub(crate) fn waiting(mut self, up: Vec<u8>, down: WriteBuffer) -> Self {
        self.up.waiting = WriteBuffer::new(up);
        self.down.waiting = down;
        if !self.down.waiting.is_empty() {
            self.deadline.extend(self.worker.state.options().write_timeout);
        }
        self
    }
}

impl<C> Drop for Tunnel<C> {
    fn drop(&mut self) {
        let counted = self.up.counted as usize + self.down.counted as usize;
        if counted > 0 {
            self.worker.state.waiting.adjust(counted, 0);
        }
    }
}

impl<C: Wire + Unpin> Future for Tunnel<C> {
    type Output = ();

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let tunnel = self.get_mut();
        match tunnel.deadline.status(cx) {
            Status::Active => {}
            Status::Expired => {
                let metrics = &tunnel.worker.state.metrics;
                let counter = if tunnel.down.waiting.is_empty() { &metrics.tunnels_timed_out } else { &metrics.slow_clients };
                counter.inc();
                return Poll::Ready(());
            }
            Status::Draining => {
                // The client returns through another balancer.
                let _ = (tunnel.client.poll_shutdown(cx), tunnel.node.poll_shutdown(cx));
                return Poll::Ready(());
            }
        }
        let before = (tunnel.up.state, tunnel.down.state);
        let up = tunnel.worker.copy(cx, &mut tunnel.client, &mut tunnel.node, &mut tunnel.up);
        let down = tunnel.worker.copy(cx, &mut tunnel.node, &mut tunnel.client, &mut tunnel.down);
        for way in [&mut tunnel.up, &mut tunnel.down] {
            way.count(&tunnel.worker);
        }
        let (Ok(up), Ok(down)) = (up, down) else {
            // A broken connection ends both sides.
            return Poll::Ready(());
        };
        tunnel.one_way = if up { 0 } else { tunnel.one_way + u8::from(down) };
        if tunnel.one_way == ONE_WAY {
            tunnel.one_way = 0;
            // One acknowledgement may then cover several messages. The system resets this option now and then, so it is
            // set again.
            let _ = SockRef::from(&tunnel.node).set_tcp_quickack(false);
        }
        let stuck = !tunnel.down.waiting.is_empty();
        match (tunnel.up.state, tunnel.down.state) {
            (State::Ended, State::Ended) => return Poll::Ready(()),
            // Sending does not extend the time of a slow client.
            (State::Open, State::Open) if stuck && down => tunnel.deadline.extend(tunnel.worker.state.options().write_timeout),
            (State::Open, State::Open) if !stuck && (up || down) => tunnel.deadline.extend(Duration::from_secs(tunnel.idle.into())),
            // The other direction may continue for a limited time, which further bytes do not extend.
            after if after != before => tunnel.deadline.extend(tunnel.worker.state.options().half_close),
            _ => {}
        }
        Poll::Pending
    }
}

impl Worker {
    /// Copies the available bytes of one direction. Returns true if there were any.
    fn copy<S: Wire, D: Wire>(&self, cx: &mut Context<'_>, source: &mut S, sink: &mut D, way: &mut Way) -> io::Result<bool> {
        let mut any = false;
        loop {
            if !way.waiting.is_empty() {
                match way.waiting.poll_send(cx, sink) {
                    Poll::Pending => return Ok(any),
                    Poll::Ready(sent) => sent?,
                }
                any = true;
                // Not into a store of buffers: idle tunnels hold none, and neither do many of them together.
                drop(way.waiting.reclaim_buffer());
            }
            match way.state {
                State::Open => {}
                State::Ending => {
                    if sink.poll_shutdown(cx)?.is_pending() {
                        return Ok(any);
                    }
                    way.state = State::Ended;
                    return Ok(any);
                }
                State::Ended => return Ok(any),
            }
            let mut buffer = self.read_buffer();
            let length = match source.poll_read(cx, &mut buffer[..self.state.waiting.read_size()]) {
                Poll::Pending => break,
                Poll::Ready(length) => length?,
            };
            if length == 0 {
                way.state = State::Ending;
                continue;
            }
            any = true;
            let sent = match sink.poll_write(cx, &buffer[..length]) {
                Poll::Pending => 0,
                Poll::Ready(sent) => sent?,
            };
            if sent < length {
                way.waiting = WriteBuffer::new(buffer[sent..length].to_vec());
            }
        }
        // Bytes that TLS has taken may wait in it.
        match sink.poll_flush(cx) {
            Poll::Ready(Err(error)) => Err(error),
            _ => Ok(any),
        }
    }
}

const _: () = assert!(mem::size_of::<Tunnel<Stream>>() <= 256, "there is one for each WebSocket");
