//! State that the threads of the node share with that of the adapter.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};

use async_nats::Client;
use parking_lot::Mutex;
use sociable_protocol::log::plain;
use sociable_protocol::{Id, NodeTag};
use tokio::runtime::Handle;
use tokio::sync::Notify;

use super::adopted::AdoptedIds;
use super::answering::Answering;
use super::bounded_queue::OutboundRecord;
use super::gaps::Gaps;
use super::jetstream::state::StreamState;
use super::jetstream::store::Store;
use super::links::{Link, Links};
use super::members::Members;
use super::options::NatsOptions;
use super::questions::Questions;
use super::route::Route;
use super::send_queue::SendQueue;
use super::stats::Counters;
use super::wire::{self, Publisher};
use crate::{AdapterError, Node};

/// State that the threads of the node share with that of the adapter.
pub(crate) struct NatsContext {
    pub(crate) options: NatsOptions,
    /// True for an emitter, which is no member and subscribes to nothing.
    pub(crate) emits_only: bool,
    /// Set once, with the claim of a tag.
    pub(crate) me: OnceLock<Publisher>,
    pub(crate) node: OnceLock<Arc<dyn Node>>,
    pub(crate) send_queue: SendQueue,
    pub(crate) links: Links,
    pub(crate) members: Mutex<Members>,
    pub(crate) questions: Arc<Questions>,
    pub(crate) adopted: AdoptedIds,
    /// Notified when the node has something to announce.
    pub(crate) announce: Notify,
    pub(crate) gaps: Gaps,
    pub(crate) answering: Answering,
    pub(crate) counters: Counters,
    /// The stream and the bucket of sessions, until a history is made of them.
    pub(crate) store: Mutex<Option<Store>>,
    pub(crate) history: OnceLock<Arc<StreamState>>,
    /// The runtime of the adapter's thread.
    pub(crate) runtime: Handle,
    /// True from the leave on. No announcement follows it.
    pub(crate) closed: AtomicBool,
}

impl NatsContext {
    pub(crate) fn new(options: NatsOptions, emits_only: bool, runtime: Handle) -> Self {
        Self {
            send_queue: SendQueue::new(options.queue_bytes, options.publish_deadline),
            options,
            emits_only,
            me: OnceLock::new(),
            node: OnceLock::new(),
            links: Links::default(),
            members: Mutex::default(),
            questions: Arc::default(),
            adopted: AdoptedIds::default(),
            announce: Notify::new(),
            gaps: Gaps::default(),
            answering: Answering::default(),
            counters: Counters::default(),
            store: Mutex::default(),
            history: OnceLock::new(),
            runtime,
            closed: AtomicBool::new(false),
        }
    }

    /// Returns this process on the bus. Before the claim of a tag it has a random identity.
    pub(crate) fn me(&self) -> Publisher {
        self.me.get().copied().unwrap_or_else(|| Publisher { tag: NodeTag::random(), epoch: 0 })
    }

    /// Returns a subject of the cluster.
    pub(crate) fn subject(&self, rest: &str) -> String {
        format!("sociable.{}.{rest}", self.options.connection.cluster)
    }

    /// Returns the subject for one node, or for the nodes with sockets of its ids.
    pub(crate) fn unicast_subject(&self, tag: NodeTag, receiver: &str) -> String {
        self.subject(&format!("one.{tag}.{receiver}"))
    }

    /// Queues a record.
    pub(crate) fn push(&self, route: Route, record: impl Into<OutboundRecord>) -> Result<(), AdapterError> {
        if self.closed.load(Ordering::Relaxed) {
            return Err(AdapterError::Unreachable("this process has left the cluster".into()));
        }
        if let Some(history) = self.history.get().filter(|_| route == Route::Stream) {
            return history.push_record(record, self.send_queue.max_record(), &self.counters);
        }
        self.send_queue.push(route, record, &self.counters)
    }

    /// Returns true if the server persists events, and they travel by its stream.
    pub(crate) fn has_history(&self) -> bool {
        self.history.get().is_some()
    }

    /// Returns true if the id is of this node, or of a known one.
    pub(crate) fn is_owned(&self, id: &Id) -> bool {
        self.me.get().is_some_and(|me| me.tag == id.tag()) || self.members.lock().get(id.tag()).is_some()
    }

    /// Chooses the version of the wire format that all members read.
    pub(crate) fn choose_version(&self, members: &Members) {
        self.send_queue.set_version(members.common_version().unwrap_or(wire::VERSIONS.1));
    }

    /// Returns false if a message would have to wait.
    pub(crate) fn can_send_at_once(&self) -> bool {
        match self.history.get() {
            Some(history) => self.links.is_up(Link::History) && history.keeps_up(),
            None => self.links.is_up(Link::Data),
        }
    }

    /// Notes that messages of others may be lost. A stream would still have them.
    pub(crate) fn note_loss(&self) {
        if let Some(node) = self.node.get().filter(|_| !self.has_history()) {
            node.note_loss();
        }
    }

    /// Waits until the server has read all sent data. The subject has no subscriber, and the server's answer says so
    /// after that data.
    pub(crate) async fn wait_for_server(&self, client: &Client) {
        drop(client.request(self.subject("nobody"), bytes::Bytes::new()).await);
    }

    /// Ends the membership of a node. `left` is true if the node announced its leave.
    pub(crate) fn remove_member(self: &Arc<Self>, tag: NodeTag, epoch: u64, left: bool) {
        let name = {
            let mut members = self.members.lock();
            let Some(name) = members.remove(tag, epoch) else { return };
            self.choose_version(&members);
            name
        };
        if left {
            tracing::info!(target: "sociable::adapter", node = %plain(&name), "node left");
        } else {
            self.counters.lost_nodes.increment();
            tracing::warn!(target: "sociable::adapter", node = %plain(&name), "node lost");
        }
        let publisher = Publisher { tag, epoch };
        if left {
            self.gaps.forget(publisher);
            self.answering.forget(publisher);
        } else {
            self.forget_later(publisher);
        }
        self.questions.remove_node(tag, left);
    }

    /// A silent node may be alive and wait for answers. The node's questions are answered until it had time to announce
    /// itself again.
    fn forget_later(self: &Arc<Self>, publisher: Publisher) {
        let context = Arc::clone(self);
        tokio::spawn(async move {
            tokio::time::sleep(context.options.heartbeat_timeout).await;
            if context.members.lock().get(publisher.tag).is_none_or(|member| member.epoch != publisher.epoch) {
                context.answering.forget(publisher);
            }
        });
    }
}
