//! Connection state recovery: a client whose connection was lost comes back as the socket that it was.
//!
//! While recovery is on, each event that is sent without an acknowledgement, and is not volatile, gets a place in the [`History`], and its
//! place travels with it as the last argument. On every thread such events are delivered in the order of their places, so that a client's
//! last place tells all that it has. A session that is lost is saved with its rooms, its data and the place up to which it was served.

use std::cell::{Cell, RefCell};
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use bytestring::ByteString;
use parking_lot::{Mutex, RwLock};
use serde::Deserialize;
use sociable_adapter::{
    AdapterError, Entry, History, LeftRooms, Limits, Missed, NewEvent, Operation, Position, Reach, Room, SavedSession, Target,
};
use sociable_protocol::{Args, Frames, Id};
use tokio::sync::oneshot;

use crate::emit::EmitError;
use crate::local::Local;
use crate::maps::Map;
use crate::metrics::Count;
use crate::namespace::Namespace;
use crate::operator::Flags;
use crate::reason::CloseReason;
use crate::session::Ending;
use crate::socket::{Socket, SocketInner};
use crate::trace;

/// Connection state recovery: what is kept of clients whose connections are lost, for how long, and how much.
///
/// ```
/// use std::time::Duration;
/// use sociable::{Recovery, Server, Socket};
///
/// let recovery = Recovery::default().max_disconnection_duration(Duration::from_secs(60)).skip_middlewares(false);
/// let io = Server::builder().recovery(recovery).build()?;
/// io.on_connect(async |socket: Socket| {
///     if !socket.recovered() {
///         socket.join("lobby");
///     }
/// });
/// # Ok::<(), sociable::ConfigError>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Recovery {
    pub(crate) max_disconnection_duration: Duration,
    pub(crate) skip_middlewares: bool,
    pub(crate) max_session_bytes: usize,
    pub(crate) max_total_bytes: usize,
}

impl Default for Recovery {
    fn default() -> Self {
        Self {
            max_disconnection_duration: Duration::from_secs(120),
            skip_middlewares: true,
            max_session_bytes: 1 << 20,
            max_total_bytes: 256 << 20,
        }
    }
}

impl Recovery {
    /// How long a client may be away, from when its loss was noticed: 2 minutes by default.
    #[must_use]
    pub fn max_disconnection_duration(mut self, duration: Duration) -> Self {
        self.max_disconnection_duration = duration;
        self
    }

    /// Whether a client that comes back is let in without the namespace's middleware: yes by default. Then nobody checks again whether it
    /// still may.
    #[must_use]
    pub fn skip_middlewares(mut self, skip: bool) -> Self {
        self.skip_middlewares = skip;
        self
    }

    /// The most that one client may have to be sent when it comes back, and the most that its rooms and data may take, in bytes: 1 MiB by
    /// default. Beyond it the client gets a new session. What is sent has to fit into the outbox too.
    #[must_use]
    pub fn max_session_bytes(mut self, bytes: usize) -> Self {
        self.max_session_bytes = bytes;
        self
    }

    /// The most that all kept events and lost sessions of the node may take, in bytes: 256 MiB by default. What is oldest goes first; who
    /// would need it gets a new session.
    #[must_use]
    pub fn max_total_bytes(mut self, bytes: usize) -> Self {
        self.max_total_bytes = bytes;
        self
    }

    /// `notice` is how long it may take until a lost connection is noticed.
    pub(crate) fn limits(&self, notice: Duration, max_outbox: usize) -> Limits {
        Limits {
            session_age: self.max_disconnection_duration,
            event_age: self.max_disconnection_duration.saturating_add(notice),
            session_bytes: self.max_session_bytes.min(max_outbox),
            total_bytes: self.max_total_bytes,
        }
    }
}

/// How often what is too old is forgotten, at least.
const SWEEP: Duration = Duration::from_secs(30);

/// What the node has of recovery, where it is on.
pub(crate) struct Recoveries {
    pub(crate) history: Arc<dyn History>,
    pub(crate) skip_middlewares: bool,
    max_age: Duration,
    /// Sockets that live, by what their clients show to come back: a client may come back before its loss is noticed.
    live: Mutex<Map<Id, Arc<SocketInner>>>,
    /// Sockets that came back to another worker than the one that their ids lead to.
    strays: RwLock<Map<Id, usize>>,
    any_strays: AtomicUsize,
    sweeping: AtomicBool,
}

impl fmt::Debug for Recoveries {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Recoveries").field("history", &self.history).finish_non_exhaustive()
    }
}

/// What a socket has of recovery, for all threads.
#[derive(Debug)]
pub(crate) struct Ticket {
    /// What its client shows to come back.
    pub(crate) pid: Id,
    pub(crate) recovered: bool,
    /// It was saved for its return.
    pub(crate) lost: AtomicBool,
    /// It is not saved any more: another node has it, or what was promised to it can't be held.
    pub(crate) void: AtomicBool,
    /// Its session is being saved as lost, or was. What is sent to it alone from now on may be for another node.
    pub(crate) leaves: AtomicBool,
}

/// How far a socket has been served, for its own thread.
#[derive(Debug, Default)]
pub(crate) struct Marks {
    /// Behind this position, events were for this socket.
    pub(crate) since: Cell<Position>,
    /// The last event that was sent to it.
    pub(crate) sent: Cell<Option<Position>>,
    /// Up to here it was served when it came back: what is delivered late is not for it.
    pub(crate) served: Cell<Position>,
    /// What its client has shown when it came back: it has all that is covered by that, too.
    pub(crate) shown: RefCell<Vec<Position>>,
    /// How far it had got when it did not take an event any more.
    pub(crate) refused: Cell<Option<Position>>,
    /// The position at which it joined each of its rooms.
    pub(crate) joined: RefCell<Map<Room, Position>>,
    /// The rooms that it left last.
    pub(crate) left_rooms: RefCell<LeftRooms>,
    /// It has changed since it was saved last, where sessions are saved while they live.
    pub(crate) changed: Cell<bool>,
}

impl Marks {
    /// The socket took an event, or did not, on a thread that had got to `before`.
    pub(crate) fn count(&self, mark: Position, before: Position, taken: bool) {
        match self.refused.get() {
            Some(_) => {}
            None if taken => self.sent.set(Some(mark)),
            None => self.refused.set(Some(self.reached(before))),
        }
    }

    /// True if it got an event when it came back, or before, or if the event is older than the socket.
    pub(crate) fn has_got(&self, mark: &Position) -> bool {
        self.served.get().covers(mark) || self.since.get().covers(mark) || self.shown.borrow().iter().any(|shown| shown.covers(mark))
    }

    /// How far it has got, on a thread that has got to `cursor`.
    pub(crate) fn reached(&self, cursor: Position) -> Position {
        self.served.get().later(cursor)
    }

    /// Up to where all is sent.
    fn until(&self, cursor: Position) -> Position {
        self.refused.get().unwrap_or_else(|| self.reached(cursor))
    }
}

/// What a client shows to come back.
#[derive(Debug, Deserialize)]
struct Claim {
    pid: String,
    #[serde(default)]
    offset: Option<String>,
}

/// A session that its client has claimed. If the client goes before it is connected, it is kept for the next time.
#[derive(Debug)]
pub(crate) struct Claimed {
    recoveries: Arc<Recoveries>,
    session: Option<SavedSession>,
    offset: Option<String>,
}

impl Claimed {
    /// Who comes back.
    pub(crate) fn session(&self) -> Option<&SavedSession> {
        self.session.as_ref()
    }

    /// What it has missed. `None` if that can't be told any more.
    pub(crate) fn missed(&self) -> Option<Missed> {
        self.recoveries.history.missed(self.session.as_ref()?, self.offset.as_deref())
    }

    /// It may not be used, now or later.
    pub(crate) fn discard(&mut self) {
        if let Some(session) = self.session.take() {
            self.recoveries.history.forget(&session.pid);
        }
    }

    /// It has been used, or may not be.
    pub(crate) fn spend(&mut self) -> Option<SavedSession> {
        self.session.take()
    }
}

impl Drop for Claimed {
    fn drop(&mut self) {
        if let Some(mut session) = self.session.take() {
            session.lost.get_or_insert_with(Instant::now);
            self.recoveries.history.save(session);
        }
    }
}

impl Recoveries {
    pub(crate) fn new(options: &Recovery, history: Arc<dyn History>) -> Self {
        Self {
            history,
            skip_middlewares: options.skip_middlewares,
            max_age: options.max_disconnection_duration,
            live: Mutex::default(),
            strays: RwLock::default(),
            any_strays: AtomicUsize::new(0),
            sweeping: AtomicBool::new(false),
        }
    }

    /// The session that a client claims by what it sent to be let in.
    pub(crate) async fn claim(self: &Arc<Self>, namespace: &Namespace, auth: &Args) -> Option<Claimed> {
        let Claim { pid, offset } = auth.decode(0).ok()?;
        let pid = Id::try_from(&*pid).ok()?;
        self.end_earlier(namespace, &pid).await;
        let session = self.history.claim_session(namespace.name(), &pid, offset.as_deref()).await;
        let mut claimed = Claimed { recoveries: Arc::clone(self), session, offset };
        // One that was lost before its namespace was made anew missed what came in between.
        let lost_before = |session: &SavedSession| session.lost.is_some_and(|lost| lost < namespace.began());
        let gap = !self.history.is_shared() && claimed.session.as_ref().is_some_and(lost_before);
        let count = match (claimed.session.is_some(), !gap && claimed.missed().is_some()) {
            (true, true) => return Some(claimed),
            (true, false) => Count::RecoveriesIncomplete,
            (false, _) => Count::RecoveriesUnknown,
        };
        claimed.discard();
        namespace.engine().count(count);
        tracing::debug!(target: "sociable::recovery", namespace = %trace::plain(namespace.name()), ?count, "session not recovered");
        None
    }

    /// Ends the connection that a client has left for this one, though nobody noticed yet.
    async fn end_earlier(&self, namespace: &Namespace, pid: &Id) {
        let earlier = self.live.lock().get(pid).filter(|socket| socket.namespace == *namespace).cloned();
        if let Some(earlier) = earlier {
            let _ = cut_off(earlier).await;
        }
    }

    /// Ends the connection of a client that has come back to another node.
    pub(crate) async fn give_up(&self, pid: &Id) {
        let socket = self.live.lock().get(pid).cloned();
        if let Some(socket) = socket {
            let _ = cut_off(socket).await;
        }
    }

    /// Ends the connection of a client whose session another node has.
    pub(crate) fn fence(&self, pid: &Id) {
        let socket = self.live.lock().get(pid).cloned();
        if let Some(socket) = socket {
            socket.namespace.engine().count(Count::SessionsFenced);
            tracing::warn!(target: "sociable::recovery", id = %socket.id.shortened(), "another node has the session of this client, which is cut off");
            void(socket);
        }
    }

    /// Events of other nodes are lost: nobody may come back and believe to have got all.
    pub(crate) fn fall_behind(&self) {
        if !self.history.is_shared() {
            return self.history.mark_incomplete();
        }
        tracing::error!(target: "sociable::recovery", "events of other nodes are lost: clients that can come back are cut off, and begin anew");
        let sockets: Vec<_> = self.live.lock().values().cloned().collect();
        for socket in sockets {
            socket.namespace.engine().count(Count::SessionsVoided);
            void(socket);
        }
    }

    /// A socket is connected, on this worker.
    pub(crate) fn arrived(self: &Arc<Self>, socket: &Arc<SocketInner>, worker: usize) {
        let Some(ticket) = &socket.ticket else { return };
        self.live.lock().insert(ticket.pid, Arc::clone(socket));
        let engine = socket.namespace.engine();
        if socket.id.tag() != engine.tag || engine.home(&socket.id) != worker {
            self.strays.write().insert(socket.id, worker);
            self.any_strays.fetch_add(1, Ordering::Release);
        }
        if socket.id.tag() != engine.tag
            && let Some(server) = socket.namespace.server_inner()
        {
            server.adapter.adopt(socket.id);
        }
        if !self.sweeping.swap(true, Ordering::Relaxed) {
            let (this, pause) = (Arc::downgrade(self), SWEEP.min(self.max_age).max(Duration::from_millis(100)));
            actix_rt::spawn(async move {
                loop {
                    tokio::time::sleep(pause).await;
                    let Some(this) = this.upgrade() else { break };
                    this.history.sweep();
                }
            });
        }
    }

    /// A socket has left, and may come back if it is `lost`.
    pub(crate) fn left(&self, socket: &SocketInner, marks: &Marks, cursor: Position, lost: bool) {
        let Some(ticket) = &socket.ticket else { return };
        if lost && !ticket.void.load(Ordering::Acquire) {
            ticket.leaves.store(true, Ordering::Release);
            self.save(socket, ticket, marks, cursor, Some(Instant::now()));
            ticket.lost.store(true, Ordering::Release);
        } else {
            self.history.forget(&ticket.pid);
        }
        self.departed(socket);
    }

    /// Saves a socket that lives, for the case that this process does not.
    pub(crate) fn save_living(&self, socket: &SocketInner, marks: &Marks, cursor: Position) {
        if let Some(ticket) = socket.ticket.as_ref().filter(|ticket| !ticket.void.load(Ordering::Acquire)) {
            self.save(socket, ticket, marks, cursor, None);
        }
    }

    fn save(&self, socket: &SocketInner, ticket: &Ticket, marks: &Marks, cursor: Position, lost: Option<Instant>) {
        let (rooms, data) = socket.joined_and_data();
        let joined = marks.joined.borrow();
        let rooms = rooms.into_iter().map(|room| {
            let since = joined.get(&room).copied().unwrap_or_default();
            (room, since)
        });
        let session = SavedSession {
            namespace: socket.namespace.name().clone(),
            pid: ticket.pid,
            id: socket.id,
            rooms: rooms.collect(),
            left_rooms: marks.left_rooms.borrow().clone(),
            data,
            lost,
            since: marks.since.get(),
            sent: marks.sent.get(),
            until: marks.until(cursor),
            shown: marks.shown.borrow().clone(),
            // The history knows.
            past: vec![],
        };
        if !self.history.save(session) {
            socket.namespace.engine().count(Count::SessionsTooLarge);
            tracing::warn!(target: "sociable::recovery", id = %socket.id.shortened(), "the rooms and data of a session are too large to be kept");
        }
    }

    /// A socket is gone from this node.
    pub(crate) fn departed(&self, socket: &SocketInner) {
        let Some(ticket) = &socket.ticket else { return };
        let mut live = self.live.lock();
        if !live.get(&ticket.pid).is_some_and(|known| std::ptr::eq(&raw const **known, socket)) {
            return;
        }
        live.remove(&ticket.pid);
        drop(live);
        if socket.id.tag() != socket.namespace.engine().tag
            && let Some(server) = socket.namespace.server_inner()
        {
            server.adapter.release(socket.id);
        }
        if self.strays.write().remove(&socket.id).is_some() {
            self.any_strays.fetch_sub(1, Ordering::Release);
        }
    }

    /// The worker that a socket has come back to, if not to that of its id.
    pub(crate) fn stray(&self, id: &Id) -> Option<usize> {
        if self.any_strays.load(Ordering::Acquire) == 0 {
            return None;
        }
        self.strays.read().get(id).copied()
    }
}

/// Ends the connection of a socket, whose loss nobody noticed. What is given is dropped when that is done, one way or another.
fn cut_off(socket: Arc<SocketInner>) -> oneshot::Receiver<()> {
    let (done, ended) = oneshot::channel::<()>();
    Socket(socket).end_session(move |session| {
        session.end(CloseReason::TransportClose, Ending::Abrupt);
        drop(done);
    });
    ended
}

/// Ends the connection of a socket, of which nothing is saved.
fn void(socket: Arc<SocketInner>) {
    if let Some(ticket) = &socket.ticket {
        ticket.void.store(true, Ordering::Release);
    }
    drop(cut_off(socket));
}

impl Namespace {
    /// Sends an event to sockets, and keeps it for those who are away if recovery is on.
    pub(crate) fn send_event(&self, target: Target, name: &str, args: Args, flags: Flags) -> Result<(), EmitError> {
        let Flags { volatile, compress, local, .. } = flags;
        match self.recoveries().filter(|_| !volatile) {
            Some(recoveries) => {
                let reach = || if local { Reach::Here } else { Reach::Everywhere };
                self.send_kept(&recoveries.clone(), target.clone(), name, &args, compress, &reach)?;
                match self.server_inner().filter(|server| !local && !server.alone && !recoveries.history.is_shared()) {
                    Some(server) => {
                        let frames = self.event_frames(name, args, None);
                        let operation = Operation::Emit { frames, volatile, compress };
                        Ok(server.cluster().publish(sociable_adapter::Message { namespace: self.name().clone(), target, operation })?)
                    }
                    None => Ok(()),
                }
            }
            None => {
                let frames = self.event_frames(name, args, None);
                self.perform(target, Operation::Emit { frames, volatile, compress }, local)
            }
        }
    }

    /// Sends an event to one socket, and keeps it: a client that is away gets it when it comes back.
    pub(crate) fn send_to_socket(
        &self,
        recoveries: &Recoveries,
        socket: &Socket,
        name: &str,
        args: &Args,
        compress: bool,
    ) -> Result<(), EmitError> {
        let target = Target { rooms: vec![socket.id().as_str().into()], except: vec![] };
        // A socket that is away may come back to another node, where nodes share their history.
        let stays = || socket.is_connected() && !socket.0.ticket.as_ref().is_some_and(|ticket| ticket.leaves.load(Ordering::Acquire));
        let reach = || if stays() || !recoveries.history.is_shared() { Reach::Here } else { Reach::Everywhere };
        self.send_kept(recoveries, target, name, args, compress, &reach)
    }

    /// Keeps an event that another node sent, and sends it on. Its place is one of this node: each node has a history of its own.
    pub(crate) fn keep_from_elsewhere(&self, target: Target, frames: &Frames, compress: bool) -> Result<(), EmitError> {
        match (self.recoveries().cloned(), self.read_event(frames)) {
            (Some(recoveries), Some((name, args, None))) => self.send_kept(&recoveries, target, &name, &args, compress, &|| Reach::Here),
            _ => self.perform_here(target, Operation::Emit { frames: frames.clone(), volatile: false, compress }),
        }
    }

    fn send_kept(
        &self,
        recoveries: &Recoveries,
        target: Target,
        name: &str,
        args: &Args,
        compress: bool,
        reach: &dyn Fn() -> Reach,
    ) -> Result<(), EmitError> {
        let mut write = |offset: &str| {
            let mut with_offset = Args::builder(args.encoding());
            // Both have been encoded before, or are text.
            let written = with_offset.append(args).is_ok_and(|args| args.push(offset).is_ok());
            self.event_frames(name, if written { with_offset.finish() } else { args.clone() }, None)
        };
        let receivers = target.clone();
        let event = NewEvent { namespace: self.name(), target, compress, reach, write: &mut write };
        self.set_out(&receivers, None, |deliver| recoveries.history.append(event, deliver))
    }

    /// Has an entry of the history delivered that gets its place by `append`: on each thread in the order of the places. `joining` is held until that is done.
    pub(crate) fn set_out(
        &self,
        target: &Target,
        joining: Option<Arc<()>>,
        append: impl FnOnce(&mut dyn FnMut(&Arc<Entry>)) -> Result<(), AdapterError>,
    ) -> Result<(), EmitError> {
        let engine = self.engine();
        let workers = engine.workers();
        // Before it gets its place: afterwards it can't be taken from anybody.
        let meant = self.only_worker(target);
        if workers.iter().enumerate().any(|(index, worker)| meant.is_none_or(|meant| meant == index) && worker.is_full()) {
            return Err(EmitError::Busy);
        }
        let here = Local::current(engine);
        let mut at_once = None;
        let mut deliver = |entry: &Arc<Entry>| {
            let only = self.only_worker(&entry.target);
            for (index, worker) in workers.iter().enumerate().filter(|(index, _)| only.is_none_or(|only| only == *index)) {
                if here.as_ref().is_some_and(|here| here.worker.index == index && here.worker.is_idle()) {
                    at_once = Some(Arc::clone(entry));
                    continue;
                }
                let (entry, joining) = (Arc::clone(entry), joining.clone());
                worker.run_anyhow(entry.frames.len(), move |worker| {
                    Local::of(worker).deliver(&entry);
                    drop(joining);
                });
            }
        };
        append(&mut deliver)?;
        match (here, at_once) {
            (Some(here), Some(entry)) => here.deliver(&entry),
            // It waits behind what others sent to this thread before.
            (Some(here), None) => here.worker.make_calls(),
            (None, _) => {}
        }
        Ok(())
    }

    /// An event of the history with another offset than its own.
    pub(crate) fn at_offset(&self, frames: &Frames, offset: &str) -> Frames {
        self.rewrite(self.name(), frames, offset, 1)
    }

    /// An event of a namespace, with an offset.
    pub(crate) fn with_offset_of(&self, namespace: &ByteString, frames: &Frames, offset: &str) -> Frames {
        self.rewrite(namespace, frames, offset, 0)
    }

    /// An event with an offset in the place of its last arguments, or behind them.
    fn rewrite(&self, namespace: &ByteString, frames: &Frames, offset: &str, without: usize) -> Frames {
        let rewritten = self.read_event(frames).and_then(|(name, args, _)| {
            let mut builder = Args::builder(args.encoding());
            for arg in args.iter().take(args.len().checked_sub(without)?) {
                builder.append(&arg).ok()?;
            }
            builder.push(offset).ok()?;
            Some(self.frames(&crate::ack::event(namespace, name, builder.finish(), None)))
        });
        rewritten.unwrap_or_else(|| frames.clone())
    }

    /// A packet that a client may take for one with an offset is given the one of this position.
    ///
    /// Clients take any text at the end of an event for its offset, also of events that have none, or the name where there are no arguments.
    pub(crate) fn with_offset(&self, frames: &Frames, position: Position) -> Frames {
        let rewritten = self.recoveries().and_then(|recoveries| {
            let (name, args, ack) = self.read_event(frames)?;
            let ends_in_text = args.is_empty() || args.skip(args.len() - 1).decode::<String>(0).is_ok();
            if !ends_in_text || ack.is_some() {
                return None;
            }
            let mut builder = Args::builder(args.encoding());
            builder.append(&args).ok()?.push(&recoveries.history.offset(&position)).ok()?;
            Some(self.event_frames(&name, builder.finish(), None))
        });
        rewritten.unwrap_or_else(|| frames.clone())
    }
}
