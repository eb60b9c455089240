//! Clients that return to their node, which kept the events of the others.

use super::*;

#[tokio::test]
async fn recovered_client_has_the_events_of_other_nodes() {
    let nats = Nats::start();
    let recovering = |builder: ServerBuilder| builder.recovery(Recovery::default());
    let a = start_with(options(&nats, "a"), recovering).await;
    let b = start_with(options(&nats, "b"), recovering).await;
    acquainted(&[&a, &b]).await;
    let server = TestServer::start(&b.io).unwrap();
    let client = server.connect().await.unwrap();
    client.emit_with_ack("join", &["red"]).await.unwrap();
    a.io.to("red").emit("n", 0).unwrap();
    client.expect("n").await.unwrap();
    let lost = client.drop_connection();
    eventually("the loss is noticed", || b.io.recovery_usage().sessions == 1).await;
    for n in 1..20 {
        // Events of one node keep their order; those of two nodes may mix.
        a.io.to("red").emit("n", n).unwrap();
        a.io.to("blue").emit("n", 99).unwrap();
        a.io.to("red").volatile().emit("n", 99).unwrap();
    }
    eventually("all events have come", || b.io.recovery_usage().events > 2 * 19).await;
    let client = server.client().recover(lost).connect().await.unwrap();
    assert!(client.recovered());
    for n in 1..20 {
        assert_eq!(client.expect("n").await.unwrap().data::<u32>().unwrap(), n);
    }
    a.io.to("red").emit("n", 20).unwrap();
    assert_eq!(client.expect("n").await.unwrap().data::<u32>().unwrap(), 20);
    assert!(client.pending().is_empty());
}

#[tokio::test]
async fn namespace_stays_while_its_client_can_return() {
    let nats = Nats::start();
    let recovering = |builder: ServerBuilder| builder.recovery(Recovery::default()).cleanup_empty_child_namespaces(true);
    let a = start_with(options(&nats, "a"), recovering).await;
    let b = start_with(options(&nats, "b"), recovering).await;
    acquainted(&[&a, &b]).await;
    b.io.of_pattern(regex::Regex::new("^/document-").unwrap());
    let server = TestServer::start(&b.io).unwrap();
    let client = server.client().namespace("/document-1").connect().await.unwrap();
    a.io.of("/document-1").emit("n", 0).unwrap();
    client.expect("n").await.unwrap();
    let lost = client.drop_connection();
    eventually("the loss is noticed", || b.io.recovery_usage().sessions == 1).await;
    a.io.of("/document-1").emit("n", 1).unwrap();
    eventually("the event has come", || b.io.recovery_usage().events == 2).await;
    let client = server.client().namespace("/document-1").recover(lost).connect().await.unwrap();
    assert_eq!(client.expect("n").await.unwrap().data::<u32>().unwrap(), 1);
}

/// Each node has its own history. Lost events are missing in it, so clients that were disconnected are not recovered.
#[tokio::test]
async fn recovery_is_refused_when_the_nats_link_was_down() {
    let mut nats = Nats::start();
    let member = start_with(options(&nats, "node"), |builder| builder.recovery(Recovery::default())).await;
    let server = TestServer::start(&member.io).unwrap();
    let client = server.connect().await.unwrap();
    member.io.emit("n", 1).unwrap();
    client.expect("n").await.unwrap();
    let lost = client.drop_connection();
    eventually("the loss is noticed", || member.io.recovery_usage().sessions == 1).await;
    let client = server.client().recover(lost).connect().await.unwrap();
    assert!(client.recovered(), "no event is missing");
    let lost = client.drop_connection();
    eventually("the loss is noticed", || member.io.recovery_usage().sessions == 1).await;
    nats.kill();
    eventually("both links are down", || member.adapter.stats().disconnected >= 2).await;
    nats.restart();
    eventually("the link is up", || member.io.is_connected()).await;
    let client = server.client().recover(lost).connect().await.unwrap();
    assert!(!client.recovered(), "events may be missing");
    member.io.emit("n", 2).unwrap();
    client.expect("n").await.unwrap();
    let lost = client.drop_connection();
    eventually("the loss is noticed", || member.io.recovery_usage().sessions >= 1).await;
    let client = server.client().recover(lost).connect().await.unwrap();
    assert!(client.recovered(), "from then on all is there");
}
