//! Draining: a node that is going sends its clients elsewhere, a few at a time, while it still serves.
//!
//! Clients come back by themselves as soon as their sessions are closed. All at once they would fall upon the other nodes together; and whoever
//! places them has to know that the node is going before they come, or they would come back to it.

use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::oneshot;
use tokio::time::{Instant, sleep, timeout};

use crate::reason::CloseReason;
use crate::session::Ending;
use crate::state::EngineState;
use crate::worker::Worker;

/// How long those who place sessions have to hear of it, which is as often as they ask for a node's health. It is no more than one part of this many of
/// the whole time.
const NOTICE: Duration = Duration::from_secs(1);
const NOTICE_SHARE: u32 = 4;
/// The time between two batches.
const PACE: Duration = Duration::from_millis(100);
/// What sessions are may take one part of this many of the time that is left to be saved, and so much at least. Then the batch goes on without: a
/// history that is away must not have all sessions closed at once at the end.
const SAVE_SHARE: u32 = 2;
const SAVE: Duration = Duration::from_millis(500);
/// What comes behind the time, as the last batch is saved or a thread hangs, may take so long.
const OVERTIME: Duration = Duration::from_secs(1);

/// Tells those who place sessions that this node is going, and closes the sessions that it has and still gets, spread over `time`. Ends as soon as
/// there are none, or when the time is over. New sessions are taken all the while: who does not know yet must not meet refusals.
pub(crate) async fn drain(engine: &Arc<EngineState>, time: Duration) {
    engine.begin_drain();
    let sessions = engine.session_count();
    if time.is_zero() || sessions == 0 {
        return;
    }
    tracing::info!(target: "sociable::serve", sessions, seconds = time.as_secs_f64(), "draining");
    let in_time = timeout(time + OVERTIME, close_in_batches(engine, time)).await.is_ok();
    tracing::info!(target: "sociable::serve", sessions = engine.session_count(), in_time, "drained");
}

async fn close_in_batches(engine: &Arc<EngineState>, time: Duration) {
    let end = Instant::now() + time;
    sleep(NOTICE.min(time / NOTICE_SHARE)).await;
    let mut open = close_some(engine, &[]).await;
    loop {
        let left = end.saturating_duration_since(Instant::now());
        if timeout(SAVE.max(left / SAVE_SHARE), engine.saved()).await.is_err() {
            tracing::warn!(target: "sociable::serve", "sessions are closed that could not be saved before");
        }
        let left = end.saturating_duration_since(Instant::now());
        let batches = (left.as_millis() / PACE.as_millis()).max(1);
        open = close_some(engine, &shares(&open, batches)).await;
        if left.is_zero() || open.iter().all(|open| *open == 0) {
            return;
        }
        sleep(PACE).await;
    }
}

/// How many sessions each thread has to close, so that one of so many batches goes: of all threads alike, and one at least.
fn shares(open: &[usize], batches: u128) -> Vec<usize> {
    let mut all: u128 = open.iter().map(|open| *open as u128).sum();
    let mut batch = all.div_ceil(batches.max(1));
    let share = |open: &usize| {
        let share = (*open as u128 * batch).div_ceil(all.max(1));
        batch -= share;
        all -= *open as u128;
        // No more than it has.
        share as usize
    };
    open.iter().map(share).collect()
}

/// Has each thread close as many sessions as its place in the list says. Gives how many each has left.
async fn close_some(engine: &Arc<EngineState>, shares: &[usize]) -> Vec<usize> {
    let mut answers = vec![];
    for (index, handle) in engine.workers().iter().enumerate() {
        let share = shares.get(index).copied().unwrap_or(0);
        let (tell, told) = oneshot::channel();
        let close = move |worker: &Rc<Worker>| {
            for session in worker.open_sessions(share) {
                session.end(CloseReason::ServerShuttingDown, Ending::Graceful);
            }
            let _ = tell.send(worker.open_session_count());
        };
        // A thread that has ended has no sessions: it drops what it would tell.
        let _ = handle.call(0, close);
        answers.push(told);
    }
    let mut open = vec![];
    for told in answers {
        open.push(told.await.unwrap_or(0));
    }
    open
}

#[cfg(test)]
mod tests {
    use super::shares;

    #[test]
    fn each_batch_is_a_fair_share_of_all_threads() {
        assert_eq!(shares(&[100, 50, 0, 50], 10), [10, 5, 0, 5]);
        assert_eq!(shares(&[1, 1, 1], 10).iter().sum::<usize>(), 1, "one goes at least");
        assert_eq!(shares(&[7, 3], 1), [7, 3], "in the last batch all go");
        assert_eq!(shares(&[0, 0], 5), [0, 0]);
        assert_eq!(shares(&[], 5), [0; 0]);
    }

    #[test]
    fn so_many_batches_close_all_and_none_is_much_larger_than_the_others() {
        for mut open in [vec![1], vec![3, 0, 1], vec![1000, 1, 17], vec![usize::MAX >> 1, 5]] {
            let all: u128 = open.iter().map(|open| *open as u128).sum();
            for batches in (1..=90).rev() {
                let shares = shares(&open, batches);
                let batch: u128 = shares.iter().map(|share| *share as u128).sum();
                assert!(batch <= all.div_ceil(90));
                for (open, share) in open.iter_mut().zip(shares) {
                    *open = open.checked_sub(share).unwrap();
                }
            }
            assert!(open.iter().all(|open| *open == 0));
        }
    }
}
