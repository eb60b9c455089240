//! The delivery of one webhook: attempts with pauses between them, until the deadline.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use reqwest::{Client, StatusCode};
use sociable::Failure;
use tokio::time::Instant;

use super::answer::{Answer, refused};
use super::client::{Attempt, Message, post};
use super::complaints::Complaint;
use super::endpoint::{AttemptResult, Endpoint, Outcome};
use super::nonsense::cause_of;
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

/// The consequence of an attempt.
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
    message: &Message<'_>,
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
        let attempt = Box::pin(post(client, shared, endpoint, message, time)).await;
        drop(permit);
        let cause = attempt.cause();
        // Answers to batches are not read.
        let is_read = message.attributes.is_some();
        let (result, works, verdict) = judge(attempt, mode, is_read, endpoint);
        endpoint.counters.attempted(result);
        endpoint.settle(pass, works, &cause);
        let after = match verdict {
            Verdict::Done(reply) => return Ok(reply),
            Verdict::Failed => return Err(Outcome::Failed),
            Verdict::Again(_) if retries >= settings.retries => {
                undelivered(endpoint, &cause, retries);
                return Err(Outcome::Failed);
            }
            Verdict::Again(after) => after,
        };
        let pause = pause(settings.backoff, settings.max_backoff, retries).max(after.unwrap_or_default());
        let next = Instant::now() + pause;
        if next >= deadline {
            undelivered(endpoint, &cause, retries);
            return Err(Outcome::Expired);
        }
        retries += 1;
        endpoint.counters.retries.fetch_add(1, Ordering::Relaxed);
        tokio::time::sleep_until(next).await;
    }
}

/// Warns of a webhook without a successful attempt.
fn undelivered(endpoint: &Endpoint, cause: &str, retries: u32) {
    if let Some(suppressed) = endpoint.complaints.admit(Complaint::Undelivered) {
        tracing::warn!(target: "sociable::webhooks", url = endpoint.name, cause, retries, suppressed, "webhook not delivered: no attempt succeeded");
    }
}

/// Warns of a status that is not retried.
fn warn_of_status(endpoint: &Endpoint, complaint: Complaint, status: StatusCode) {
    let Some(suppressed) = endpoint.complaints.admit(complaint) else { return };
    let (url, status) = (&endpoint.name, status.as_u16());
    if complaint == Complaint::Refused {
        tracing::warn!(target: "sociable::webhooks", url, status, suppressed, "backend refused a webhook: check that both sides have the same secret");
    } else {
        tracing::warn!(target: "sociable::webhooks", url, status, suppressed, "backend answered with an error");
    }
}

/// Warns of an answer that is not understood.
fn warn_of_nonsense(endpoint: &Endpoint, error: &serde_json::Error) {
    if let Some(suppressed) = endpoint.complaints.admit(Complaint::Nonsense) {
        let (url, line, column, cause) = (&endpoint.name, error.line(), error.column(), cause_of(error));
        tracing::warn!(target: "sociable::webhooks", url, line, column, cause, suppressed, "answer of a backend not understood");
    }
}

/// Returns the label of an attempt, whether the backend works, and what follows.
fn judge(attempt: Attempt, mode: Mode, is_read: bool, endpoint: &Endpoint) -> (AttemptResult, bool, Verdict) {
    match attempt {
        Attempt::Answered(body) => match Answer::parse(&body) {
            Ok(answer) => (AttemptResult::Answered, true, Verdict::Done(Reply::Answer(answer))),
            Err(error) => {
                if is_read {
                    warn_of_nonsense(endpoint, &error);
                }
                match mode {
                    // The backend has the event, and nobody waits for its words.
                    Mode::Told => (AttemptResult::Answered, true, Verdict::Done(Reply::Answer(Answer::default()))),
                    Mode::Connect | Mode::Wait => (AttemptResult::Nonsense, false, Verdict::Failed),
                }
            }
        },
        Attempt::Denied(status, body) if mode == Mode::Connect => {
            let failure = Answer::refusal(&body).unwrap_or_else(|| {
                warn_of_status(endpoint, Complaint::Refused, status);
                refused()
            });
            (AttemptResult::Answered, true, Verdict::Done(Reply::Refused(failure)))
        }
        Attempt::Denied(status, _) => {
            warn_of_status(endpoint, Complaint::Refused, status);
            (AttemptResult::Status, true, Verdict::Failed)
        }
        Attempt::Status(status, after) => {
            let is_busy = status == StatusCode::TOO_MANY_REQUESTS;
            if is_busy || status == StatusCode::REQUEST_TIMEOUT || status.is_server_error() {
                tracing::debug!(target: "sociable::webhooks", url = endpoint.name, status = status.as_u16(), "backend answered with an error");
                // A backend with too many requests works.
                return (AttemptResult::Status, is_busy, Verdict::Again(after));
            }
            warn_of_status(endpoint, Complaint::Status, status);
            (AttemptResult::Status, true, Verdict::Failed)
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
            if let Some(suppressed) = endpoint.complaints.admit(Complaint::TooLong) {
                tracing::warn!(target: "sociable::webhooks", url = endpoint.name, suppressed, "answer of a backend longer than `answer-bytes`");
            }
            (AttemptResult::Nonsense, false, Verdict::Failed)
        }
    }
}

/// Returns the pause before the next attempt: twice as long each time, and between a half of that and all of it.
pub(super) fn pause(first: Duration, longest: Duration, retries: u32) -> Duration {
    let whole = first.saturating_mul(1_u32.checked_shl(retries).unwrap_or(u32::MAX)).min(longest);
    whole.mul_f64(0.5 + fastrand::f64() / 2.0)
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
