//! Handlers of first events, and their removal.

use super::*;

#[tokio::test]
async fn once_handles_the_first_event_of_each_socket() {
    let (io, node) = start(|options| options);
    let (seen, see) = note();
    io.on_fallback({
        let see = see.clone();
        move |EventName(name): EventName, socket: Socket, ack: Ack| {
            ready((see(format!("{name} missed by {}", socket.id())), ack.send(())).1)
        }
    });
    io.once("hello", move |Data(name): Data<String>, ack: Ack| ready((see(name), ack.send(())).1));
    let mut ada = Client::connect(node.addr).await;
    let mut bob = Client::connect(node.addr).await;
    ada.ask("hello", "Ada").await;
    ada.ask("hello", "Ada again").await;
    bob.ask("hello", "Bob").await;
    assert_eq!(*seen.lock().unwrap(), ["Ada".to_owned(), format!("hello missed by {}", ada.id()), "Bob".to_owned()]);
}

#[tokio::test]
async fn once_runs_after_other_handlers_and_only_once() {
    let (io, node) = start(|options| options);
    io.on_connect(async |socket: Socket| {
        socket.once("n", async |socket: Socket| socket.emit("n", "once"));
        socket.on("n", async |socket: Socket| socket.emit("n", "on"));
        // The handler adds itself again, for the event after the next.
        socket.once("again", async |socket: Socket| {
            socket.once("again", async |socket: Socket| socket.emit("n", "second"));
            socket.emit("n", "first")
        });
        socket.on("end", async |ack: Ack| ack.send(()));
    });
    let mut client = Client::connect(node.addr).await;
    for name in ["n", "n", "again", "again", "again"] {
        client.emit(name, ()).await;
    }
    client.send(event("end", ()).id(0)).await;
    let packets = client.packets_until(ack(0, ())).await;
    assert_eq!(packets, ["on", "once", "on", "first", "second"].map(|which| event("n", which)));
}

#[tokio::test]
async fn refused_event_does_not_use_up_a_once_handler() {
    let (io, node) = start(|options| options);
    io.event_middleware(async |Data(word): Data<String>| {
        tokio::task::yield_now().await;
        if word == "please" { Ok(()) } else { Err("say please") }
    });
    io.once("open", async |Data(word): Data<String>, socket: Socket| socket.emit("opened", &word));
    io.on("end", async |ack: Ack| ack.send(()));
    let mut client = Client::connect(node.addr).await;
    for word in ["now", "please", "please"] {
        client.emit("open", word).await;
    }
    client.send(event("end", "please").id(0)).await;
    assert_eq!(client.packets_until(ack(0, ())).await, [event("opened", "please")]);
}

#[tokio::test]
async fn off_removes_once_handlers_and_off_all_everything() {
    let (io, node) = start(|options| options);
    io.once("a", async |socket: Socket| socket.emit("got", "a"));
    io.on("b", async |socket: Socket| socket.emit("got", "b of the namespace"));
    io.on_connect(async |socket: Socket| {
        socket.once("c", async |socket: Socket| socket.emit("got", "c"));
        socket.off("a");
        socket.off("c");
    });
    io.on("strip", async |socket: Socket, ack: Ack| {
        socket.on("b", async |socket: Socket| socket.emit("got", "b of the socket"));
        socket.on_any_outgoing(|event: &EventContext| panic!("still listening to {}", event.name));
        socket.middleware(async || Err::<(), _>("still deciding"));
        socket.off_all();
        ack.send(())
    });
    let mut client = Client::connect(node.addr).await;
    client.ask("strip", ()).await;
    for name in ["a", "c", "b"] {
        client.emit(name, ()).await;
    }
    assert_eq!(client.packet().await, event("got", "b of the namespace"));
    assert_eq!((io.stats().events_unheard, io.stats().handler_panics), (2, 0));
}

#[tokio::test]
async fn outgoing_listeners_run_in_their_order() {
    let (io, node) = start(|options| options);
    let (heard, hear) = note();
    io.on_connect(move |socket: Socket| {
        let (first, second) = (hear.clone(), hear.clone());
        socket.on_any_outgoing(move |event: &EventContext| second(format!("second {}", event.name)));
        socket.prepend_any_outgoing(move |event: &EventContext| first(format!("first {}", event.name)));
        ready(())
    });
    io.on("go", async |socket: Socket| {
        socket.compress(false).send("text")?;
        socket.off_any_outgoing();
        socket.emit("unheard", ())
    });
    let mut client = Client::connect(node.addr).await;
    client.emit("go", ()).await;
    assert_eq!([client.packet().await, client.packet().await], [event("message", "text"), event("unheard", ())]);
    assert_eq!(*heard.lock().unwrap(), ["first message", "second message"]);
}
