//! Requests with an idempotency key, on any transport.

use std::time::Duration;

use ring::digest::{Context, SHA256};

use super::exchange::Reply;
use super::format::Format;
use super::idempotency::{Begun, Guard, Idempotency, Reach, StoreUnavailable, StoredAnswer};
use super::limits::Limits;
use super::problem::{Problem, ProblemKind};
use super::routes::Route;

/// The header with the key.
pub(crate) const IDEMPOTENCY_KEY: &str = "Idempotency-Key";
/// The header of a stored answer.
pub(crate) const REPLAYED: &str = "Idempotency-Replayed";
/// The time after which a running request may have ended.
const RUNNING: Duration = Duration::from_secs(1);
/// The time after which the store may be back.
const AWAY: Duration = Duration::from_secs(5);

/// Returns the key of the value of a header. The quotes of a structured field (RFC 8941) are no part of the key.
pub(crate) fn key<'a>(value: &'a [u8], limits: &Limits) -> Result<&'a str, Problem> {
    let most = limits.max_idempotency_key;
    let is_plain = value.iter().all(|byte| matches!(byte, b' '..=b'~'));
    let text = std::str::from_utf8(value).ok().filter(|_| is_plain).unwrap_or_default();
    let key = text.strip_prefix('"').and_then(|text| text.strip_suffix('"')).unwrap_or(text);
    if (1..=most).contains(&key.len()) {
        return Ok(key);
    }
    let detail = format!("wrong `{IDEMPOTENCY_KEY}`: send one key of 1 to {most} printable ASCII characters");
    Err(Problem::new(ProblemKind::Invalid, detail).of_parameter(IDEMPOTENCY_KEY))
}

/// Returns the fingerprint of a request: all that decides its effects and the form of its answer.
pub(crate) fn fingerprint(route: Route, read: Format, written: Format, body: &[u8]) -> [u8; 32] {
    let mut context = Context::new(&SHA256);
    for part in [route.name(), read.content_type(), written.content_type()] {
        context.update(part.as_bytes());
        context.update(b"\n");
    }
    context.update(body);
    let mut fingerprint = [0; 32];
    fingerprint.copy_from_slice(context.finish().as_ref());
    fingerprint
}

/// The effects of a request. Those of a request with an idempotency key happen once.
#[derive(Debug, Default)]
pub(crate) struct Effects(Option<(Guard, Reach)>);

impl Effects {
    /// Returns the effects of the first request with a key.
    pub(crate) fn once(guard: Guard, records: &Idempotency) -> Self {
        Self(Some((guard, records.reach())))
    }

    /// Notes that the first effect follows. Call this after all checks.
    pub(crate) fn begin(&mut self) {
        if let Some((guard, _)) = &mut self.0 {
            guard.start();
        }
    }

    /// Returns the nodes at which a repetition of the request does nothing.
    pub(crate) fn reach(&self) -> Option<Reach> {
        self.0.as_ref().map(|(_, reach)| *reach)
    }

    /// Stores the answer of a request that had effects. A request without effects may run again.
    pub(crate) async fn finish(self, mut reply: Reply) -> Reply {
        let Some((guard, _)) = self.0.filter(|(guard, _)| guard.is_started()) else { return reply };
        // A repetition gets the same answer.
        reply.retry_after = None;
        guard.finish(StoredAnswer { status: reply.status, body: reply.body.clone() }).await;
        reply
    }
}

/// Returns the guard of a request that runs, or the answer to one that does not.
pub(crate) fn first(begun: Result<Begun, StoreUnavailable>, written: Format) -> Result<Guard, Reply> {
    let problem = match begun {
        Ok(Begun::First(guard)) => return Ok(guard),
        Ok(Begun::Replay(answer)) => return Err(Reply::replayed(answer, written)),
        Ok(Begun::InProgress) => {
            Problem::new(ProblemKind::InProgress, "a request with this key is running: repeat this one later").retry_after(RUNNING)
        }
        Ok(Begun::OutcomeUnknown) => {
            let detail = "a request with this key may have run, and its answer is lost: find out, and use a new key to run it again";
            Problem::new(ProblemKind::OutcomeUnknown, detail)
        }
        Ok(Begun::OtherRequest) => Problem::new(ProblemKind::KeyReused, "another request had this key: use a new one"),
        Err(error) => Problem::new(ProblemKind::Unavailable, error.to_string()).retry_after(AWAY),
    };
    Err(Reply::from(&problem.of_parameter(IDEMPOTENCY_KEY)))
}

/// Returns the problem of a request that ended without an answer.
pub(crate) fn lost() -> Problem {
    Problem::new(ProblemKind::OutcomeUnknown, "the request ended without an answer: find out whether it ran")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn key_of_a_header_has_a_length_and_no_quotes() {
        let limits = Limits::default().max_idempotency_key(8);
        let key = |value: &'static [u8]| key(value, &limits).map_err(|problem| problem.kind());
        assert_eq!((key(b"order-7"), key(br#""order 7""#)), (Ok("order-7"), Ok("order 7")));
        for wrong in [&b""[..], br#""""#, b"123456789", b"a\tb", "ä".as_bytes(), b"\xff"] {
            assert_eq!(key(wrong), Err(ProblemKind::Invalid), "{wrong:?}");
        }
    }

    #[test]
    fn fingerprint_depends_on_all_parts() {
        let all = [
            fingerprint(Route::Emit, Format::Json, Format::Json, b"{}"),
            fingerprint(Route::Join, Format::Json, Format::Json, b"{}"),
            fingerprint(Route::Emit, Format::MessagePack, Format::Json, b"{}"),
            fingerprint(Route::Emit, Format::Json, Format::MessagePack, b"{}"),
            fingerprint(Route::Emit, Format::Json, Format::Json, b"{ }"),
        ];
        let different: std::collections::BTreeSet<_> = all.iter().collect();
        assert_eq!(different.len(), all.len());
    }
}
