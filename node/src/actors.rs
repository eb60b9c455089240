//! A report on the actors of a node: their numbers, their deaths, and their longest calls.

use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;
use sociable_engine::actor::{Actor, ActorKind};
use sociable_engine::supervision::{DeathRecord, KindRecord};
use sociable_protocol::log::plain;

use crate::server::Server;
use crate::thread::namespace_actor::NamespaceActor;
use crate::thread::room::RoomActor;
use crate::thread::socket_actor::SocketActor;
use crate::thread::{ThreadState, ask_threads};

/// The number of namespaces listed per worker: those with the most sockets.
const MAX_NAMESPACES: usize = 100;

/// The kinds of actors with their owners and supervisors, from the top of the tree to the bottom.
const KINDS: [(ActorKind, &str, &str); 5] = [
    (ActorKind::WORKER, "engine", "worker"),
    (ActorKind::SESSION, "worker", "worker"),
    (NamespaceActor::KIND, "worker", "worker"),
    (RoomActor::KIND, "namespace", "namespace"),
    (SocketActor::KIND, "session", "namespace"),
];

/// The actors of a node, as [`Server::actors`] returns them. The report can be serialized.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Actors {
    /// The kinds of actors, from the top of the tree to the bottom.
    pub kinds: Vec<ActorKindReport>,
    /// The tree: each worker with its sessions and namespaces. A thread that does not answer within a second is left out.
    pub workers: Vec<WorkerActors>,
    /// The last deaths, the newest first: 16 of each worker at most.
    pub last_deaths: Vec<ActorDeath>,
}

/// One kind of actor.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct ActorKindReport {
    /// The name of the kind.
    pub kind: &'static str,
    /// The kind that owns it.
    pub owner: &'static str,
    /// The kind that supervises it.
    pub supervisor: &'static str,
    /// The number of living actors.
    pub alive: usize,
    /// The number of deaths since the start.
    pub deaths: u64,
    /// The number of restarts since the start.
    pub restarts: u64,
    /// The longest call, in microseconds: of workers, namespaces and rooms. Sessions and sockets are not timed.
    pub longest_call_us: u64,
}

/// The actors of one worker thread.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct WorkerActors {
    /// The worker's index.
    pub index: usize,
    /// The number of its sessions.
    pub sessions: usize,
    /// The number of its sockets.
    pub sockets: usize,
    /// The number of its rooms.
    pub rooms: usize,
    /// The number of namespaces with sockets on this worker.
    pub namespace_count: usize,
    /// The namespaces with the most sockets: 100 at most.
    pub namespaces: Vec<NamespaceActors>,
}

/// The actors of a namespace on one worker thread.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct NamespaceActors {
    /// The name. Characters that would break a log line are escaped.
    pub name: String,
    /// The number of its sockets.
    pub sockets: usize,
    /// The number of its rooms, without those of its sockets' own ids.
    pub rooms: usize,
}

/// The death of an actor.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct ActorDeath {
    /// The worker on whose thread it died.
    pub worker: usize,
    /// The kind of the actor.
    pub kind: &'static str,
    /// The name of the actor. Ids are shortened, as in logs.
    pub name: String,
    /// The text of the panic.
    pub cause: String,
    /// The supervisor's directive: `restart`, `stop` or `escalate`.
    pub directive: &'static str,
    /// The time since the death, in milliseconds.
    pub ago_ms: u64,
}

impl WorkerActors {
    fn of(thread: &Rc<ThreadState>) -> Self {
        let mut namespaces: Vec<_> = thread
            .namespaces()
            .iter()
            .filter_map(|part| {
                let (sockets, rooms) = part.read(NamespaceActor::counts)?;
                Some(NamespaceActors { name: plain(part.namespace.name()).to_string(), sockets, rooms })
            })
            .collect();
        namespaces.sort_by(|a, b| b.sockets.cmp(&a.sockets).then_with(|| a.name.cmp(&b.name)));
        let (sockets, rooms) = namespaces.iter().fold((0, 0), |(sockets, rooms), part| (sockets + part.sockets, rooms + part.rooms));
        let namespace_count = namespaces.len();
        namespaces.truncate(MAX_NAMESPACES);
        Self { index: thread.worker.index(), sessions: thread.worker.session_count(), sockets, rooms, namespace_count, namespaces }
    }
}

impl ActorKindReport {
    fn of((kind, owner, supervisor): (ActorKind, &'static str, &'static str), workers: &[WorkerActors], records: &[KindRecord]) -> Self {
        let count = |of: fn(&WorkerActors) -> usize| workers.iter().map(of).sum();
        let alive = match kind.name() {
            "worker" => workers.len(),
            "session" => count(|worker| worker.sessions),
            "namespace" => count(|worker| worker.namespace_count),
            "room" => count(|worker| worker.rooms),
            _ => count(|worker| worker.sockets),
        };
        let records = || records.iter().filter(|record| record.kind == kind);
        let longest = records().map(|record| record.longest_call).max().unwrap_or_default();
        Self {
            kind: kind.name(),
            owner,
            supervisor,
            alive,
            deaths: records().map(|record| record.deaths).sum(),
            restarts: records().map(|record| record.restarts).sum(),
            longest_call_us: micros(longest),
        }
    }
}

impl ActorDeath {
    fn of(worker: usize, death: DeathRecord) -> Self {
        let ago_ms = u64::try_from(death.at.elapsed().as_millis()).unwrap_or(u64::MAX);
        Self { worker, kind: death.kind.name(), name: death.name, cause: death.cause, directive: death.directive.as_str(), ago_ms }
    }
}

fn micros(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX)
}

impl Server {
    /// Returns the actors of this node: the tree, the counts, the last deaths with their causes, and the longest calls.
    ///
    /// A worker thread that does not answer within a second is left out of the tree.
    ///
    /// ```
    /// # async fn show(io: sociable::Server) {
    /// for kind in io.actors().await.kinds {
    ///     println!("{}: {} alive, {} died", kind.kind, kind.alive, kind.deaths);
    /// }
    /// # }
    /// ```
    pub async fn actors(&self) -> Actors {
        let engine = Arc::clone(self.inner.engine());
        let mut workers = ask_threads(&engine, WorkerActors::of).await;
        workers.sort_by_key(|worker| worker.index);
        let handles = engine.workers();
        let records: Vec<_> = handles.iter().flat_map(|handle| handle.actors().kinds()).collect();
        let kinds = KINDS.map(|kind| ActorKindReport::of(kind, &workers, &records)).to_vec();
        let deaths = handles.iter().enumerate();
        let deaths =
            deaths.flat_map(|(index, handle)| handle.actors().last_deaths().into_iter().map(move |death| ActorDeath::of(index, death)));
        let mut last_deaths: Vec<_> = deaths.collect();
        last_deaths.sort_by_key(|death| death.ago_ms);
        Actors { kinds, workers, last_deaths }
    }
}
