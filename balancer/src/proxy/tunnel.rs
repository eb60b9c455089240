//! An open WebSocket: bytes from one side to the other.
//!
//! All tunnels of a worker read into its one buffer and write from there. A tunnel has memory of its own only while one side does not take
//! what the other sent: at most as much as one read gives, in each direction. Then it reads no more from there. `waiting.rs` counts it.

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
use crate::tcp;
use crate::worker::Worker;
use crate::worker::deadlines::{Deadline, Status};

/// After so many messages of a node without a word of the client, there is nothing on which their acknowledgement could ride.
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
    /// How often the node has sent something since the client last did.
    told: u8,
    /// For how many seconds nothing may come.
    idle: u32,
    /// Its counts, for as long as it lives. A stream of HTTP/2 is let in with its connection.
    _counted: (LoadGuard, Option<Permit>),
}

/// One direction.
#[derive(Debug, Default)]
struct Way {
    waiting: WriteBuffer,
    state: State,
    /// How much of what waits is counted.
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
    /// Its source ended; the other side has to be told.
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
        Self { worker, client, node, up: Way::default(), down: Way::default(), deadline, told: 0, idle, _counted: counted }
    }

    /// Adds what client and node sent before the tunnel was open.
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
                let counter = if tunnel.down.waiting.is_empty() { &metrics.tunnels_late } else { &metrics.clients_slow };
                counter.inc();
                return Poll::Ready(());
            }
            Status::Draining => {
                // The client comes back through another balancer.
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
            // Nothing can be told through a connection that is broken: both end.
            return Poll::Ready(());
        };
        tunnel.told = if up { 0 } else { tunnel.told + u8::from(down) };
        if tunnel.told == ONE_WAY {
            tunnel.told = 0;
            // It may be answered for several messages together: a packet less for each. The system forgets it now and then.
            tcp::delay_acknowledgements(SockRef::from(&tunnel.node));
        }
        let stuck = !tunnel.down.waiting.is_empty();
        match (tunnel.up.state, tunnel.down.state) {
            (State::Ended, State::Ended) => return Poll::Ready(()),
            // A client that reads nothing gets no more time by what it sends.
            (State::Open, State::Open) if stuck && down => tunnel.deadline.extend(tunnel.worker.state.options().write_timeout),
            (State::Open, State::Open) if !stuck && (up || down) => tunnel.deadline.extend(Duration::from_secs(tunnel.idle.into())),
            // The other direction may go on for a while. It is not given more with what comes.
            after if after != before => tunnel.deadline.extend(tunnel.worker.state.options().half_close),
            _ => {}
        }
        Poll::Pending
    }
}

impl Worker {
    /// Carries what there is in one direction. Tells whether there was any.
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
