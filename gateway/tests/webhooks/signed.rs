//! Signatures of webhooks, as a backend verifies them.

use serde_json::json;
use sociable_gateway::webhooks::{Secret, Verifier, VerifyFault};

use crate::backend::{Backend, Request};
use crate::node::Node;

const OLD: &str = "whsec_AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA";
const NEW: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";

fn verify(secret: &str, request: &Request) -> Result<(), VerifyFault> {
    let header = |name| request.header(name);
    let secret: Secret = secret.parse().unwrap();
    Verifier::new(&[secret]).verify(header("webhook-id"), header("webhook-timestamp"), header("webhook-signature"), &request.body)
}

#[tokio::test]
async fn each_webhook_is_signed_by_both_secrets() {
    let backend = Backend::quiet();
    let url = backend.url();
    let hooks = json!({
        "connect": url, "connected": url, "disconnected": url, "events": { "say": url, "batched": { "url": url, "batch": true } },
    });
    let node = Node::start_with(&hooks, &json!({ "secrets": [NEW, OLD], "batch-ms": 1 }));
    let client = node.connect().await;
    client.emit_with_ack("say", ()).await.unwrap();
    client.emit("batched", ()).unwrap();
    backend.wait("the batch", |seen| seen.iter().any(|request| request.kind().is_empty())).await;
    client.disconnect();
    let seen = backend.wait_for(5).await;
    for request in &seen {
        assert_eq!((verify(NEW, request), verify(OLD, request)), (Ok(()), Ok(())));
        assert_eq!(verify("whsec_BBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBB", request), Err(VerifyFault::Signature));
        let changed = Request { body: [&request.body[..], b" "].concat(), ..request.clone() };
        assert_eq!(verify(NEW, &changed), Err(VerifyFault::Signature));
    }
    let log = format!("{:?} {:?}", node.webhooks, crate::node::settings(&json!({ "secrets": [NEW] })));
    assert!(!log.contains("MfKQ9"), "{log}");
}
