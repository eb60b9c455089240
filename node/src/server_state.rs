//! The state of a server that all threads share: its namespaces, and how clients find them.

use std::any::Any;
use std::cell::OnceCell;
use std::fmt;
use std::rc::Rc;
use std::sync::{Arc, Once, Weak};
use std::time::Duration;

use bytestring::ByteString;
use parking_lot::{RwLock, RwLockWriteGuard};
use sociable_adapter::{Adapter, Node};
use sociable_engine::layer::{EngineState, ServedFiles};
use sociable_engine::{Engine, Handshake, Session};
use sociable_protocol::maps::{ByType, Map};
use sociable_protocol::packet::MAIN_NAMESPACE;
use sociable_protocol::{Args, Body, Frames, Packet, Parser};

use crate::emit::EmitError;
use crate::namespace::Namespace;
use crate::namespace_limits::{Charge, Made, NamespaceLimits};
use crate::parent_namespace::ParentNamespace;
use crate::recovery::registry::Recoveries;
use crate::socket_state::SocketState;
use crate::spans::TracePropagator;
use crate::stats::{AllCounters, Count};
use crate::thread::count_on;
use crate::thread::private_rooms::PrivateRooms;
use crate::thread::{ThreadState, on_thread};
use crate::trace;

type NamespaceListener = Arc<dyn Fn(&Namespace) + Send + Sync>;
pub(crate) type SessionListener = Arc<dyn Fn(&Rc<Session>) + Send + Sync>;

pub(crate) struct ServerState {
    pub(crate) engine: Engine,
    pub(crate) parser: Arc<dyn Parser>,
    pub(crate) adapter: Arc<dyn Adapter>,
    pub(crate) joined: Once,
    /// True without an adapter: nothing is published.
    pub(crate) alone: bool,
    pub(crate) recoveries: Option<Arc<Recoveries>>,
    pub(crate) connect_timeout: Duration,
    pub(crate) packet_timeout: Duration,
    pub(crate) max_auth_bytes: usize,
    pub(crate) ack_timeout: Duration,
    pub(crate) request_timeout: Duration,
    pub(crate) dynamic: NamespaceLimits,
    pub(crate) private_rooms: PrivateRooms,
    /// The time for which a disconnected client may return, if recovery is on.
    pub(crate) max_away: Option<Duration>,
    pub(crate) answer_errors: bool,
    /// Called with each new session.
    pub(crate) on_session: Option<SessionListener>,
    /// Ties spans to those of other processes.
    pub(crate) propagator: Option<Arc<dyn TracePropagator>>,
    pub(crate) client_files: Option<Arc<ServedFiles>>,
    /// The `auth` payload of clients that send none.
    pub(crate) no_auth: Args,
    pub(crate) states: ByType<Arc<dyn Any + Send + Sync>>,
    pub(crate) this: Weak<ServerState>,
    pub(crate) counters: Arc<AllCounters>,
    /// Creates this node, as the others reach it.
    pub(crate) node: fn(Weak<ServerState>) -> Arc<dyn Node>,
    pub(crate) namespaces: RwLock<Map<ByteString, Namespace>>,
    pub(crate) parents: RwLock<Vec<ParentNamespace>>,
    pub(crate) new_namespace: RwLock<Vec<NamespaceListener>>,
    #[cfg(feature = "metrics")]
    pub(crate) metric_sources: RwLock<Vec<crate::metric_family::MetricSource>>,
}

impl fmt::Debug for ServerState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Server").field("engine", &self.engine).field("namespaces", &self.namespaces.read().len()).finish_non_exhaustive()
    }
}

impl ServerState {
    pub(crate) fn engine(&self) -> &Arc<EngineState> {
        self.engine.state()
    }

    /// Counts on this thread. Threads that are no workers share one set of counters.
    pub(crate) fn count(&self, count: Count) {
        count_on(self.engine(), &self.counters, count);
    }

    /// Returns the adapter. The first call joins the cluster.
    pub(crate) fn cluster(&self) -> &Arc<dyn Adapter> {
        self.joined.call_once(|| self.adapter.start((self.node)(Weak::clone(&self.this))));
        &self.adapter
    }

    pub(crate) async fn flushed(&self) -> Result<(), EmitError> {
        let Some(recoveries) = &self.recoveries else { return Ok(()) };
        if recoveries.history.refresh_interval().is_some() {
            self.save_sockets().await;
        }
        Ok(recoveries.history.flushed().await?)
    }

    /// Saves the changed sockets of all threads.
    async fn save_sockets(&self) {
        let (saved, mut all_saved) = tokio::sync::mpsc::channel::<()>(1);
        for worker in self.engine().workers().iter() {
            let saved = saved.clone();
            // A thread that has ended has no sockets.
            let save = move |thread: &Rc<ThreadState>| {
                thread.save_changed();
                drop(saved);
            };
            let _ = worker.call(0, on_thread(save));
        }
        drop(saved);
        // Ends when the last thread has dropped its sender.
        all_saved.recv().await;
    }

    pub(crate) fn of(&self, name: ByteString) -> Namespace {
        if let Some(known) = self.namespaces.read().get(&name) {
            return known.clone();
        }
        let parent = self.parents.read().iter().find(|parent| parent.matches_name(&name)).cloned();
        self.create(self.namespaces.write(), &name, parent, None)
    }

    /// Returns the namespace, or a handle for one that may exist on other nodes. `None` if no namespace can have the name.
    pub(crate) fn find(&self, name: ByteString) -> Option<Namespace> {
        if let Some(known) = self.namespaces.read().get(&name) {
            return Some(known.clone());
        }
        let parent = self.parents.read().iter().find(|parent| parent.may_match(&name)).cloned()?;
        Some(Namespace::new(self, name, Some(parent), None))
    }

    /// Returns the namespace, and creates it if it does not exist.
    fn create(
        &self,
        mut namespaces: RwLockWriteGuard<'_, Map<ByteString, Namespace>>,
        name: &ByteString,
        parent: Option<ParentNamespace>,
        charge: Option<Charge>,
    ) -> Namespace {
        if let Some(known) = namespaces.get(name) {
            return known.clone();
        }
        // Copied: the client's name is part of the message that contained it.
        let name = ByteString::from(&**name);
        let namespace = Namespace::new(self, name.clone(), parent, charge);
        namespaces.insert(name, namespace.clone());
        drop(namespaces);
        if namespace.name() != MAIN_NAMESPACE {
            self.new_namespace.read().clone().iter().for_each(|listener| listener(&namespace));
        }
        namespace
    }

    /// Finds the namespace that a client asks for, and counts the client.
    pub(crate) async fn enter(
        &self,
        name: &ByteString,
        auth: &Args,
        made: &OnceCell<Made>,
        handshake: &Handshake,
    ) -> Result<Namespace, NoEntry> {
        if let Some(known) = self.enter_known(name) {
            return Ok(known);
        }
        let parents = self.parents.read().clone();
        for parent in parents {
            if parent.matches(name, auth).await {
                self.make_dynamic(name, parent, made, handshake)?;
                return self.enter_known(name).ok_or(NoEntry::TooMany);
            }
        }
        Err(NoEntry::Invalid)
    }

    /// Creates a namespace for a pattern, if the limits allow it.
    fn make_dynamic(
        &self,
        name: &ByteString,
        parent: ParentNamespace,
        made: &OnceCell<Made>,
        handshake: &Handshake,
    ) -> Result<(), NoEntry> {
        // The hook runs before any lock is held.
        let charge = self.dynamic.charge(made.get_or_init(Made::default), handshake);
        let mut evicted = vec![];
        let mut namespaces = self.namespaces.write();
        if namespaces.len() >= self.dynamic.max && charge.is_some() && !namespaces.contains_key(name) && self.dynamic.may_sweep() {
            evicted = evict(&mut namespaces);
        }
        let (limit, whole) = (self.dynamic.max, namespaces.len() >= self.dynamic.max);
        if namespaces.contains_key(name) || charge.is_some() && !whole {
            self.create(namespaces, name, Some(parent), charge);
        } else {
            drop(namespaces);
            self.count(Count::NamespacesRefused);
            tracing::debug!(target: "sociable::namespace", whole, limit, "namespace refused: limit reached");
            return Err(NoEntry::TooMany);
        }
        for namespace in evicted {
            self.count(Count::NamespacesEvicted);
            tracing::debug!(target: "sociable::namespace", namespace = %trace::plain(namespace.name()), "empty namespace evicted");
            namespace.uncharge();
        }
        Ok(())
    }

    fn enter_known(&self, name: &ByteString) -> Option<Namespace> {
        // Under the lock, so that a namespace that is being dropped is not entered.
        let namespaces = self.namespaces.read();
        let namespace = namespaces.get(name)?;
        namespace.entered();
        Some(namespace.clone())
    }

    /// Returns how long a pattern's namespace stays for a disconnected client. `None` if it would not be dropped, or without recovery.
    pub(crate) fn stays(&self) -> Option<Duration> {
        self.max_away.filter(|_| self.dynamic.cleanup)
    }

    /// Drops an empty namespace of a pattern, if the options say so.
    pub(crate) fn clean_up(&self, namespace: &Namespace) {
        if self.dynamic.cleanup {
            let mut namespaces = self.namespaces.write();
            if namespace.is_empty() && namespaces.get(namespace.name()).is_some_and(|known| known == namespace) {
                namespaces.remove(namespace.name());
                drop(namespaces);
                namespace.uncharge();
                tracing::debug!(target: "sociable::namespace", namespace = %trace::plain(namespace.name()), "empty namespace dropped");
            }
        }
    }

    /// Returns the frames of the connect packet for a client.
    pub(crate) fn connect_frames(&self, namespace: &Namespace, socket: &SocketState, old: bool) -> Frames {
        #[derive(serde::Serialize)]
        struct Connected<'a> {
            sid: &'a str,
            #[serde(skip_serializing_if = "Option::is_none")]
            pid: Option<&'a str>,
        }
        let pid = socket.recovery.as_ref().map(|recovery| recovery.pid.as_str());
        // Old clients derive the id from that of the session.
        let payload = if old { None } else { Args::encode(self.parser.encoding(), &Connected { sid: socket.id.as_str(), pid }).ok() };
        self.parser.encode(&Packet { namespace: namespace.name().clone(), body: Body::Connect(payload) })
    }
}

/// The reason why a client cannot enter a namespace.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum NoEntry {
    /// No namespace has this name.
    Invalid,
    /// The namespace would have to be created beyond a limit.
    TooMany,
}

/// Removes the empty namespaces of patterns. Namespaces that await disconnected clients are removed only if there are no others.
///
/// The caller drops them after unlocking, because a drop may run users' code.
fn evict(namespaces: &mut Map<ByteString, Namespace>) -> Vec<Namespace> {
    let unused: Vec<_> = namespaces.extract_if(|_, namespace| namespace.parent().is_some() && namespace.is_empty()).collect();
    let gone = if unused.is_empty() {
        namespaces.extract_if(|_, namespace| namespace.parent().is_some() && namespace.socket_count() == 0).collect()
    } else {
        unused
    };
    gone.into_iter().map(|(_, namespace)| namespace).collect()
}
