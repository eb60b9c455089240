//! One Engine.IO session: the shared state of a client and this node, on any transport.
//!
//! A session belongs to one worker thread. Its transport takes messages out of the outbox and passes packets in. A [`Connection`] above it receives
//! the messages. Neither depends on the other.

mod budget;
mod deflate;
mod deflate_state;
mod ending;
mod events;
mod heartbeat;
mod inbound;
mod listeners;
mod outbound;
mod supervised;
mod work;

use std::cell::{Cell, OnceCell, RefCell};
use std::fmt;
use std::rc::{Rc, Weak};
use std::task::Waker;

use bytes::Bytes;
use bytestring::ByteString;
use sociable_protocol::Id;
use sociable_protocol::engine::OpenPacket;
use sociable_protocol::websocket::Frames;
use thiserror::Error;
use tokio::time::Instant;
use tokio_util::time::delay_queue::Key;

use self::deflate_state::Deflate;
pub use self::listeners::SessionEvent;
use self::listeners::SessionListeners;
pub use self::work::{Running, Waiting};
use crate::config::Config;
use crate::counters::Count;
use crate::handshake::Handshake;
use crate::outbox::Outbox;
use crate::reason::CloseReason;
use crate::transport::Transport;
use crate::version::EngineVersion;
use crate::worker::Worker;

/// The receiver of a session's messages, on top of it.
///
/// All calls come from the session's own thread, one at a time. They may call the session back.
pub trait Connection: 'static {
    /// Handles a text message.
    fn text(&self, text: ByteString);

    /// Handles a binary message.
    fn binary(&self, bytes: Bytes);

    /// Notifies that the session has ended. This is the last call.
    fn closed(&self, reason: CloseReason);

    /// Notifies that the deadline of [`Session::expect_within`] has passed.
    fn overdue(&self) {}

    /// Notifies that a handler has ended while events waited for it.
    fn resumed(&self) {}
}

/// The error of a message that cannot be sent.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
pub enum SendError {
    /// The session has ended.
    #[error("session ended: nothing can be sent")]
    Closed,
    /// More waited for the client than its limits allow, and it was closed as slow.
    #[error("slow client: session closed")]
    SlowClient,
}

/// The stage of a session's life.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum State {
    Open,
    /// Ended for the layer above. The transport still delivers waiting messages and the close.
    Ending,
    /// Ended. The transport stops at once.
    Closed,
}

/// The manner in which a session ends for its transport.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    /// Waiting messages are delivered, then a close packet.
    Graceful,
    /// The connection is lost, or cannot be waited for.
    Abrupt,
}

/// An Engine.IO session. A session stays on one thread.
pub struct Session {
    id: Id,
    worker: Rc<Worker>,
    handshake: Handshake,
    this: Weak<Session>,
    state: Cell<State>,
    transport: Cell<Transport>,
    version: EngineVersion,
    pub(crate) outbox: Outbox,
    /// The compression of its messages, if the client of its WebSocket has agreed to it.
    deflate: OnceCell<Box<Deflate>>,
    /// Taken when the session is released, because it refers back to the session.
    connection: RefCell<Option<Rc<dyn Connection>>>,
    pub(crate) polling: PollingState,
    /// The timer of the next ping or of the awaited pong.
    heartbeat: Cell<Option<Key>>,
    /// The time at which that timer is due.
    due: Cell<Instant>,
    /// True if a packet other than the pong came since the last ping.
    seen_since_ping: Cell<bool>,
    awaiting_pong: Cell<bool>,
    /// The deadline of the layer above for its acceptance, or of the client for fetching the close packet.
    deadline: Cell<Option<Key>>,
    /// The number of running handlers.
    running: Cell<u32>,
    /// The memory of events that wait for them.
    waiting: Cell<usize>,
    /// The memory of the running handlers' events.
    handled: Cell<usize>,
    /// The bytes of the client's data that are charged.
    kept: Cell<usize>,
    /// The bytes in the outbox that the client does not take now.
    unread: Cell<usize>,
    /// True while the session is pending.
    pending: Cell<bool>,
    /// The waker of a transport that waits for handlers before it reads on.
    paused: RefCell<Option<Waker>>,
    /// The listeners of the application. Most sessions have none.
    listeners: OnceCell<Box<SessionListeners<Session>>>,
}

/// State that matters only on polling.
#[derive(Debug, Default)]
pub(crate) struct PollingState {
    /// True while a poll waits.
    pub(crate) waiting: Cell<bool>,
    /// True while a request with packets is being read.
    pub(crate) posting: Cell<bool>,
    /// True while a WebSocket that has probed is taking over.
    pub(crate) upgrading: Cell<bool>,
    /// True if the waiting poll has to be answered, at least by a noop.
    pub(crate) release: Cell<bool>,
    /// True if another request has ended the session. The answer to the waiting poll then comes after the answer to that request.
    pub(crate) faulted: Cell<bool>,
    /// True if no poll may follow the waiting one, because the session ended against the server's will.
    pub(crate) last: Cell<bool>,
    /// True if the client has closed the session itself. Then a noop answers the waiting poll, not a close packet.
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
    /// Opens a session on this worker and queues its open packet after the `preface` of its transport.
    ///
    /// The preface is the head of the response that opens a WebSocket. Head and first packet leave in one write.
    pub(crate) fn open(
        worker: &Rc<Worker>,
        id: Id,
        handshake: Handshake,
        transport: Transport,
        version: EngineVersion,
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
            version,
            outbox: Outbox::default(),
            deflate: OnceCell::new(),
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
            listeners: OnceCell::new(),
        });
        worker.insert(Rc::clone(&session));
        worker.pending_session(id);
        worker.engine.session_opened(transport);
        worker.engine.memory.add(session.cost());
        worker.counters.increment(Count::SessionsOpened);
        if session.handshake.truncated() {
            worker.counters.increment(Count::HandshakesTruncated);
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
        let connection = session.supervise(|| worker.engine.accept(Rc::clone(&session)));
        if session.is_open() {
            *session.connection.borrow_mut() = connection;
        }
        if transport == Transport::WebSocket {
            session.arrived();
        }
        session
    }

    /// Returns the session's id. The id is the client's secret: its holder can act for the client.
    pub fn id(&self) -> Id {
        self.id
    }

    /// Returns the request that opened the session.
    pub fn handshake(&self) -> &Handshake {
        &self.handshake
    }

    /// Returns the session's current transport.
    pub fn transport(&self) -> Transport {
        self.transport.get()
    }

    /// Returns the number of the revision of Engine.IO that the client speaks: 4, or 3 for old clients.
    pub fn protocol(&self) -> u8 {
        if self.version.is_v3() { 3 } else { 4 }
    }

    /// Returns the revision of the protocol that the client speaks.
    #[inline]
    pub fn version(&self) -> EngineVersion {
        self.version
    }

    /// Returns true until the session has begun to end.
    pub fn is_open(&self) -> bool {
        self.state.get() == State::Open
    }

    pub(crate) fn state(&self) -> State {
        self.state.get()
    }

    /// Returns the options of the engine.
    pub fn config(&self) -> &Config {
        &self.worker.engine.config
    }

    /// Returns the worker of its thread.
    pub fn worker(&self) -> &Rc<Worker> {
        &self.worker
    }

    fn connection(&self) -> Option<Rc<dyn Connection>> {
        self.connection.borrow().clone()
    }
}
