//! Clients that recover on another node, with all missed events.

use super::*;

#[tokio::test]
async fn client_recovers_on_another_node_with_missed_events() {
    let nats = Nats::keeping();
    let [a, b] = cluster(&nats).await;
    let client = a.server.connect().await.unwrap();
    client.emit_with_ack("join", "red").await.unwrap();
    client.emit_with_ack("name", "Ann").await.unwrap();
    let near = b.server.connect().await.unwrap();
    a.io.emit("n", 1).unwrap();
    assert_eq!((numbers(&client, 1).await, numbers(&near, 1).await), (vec![1], vec![1]));
    let id = client.id().to_owned();
    let lost = client.drop_connection();
    a.io.to("red").emit("n", 2).unwrap();
    b.io.to("red").emit("n", 3).unwrap();
    b.io.to("blue").emit("n", 4).unwrap();
    a.io.to(&*id).emit("n", 5).unwrap();
    b.io.emit("n", 6).unwrap();
    let client = b.server.client().recover(lost).connect().await.unwrap();
    assert_eq!((client.recovered(), client.id()), (true, &*id));
    let missed = some(&client, 4).await;
    // The events of each node come in order.
    assert_eq!(missed.iter().copied().filter(|n| [2, 5].contains(n)).collect::<Vec<_>>(), [2, 5]);
    assert_eq!(missed.iter().copied().filter(|n| [3, 6].contains(n)).collect::<Vec<_>>(), [3, 6]);
    let sockets = a.io.to("red").fetch_sockets().await.unwrap();
    assert_eq!(sockets.len(), 1);
    assert_eq!(serde_json::to_value(sockets[0].data()).unwrap(), json!("Ann"));
    a.io.to("red").emit("n", 7).unwrap();
    a.io.to(&*id).emit("n", 8).unwrap();
    assert_eq!(numbers(&client, 8).await, [7, 8]);
    // And again to the first, where its id leads.
    let lost = client.drop_connection();
    b.io.to("red").emit("n", 9).unwrap();
    let client = a.server.client().recover(lost).connect().await.unwrap();
    assert!(client.recovered());
    b.io.to(&*id).emit("n", 10).unwrap();
    assert_eq!(some(&client, 2).await, [9, 10]);
    client.sync().await.unwrap();
    assert!(client.pending().is_empty());
}

/// An event of a node for its own socket is persisted for the socket's return, and is not doubled.
#[tokio::test]
async fn event_for_one_client_survives_its_node() {
    let nats = Nats::keeping();
    let [a, b] = cluster(&nats).await;
    let client = a.server.connect().await.unwrap();
    for n in 1..=20 {
        client.emit_with_ack("tell me", n).await.unwrap();
    }
    assert_eq!(numbers(&client, 20).await, (1..=20).collect::<Vec<_>>());
    let (id, lost) = (client.id().to_owned(), client.as_lost());
    client.emit_with_ack("tell me", 21).await.unwrap();
    a.io.emit("n", 22).unwrap();
    client.emit_with_ack("tell me", 23).await.unwrap();
    // As if all behind the twentieth had been lost with the connection; the first node has not noticed.
    let back = b.server.client().recover(lost).connect().await.unwrap();
    assert_eq!((back.recovered(), back.id()), (true, &*id));
    assert_eq!(numbers(&back, 23).await, [21, 22, 23]);
    eventually("the first node has let it go", || a.io.socket_count() == 0).await;
    a.io.emit("n", 24).unwrap();
    assert_eq!(numbers(&back, 24).await, [24]);
    back.sync().await.unwrap();
    assert!(back.pending().is_empty());
}

/// A room's event was for the socket that left the room afterwards, also if its client had not received it.
#[tokio::test]
async fn events_of_left_rooms_come_after_a_return() {
    let nats = Nats::keeping();
    let [a, b] = cluster(&nats).await;
    let client = served(&a).await;
    client.emit_with_ack("join", "red").await.unwrap();
    let lost = client.as_lost();
    a.io.to("red").emit("n", 2).unwrap();
    assert_eq!(numbers(&client, 2).await, [2]);
    client.emit_with_ack("leave", "red").await.unwrap();
    a.io.to("red").emit("n", 3).unwrap();
    a.io.emit("n", 4).unwrap();
    assert_eq!(numbers(&client, 4).await, [4]);
    // As if all behind the first had been lost with the connection.
    let client = b.server.client().recover(lost.clone()).connect().await.unwrap();
    assert!(client.recovered());
    assert_eq!(numbers(&client, 4).await, [2, 4]);
    // The client is lost again during the replay, and returns to the first node.
    let client = a.server.client().recover(lost).connect().await.unwrap();
    assert!(client.recovered());
    assert_eq!(numbers(&client, 4).await, [2, 4]);
    assert!(a.io.to("red").fetch_sockets().await.unwrap().is_empty());
}

/// Reconnects until the client is accepted. A client whose session another takes meanwhile loses its connection, and
/// returns with a new session.
async fn come_back(member: &Member, lost: &LostClient) -> TestClient {
    for _ in 0..5 {
        if let Ok(client) = member.server.client().recover(lost.clone()).connect().await {
            return client;
        }
    }
    member.server.client().recover(lost.clone()).connect().await.unwrap()
}

#[tokio::test]
async fn one_of_two_clients_recovers_the_same_session() {
    let nats = Nats::keeping();
    let [a, b, c] = cluster(&nats).await;
    for _ in 0..10 {
        let client = served(&a).await;
        let lost = lose(&a, client).await;
        let claim = async |member: &Member| come_back(member, &lost).await;
        let (first, second) = tokio::join!(claim(&b), claim(&c));
        // The second client may take the session from the first, whose connection is then closed.
        assert!(first.recovered() || second.recovered());
        let both = first.recovered() && second.recovered();
        eventually("no session lives twice", || b.io.socket_count() + c.io.socket_count() == if both { 1 } else { 2 }).await;
        first.disconnect();
        second.disconnect();
        eventually("all sockets have left", || b.io.socket_count() + c.io.socket_count() == 0).await;
    }
}

#[tokio::test]
async fn one_of_two_clients_recovers_the_same_session_on_one_node() {
    let nats = Nats::keeping();
    let [a, b] = cluster(&nats).await;
    for _ in 0..10 {
        let client = served(&a).await;
        let lost = lose(&a, client).await;
        let claim = async |member: &Member| come_back(member, &lost).await;
        let (first, second) = tokio::join!(claim(&b), claim(&b));
        assert!(first.recovered() || second.recovered());
        if first.recovered() && second.recovered() {
            // The sessions are taken one after the other.
            eventually("one socket is left", || b.io.socket_count() == 1).await;
        }
        first.disconnect();
        second.disconnect();
        eventually("all sockets have left", || b.io.socket_count() == 0).await;
    }
}

#[tokio::test]
async fn events_of_an_emitter_are_persisted_for_lost_clients() {
    let nats = Nats::keeping();
    let [a, b] = cluster(&nats).await;
    let client = a.server.connect().await.unwrap();
    client.emit_with_ack("join", "red").await.unwrap();
    let emitter = Emitter::connect(options(&nats)).await.unwrap();
    emitter.to("red").emit("n", &1).unwrap();
    assert_eq!(numbers(&client, 1).await, [1]);
    let lost = lose(&a, client).await;
    emitter.to("red").emit("n", &2).unwrap();
    emitter.emit("n", &3).unwrap();
    emitter.close().await;
    let client = b.server.client().recover(lost).connect().await.unwrap();
    assert!(client.recovered());
    assert_eq!(numbers(&client, 3).await, [2, 3]);
    client.sync().await.unwrap();
    assert!(client.pending().is_empty());
}

#[tokio::test]
async fn local_events_are_not_recovered_on_other_nodes() {
    let nats = Nats::keeping();
    let [a, b] = cluster(&nats).await;
    let (mover, client) = (a.server.connect().await.unwrap(), b.server.connect().await.unwrap());
    b.io.emit("n", 1).unwrap();
    assert_eq!((numbers(&client, 1).await, numbers(&mover, 1).await), (vec![1], vec![1]));
    let lost = lose(&b, client).await;
    let before = mover.as_lost();
    a.io.local().emit("n", 2).unwrap();
    assert_eq!(numbers(&mover, 2).await, [2]);
    // As if that had been lost.
    let mover = b.server.client().recover(before).connect().await.unwrap();
    assert_eq!(numbers(&mover, 2).await, [2]);
    b.io.emit("n", 3).unwrap();
    let client = b.server.client().recover(lost).connect().await.unwrap();
    assert!(client.recovered());
    assert_eq!(numbers(&client, 3).await, [3]);
}
