//! The adapter for many nodes, over NATS.
//!
//! # Layout, in the order of a message's way
//!
//! * `options`: where the servers are, and how they are spoken to.
//! * `wire`: envelopes and records, as bytes.
//! * `outgoing`: what waits to be sent. `link`: the two connections, and the task that sends.
//! * `incoming`: what came, put in order, and the task that hands it to the node. `order`: how it is put in order.
//! * `members`, `membership`: who lives, and the task that finds out. `questions`: what was asked and is waited for.
//! * `jetstream`: events and sessions that the server keeps, if that is wanted.
//! * `emitter`: another process that sends events to sockets of the nodes.
//!
//! All of it runs on one thread of its own: no worker waits for the bus, whatever runtime the application has, and what has come in on
//! several subscriptions can be looked at as one moment (`order`).

mod emitter;
mod error;
mod incoming;
mod jetstream;
mod link;
mod members;
mod membership;
mod options;
mod order;
mod outgoing;
mod questions;
mod stats;
mod wire;

use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};

use futures_util::FutureExt;
use futures_util::future::{BoxFuture, ready};
use futures_util::stream::BoxStream;
use parking_lot::Mutex;
use sociable_protocol::log::plain;
use sociable_protocol::{Id, NodeTag};
use tokio::sync::{Notify, mpsc, oneshot};

pub use emitter::{Emitter, EmitterError};
pub use error::NatsError;
pub use jetstream::JetStreamOptions;
pub use options::NatsOptions;
pub use sociable_nats::NatsAuth;
pub use stats::NatsStats;

use self::incoming::{Answering, Heads};
use self::jetstream::{Store, StreamHistory};
use self::link::{Link, Links};
use self::members::{Member, Members};
use self::outgoing::{Lane, Outgoing};
use self::questions::Questions;
use self::stats::Counters;
use self::wire::Publisher;
use crate::maps::Map;
use crate::{Adapter, AdapterError, Answer, Ask, Figures, History, Limits, MemoryHistory, Message, Node, Operation, Request};

/// Meets the other nodes of a cluster over NATS. Cheap to clone; all clones are the same member.
///
/// Promises of this adapter, besides those of every [`Adapter`]: what one node publishes arrives at each node in that order, also where some of it is for one
/// socket and some for all; what can't be sent in time is dropped and counted, and the nodes that miss it count that too. It is *at most
/// once*: what is under way when a link breaks is lost.
///
/// ```no_run
/// # async fn start() -> Result<(), Box<dyn std::error::Error>> {
/// use sociable_adapter::{NatsAdapter, NatsOptions};
///
/// let adapter = NatsAdapter::connect(NatsOptions::new("nats://127.0.0.1:4222").cluster("shop")).await?;
/// // sociable::Server::builder().adapter(adapter).build()?
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct NatsAdapter {
    shared: Arc<Shared>,
    commands: mpsc::UnboundedSender<Command>,
}

/// What the thread of the adapter is told.
pub(crate) enum Command {
    /// The node is there: be a member.
    Start(Arc<dyn Node>),
    /// Take leave, send what waits, and tell.
    Close(oneshot::Sender<()>),
}

/// What the threads of the node share with that of the adapter.
pub(crate) struct Shared {
    options: NatsOptions,
    /// It is no member, and hears nothing.
    emits_only: bool,
    /// Set once, when the tag is claimed.
    me: OnceLock<Publisher>,
    node: OnceLock<Arc<dyn Node>>,
    outgoing: Outgoing,
    links: Links,
    members: Mutex<Members>,
    questions: Arc<Questions>,
    adopted: Adopted,
    /// Told when the node has something to announce.
    announce: Notify,
    heads: Heads,
    answering: Answering,
    counters: Counters,
    /// Where the server keeps events and sessions, until a history is made of it.
    store: Mutex<Option<Store>>,
    history: OnceLock<Arc<StreamHistory>>,
    /// The thread of the adapter.
    runtime: tokio::runtime::Handle,
    /// From the leave on, nothing is announced.
    closed: AtomicBool,
}

/// Rooms that bear ids of other nodes and have members here.
#[derive(Debug, Default)]
pub(crate) struct Adopted {
    count: Mutex<Map<Id, usize>>,
    changed: Mutex<Vec<Id>>,
    wake: Notify,
    /// Told when there are some, after there were none.
    first: Notify,
}

impl Adopted {
    fn change(&self, id: Id, came: bool) {
        let mut count = self.count.lock();
        let members = count.entry(id).or_default();
        *members = if came { *members + 1 } else { members.saturating_sub(1) };
        let edge = *members == usize::from(came);
        if *members == 0 {
            count.remove(&id);
        }
        let first = edge && came && count.len() == 1;
        drop(count);
        if first {
            self.first.notify_one();
        }
        if edge {
            self.changed.lock().push(id);
            self.wake.notify_one();
        }
    }
}

impl fmt::Debug for NatsAdapter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("NatsAdapter")
            .field("cluster", &self.shared.options.connection.cluster)
            .field("me", &self.shared.me)
            .finish_non_exhaustive()
    }
}

impl NatsAdapter {
    /// Connects, and claims a tag that no node of the cluster bears.
    ///
    /// # Errors
    ///
    /// The options can't work, no server lets this process in, or the thread of the adapter can't be started.
    pub async fn connect(options: NatsOptions) -> Result<Self, NatsError> {
        Self::open(options, false).await
    }

    async fn open(options: NatsOptions, emits_only: bool) -> Result<Self, NatsError> {
        options.check()?;
        let outgoing = Outgoing::new(options.queue_bytes, options.publish_deadline);
        let runtime = link::runtime()?;
        let shared = Arc::new(Shared {
            options,
            emits_only,
            me: OnceLock::new(),
            node: OnceLock::new(),
            outgoing,
            links: Links::default(),
            members: Mutex::default(),
            questions: Arc::default(),
            adopted: Adopted::default(),
            announce: Notify::new(),
            heads: Heads::default(),
            answering: Answering::default(),
            counters: Counters::default(),
            store: Mutex::default(),
            history: OnceLock::new(),
            runtime: runtime.handle().clone(),
            closed: AtomicBool::new(false),
        });
        let (commands, told) = mpsc::unbounded_channel();
        let (ready, is_ready) = oneshot::channel();
        link::spawn(runtime, Arc::clone(&shared), told, ready)?;
        match is_ready.await {
            Ok(Ok(())) => Ok(Self { shared, commands }),
            Ok(Err(error)) => Err(error),
            Err(_) => Err(NatsError::Start("its thread has ended".into())),
        }
    }

    /// True if the server keeps events, and they go by its stream.
    fn has_history(&self) -> bool {
        self.shared.history.get().is_some()
    }

    /// What was counted since the start.
    pub fn stats(&self) -> NatsStats {
        self.shared.counters.stats()
    }

    /// The names of the other nodes that live.
    pub fn members(&self) -> Vec<String> {
        self.shared.members.lock().iter().map(|(_, member)| member.name.to_string()).collect()
    }
}

impl Shared {
    /// Who this is. Before the claim it is nobody.
    fn me(&self) -> Publisher {
        self.me.get().copied().unwrap_or_else(|| Publisher { tag: NodeTag::random(), epoch: 0 })
    }

    fn subject(&self, rest: &str) -> String {
        format!("sociable.{}.{rest}", self.options.connection.cluster)
    }

    fn push(&self, lane: Lane, record: Vec<u8>) -> Result<(), AdapterError> {
        if self.closed.load(Ordering::Relaxed) {
            return Err(AdapterError::Unreachable("this process has taken leave".into()));
        }
        if let Some(history) = self.history.get().filter(|_| lane == Lane::Kept) {
            return history.tell(record, self.outgoing.max_record(), &self.counters);
        }
        self.outgoing.push(lane, record, &self.counters)
    }

    /// True if the id is of this node, or of one that is known.
    fn is_owned(&self, id: &Id) -> bool {
        self.me.get().is_some_and(|me| me.tag == id.tag()) || self.members.lock().get(id.tag()).is_some()
    }

    /// Writes what all members read from now on.
    fn agree(&self, members: &Members) {
        self.outgoing.set_version(members.common_version().unwrap_or(wire::VERSIONS.1));
    }

    /// False if what is published now would have to wait.
    fn can_send_at_once(&self) -> bool {
        match self.history.get() {
            Some(history) => self.links.is(Link::History) && history.keeps_up(),
            None => self.links.is(Link::Data),
        }
    }

    /// What others sent may not have come. Where the server keeps it, it is read from there.
    fn missed_something(&self) {
        if let Some(node) = self.node.get().filter(|_| self.history.get().is_none()) {
            node.fall_behind();
        }
    }

    /// A node is gone; `left` if it said so.
    fn gone(self: &Arc<Self>, tag: NodeTag, epoch: u64, left: bool) {
        let name = {
            let mut members = self.members.lock();
            let Some(name) = members.remove(tag, epoch) else { return };
            self.agree(&members);
            name
        };
        if left {
            tracing::info!(target: "sociable::adapter", node = %plain(&name), "a node has left");
        } else {
            self.counters.lost_nodes.one();
            tracing::warn!(target: "sociable::adapter", node = %plain(&name), "a node is lost");
        }
        let publisher = Publisher { tag, epoch };
        if left {
            self.heads.forget(publisher);
            self.answering.forget(publisher);
        } else {
            self.forget_later(publisher);
        }
        self.questions.gone(tag, left);
    }

    /// A node that is silent may live, and wait for answers: it is answered for as long as it has to make itself heard again.
    fn forget_later(self: &Arc<Self>, publisher: Publisher) {
        let shared = Arc::clone(self);
        tokio::spawn(async move {
            tokio::time::sleep(shared.options.heartbeat_timeout).await;
            if shared.members.lock().get(publisher.tag).is_none_or(|member| member.epoch != publisher.epoch) {
                shared.answering.forget(publisher);
            }
        });
    }
}

/// The socket that is meant, if it is one.
fn lane(target: &crate::Target) -> Lane {
    target.socket().map_or(Lane::All, Lane::Socket)
}

impl Adapter for NatsAdapter {
    fn tag(&self) -> Option<NodeTag> {
        self.shared.me.get().map(|me| me.tag)
    }

    fn start(&self, node: Arc<dyn Node>) {
        // If the thread has ended, the links are down for good, as `is_connected` tells.
        drop(self.commands.send(Command::Start(node)));
    }

    fn publish(&self, message: Message) -> Result<(), AdapterError> {
        if matches!(message.operation, Operation::Emit { volatile: true, .. }) && !self.shared.can_send_at_once() {
            self.shared.counters.volatile_dropped.one();
            return Ok(());
        }
        // A server event has no sockets, so that its target means nothing.
        let lane = match (&message.operation, lane(&message.target)) {
            // Only where a node of the tag lives is it sure to be for a socket: rooms may be named like ids.
            // In order with the events that the server keeps.
            _ if self.has_history() => Lane::Kept,
            (Operation::ServerEvent { .. }, _) => Lane::All,
            (_, Lane::Socket(id)) if !self.shared.is_owned(&id) => Lane::All,
            (_, lane) => lane,
        };
        self.shared.push(lane, wire::tell(&message))
    }

    fn request(&self, request: Request) -> BoxStream<'static, Answer> {
        let shared = Arc::clone(&self.shared);
        let lane = match &request.ask {
            Ask::Ack { target, .. } | Ask::Sockets { target } => lane(target),
            Ask::ServerEvent { .. } => Lane::All,
        };
        let members = shared.members.lock();
        let owner = if let Lane::Socket(id) = lane { members.get(id.tag()).map(|_| id.tag()) } else { None };
        // Who made the id has the socket; nodes that adopted ids may have it, or members of a room of that name. If nobody made it, anybody may.
        let mine = matches!(lane, Lane::Socket(id) if self.tag() == Some(id.tag()));
        let meant = |(tag, member): &(NodeTag, &Member)| member.adopts || !mine && owner.is_none_or(|owner| *tag == owner);
        let nodes: Vec<_> = members.iter().filter(meant).map(|(tag, member)| (tag, member.name.clone())).collect();
        let lane = match (owner, &nodes[..]) {
            _ if self.has_history() => Lane::Kept,
            (Some(owner), [_]) => Lane::Node(owner),
            _ => Lane::All,
        };
        let nobody = nodes.is_empty();
        let cancelling = Arc::clone(&shared);
        // Nodes that are not waited for, since they came just then, may have asked their clients all the same: they would wait for these for ever.
        let overheard = lane == Lane::All && !nobody && matches!(request.ask, Ask::Ack { .. });
        let ended = move |id, open| {
            if open || overheard {
                // If it can't be told, the others stop when their clients have answered or left.
                drop(cancelling.push(lane, wire::cancel(id)));
            }
        };
        // Who goes from here on ends the wait for it: the members are held until the question is open.
        let (id, answers) = shared.questions.open(nodes, ended);
        drop(members);
        if !nobody && let Err(error) = shared.push(lane, wire::ask(id, &request)) {
            shared.questions.withdraw(id, error);
        }
        answers
    }

    fn history(&self, limits: Limits) -> Arc<dyn History> {
        let store = self.shared.store.lock().take();
        match store {
            Some(store) => Arc::clone(self.shared.history.get_or_init(|| Arc::new(StreamHistory::new(&self.shared, store, limits)))) as _,
            None => Arc::new(MemoryHistory::new(limits)),
        }
    }

    fn adopt(&self, id: Id) {
        self.shared.adopted.change(id, true);
    }

    fn release(&self, id: Id) {
        self.shared.adopted.change(id, false);
    }

    fn figures(&self) -> Figures {
        let Shared { counters, questions, .. } = &*self.shared;
        Figures {
            counters: self.stats().iter().collect(),
            latencies: vec![
                ("server", counters.way.times()),
                ("answer", questions.answered.times()),
                ("keep", counters.kept_after.times()),
            ],
        }
    }

    fn announce(&self) {
        self.shared.announce.notify_one();
    }

    fn is_connected(&self) -> bool {
        self.shared.links.are_up() && self.shared.history.get().is_none_or(|history| history.listens())
    }

    fn keeps(&self) -> bool {
        self.shared.history.get().is_none_or(|history| history.keeps())
    }

    fn server_count(&self) -> BoxFuture<'static, usize> {
        ready(self.shared.members.lock().len() + 1).boxed()
    }

    fn close(&self) -> BoxFuture<'static, ()> {
        let (done, is_done) = oneshot::channel();
        self.shared.closed.store(true, Ordering::Relaxed);
        let told = self.commands.send(Command::Close(done));
        async move {
            if told.is_ok() {
                // It is dropped if the thread has ended.
                drop(is_done.await);
            }
        }
        .boxed()
    }
}
