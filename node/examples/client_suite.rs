//! The server for the test suite of socket.io-client: port 3210, with one handler for each tested behaviour.

use std::time::Duration;

use actix_web::App;
use bytes::Bytes;
use serde::Serialize;
use serde_json::json;
use sociable::{Ack, Args, Data, Failure, Handshake, RawArgs, Recovery, Server, Socket, Value};

/// The delay of answers. Tests with a client timeout of 0 ms require that the server does not answer at once.
const DELAY: Duration = Duration::from_millis(10);
const NOW: &str = "2015-01-01T00:00:00.000Z";
const UTF8: [&str; 5] = ["てすと", "Я Б Г Д Ж Й", "Ä ä Ü ü ß", "utf8 — string", "utf8 — string"];

#[actix_web::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let io = Server::builder()
        .ping_interval(Duration::from_secs(2))
        .recovery(Recovery::default())
        .allow_request(async |_| {
            tokio::time::sleep(DELAY).await;
            Ok(())
        })
        .build()?;
    main_namespace(&io);
    for name in ["/foo", "/timeout_socket", "/valid", "/asd"] {
        io.of(name);
    }
    io.of("/foo").on("getId", async |socket: Socket, ack: Ack| drop(ack.send(socket.id())));
    io.of("/abc").on_connect(async |socket: Socket| drop(socket.emit("handshake", &shown(&socket))));
    io.of("/no").middleware(async || Err(Failure::new("Auth failed (custom namespace)")));

    let service = io.service();
    let server = io.serve(move || App::new().service(service.clone())).bind("localhost:3210")?;
    println!("listening on http://127.0.0.1:3210");
    Ok(server.run().await?)
}

fn main_namespace(io: &Server) {
    io.middleware(async |handshake: Handshake| match handshake.query_value("fail") {
        Some(value) if !value.is_empty() => Err(Failure::new("Auth failed (main namespace)")),
        _ => Ok(()),
    });
    io.on("hi", async |socket: Socket| emit(&socket, "hi", ()));
    io.on("echo", async |args: RawArgs, ack: Ack| drop(ack.send(args.prefix(1))));
    io.on("ack", ask);
    io.on("getAckDate", async |ack: Ack| drop(ack.send(NOW)));
    io.on("getDate", async |socket: Socket| emit(&socket, "takeDate", NOW));
    io.on("getDateObj", async |socket: Socket| emit(&socket, "takeDateObj", json!({ "date": NOW })));
    io.on("getUtf8", async |socket: Socket| UTF8.iter().for_each(|text| emit(&socket, "takeUtf8", *text)));
    io.on("false", async |socket: Socket| emit(&socket, "false", false));
    io.on("doge", async |socket: Socket| emit(&socket, "doge", Bytes::from_static(b"asdfasdf")));
    io.on("getbin", async |socket: Socket| emit(&socket, "takebin", Bytes::from_static(b"asdfasdf")));
    io.on("getHandshake", async |socket: Socket, ack: Ack| drop(ack.send(&shown(&socket))));
    io.on("getId", async |socket: Socket, ack: Ack| drop(ack.send(socket.id())));
    for (event, answer) in [("buffa", "buffack"), ("blob", "back")] {
        io.on(event, move |socket: Socket, Data(value): Data<Value>| async move {
            if value.as_bytes().is_some() {
                emit(&socket, answer, ());
            }
        });
    }
    for (event, answer) in [("jsonbuff", "jsonbuff-ack"), ("jsonblob", "jsonblob-ack")] {
        io.on(event, move |socket: Socket, Data(value): Data<Value>| async move {
            let text = |key| value.get(key).and_then(Value::as_str);
            if text("hello") == Some("lol") && value.get("message").is_some_and(is_binary) && text("goodbye") == Some("gotcha") {
                emit(&socket, answer, ());
            }
        });
    }
    in_order(io, &["abuff1", "abuff2"], "abuff2-ack");
    in_order(io, &["blob1", "blob2", "blob3"], "blob3-ack");
}

/// Asks the client, and reports a right answer.
async fn ask(socket: Socket) {
    let Ok(answer) = socket.emit_with_ack("ack", ()).await else { return };
    let test = answer.decode::<Value>(1).ok().and_then(|object| object.get("test").and_then(Value::as_bool));
    if answer.decode::<i64>(0) == Ok(5) && test == Some(true) {
        emit(&socket, "got it", ());
    }
}

/// Answers the last of some events if all came in order. The data of the socket holds the progress.
fn in_order(io: &Server, events: &'static [&'static str], answer: &'static str) {
    for (place, event) in events.iter().enumerate() {
        io.on(event, move |socket: Socket, Args((value,)): Args<(Option<Value>,)>| async move {
            let right = *event == "abuff2" || *event == "blob2" || value.is_some_and(|value| is_binary(&value));
            let came = socket.data::<usize>().unwrap_or_default();
            socket.set_data(&if right && came == place { place + 1 } else { 0 }).ok();
            if right && came == place && place + 1 == events.len() {
                emit(&socket, answer, ());
            }
        });
    }
}

fn is_binary(value: &Value) -> bool {
    value.as_bytes().is_some()
}

/// Sends an event; disconnected clients need none.
fn emit(socket: &Socket, event: &str, args: impl sociable::EmitArgs) {
    socket.emit(event, args).ok();
}

/// The handshake object of the JavaScript server.
#[derive(Serialize)]
struct Shown {
    query: serde_json::Map<String, serde_json::Value>,
    auth: Value,
    headers: serde_json::Map<String, serde_json::Value>,
    url: String,
    issued: u64,
}

fn shown(socket: &Socket) -> Shown {
    let handshake = socket.handshake();
    Shown {
        query: handshake.query().map(|(name, value)| (name.into_owned(), value.into_owned().into())).collect(),
        auth: socket.auth().unwrap_or_default(),
        headers: handshake.headers().map(|(name, value)| (name.to_owned(), value.into())).collect(),
        url: handshake.url().to_owned(),
        issued: handshake.issued(),
    }
}
