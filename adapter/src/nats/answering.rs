//! Questions of other nodes that are being answered.

use parking_lot::Mutex;
use sociable_protocol::maps::Map;
use tokio::task::AbortHandle;

use super::wire::Publisher;

/// Questions that are answered at the same time.
const MAX_ANSWERING: usize = 10_000;

/// The tasks that answer other nodes, by asker and number of the question.
#[derive(Debug, Default)]
pub(crate) struct Answering(Mutex<Map<(Publisher, u64), AbortHandle>>);

impl Answering {
    /// Starts a task for a question. Returns false if too many are being answered.
    pub(crate) fn start(&self, asker: Publisher, question: u64, spawn: impl FnOnce() -> AbortHandle) -> bool {
        // Held while the task is spawned, which removes itself at its end.
        let mut tasks = self.0.lock();
        let free = tasks.len() < MAX_ANSWERING;
        if free {
            tasks.insert((asker, question), spawn());
        }
        free
    }

    /// The question is answered.
    pub(crate) fn finish(&self, asker: Publisher, question: u64) {
        self.0.lock().remove(&(asker, question));
    }

    /// Aborts the answer: the asker has stopped waiting.
    pub(crate) fn cancel(&self, asker: Publisher, question: u64) {
        if let Some(task) = self.0.lock().remove(&(asker, question)) {
            task.abort();
        }
    }

    /// Aborts all answers to a node that left or is lost.
    pub(crate) fn forget(&self, asker: Publisher) {
        self.0.lock().retain(|(publisher, _), task| {
            let keep = *publisher != asker;
            if !keep {
                task.abort();
            }
            keep
        });
    }
}
