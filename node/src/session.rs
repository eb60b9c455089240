//! One Engine.IO session: what a client and this node keep up together, whichever transport carries it.
//!
//! A session belongs to one worker thread. Its transport takes messages out of the outbox and hands packets in; above it, a
//! [`Connection`] gets the messages. Neither knows the other.

mod work;

use std::cell::{Cell, RefCell};
use std::fmt;
use std::rc::{Rc, Weak};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use bytes::Bytes;
use bytestring::ByteString;
use sociable_protocol::Id;
use sociable_protocol::engine::{OpenPacket, Packet, in_base64, v3};
use sociable_protocol::websocket::Frames;
use thiserror::Error;
use tokio::time::Instant;
use tokio_util::time::delay_queue::Key;

use crate::config::{Config, Transport};
use crate::handshake::Handshake;
use crate::metrics::Count;
use crate::outbox::Outbox;
use crate::reason::CloseReason;
use crate::timers::{Deadline, after};
use crate::trace;
use crate::worker::Worker;

pub(crate) use work::Waiting;

const PING: Frames = Frames::from_static(b"\x81\x012");
/// How long the end of a session may take to reach its client: to be fetched by a poll, or to be read from a WebSocket.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(30);

/// What an idle session takes, with its timers and its socket.
const COST: usize = 2048;

/// What sits on top of a session and gets its messages.
///
/// All calls come from the session's own thread, one after the other; they may call the session back.
pub trait Connection: 'static {
    /// A text message came.
    fn text(&self, text: ByteString);

    /// A binary message came.
    fn binary(&self, bytes: Bytes);

    /// The session has ended. It is the last call.
    fn closed(&self, reason: CloseReason);

    /// The time for a first sign of life of the layer above is over. It is asked for by [`Session::expect_within`].
    fn overdue(&self) {}

    /// A handler has ended while others waited for it.
    fn resumed(&self) {}
}

/// Why a message can't be sent.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
pub enum SendError {
    /// The session has ended.
    #[error("the session has ended: nothing can be sent any more")]
    Closed,
    /// More was waiting for the client than it may; it was closed as slow.
    #[error("the client does not read what is sent: its session was closed")]
    SlowClient,
}

/// The revision of Engine.IO that a client speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Dialect {
    /// The server pings; binary goes as it is.
    V4 {
        /// Binary has to be text: the client asked for it.
        base64: bool,
    },
    /// The client pings; binary bears its type. Those who take no binary get `base64`.
    V3 {
        /// Binary has to be text.
        base64: bool,
    },
}

impl Dialect {
    /// True if a request that claims this may belong to a session that speaks `other`.
    pub(crate) fn fits(self, other: Self) -> bool {
        self.is_old() == other.is_old()
    }

    /// True for what clients of Socket.IO 2 and before speak.
    #[inline]
    pub(crate) fn is_old(self) -> bool {
        matches!(self, Self::V3 { .. })
    }
}

/// How far a session is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum State {
    Open,
    /// Over for the layer above. The transport still has to deliver what waits and say good-bye.
    Ending,
    /// Over. The transport lets go at once.
    Closed,
}

/// How a session ends for its transport.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ending {
    /// What waits is delivered, then a close packet.
    Graceful,
    /// The connection is gone, or can't be waited for.
    Abrupt,
}

/// An Engine.IO session. It lives on one thread; see [`Socket`](crate::Socket) for a handle that can be sent to others.
pub struct Session {
    id: Id,
    worker: Rc<Worker>,
    handshake: Handshake,
    this: Weak<Session>,
    state: Cell<State>,
    transport: Cell<Transport>,
    dialect: Dialect,
    pub(crate) outbox: Outbox,
    /// Gone when the session is released: it refers back to the session.
    connection: RefCell<Option<Rc<dyn Connection>>>,
    pub(crate) polling: PollingState,
    /// The next ping or the pong that is awaited.
    heartbeat: Cell<Option<Key>>,
    /// When that is due.
    due: Cell<Instant>,
    /// A packet other than the pong came since the last ping.
    seen_since_ping: Cell<bool>,
    awaiting_pong: Cell<bool>,
    /// The deadline for a first namespace, or for the client to fetch the close packet.
    deadline: Cell<Option<Key>>,
    /// Handlers that have begun and not ended.
    running: Cell<u32>,
    /// What the events cost that wait for them.
    waiting: Cell<usize>,
    /// What is kept of their events.
    handled: Cell<usize>,
    /// Bytes that are kept of what the client sent.
    kept: Cell<usize>,
    /// Bytes in the outbox that the client does not take now.
    unread: Cell<usize>,
    /// It is on its way in.
    pending: Cell<bool>,
    /// The transport that waits for handlers to end before it reads on.
    paused: RefCell<Option<Waker>>,
}

/// What only matters while the session is carried by polling.
#[derive(Debug, Default)]
pub(crate) struct PollingState {
    /// A poll is waiting.
    pub(crate) waiting: Cell<bool>,
    /// A request with packets is being read.
    pub(crate) posting: Cell<bool>,
    /// A WebSocket has probed and is about to take over.
    pub(crate) upgrading: Cell<bool>,
    /// The poll that waits has to be answered, with a noop if with nothing else.
    pub(crate) release: Cell<bool>,
    /// The client has said good-bye itself: the waiting poll is answered by a noop, not by a close packet.
    pub(crate) left: Cell<bool>,
}

impl fmt::Debug for Session {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Session")
            .field("id", &self.id)
            .field("state", &self.state)
            .field("transport", &self.transport)
            .finish_non_exhaustive()
    }
}

impl Session {
    /// Opens a session on this worker and queues its open packet, behind the `preface` of its transport: the head of the response that
    /// opens a WebSocket leaves in one write with the first packet.
    pub(crate) fn open(
        worker: &Rc<Worker>,
        id: Id,
        handshake: Handshake,
        transport: Transport,
        dialect: Dialect,
        preface: Option<Bytes>,
    ) -> Rc<Self> {
        let handshake = handshake.bounded(worker.engine.config.max_handshake_bytes);
        let session = Rc::new_cyclic(|this| Self {
            id,
            worker: Rc::clone(worker),
            handshake,
            this: Weak::clone(this),
            state: Cell::new(State::Open),
            transport: Cell::new(transport),
            dialect,
            outbox: Outbox::default(),
            connection: RefCell::new(None),
            polling: PollingState::default(),
            heartbeat: Cell::new(None),
            due: Cell::new(Instant::now()),
            seen_since_ping: Cell::new(false),
            awaiting_pong: Cell::new(false),
            deadline: Cell::new(None),
            running: Cell::new(0),
            waiting: Cell::new(0),
            handled: Cell::new(0),
            kept: Cell::new(0),
            unread: Cell::new(0),
            pending: Cell::new(true),
            paused: RefCell::new(None),
        });
        worker.insert(Rc::clone(&session));
        worker.pending_session(id);
        worker.engine.session_opened();
        worker.engine.memory.add(session.cost());
        worker.counters.one(Count::SessionsOpened);
        if session.handshake.truncated() {
            worker.counters.one(Count::HandshakesTruncated);
        }
        if let Some(preface) = preface {
            session.outbox.push(preface, false, usize::MAX);
        }
        let config = session.config();
        let open = OpenPacket {
            sid: id.as_str(),
            upgrades: if transport == Transport::Polling { config.upgrades() } else { &[] },
            ping_interval: config.ping_interval.as_millis() as u64,
            ping_timeout: config.ping_timeout.as_millis() as u64,
            max_payload: config.max_payload() as u64,
        };
        session.push_control(Frames::text(&open.encode()));
        if let Some(message) = &config.initial_packet {
            session.push_control(Frames::text(&format!("4{message}")));
        }
        session.begin_heartbeat();
        tracing::debug!(target: "sociable::engine", sid = %id.shortened(), transport = transport.as_str(), "session opened");
        let connection = worker.engine.accept(Rc::clone(&session));
        if session.is_open() {
            *session.connection.borrow_mut() = Some(connection);
        }
        if transport == Transport::WebSocket {
            session.arrived();
        }
        session
    }

    /// The session's id. It is the client's secret: whoever knows it can act for the client.
    pub fn id(&self) -> Id {
        self.id
    }

    /// The request that opened the session.
    pub fn handshake(&self) -> &Handshake {
        &self.handshake
    }

    /// What carries the session now.
    pub fn transport(&self) -> Transport {
        self.transport.get()
    }

    #[inline]
    pub(crate) fn dialect(&self) -> Dialect {
        self.dialect
    }

    /// True until the session has begun to end.
    pub fn is_open(&self) -> bool {
        self.state.get() == State::Open
    }

    pub(crate) fn state(&self) -> State {
        self.state.get()
    }

    pub(crate) fn config(&self) -> &Config {
        &self.worker.engine.config
    }

    pub(crate) fn worker(&self) -> &Rc<Worker> {
        &self.worker
    }

    /// Sends a text message.
    ///
    /// # Errors
    ///
    /// The session has ended, or ends now since the client does not read.
    pub fn send_text(&self, text: &str) -> Result<(), SendError> {
        let mut message = String::with_capacity(text.len() + 1);
        message.push('4');
        message.push_str(text);
        self.send(Frames::text(&message), true)
    }

    /// Sends a binary message.
    ///
    /// # Errors
    ///
    /// The session has ended, or ends now since the client does not read.
    pub fn send_binary(&self, bytes: &[u8]) -> Result<(), SendError> {
        self.send(Frames::binary(bytes), true)
    }

    /// Sends frames that were encoded before. `compress` tells whether a poll response with them may be compressed.
    #[inline]
    pub(crate) fn send(&self, frames: Frames, compress: bool) -> Result<(), SendError> {
        let sent = self.offer(frames, compress);
        if sent == Err(SendError::SlowClient) {
            self.end_slow();
        }
        sent
    }

    /// As [`send`](Self::send), but a client that does not read is not closed yet: that calls the layer above, which may not be the time for it.
    #[inline]
    pub(crate) fn offer(&self, frames: Frames, compress: bool) -> Result<(), SendError> {
        if self.state.get() != State::Open {
            return Err(SendError::Closed);
        }
        let frames = match self.dialect {
            Dialect::V4 { base64: false } => frames,
            Dialect::V4 { base64: true } => in_base64(frames),
            Dialect::V3 { base64 } => v3::frames(frames, base64),
        };
        let length = frames.len();
        if !self.outbox.push(frames.into_bytes(), compress, self.config().max_outbox) {
            return Err(SendError::SlowClient);
        }
        if self.transport.get() == Transport::Polling && !self.polling.waiting.get() && !self.counts_unread() {
            return Err(SendError::SlowClient);
        }
        trace::engine_out(self.id, length);
        self.worker.counters.one(Count::MessagesOut);
        self.worker.counters.add(Count::BytesOut, length as u64);
        Ok(())
    }

    /// Counts what waits while the client takes nothing. False if it is too much while much waits for others, too.
    fn counts_unread(&self) -> bool {
        if self.state.get() == State::Closed {
            return true;
        }
        let now = self.outbox.cost();
        let fits = self.worker.engine.memory.count_unread(self.unread.replace(now), now);
        if !fits {
            self.worker.counters.one(Count::UnreadOverBudget);
        }
        fits
    }

    /// The connection takes no more of what waits for the client.
    pub(crate) fn stalls(&self) {
        if !self.counts_unread() {
            self.end_slow();
            // One that was ending has no time to say so.
            self.release();
        }
    }

    /// The client has taken what waited for it.
    #[inline]
    pub(crate) fn flows(&self) {
        let before = self.unread.take();
        if before > 0 {
            self.worker.engine.memory.count_unread(before, 0);
        }
    }

    /// Closes the session of a client that does not read.
    pub(crate) fn end_slow(&self) {
        if self.is_open() {
            self.worker.counters.one(Count::SlowClients);
            tracing::warn!(target: "sociable::engine", sid = %self.id.shortened(), limit = self.config().max_outbox, "client does not read: closed as slow");
            self.end(CloseReason::SlowClient, Ending::Abrupt);
        }
    }

    /// Answers a ping of the WebSocket layer.
    pub(crate) fn pong(&self, frame: Vec<u8>) {
        if self.is_open() && !self.outbox.push(frame.into(), false, self.config().max_outbox) {
            self.end_slow();
        }
    }

    /// Queues a packet of this layer, which no bound may hold up.
    fn push_control(&self, frames: Frames) {
        self.outbox.push(frames.into_bytes(), false, usize::MAX);
    }

    /// True if a packet sent now would leave at once: nothing waits before it, and by polling a poll is there to take it.
    pub fn is_writable(&self) -> bool {
        self.is_open() && self.outbox.is_empty() && (self.transport.get() == Transport::WebSocket || self.polling.waiting.get())
    }

    /// True if messages of these lengths, and a short one, can be sent now. None can always be sent.
    pub(crate) fn has_room_for(&self, lengths: impl ExactSizeIterator<Item = usize>) -> bool {
        const SHORT: usize = 512;
        lengths.len() == 0 || self.outbox.has_room_for(lengths, self.config().max_outbox.saturating_sub(SHORT))
    }

    /// Waits until no more than half of the outbox is taken.
    ///
    /// # Errors
    ///
    /// The session has ended.
    pub async fn ready(&self) -> Result<(), SendError> {
        std::future::poll_fn(|cx| self.poll_ready(cx)).await
    }

    pub(crate) fn poll_ready(&self, cx: &mut Context<'_>) -> Poll<Result<(), SendError>> {
        if !self.is_open() {
            return Poll::Ready(Err(SendError::Closed));
        }
        self.outbox.poll_room(cx, self.config().max_outbox).map(Ok)
    }

    /// Closes the session. What waits is delivered first.
    pub fn close(&self) {
        let reason = if self.transport.get() == Transport::WebSocket || self.polling.waiting.get() {
            CloseReason::ForcedClose
        } else {
            CloseReason::ForcedServerClose
        };
        self.end(reason, Ending::Graceful);
    }

    /// Calls [`Connection::overdue`] after this time, unless [`expected_came`](Self::expected_came) is called before.
    pub fn expect_within(&self, time: Duration) {
        self.set_deadline(Some((Deadline::Connect, time)));
    }

    /// What was expected came.
    pub fn expected_came(&self) {
        self.set_deadline(None);
        self.arrived();
    }

    /// True while the client is on its way in.
    pub(crate) fn is_pending(&self) -> bool {
        self.pending.get()
    }

    /// The client uses its session. Where the layer above expects something, that has to come first.
    pub(crate) fn arrived(&self) {
        if self.deadline.get().is_none() && self.pending.replace(false) {
            self.worker.session_arrived();
        }
    }

    /// Counts bytes that are kept of what the client sent. False if they are too many for one client, or for all together.
    pub(crate) fn keep(&self, bytes: usize) -> bool {
        self.keep_within(bytes, self.config().client_bytes())
    }

    /// As [`keep`](Self::keep), for a message that is not complete. What one read brings at most comes on top for one client.
    pub(crate) fn keep_incomplete(&self, bytes: usize, read: usize) -> bool {
        self.keep_within(bytes, self.config().client_bytes().saturating_add(read))
    }

    fn keep_within(&self, bytes: usize, limit: usize) -> bool {
        let kept = self.kept.get().saturating_add(bytes);
        let fits = self.state.get() != State::Closed && kept <= limit && self.worker.engine.memory.take(self.kept.get(), bytes);
        if fits {
            self.kept.set(kept);
        }
        fits
    }

    /// Gives back bytes that were [kept](Self::keep).
    pub(crate) fn let_go(&self, bytes: usize) {
        // A session that was released has none any more.
        let bytes = bytes.min(self.kept.get());
        self.kept.set(self.kept.get() - bytes);
        self.worker.engine.memory.give_back(bytes);
    }

    /// Closes the session of a client that sent more of an incomplete packet than may be kept.
    pub(crate) fn end_over_budget(&self) {
        if self.is_open() {
            self.worker.counters.one(Count::PacketsOverBudget);
            tracing::debug!(target: "sociable::engine", sid = %self.id.shortened(), "incomplete packet takes too much memory: session closed");
            self.end(CloseReason::ForcedClose, Ending::Abrupt);
        }
    }

    /// What the session takes as long as it lives.
    fn cost(&self) -> usize {
        COST + self.handshake.kept_bytes()
    }

    /// Ends the session once.
    ///
    /// A client that polls and has no poll waiting is kept for its next one only if the server wanted the end: after a fault of its own it finds
    /// its session gone.
    pub(crate) fn end(&self, reason: CloseReason, ending: Ending) {
        let wanted = matches!(reason, CloseReason::ForcedClose | CloseReason::ForcedServerClose | CloseReason::ServerShuttingDown);
        let reachable = self.transport.get() == Transport::WebSocket || self.polling.waiting.get();
        let ending = if wanted || reachable { ending } else { Ending::Abrupt };
        if self.state.get() != State::Open {
            if ending == Ending::Abrupt {
                self.release();
            }
            return;
        }
        let connection = self.connection();
        self.cancel(&self.heartbeat);
        match reason {
            CloseReason::PingTimeout => self.worker.counters.one(Count::PingTimeouts),
            CloseReason::ParseError => self.worker.counters.one(Count::ParseErrors),
            CloseReason::TransportError => self.worker.counters.one(Count::ProtocolErrors),
            CloseReason::TransportClose => self.worker.counters.one(Count::TransportCloses),
            CloseReason::ForcedClose => self.worker.counters.one(Count::ForcedCloses),
            CloseReason::ForcedServerClose => self.worker.counters.one(Count::ForcedServerCloses),
            CloseReason::ServerShuttingDown => self.worker.counters.one(Count::ShutdownCloses),
            // It is counted where it is noticed.
            CloseReason::SlowClient => {}
        }
        tracing::debug!(target: "sociable::engine", sid = %self.id.shortened(), %reason, "session ended");
        match ending {
            Ending::Graceful => {
                self.state.set(State::Ending);
                self.set_deadline(Some((Deadline::Close, CLOSE_TIMEOUT)));
            }
            Ending::Abrupt => self.release(),
        }
        self.outbox.wake();
        self.resume();
        if let Some(connection) = connection {
            connection.closed(reason);
        }
        if self.transport.get() == Transport::WebSocket {
            // Nobody asks for a WebSocket session by its id.
            self.forget();
        }
    }

    /// The transport has delivered the end of the session, or can't.
    pub(crate) fn release(&self) {
        if self.state.replace(State::Closed) != State::Closed {
            self.cancel(&self.heartbeat);
            self.set_deadline(None);
            self.connection.take();
            self.outbox.clear();
            self.flows();
            self.outbox.wake();
            self.forget();
            self.arrived();
            self.worker.engine.memory.give_back(self.cost() + self.kept.take());
            self.worker.engine.session_closed();
        }
    }

    fn connection(&self) -> Option<Rc<dyn Connection>> {
        self.connection.borrow().clone()
    }

    fn forget(&self) {
        self.worker.remove(&self.id);
    }

    /// Takes a packet that the transport received. False if the session does not go on.
    pub(crate) fn receive(&self, packet: Packet) -> bool {
        if self.state.get() != State::Open {
            return false;
        }
        let awaited = self.awaiting_pong.get() && !self.dialect.is_old();
        if awaited && !matches!(packet, Packet::Pong(_)) && !self.seen_since_ping.replace(true) {
            // Any packet shows that the client lives, but only once a ping: it still owes the pong.
            self.await_pong(Duration::ZERO);
        }
        trace::engine_in(self.id, &packet);
        let Some(connection) = self.connection() else { return false };
        match packet {
            Packet::Message(text) => {
                self.count_in(text.len());
                connection.text(text);
            }
            Packet::Binary(bytes) => {
                self.count_in(bytes.len());
                connection.binary(bytes);
            }
            Packet::Pong(_) if !self.dialect.is_old() => self.schedule_ping(),
            Packet::Ping(probe) if self.dialect.is_old() => {
                self.begin_heartbeat();
                // It has the bound of all packets: who floods with pings and does not read is closed as slow.
                let _ = self.send(Frames::text(&format!("3{probe}")), false);
            }
            Packet::Close => {
                self.polling.left.set(true);
                self.end(CloseReason::TransportClose, Ending::Graceful);
            }
            // The other side does that in this revision of the protocol.
            Packet::Ping(_) | Packet::Pong(_) => self.end(CloseReason::TransportError, Ending::Graceful),
            Packet::Open | Packet::Upgrade | Packet::Noop => {}
        }
        self.state.get() == State::Open
    }

    fn count_in(&self, bytes: usize) {
        self.worker.counters.one(Count::MessagesIn);
        self.worker.counters.add(Count::BytesIn, bytes as u64);
    }

    /// Answers the poll that waits, so that the client can go on with its upgrade.
    pub(crate) fn release_poll(&self) {
        if self.polling.waiting.get() {
            self.polling.release.set(true);
            self.outbox.wake();
        }
    }

    /// The WebSocket has taken over from polling.
    pub(crate) fn upgrade(&self) {
        self.polling.upgrading.set(false);
        self.transport.set(Transport::WebSocket);
        self.worker.counters.one(Count::Upgraded);
        // A poll that still waits has nothing to wait for.
        self.outbox.wake();
        tracing::debug!(target: "sociable::transport", sid = %self.id.shortened(), "upgraded to websocket");
    }

    fn begin_heartbeat(&self) {
        match self.dialect {
            Dialect::V4 { .. } => self.schedule_ping(),
            // The client pings; it may be as late as one of revision 4 with its pong.
            Dialect::V3 { .. } => self.await_pong(self.config().ping_interval),
        }
    }

    fn schedule_ping(&self) {
        self.awaiting_pong.set(false);
        self.schedule_heartbeat(Deadline::Ping, self.config().ping_interval, Duration::ZERO);
    }

    /// The client has the ping timeout, and so much more.
    fn await_pong(&self, more: Duration) {
        self.awaiting_pong.set(true);
        let time = self.config().ping_timeout.saturating_add(more);
        self.schedule_heartbeat(Deadline::Pong, time, time);
    }

    fn schedule_heartbeat(&self, deadline: Deadline, time: Duration, grace: Duration) {
        self.cancel(&self.heartbeat);
        self.due.set(after(Instant::now(), time));
        self.heartbeat.set(Some(self.worker.timers.schedule(Weak::clone(&self.this), deadline, grace, self.due.get())));
    }

    /// Ends the session if the time for a pong is over, though the timer has not told yet: for requests, which may come before it does.
    pub(crate) fn check_heartbeat(&self) {
        if self.is_open()
            && self.awaiting_pong.get()
            && Instant::now() >= self.due.get()
            && let Some(key) = self.heartbeat.take()
        {
            self.worker.timers.expire(&key);
        }
    }

    fn set_deadline(&self, deadline: Option<(Deadline, Duration)>) {
        self.cancel(&self.deadline);
        if let Some((what, time)) = deadline {
            self.schedule_deadline(what, time, time);
        }
    }

    fn schedule_deadline(&self, deadline: Deadline, time: Duration, grace: Duration) {
        self.deadline.set(Some(self.worker.timers.schedule(Weak::clone(&self.this), deadline, grace, after(Instant::now(), time))));
    }

    fn cancel(&self, timer: &Cell<Option<Key>>) {
        if let Some(key) = timer.take() {
            self.worker.timers.cancel(&key);
        }
    }

    /// A deadline has come. `stood` is how long the thread stood still meanwhile: the client did not have that time. `left` is how long it may be put off
    /// again.
    pub(crate) fn on_deadline(&self, deadline: Deadline, stood: Duration, left: Duration) {
        match deadline {
            Deadline::Ping => {
                self.heartbeat.set(None);
                self.push_control(PING);
                self.seen_since_ping.set(false);
                // From now, however late that is: the client has all the time.
                self.await_pong(Duration::ZERO);
            }
            Deadline::Pong if !stood.is_zero() => {
                self.heartbeat.set(None);
                self.schedule_heartbeat(deadline, stood, left);
            }
            Deadline::Pong => {
                self.heartbeat.set(None);
                self.end(CloseReason::PingTimeout, Ending::Graceful);
            }
            Deadline::Connect | Deadline::Close if !stood.is_zero() => {
                self.schedule_deadline(deadline, stood, left);
            }
            Deadline::Connect => {
                self.deadline.set(None);
                if let Some(connection) = self.connection() {
                    connection.overdue();
                }
            }
            Deadline::Close => {
                self.deadline.set(None);
                self.release();
            }
        }
    }
}
