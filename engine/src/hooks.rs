//! The layer above the engine, as the engine sees it when the process starts to serve and when it goes.

use std::any::Any;
use std::rc::Rc;

use futures_util::future::BoxFuture;

use crate::worker::Worker;

/// Callbacks of the layer above, for the life cycle of the process. [`Engine::set_hooks`](crate::Engine::set_hooks) installs them.
///
/// Each does nothing by default.
pub trait LifecycleHooks: Send + Sync + 'static {
    /// Returns what the layer has on a new worker thread: see [`Worker::layer`].
    fn thread_state(&self, _worker: &Rc<Worker>) -> Option<Rc<dyn Any>> {
        None
    }

    /// A worker thread is about to serve. It is called for each service that the thread has.
    fn started(&self) {}

    /// Announces to load balancers that this process is draining.
    fn draining(&self) {}

    /// Resolves when the open sessions could go on in another process.
    fn saved(&self) -> BoxFuture<'static, ()> {
        Box::pin(std::future::ready(()))
    }

    /// Takes leave of other processes: all sessions are closed.
    fn closed(&self) -> BoxFuture<'static, ()> {
        Box::pin(std::future::ready(()))
    }
}
