//! Draining: before a stop, a node closes its sessions in batches, while it still serves.
//!
//! Clients reconnect as soon as their sessions are closed. Closing all at once would cause a reconnect storm on the other nodes. So the node
//! announces the drain first: load balancers must not send the clients back to it.

use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::oneshot;
use tokio::time::{Instant, sleep, timeout};

use crate::reason::CloseReason;
use crate::session::Ending;
use crate::state::EngineState;
use crate::worker::Worker;

/// The time that load balancers get to notice the drain: the interval at which they poll a node's health. At most one part of `NOTICE_SHARE` of the
/// whole time.
const NOTICE: Duration = Duration::from_secs(1);
const NOTICE_SHARE: u32 = 4;
/// The time between two batches.
const BATCH_INTERVAL: Duration = Duration::from_millis(100);
/// The time to save sessions before each batch: one part of `SAVE_SHARE` of the remaining time, and at least `MIN_SAVE`. Then the batch proceeds without:
/// an unreachable history must not postpone all sessions to the end.
const SAVE_SHARE: u32 = 2;
const MIN_SAVE: Duration = Duration::from_millis(500);
/// The time beyond the given one for the last save, or for a blocked thread.
const OVERTIME: Duration = Duration::from_secs(1);

/// Announces the drain to load balancers, and closes all present and new sessions in batches spread over `time`.
///
/// Resolves when there are none, or when the time is over. New sessions are still accepted: a load balancer that has not noticed the drain yet must
/// not meet refusals.
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
        if timeout(MIN_SAVE.max(left / SAVE_SHARE), engine.saved()).await.is_err() {
            tracing::warn!(target: "sociable::serve", "sessions not saved in time; closing them");
        }
        let left = end.saturating_duration_since(Instant::now());
        let batches = (left.as_millis() / BATCH_INTERVAL.as_millis()).max(1);
        open = close_some(engine, &shares(&open, batches)).await;
        if left.is_zero() || open.iter().all(|open| *open == 0) {
            return;
        }
        sleep(BATCH_INTERVAL).await;
    }
}

/// Returns the number of sessions that each thread closes in the next of so many batches.
///
/// Each thread closes its fair share, and all together close at least one.
fn shares(open: &[usize], batches: u128) -> Vec<usize> {
    let mut all: u128 = open.iter().map(|open| *open as u128).sum();
    let mut batch = all.div_ceil(batches.max(1));
    let share = |open: &usize| {
        let share = (*open as u128 * batch).div_ceil(all.max(1));
        batch -= share;
        all -= *open as u128;
        share as usize
    };
    open.iter().map(share).collect()
}

/// Makes each thread close its share of sessions. Returns how many each has left.
async fn close_some(engine: &Arc<EngineState>, shares: &[usize]) -> Vec<usize> {
    let mut answers = vec![];
    for (index, handle) in engine.workers().iter().enumerate() {
        let share = shares.get(index).copied().unwrap_or(0);
        let (sender, receiver) = oneshot::channel();
        let close = move |worker: &Rc<Worker>| {
            for session in worker.open_sessions(share) {
                session.end(CloseReason::ServerShuttingDown, Ending::Graceful);
            }
            let _ = sender.send(worker.open_session_count());
        };
        // A thread that has ended has no sessions, and drops its sender.
        let _ = handle.call(0, close);
        answers.push(receiver);
    }
    let mut open = vec![];
    for receiver in answers {
        open.push(receiver.await.unwrap_or(0));
    }
    open
}

#[cfg(test)]
mod tests {
    use super::shares;

    #[test]
    fn batch_takes_a_fair_share_of_all_threads() {
        assert_eq!(shares(&[100, 50, 0, 50], 10), [10, 5, 0, 5]);
        assert_eq!(shares(&[1, 1, 1], 10).iter().sum::<usize>(), 1, "one goes at least");
        assert_eq!(shares(&[7, 3], 1), [7, 3], "in the last batch all go");
        assert_eq!(shares(&[0, 0], 5), [0, 0]);
        assert_eq!(shares(&[], 5), [0; 0]);
    }

    #[test]
    fn batches_are_of_even_size_and_close_all_sessions() {
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
