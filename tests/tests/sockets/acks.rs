//! Acknowledgements, both ways.

use super::*;

#[tokio::test]
async fn ack_is_sent_once() {
    let (io, node) = start(|options| options);
    io.on("twice", async |ack: Ack| {
        ack.clone().send((1, "two", [3]))?;
        ack.send("again")
    });
    io.on("later", async |ack: Ack| {
        tokio::task::yield_now().await;
        ack.send(())
    });
    let mut client = Client::connect(node.addr).await;
    assert_eq!(client.ask("twice", ()).await, json!([1, "two", [3]]));
    assert_eq!(client.ask("later", ()).await, json!([]));
    // Without being asked for, nothing is sent.
    client.emit("twice", ()).await;
    assert_eq!(client.ask("later", ()).await, json!([]));
}

/// Returns a server that asks its client on request, and records the outcome.
async fn asking(timeout: Option<Duration>) -> (Server, Node, std::sync::Arc<std::sync::Mutex<Vec<Result<String, AckError>>>>) {
    let (io, node) = start(|options| options);
    let (answers, answer) = note();
    io.on("ask me", move |socket: Socket| {
        let pending = match timeout {
            Some(timeout) => socket.timeout(timeout).emit_with_ack("question", "how?"),
            None => socket.emit_with_ack("question", "how?"),
        };
        let answer = answer.clone();
        async move { answer(pending.await.map(|args| args.raw_json().unwrap().to_owned())) }
    });
    echoes(&io);
    (io, node, answers)
}

#[tokio::test]
async fn client_answers_an_event_with_ack() {
    let (io, node, answers) = asking(Some(patience())).await;
    let mut client = Client::connect(node.addr).await;
    client.emit("ask me", ()).await;
    assert_eq!(client.packet().await, event("question", "how?").id(0));
    client.send(ack(0, json!(["so", 1]))).await;
    client.send(ack(0, "twice")).await;
    client.send(ack(99, "unknown")).await;
    client.send_text(r#"3["no id"]"#).await;
    eventually("the answer comes", || answers.lock().unwrap().len() == 1).await;
    assert_eq!(*answers.lock().unwrap(), [Ok(r#""so",1"#.to_owned())]);
    assert_eq!(client.ask("echo", 1).await, json!([1]), "answers that nobody waits for are ignored");
    assert_eq!(io.stats().acks_unexpected, 3);
}

#[tokio::test]
async fn ack_times_out_and_a_late_answer_is_ignored() {
    let (io, node, answers) = asking(Some(Duration::from_millis(20))).await;
    let mut client = Client::connect(node.addr).await;
    client.emit("ask me", ()).await;
    eventually("the time is over", || answers.lock().unwrap().len() == 1).await;
    assert_eq!(*answers.lock().unwrap(), [Err(AckError::Timeout)]);
    assert_eq!(AckError::Timeout.to_string(), "operation has timed out");
    client.packet().await;
    client.send(ack(0, "late")).await;
    client.ask("echo", 1).await;
    assert_eq!((io.stats().acks_timed_out, io.stats().acks_unexpected), (1, 1), "nothing is kept of what timed out");
}

#[tokio::test]
async fn pending_acks_fail_when_the_socket_leaves() {
    for how in ["leave", "tear", "close"] {
        for timeout in [None, Some(patience() * 4)] {
            let (_, node, answers) = asking(timeout).await;
            let mut client = Client::connect(node.addr).await;
            client.emit("ask me", ()).await;
            client.packet().await;
            match how {
                "tear" => client.tear(),
                "close" => client.send_engine("1").await,
                _ => client.send(disconnect()).await,
            }
            eventually("the question has ended", || answers.lock().unwrap().len() == 1).await;
            assert_eq!(*answers.lock().unwrap(), [Err(AckError::Disconnected)]);
        }
    }
}

#[tokio::test]
async fn stream_has_each_ack_as_it_arrives() {
    use futures_util::StreamExt;
    let (io, node) = start(|options| options);
    echoes(&io);
    let mut clients = Client::connect_many(node.addr, 3).await;
    let mut stream = io.timeout(patience()).emit_with_ack_stream("n?", ());
    let mut ids = vec![];
    for (n, client) in clients.iter_mut().enumerate() {
        let question = client.packet().await;
        client.send(ack(question.id.unwrap(), n)).await;
        // Later clients have not answered yet.
        let reply = stream.next().await.unwrap().unwrap();
        assert_eq!((reply.id.as_str(), reply.args.decode::<usize>(0)), (client.id(), Ok(n)));
        ids.push(reply.id);
    }
    assert!(stream.next().await.is_none());

    // One answers, one leaves, one stays silent. The deadline begins with the first poll.
    let mut stream = io.timeout(Duration::from_millis(50)).emit_with_ack_stream("n?", ());
    let question = clients[0].packet().await;
    clients[0].send(ack(question.id.unwrap(), 7)).await;
    clients[0].ask("echo", ()).await;
    clients.remove(1).tear();
    eventually("one has left", || io.socket_count() == 2).await;
    assert_eq!(stream.next().await.unwrap().unwrap().id, ids[0]);
    let error = stream.next().await.unwrap().unwrap_err();
    assert_eq!((error.reason, error.replies.len()), (AckError::Timeout, 0));
    assert!(error.missing.len() == 2 && ids[1..].iter().all(|id| error.missing.contains(id)), "{:?}", error.missing);
    assert!(stream.next().await.is_none());
    let refused = io.emit_with_ack_stream("disconnect", ()).collect::<Vec<_>>().await;
    assert!(matches!(&refused[..], [Err(error)] if matches!(error.reason, AckError::Emit(_))), "{refused:?}");
}

#[tokio::test]
async fn ack_carries_bytes() {
    let (io, node) = start(|options| options);
    let (answers, answer) = note();
    io.on_connect(move |socket: Socket| {
        let (answer, pending) = (answer.clone(), socket.emit_with_ack("q", ()));
        async move { answer(pending.await.unwrap().decode::<bytes::Bytes>(0).unwrap()) }
    });
    let mut client = Client::connect(node.addr).await;
    assert_eq!(client.packet().await, event("q", ()).id(0));
    client.send(ack(0, attachment(0)).attach([5, 6])).await;
    eventually("the answer comes", || answers.lock().unwrap().len() == 1).await;
    assert_eq!(&*answers.lock().unwrap()[0], [5, 6]);
}
