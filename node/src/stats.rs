//! Counters of what a node does, and of what it drops, refuses and survives.

use std::ops::Deref;
use std::sync::Arc;

use parking_lot::Mutex;
use sociable_engine::EngineStats;

sociable_engine::counters! {
    /// A snapshot of the counters of a node since the start. The counters of its engine are fields of it too.
    Stats {
        /// The counters of the engine.
        engine: EngineStats,
    }
    /// Sockets that joined a namespace.
    SocketsOpened / sockets_opened,
    /// Sockets that left theirs.
    SocketsClosed / sockets_closed,
    /// Sockets whose clients left the namespace.
    ClientDisconnects / client_disconnects,
    /// Sockets that the server put out of their namespace.
    ServerDisconnects / server_disconnects,
    /// Sockets that ended with their session.
    SessionDisconnects / session_disconnects,
    /// Sockets whose actor died.
    SocketsFailed / sockets_failed,
    /// Volatile packets dropped because the transport was not writable.
    VolatileDropped / volatile_dropped,
    /// Sessions closed because the attachments of a packet did not come in time.
    PacketsOverdue / packets_overdue,
    /// Connections to a namespace refused because of what the client sent with them: too much at once, or with what is kept for it already.
    AuthTooLarge / auth_too_large,
    /// Connections to a namespace refused.
    ConnectionsRefused / connections_refused,
    /// Handlers of events that ended well.
    EventsHandled / events_handled,
    /// Namespaces for patterns that clients were not let make, since there were too many: of all, of their session or of their address.
    NamespacesRefused / namespaces_refused,
    /// Empty namespaces for patterns that went to make room for others.
    NamespacesEvicted / namespaces_evicted,
    /// Joins of rooms named like the ids of other sockets that were refused.
    PrivateJoinsRefused / private_joins_refused,
    /// Events that no handler was there for.
    EventsUnheard / events_unheard,
    /// Events whose arguments did not fit their handler.
    BadArguments / bad_arguments,
    /// Events that a middleware refused.
    EventsRefused / events_refused,
    /// Handlers that ended with an error.
    HandlerErrors / handler_errors,
    /// Sockets that came back after their connection was lost.
    Recovered / recovered,
    /// Clients that wanted to come back to a session that is not there, or not any more.
    RecoveriesUnknown / recoveries_unknown,
    /// Clients that could not come back because not all that they missed is there, or it is too much, or they were put out meanwhile.
    RecoveriesIncomplete / recoveries_incomplete,
    /// Sessions that were not kept because their rooms and data are too large.
    SessionsTooLarge / sessions_too_large,
    /// Sockets that were cut off since another node had taken their sessions.
    SessionsFenced / sessions_fenced,
    /// Sockets that were cut off since events for them were lost.
    SessionsVoided / sessions_voided,
    /// Acknowledgements that did not come in time.
    AcksTimedOut / acks_timed_out,
    /// Acknowledgements that nobody waited for.
    AcksUnexpected / acks_unexpected,
}

impl Deref for Stats {
    type Target = EngineStats;

    fn deref(&self) -> &EngineStats {
        &self.engine
    }
}

impl Stats {
    /// Returns the names of all counters with their values, for exporters.
    pub fn counters(&self) -> impl Iterator<Item = (&'static str, u64)> {
        self.engine.counters().chain(self.own_counters())
    }

    /// Returns the meaning of the counter of this name.
    pub fn meaning(name: &str) -> Option<&'static str> {
        EngineStats::meaning(name).or_else(|| Self::own_meaning(name))
    }
}

/// The counters of all threads of a node.
#[derive(Debug, Default)]
pub(crate) struct AllCounters {
    /// Of the worker threads, those that have ended too.
    threads: Mutex<Vec<Arc<Counters>>>,
    /// Of all other threads.
    pub(crate) elsewhere: Counters,
}

impl AllCounters {
    /// Adds a thread. Returns its counters.
    pub(crate) fn register(&self) -> Arc<Counters> {
        let counters = Arc::new(Counters::default());
        self.threads.lock().push(Arc::clone(&counters));
        counters
    }

    /// Returns a snapshot, with that of the engine.
    pub(crate) fn snapshot(&self, engine: EngineStats) -> Stats {
        let mut stats = Stats { engine, ..Stats::default() };
        stats.add(&self.elsewhere);
        self.threads.lock().iter().for_each(|counters| stats.add(counters));
        stats
    }
}
