//! One Engine.IO session: what a client and this node keep up together, whichever transport carries it.
//!
//! A session belongs to one worker thread. Its transport takes messages out of the outbox and hands packets in; above it, a
//! [`Connection`] gets the messages. Neither knows the other.

mod budget;
mod ending;
mod heartbeat;
mod inbound;
mod outbound;
mod supervised;
mod work;

use std::cell::{Cell, RefCell};
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

pub use self::work::{Running, Waiting};
use crate::config::Config;
use crate::counters::Count;
use crate::handshake::Handshake;
use crate::outbox::Outbox;
use crate::reason::CloseReason;
use crate::transport::Transport;
use crate::version::EngineVersion;
use crate::worker::Worker;

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
pub enum Ending {
    /// What waits is delivered, then a close packet.
    Graceful,
    /// The connection is gone, or can't be waited for.
    Abrupt,
}

/// An Engine.IO session. It lives on one thread.
pub struct Session {
    id: Id,
    worker: Rc<Worker>,
    handshake: Handshake,
    this: Weak<Session>,
    state: Cell<State>,
    transport: Cell<Transport>,
    version: EngineVersion,
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
    /// The deadline for a first sign of life of the layer above, or for the client to fetch the close packet.
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
    /// Returns the revision of the protocol that the client speaks.
    pub fn version(&self) -> EngineVersion {
        self.version
    }

    /// True until the session has begun to end.
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
