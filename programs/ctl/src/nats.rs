//! The API over NATS.

use async_nats::{HeaderMap, Message, StatusCode};
use futures_util::StreamExt;
use sociable_nats::{LinkEvent, NatsConnectError, Role};
use tokio::sync::mpsc::unbounded_channel;

use crate::answer::Answer;
use crate::call::Call;
use crate::failure::Failure;
use crate::flags::Flags;

/// The inboxes that backends may read: apart from those of nodes.
const INBOX: &str = "_INBOX.backend";

/// Sends a request to the API by the NATS servers of the cluster.
pub(crate) async fn send(flags: &Flags, key: &str, call: &Call) -> Result<Answer, Failure> {
    let config = flags.nats();
    let (tell, mut told) = unbounded_channel();
    let role = Role { name: "ctl", subscription_capacity: 16, retry_on_initial_connect: false };
    let on_event = move |event| {
        if let LinkEvent::Refused(event) = event {
            drop(tell.send(event.to_string()));
        }
    };
    let client = config.connect(role, on_event).await.map_err(|error| unconnected(&error))?;
    let random = client.new_inbox();
    let inbox = format!("{INBOX}.{}", random.rsplit('.').next().unwrap_or_default());
    let failed = |error: &dyn std::error::Error| Failure::Failed(format!("sending to NATS failed: {error}"));
    let mut replies = client.subscribe(inbox.clone()).await.map_err(|error| failed(&error))?;
    let mut headers = HeaderMap::new();
    headers.insert("Authorization", format!("Bearer {key}"));
    headers.insert("Content-Type", "application/json");
    if let Some(key) = &call.idempotency_key {
        let value = key.parse::<async_nats::HeaderValue>();
        headers.insert(
            "Idempotency-Key",
            value.map_err(|_| Failure::Usage("--idempotency-key has a line break: write it on one line".into()))?,
        );
    }
    let subject = format!("sociable.{}.api.v1.{}", config.cluster, call.operation);
    let sent = client.publish_with_reply_and_headers(subject, inbox, headers, call.body().into()).await;
    sent.map_err(|error| failed(&error))?;
    let reply = tokio::select! {
        reply = replies.next() => reply,
        Some(refusal) = told.recv() => {
            return Err(Failure::Failed(format!("refused by the NATS server: {refusal}; check the permissions of this user")));
        }
        () = tokio::time::sleep(call.timeout) => {
            return Err(Failure::Later(format!("no answer to `{}` in time: the operation may have been done", call.operation)));
        }
    };
    reply.map_or_else(|| Err(Failure::Later("the connection to NATS was closed".into())), answer)
}

fn answer(reply: Message) -> Result<Answer, Failure> {
    if reply.status == Some(StatusCode::NO_RESPONDERS) {
        return Err(Failure::Later("no node answers: check --cluster, and start the nodes with keys of the API".into()));
    }
    let header = |name: &str| reply.headers.as_ref().and_then(|headers| headers.get(name)).map(async_nats::HeaderValue::as_str);
    let status = header("Status").and_then(|status| status.parse().ok());
    let status =
        status.ok_or_else(|| Failure::Failed("the reply has no status: check that nodes and this program are of one version".into()))?;
    Ok(Answer { status, is_later: header("Retry-After").is_some(), body: reply.payload })
}

fn unconnected(error: &NatsConnectError) -> Failure {
    match error {
        NatsConnectError::Unreachable { .. } => Failure::Later(error.to_string()),
        _ => Failure::Failed(error.to_string()),
    }
}
