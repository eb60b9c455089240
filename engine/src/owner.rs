//! Running work on the thread that owns it: at once on that thread, else through its inbox.

use std::rc::Rc;
use std::sync::Arc;

use sociable_protocol::Id;
use tokio::sync::oneshot;

use crate::state::EngineState;
use crate::worker::{Unreachable, Worker};

impl EngineState {
    /// Returns this thread's worker, if it is the one of this index.
    #[inline]
    pub fn worker_here(self: &Arc<Self>, index: usize) -> Option<Rc<Worker>> {
        Worker::current(self).filter(|worker| worker.index() == index)
    }

    /// Queues `call` for the thread of a worker, even on that thread itself. `bytes` is the size of its packets.
    ///
    /// # Errors
    ///
    /// The thread has ended, or it is overloaded.
    pub fn call(&self, index: usize, bytes: usize, call: impl FnOnce(&Rc<Worker>) + Send + 'static) -> Result<(), Unreachable> {
        self.workers().get(index).ok_or(Unreachable)?.call(bytes, call)
    }

    /// Runs `work` on the thread of a worker: at once on that thread. Otherwise the call carries `bytes`.
    ///
    /// # Errors
    ///
    /// As [`call`](Self::call).
    #[inline]
    pub fn run_on(
        self: &Arc<Self>,
        index: usize,
        bytes: usize,
        work: impl FnOnce(&Rc<Worker>) + Send + 'static,
    ) -> Result<(), Unreachable> {
        match self.worker_here(index) {
            Some(worker) => {
                work(&worker);
                Ok(())
            }
            None => self.call(index, bytes, work),
        }
    }

    /// Runs `work` on the thread of a worker, as [`run_on`](Self::run_on), and returns the output of its future.
    ///
    /// The future is started even if the caller has stopped waiting. The future is then dropped at its first wait.
    ///
    /// # Errors
    ///
    /// The thread has ended.
    pub async fn ask<F, Fut, T>(self: &Arc<Self>, index: usize, work: F) -> Result<T, Unreachable>
    where
        F: FnOnce(&Rc<Worker>) -> Fut + Send + 'static,
        Fut: Future<Output = T> + 'static,
        T: Send + 'static,
    {
        if let Some(worker) = self.worker_here(index) {
            return Ok(work(&worker).await);
        }
        let (mut answer, answered) = oneshot::channel();
        self.call(index, 0, move |worker| {
            let work = work(worker);
            actix_rt::spawn(async move {
                tokio::pin!(work);
                tokio::select! {
                    // Work is started even for a request that was abandoned on the way, because the abandonment may matter to it.
                    biased;
                    result = &mut work => drop(answer.send(result)),
                    // The caller has stopped waiting.
                    () = answer.closed() => {}
                }
            });
        })?;
        answered.await.map_err(|_| Unreachable)
    }

    /// Runs `work` as [`ask`](Self::ask) does, on the thread that owns the session of this id.
    ///
    /// # Errors
    ///
    /// As [`ask`](Self::ask).
    pub async fn ask_owner<F, Fut, T>(self: &Arc<Self>, id: Id, work: F) -> Result<T, Unreachable>
    where
        F: FnOnce(&Rc<Worker>) -> Fut + Send + 'static,
        Fut: Future<Output = T> + 'static,
        T: Send + 'static,
    {
        self.ask(self.owner_of(&id), work).await
    }
}
