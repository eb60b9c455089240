//! The layer above the engine: its callbacks in the life cycle of the process.

use std::any::Any;
use std::rc::Rc;

use futures_util::future::BoxFuture;

use crate::worker::Worker;

/// Callbacks of the layer above, for the life cycle of the process. [`Engine::set_hooks`](crate::Engine::set_hooks) installs them.
///
/// Each does nothing by default.
pub trait LifecycleHooks: Send + Sync + 'static {
    /// Returns the layer's state for a new worker thread: see [`Worker::layer`].
    fn thread_state(&self, _worker: &Rc<Worker>) -> Option<Rc<dyn Any>> {
        None
    }

    /// Notifies that a worker thread is about to serve. Called for each service of the thread.
    fn started(&self) {}

    /// Announces to load balancers that this process is draining.
    fn draining(&self) {}

    /// Resolves when the open sessions could continue in another process.
    fn saved(&self) -> BoxFuture<'static, ()> {
        Box::pin(std::future::ready(()))
    }

    /// Leaves the cluster after all sessions are closed.
    fn closed(&self) -> BoxFuture<'static, ()> {
        Box::pin(std::future::ready(()))
    }
}
