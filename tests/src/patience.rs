//! Waiting for what is due.

use std::env;
use std::time::{Duration, Instant};

/// The interval at which a condition is checked.
const GLANCE: Duration = Duration::from_millis(2);

/// Returns the longest wait. A failing test reports after this time. Slow machines set `SOCIABLE_PATIENCE` to more
/// seconds.
pub fn patience() -> Duration {
    Duration::from_secs(env::var("SOCIABLE_PATIENCE").ok().and_then(|seconds| seconds.parse().ok()).unwrap_or(15))
}

/// Waits for a future, and fails when patience is over.
#[track_caller]
pub fn within<F: Future>(what: &str, future: F) -> impl Future<Output = F::Output> {
    let caller = std::panic::Location::caller();
    async move {
        match tokio::time::timeout(patience(), future).await {
            Ok(output) => output,
            Err(_) => panic!("waited in vain at {caller}: {what}"),
        }
    }
}

/// Waits until a condition holds, and fails when patience is over.
#[track_caller]
pub fn eventually(what: &str, mut holds: impl FnMut() -> bool) -> impl Future<Output = ()> {
    let caller = std::panic::Location::caller();
    async move {
        let begun = Instant::now();
        while !holds() {
            assert!(begun.elapsed() < patience(), "waited in vain at {caller}: {what}");
            tokio::time::sleep(GLANCE).await;
        }
    }
}

/// Waits until a condition holds that has to be asked for, and fails when patience is over.
#[track_caller]
pub fn eventually_async(what: &str, mut holds: impl AsyncFnMut() -> bool) -> impl Future<Output = ()> {
    let caller = std::panic::Location::caller();
    async move {
        let begun = Instant::now();
        while !holds().await {
            assert!(begun.elapsed() < patience(), "waited in vain at {caller}: {what}");
            tokio::time::sleep(GLANCE).await;
        }
    }
}
