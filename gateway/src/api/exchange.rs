//! One request and its answer, on any transport.

use bytes::Bytes;
use serde::Serialize;

use super::Api;
use super::format::Format;
use super::keys::Key;
use super::limits::Permit;
use super::model::{Batch, Operation, Outcome};
use super::operations::{ack_timeout, too_many};
use super::problem::{PROBLEM_TYPE, Problem, ProblemKind};
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
}

/// The answer to a request.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Reply {
    pub(crate) status: u16,
    pub(crate) content_type: &'static str,
    pub(crate) body: Bytes,
    /// The seconds after which the request may succeed.
    pub(crate) retry_after: Option<u64>,
}

impl From<&Problem> for Reply {
    fn from(problem: &Problem) -> Self {
        let body = serde_json::to_vec(problem).unwrap_or_default().into();
        Self { status: problem.kind().status(), content_type: PROBLEM_TYPE, body, retry_after: problem.retry_secs() }
    }
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
        admitted.inspect_err(|problem: &Problem| self.count(route, problem.kind().status()))
    }

    /// Answers an admitted request, and counts the answer.
    pub(crate) async fn answer(&self, admitted: &Admitted, head: Head<'_>, body: Result<Bytes, Problem>) -> Reply {
        let reply = self.answered(admitted, head, body).await.unwrap_or_else(|problem| Reply::from(&problem));
        self.count(admitted.route, reply.status);
        reply
    }

    async fn answered(&self, admitted: &Admitted, head: Head<'_>, body: Result<Bytes, Problem>) -> Result<Reply, Problem> {
        let format = Format::of_body(head.content_type)?;
        let written = format.of_answer(head.accept)?;
        let body = body?;
        match admitted.route {
            Route::Batch => {
                let batch = format.read::<Batch>(&body)?;
                reply(written, &self.batch(&admitted.key, batch).await?)
            }
            route => {
                let operation = operation(route, format, &body)?;
                reply(written, &self.perform(&admitted.key, operation).await?)
            }
        }
    }

    /// Answers an admitted request whose operation is known.
    pub(crate) async fn answer_operation(&self, admitted: &Admitted, head: Head<'_>, operation: Result<Operation, Problem>) -> Reply {
        let answered = async {
            let written = Format::Json.of_answer(head.accept)?;
            reply(written, &self.perform(&admitted.key, operation?).await?)
        };
        let reply = answered.await.unwrap_or_else(|problem| Reply::from(&problem));
        self.count(admitted.route, reply.status);
        reply
    }

    /// Performs operations one after the other.
    async fn batch(&self, key: &Key, batch: Batch) -> Result<BatchAnswer, Problem> {
        too_many(batch.operations.len(), self.limits().max_batch, "operations", "/operations")?;
        self.check_deadlines(&batch)?;
        key.owe(batch.operations.len().saturating_sub(1));
        let mut outcomes = Vec::with_capacity(batch.operations.len());
        for (index, operation) in batch.operations.into_iter().enumerate() {
            let route = operation.route();
            let outcome = match self.perform(key, operation).await {
                Ok(body) => BatchOutcome::Done { status: 200, body },
                Err(problem) => {
                    let problem = problem.within(&format!("/operations/{index}"));
                    BatchOutcome::Failed { status: problem.kind().status(), problem }
                }
            };
            let (BatchOutcome::Done { status, .. } | BatchOutcome::Failed { status, .. }) = &outcome;
            self.count(route, *status);
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
    Ok(Reply { status: 200, content_type: format.content_type(), body: format.write(answer)?, retry_after: None })
}

/// Reads the operation of a route from a body.
fn operation(route: Route, format: Format, body: &[u8]) -> Result<Operation, Problem> {
    match route {
        Route::Emit => format.read(body).map(Operation::Emit),
        Route::EmitWithAck => format.read(body).map(Operation::EmitWithAck),
        Route::Join => format.read(body).map(Operation::Join),
        Route::Leave => format.read(body).map(Operation::Leave),
        Route::Disconnect => format.read(body).map(Operation::Disconnect),
        Route::Sockets => format.read(body).map(Operation::Sockets),
        Route::Batch => Err(Problem::new(ProblemKind::Invalid, "a batch has no batches")),
    }
}
