//! The delivery of one webhook: attempts with pauses between them, until the deadline.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use bytes::Bytes;
use reqwest::{Client, StatusCode};
use sociable::Failure;
use tokio::time::Instant;

use super::answer::Answer;
use super::client::{Attempt, Message, post};
use super::endpoint::{AttemptResult, Endpoint, Outcome};
use super::shared::Shared;

/// How a webhook is delivered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Mode {
    /// A socket waits to be let in.
    Connect,
    /// A client waits for an acknowledgement, or the settings say so.
    Wait,
    /// Nobody waits.
    Told,
}

/// The answer of a backend.
#[derive(Debug)]
pub(super) enum Reply {
    Answer(Answer),
    /// A connecting socket is refused.
    Refused(Failure),
}

/// What follows from an attempt.
enum Verdict {
    Done(Reply),
    /// Another attempt may succeed. The time is the shortest pause before it.
    Again(Option<Duration>),
    Failed,
}

/// Delivers a webhook.
///
/// # Errors
///
/// The outcome, if there is no answer.
pub(super) async fn deliver(
    shared: &Arc<Shared>,
    client: &Client,
    endpoint: &Arc<Endpoint>,
    message: &Message,
    mode: Mode,
    deadline: Instant,
) -> Result<Reply, Outcome> {
    let settings = &shared.settings;
    let mut retries = 0;
    loop {
        let Ok(Ok(permit)) = tokio::time::timeout_at(deadline, endpoint.permits.acquire()).await else { return Err(Outcome::Expired) };
        let now = Instant::now();
        if now >= deadline {
            return Err(Outcome::Expired);
        }
        let Some(pass) = endpoint.breaker.admit() else {
            drop(permit);
            if mode != Mode::Told {
                return Err(Outcome::BreakerOpen);
            }
            endpoint.breaker.wait(deadline).await;
            continue;
        };
        let time = settings.timeout.min(deadline - now);
        // Boxed: a webhook that waits for its next attempt holds no request.
        let attempt = Box::pin(post(client, &shared.signer, endpoint, message, time, settings.answer_bytes)).await;
        drop(permit);
        let (result, works, verdict) = judge(attempt, mode, endpoint);
        endpoint.counters.attempted(result);
        endpoint.settle(pass, works);
        let after = match verdict {
            Verdict::Done(reply) => return Ok(reply),
            Verdict::Failed => return Err(Outcome::Failed),
            Verdict::Again(_) if retries >= settings.retries => return Err(Outcome::Failed),
            Verdict::Again(after) => after,
        };
        let pause = pause(settings.backoff, settings.max_backoff, retries).max(after.unwrap_or_default());
        let next = Instant::now() + pause;
        if next >= deadline {
            return Err(Outcome::Expired);
        }
        retries += 1;
        endpoint.counters.retries.fetch_add(1, Ordering::Relaxed);
        tokio::time::sleep_until(next).await;
    }
}

/// Returns the label of an attempt, whether the backend works, and what follows.
fn judge(attempt: Attempt, mode: Mode, endpoint: &Endpoint) -> (AttemptResult, bool, Verdict) {
    match attempt {
        Attempt::Answered(body) => match Answer::parse(&body) {
            Ok(answer) => (AttemptResult::Answered, true, Verdict::Done(Reply::Answer(answer))),
            // The backend has the event, and nobody waits for its words.
            Err(_) if mode == Mode::Told => (AttemptResult::Answered, true, Verdict::Done(Reply::Answer(Answer::default()))),
            Err(error) => {
                let (line, column) = (error.line(), error.column());
                tracing::debug!(target: "sociable::webhooks", url = endpoint.name, line, column, "answer of a backend not understood");
                (AttemptResult::Nonsense, false, Verdict::Failed)
            }
        },
        Attempt::Denied(body) if mode == Mode::Connect => {
            (AttemptResult::Answered, true, Verdict::Done(Reply::Refused(Answer::refusal(&body))))
        }
        Attempt::Denied(_) => (AttemptResult::Status, true, Verdict::Failed),
        Attempt::Status(status, after) => {
            tracing::debug!(target: "sociable::webhooks", url = endpoint.name, status = status.as_u16(), "backend answered with an error");
            match status {
                // A backend with too many requests works.
                StatusCode::TOO_MANY_REQUESTS => (AttemptResult::Status, true, Verdict::Again(after)),
                StatusCode::REQUEST_TIMEOUT => (AttemptResult::Status, false, Verdict::Again(after)),
                status if status.is_server_error() => (AttemptResult::Status, false, Verdict::Again(after)),
                _ => (AttemptResult::Status, true, Verdict::Failed),
            }
        }
        Attempt::Timeout => {
            tracing::debug!(target: "sociable::webhooks", url = endpoint.name, "backend did not answer in time");
            (AttemptResult::Timeout, false, Verdict::Again(None))
        }
        Attempt::Connection(cause) => {
            tracing::debug!(target: "sociable::webhooks", url = endpoint.name, cause, "no answer of the backend");
            (AttemptResult::Connection, false, Verdict::Again(None))
        }
        Attempt::TooLong => {
            tracing::debug!(target: "sociable::webhooks", url = endpoint.name, "answer of a backend too long");
            (AttemptResult::Nonsense, false, Verdict::Failed)
        }
    }
}

/// Returns the pause before the next attempt: twice as long each time, and between a half of that and all of it.
pub(super) fn pause(first: Duration, longest: Duration, retries: u32) -> Duration {
    let whole = first.saturating_mul(1_u32.checked_shl(retries).unwrap_or(u32::MAX)).min(longest);
    whole.mul_f64(0.5 + fastrand::f64() / 2.0)
}

impl Message {
    /// Returns the message with a body.
    pub(super) fn new(id: String, headers: Option<reqwest::header::HeaderMap>, body: Vec<u8>) -> Self {
        Self { id, headers, body: Bytes::from(body) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pause_doubles_up_to_the_longest() {
        let (first, longest) = (Duration::from_millis(100), Duration::from_secs(5));
        for (retries, whole) in [(0, 100), (1, 200), (3, 800), (6, 5000), (31, 5000), (200, 5000)] {
            let pause = pause(first, longest, retries).as_millis();
            assert!((whole / 2..=whole).contains(&pause), "{retries}: {pause}");
        }
    }
}
