//! The permissions of the deployed NATS servers: nodes can do their work, and backends nothing but ask.

use async_nats::{Client, ConnectOptions};
use bytes::Bytes;
use serde_json::json;
use sociable::{JetStreamOptions, NatsAdapter, NatsAuth, NatsOptions, Recovery, Server};
use sociable_gateway::api::Api;
use sociable_gateway::api::idempotency::{Begun, Idempotency, IdempotencyOptions, StoredAnswer};
use sociable_gateway::api::link::NatsLink;
use sociable_gateway::api::nats::NatsApiOptions;
use sociable_nats::NatsConfig;
use sociable_tests::{Nats, deployed_permissions, eventually_async, within};
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};

use super::nats::{ask, keys};

const FILES: [&str; 2] = ["deploy/nats/common.conf", "k8s/base/nats/nats.conf"];
const STORE: &str = "jetstream { store_dir: \"STORE\", max_file_store: 64GB }";

fn deployed(file: &str) -> Nats {
    Nats::with(&format!("{STORE}\n{}", deployed_permissions(file)))
}

fn user(name: &str) -> NatsAuth {
    NatsAuth::User(name.into(), "secret".into())
}

async fn node(nats: &Nats) -> (Server, NatsAdapter, NatsLink) {
    let options = NatsOptions::new(nats.url()).auth(user("node")).jetstream(JetStreamOptions::default());
    let adapter = NatsAdapter::connect(options).await.unwrap();
    let io = Server::builder().adapter(adapter.clone()).recovery(Recovery::default()).build().unwrap();
    let mut config = NatsConfig::new(nats.url());
    config.auth = user("node");
    (io, adapter, NatsLink::connect(&config).await.unwrap())
}

/// Returns a client of a user, and the errors that the server reports to it.
async fn client(nats: &Nats, name: &str, inbox: &str) -> (Client, UnboundedReceiver<String>) {
    let (tell, told) = unbounded_channel();
    let options = ConnectOptions::with_user_and_password(name.into(), "secret".into()).custom_inbox_prefix(inbox);
    let options = options.event_callback(move |event| {
        tell.send(event.to_string().to_lowercase()).ok();
        std::future::ready(())
    });
    (options.connect(nats.url()).await.unwrap(), told)
}

#[tokio::test]
async fn node_credentials_permit_the_idempotency_bucket() {
    for file in FILES {
        let nats = deployed(file);
        let (io, adapter, link) = node(&nats).await;
        let records = Idempotency::cluster(&link, &io, IdempotencyOptions::default());
        let begin = async |key: &str| records.begin("scope", key, [7; 32]).await;
        // The node creates its streams meanwhile.
        let mut first = None;
        while first.is_none() {
            first = begin("a").await.ok();
        }
        let Some(Begun::First(mut guard)) = first else { panic!("{file}: {first:?}") };
        guard.start();
        guard.finish(StoredAnswer { status: 200, body: Bytes::from_static(b"{}") }).await;
        assert!(matches!(begin("a").await, Ok(Begun::Replay(_))), "{file}");
        // A released key is deleted from the bucket.
        let Ok(Begun::First(guard)) = begin("b").await else { panic!("{file}") };
        drop(guard);
        eventually_async("the key is released", async || matches!(begin("b").await, Ok(Begun::First(_)))).await;
        assert_eq!(adapter.stats().server_errors, 0);
    }
}

#[tokio::test]
async fn backend_credentials_permit_only_the_api() {
    for file in FILES {
        let nats = deployed(file);
        let (io, _adapter, link) = node(&nats).await;
        let served = Api::builder(&io, keys()).build().serve_nats(&link, NatsApiOptions::default()).await.unwrap();
        let (backend, mut told) = client(&nats, "backend", "_INBOX.backend").await;
        let reply = ask(&backend, "emit", json!({"event": "paid"})).await;
        assert_eq!(reply.status, 200, "{file}: {reply:?}");
        let subjects = [
            "sociable.sociable.all",
            "sociable.sociable.live",
            "sociable.sociable.members",
            "sociable.sociable.who",
            "$JS.API.STREAM.DELETE.sociable-sociable",
            "$KV.sociable-sociable-idempotency.key",
            "_INBOX.other.1",
        ];
        for subject in subjects {
            backend.publish(subject, "{}".into()).await.unwrap();
            let refusal = async { while !told.recv().await.unwrap().contains("permissions violation for publish") {} };
            within(subject, refusal).await;
        }
        for subject in ["sociable.sociable.>", "_INBOX.>", "sociable.sociable.api.v1.emit", "$KV.>"] {
            let _subscriber = backend.subscribe(subject).await.unwrap();
            let refusal = async { while !told.recv().await.unwrap().contains("permissions violation for subscription") {} };
            within(subject, refusal).await;
        }
        assert_eq!(served.stats().no_inbox, 0);
    }
}
