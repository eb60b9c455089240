//! Metrics of the adapter.

use sociable::{JetStreamOptions, NatsAdapter, NatsOptions, Recovery, Server};
use sociable_tests::{Nats, Node, sample_value, within};

#[tokio::test]
async fn metrics_show_the_latencies_of_the_adapter() {
    let nats = Nats::keeping();
    let node = async |name: &str| {
        let options = NatsOptions::new(nats.url()).cluster("metrics").node_name(name).jetstream(JetStreamOptions::default());
        let adapter = NatsAdapter::connect(options).await.unwrap();
        Server::builder().adapter(adapter).recovery(Recovery::default()).build().unwrap()
    };
    let (a, b) = (node("a").await, node("b").await);
    let _nodes = [Node::start(&a), Node::start(&b)];
    let all = within("the nodes know each other", async {
        while sample_value(&a, "sociable_nodes").await < 2.0 {}
        // The questions of this node are answered.
        a.fetch_sockets().await.unwrap()
    });
    assert!(all.await.is_empty());
    a.emit("hello", ()).unwrap();
    a.flushed().await.unwrap();
    for operation in ["ping", "request", "persist"] {
        let sample = format!(r#"sociable_adapter_latency_seconds_count{{operation="{operation}"}}"#);
        within(&sample, async { while sample_value(&a, &sample).await < 1.0 {} }).await;
    }
    assert!(sample_value(&a, "sociable_adapter_messages_persisted_total").await >= 1.0);
    assert_eq!(sample_value(&a, "sociable_cluster_connected").await, 1.0);
}
