//! One request and its answer, on any transport.

use bytes::Bytes;
use serde::Serialize;

use super::Api;
use super::format::Format;
use super::idempotency::StoredAnswer;
use super::keys::Key;
use super::limits::Permit;
use super::model::{Batch, Operation, Outcome};
use super::operations::{ack_timeout, too_many};
use super::problem::{PROBLEM_TYPE, Problem, ProblemKind};
use super::repetition::{self, Effects};
use super::routes::Route;

/// A request whose key is known and has not used up its rate.
#[derive(Debug)]
pub(crate) struct Admitted {
    pub(crate) key: std::sync::Arc<Key>,
    pub(crate) route: Route,
    _permit: Permit,
}

/// The headers of a request.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Head<'a> {
    pub(crate) content_type: Option<&'a str>,
    pub(crate) accept: Option<&'a str>,
    /// The value of `Idempotency-Key`. Empty if there are several.
    pub(crate) idempotency_key: Option<&'a [u8]>,
}

/// The answer to a request.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Reply {
    pub(crate) status: u16,
    pub(crate) content_type: &'static str,
    pub(crate) body: Bytes,
    /// The seconds after which the request may succeed.
    pub(crate) retry_after: Option<u64>,
    /// Whether an earlier request got this answer first.
    pub(crate) is_replayed: bool,
    /// The kind of the problem that this request had.
    pub(crate) problem: Option<ProblemKind>,
}

impl Reply {
    /// Returns the answer that an earlier request got.
    pub(crate) fn replayed(answer: StoredAnswer, format: Format) -> Self {
        let content_type = if answer.status == 200 { format.content_type() } else { PROBLEM_TYPE };
        Self { status: answer.status, content_type, body: answer.body, retry_after: None, is_replayed: true, problem: None }
    }
}

impl From<&Problem> for Reply {
    fn from(problem: &Problem) -> Self {
        let body = serde_json::to_vec(problem).unwrap_or_default().into();
        let (status, retry_after) = (problem.kind().status(), problem.retry_secs());
        Self { status, content_type: PROBLEM_TYPE, body, retry_after, is_replayed: false, problem: Some(problem.kind()) }
    }
}

/// The operations of a request.
enum Asked {
    Operation(Operation),
    Batch(Batch),
}

/// The outcome of one operation of a batch.
#[derive(Debug, Serialize, utoipa::ToSchema)]
#[serde(untagged)]
pub(crate) enum BatchOutcome {
    /// The operation was done.
    Done {
        /// The status code of the operation.
        status: u16,
        /// The answer of the operation.
        body: Outcome,
    },
    /// The operation failed.
    Failed {
        /// The status code of the operation.
        status: u16,
        /// The reason of the failure.
        #[schema(value_type = super::problem::ProblemBody<'_>)]
        problem: Problem,
    },
}

/// The answer of a batch.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub(crate) struct BatchAnswer {
    /// The outcomes, in the order of the operations.
    outcomes: Vec<BatchOutcome>,
}

impl Api {
    /// Admits a request of this route: 401, 403 or 429 otherwise.
    pub(crate) fn admit(&self, authorization: Option<&str>, route: Route) -> Result<Admitted, Problem> {
        let admitted = (|| {
            let key = self.keys().authorize(authorization)?;
            key.scope().check_operation(route)?;
            let permit = key.enter(self.limits())?;
            Ok(Admitted { key, route, _permit: permit })
        })();
        admitted.inspect_err(|problem: &Problem| self.count(route, problem.kind().status(), Some(problem.kind())))
    }

    /// Answers an admitted request, and counts the answer.
    pub(crate) async fn answer(&self, admitted: Admitted, head: Head<'_>, body: Result<Bytes, Problem>) -> Reply {
        let route = admitted.route;
        let reply = self.answered(admitted, head, body).await.unwrap_or_else(|problem| Reply::from(&problem));
        self.count(route, reply.status, reply.problem);
        reply
    }

    async fn answered(&self, admitted: Admitted, head: Head<'_>, body: Result<Bytes, Problem>) -> Result<Reply, Problem> {
        let format = Format::of_body(head.content_type)?;
        let written = format.of_answer(head.accept)?;
        let idempotency_key = head.idempotency_key.filter(|_| !admitted.route.is_read());
        let idempotency_key = idempotency_key.map(|value| repetition::key(value, self.limits())).transpose()?;
        let body = body?;
        let asked = asked(admitted.route, format, &body)?;
        match idempotency_key {
            None => self.run(&admitted.key, asked, written, &mut Effects::default()).await,
            Some(key) => {
                let fingerprint = repetition::fingerprint(admitted.route, format, written, &body);
                self.run_once(admitted, asked, written, key, fingerprint).await
            }
        }
    }

    /// Runs a request, unless one with the same idempotency key did.
    async fn run_once(&self, admitted: Admitted, asked: Asked, written: Format, key: &str, print: [u8; 32]) -> Result<Reply, Problem> {
        let begun = self.idempotency().begin(&admitted.key.name, key, print).await;
        let mut effects = match repetition::first(begun, written) {
            Ok(guard) => Effects::once(guard, self.idempotency()),
            Err(reply) => return Ok(reply),
        };
        let api = self.clone();
        // The request goes on when its client leaves, so that a repetition finds the answer.
        let run = tokio::spawn(async move {
            let reply = api.run(&admitted.key, asked, written, &mut effects).await;
            effects.finish(reply.unwrap_or_else(|problem| Reply::from(&problem))).await
        });
        run.await.map_err(|_| repetition::lost())
    }

    async fn run(&self, key: &Key, asked: Asked, written: Format, effects: &mut Effects) -> Result<Reply, Problem> {
        match asked {
            Asked::Operation(operation) => reply(written, &self.perform(key, operation, effects).await?),
            Asked::Batch(batch) => reply(written, &self.batch(key, batch, effects).await?),
        }
    }

    /// Answers an admitted request whose operation is known from its query.
    pub(crate) async fn answer_query(&self, admitted: &Admitted, head: Head<'_>, operation: Result<Operation, Problem>) -> Reply {
        let answered = async {
            let written = Format::Json.of_answer(head.accept)?;
            let answer = self.perform(&admitted.key, operation?, &mut Effects::default()).await;
            reply(written, &answer.map_err(Problem::in_query)?)
        };
        let reply = answered.await.unwrap_or_else(|problem| Reply::from(&problem));
        self.count(admitted.route, reply.status, reply.problem);
        reply
    }

    /// Performs operations one after the other.
    async fn batch(&self, key: &Key, batch: Batch, effects: &mut Effects) -> Result<BatchAnswer, Problem> {
        too_many(batch.operations.len(), self.limits().max_batch, "operations", "/operations")?;
        self.check_deadlines(&batch)?;
        key.owe(batch.operations.len().saturating_sub(1));
        let mut outcomes = Vec::with_capacity(batch.operations.len());
        for (index, operation) in batch.operations.into_iter().enumerate() {
            let route = operation.route();
            let (status, problem, outcome) = match self.perform(key, operation, effects).await {
                Ok(body) => (200, None, BatchOutcome::Done { status: 200, body }),
                Err(problem) => {
                    let (kind, problem) = (problem.kind(), problem.within(&format!("/operations/{index}")));
                    (kind.status(), Some(kind), BatchOutcome::Failed { status: kind.status(), problem })
                }
            };
            self.count(route, status, problem);
            outcomes.push(outcome);
        }
        Ok(BatchAnswer { outcomes })
    }

    /// Refuses a batch whose operations could wait longer together than one may.
    fn check_deadlines(&self, batch: &Batch) -> Result<(), Problem> {
        let mut left = self.limits().max_ack_timeout;
        for (index, operation) in batch.operations.iter().enumerate() {
            if let Operation::EmitWithAck(request) = operation {
                let pointer = format!("/operations/{index}");
                let timeout = ack_timeout(request, self.limits()).map_err(|problem| problem.within(&pointer))?;
                left = left.checked_sub(timeout).ok_or_else(|| {
                    let most = self.limits().max_ack_timeout.as_millis();
                    let detail = format!("the deadlines of the batch are longer than the limit: let their sum be at most {most} ms");
                    Problem::new(ProblemKind::Invalid, detail).at(format!("{pointer}/timeout_ms"))
                })?;
            }
        }
        Ok(())
    }
}

fn reply<T: Serialize>(format: Format, answer: &T) -> Result<Reply, Problem> {
    let (content_type, body) = (format.content_type(), format.write(answer)?);
    Ok(Reply { status: 200, content_type, body, retry_after: None, is_replayed: false, problem: None })
}

/// Reads the body of a route.
fn asked(route: Route, format: Format, body: &[u8]) -> Result<Asked, Problem> {
    let operation = match route {
        Route::Emit => format.read(body).map(Operation::Emit),
        Route::EmitWithAck => format.read(body).map(Operation::EmitWithAck),
        Route::Join => format.read(body).map(Operation::Join),
        Route::Leave => format.read(body).map(Operation::Leave),
        Route::Disconnect => format.read(body).map(Operation::Disconnect),
        Route::Sockets => format.read(body).map(Operation::Sockets),
        Route::Rooms => format.read(body).map(Operation::Rooms),
        Route::Count => format.read(body).map(Operation::Count),
        Route::Info => format.read(body).map(Operation::Info),
        Route::Batch => return format.read(body).map(Asked::Batch),
    };
    operation.map(Asked::Operation)
}
