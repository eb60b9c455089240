//! The life cycle of a node in its cluster.

use std::any::Any;
use std::rc::Rc;
use std::sync::{Arc, Weak};

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use sociable_adapter::Adapter;
use sociable_engine::layer::{LifecycleHooks, Worker};

use crate::server_state::ServerState;
use crate::stats::AllCounters;
use crate::thread::ThreadState;

/// The callbacks of a server in its engine.
pub(crate) struct ServerHooks {
    server: Weak<ServerState>,
    /// The adapter, which leaves the cluster even if the server was dropped meanwhile.
    adapter: Arc<dyn Adapter>,
    counters: Arc<AllCounters>,
}

impl ServerHooks {
    pub(crate) fn new(server: &Arc<ServerState>) -> Self {
        Self { server: Arc::downgrade(server), adapter: Arc::clone(&server.adapter), counters: Arc::clone(&server.counters) }
    }
}

impl LifecycleHooks for ServerHooks {
    fn thread_state(&self, worker: &Rc<Worker>) -> Option<Rc<dyn Any>> {
        Some(ThreadState::new(worker, self.counters.register()))
    }

    /// From here on a thread answers the other nodes.
    fn started(&self) {
        if let Some(server) = self.server.upgrade() {
            server.cluster();
        }
    }

    fn draining(&self) {
        self.adapter.announce();
    }

    fn saved(&self) -> BoxFuture<'static, ()> {
        let server = self.server.upgrade();
        async move {
            if let Some(server) = server
                && let Err(error) = server.flushed().await
            {
                tracing::warn!(target: "sociable::recovery", %error, "history not flushed; recovery may be incomplete");
            }
        }
        .boxed()
    }

    /// The last messages of ending sockets are published first.
    fn closed(&self) -> BoxFuture<'static, ()> {
        self.adapter.close()
    }
}
