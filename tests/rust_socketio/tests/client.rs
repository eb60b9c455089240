//! The guarantees for a user of `rust_socketio`. The client can't answer an event of the server, and carries one binary
//! attachment per event.

use std::env;
use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::Duration;

use rust_socketio::client::Client;
use rust_socketio::{ClientBuilder, Event, Payload, TransportType};
use serde_json::{Value, json};

/// The longest wait. A failing test reports after this time.
const PATIENCE: Duration = Duration::from_secs(15);

const TRANSPORTS: [TransportType; 3] = [TransportType::Polling, TransportType::Websocket, TransportType::WebsocketUpgrade];

/// A running acceptance app, on a port that it chose itself.
struct App {
    process: Child,
    url: String,
}

impl App {
    fn start() -> Self {
        let binary = env::var_os("ACCEPTANCE").expect("ACCEPTANCE: the path of the acceptance app (`cargo xtask test` sets it)");
        let mut process = Command::new(binary).args(["--port", "0"]).stdout(Stdio::piped()).spawn().unwrap();
        let mut line = String::new();
        BufReader::new(process.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let url = line.trim().strip_prefix("listening on ").expect("the app tells its address").to_owned();
        Self { process, url }
    }

    fn connect(&self, namespace: &str, transport: TransportType) -> Peer {
        self.connect_with(namespace, transport, |builder| builder)
    }

    /// A client that is in the namespace.
    fn connect_with(&self, namespace: &str, transport: TransportType, options: impl FnOnce(ClientBuilder) -> ClientBuilder) -> Peer {
        let (connected, wait) = channel();
        let (tell, heard) = channel();
        let builder = ClientBuilder::new(&self.url).namespace(namespace).reconnect(false).transport_type(transport);
        let builder = builder.on(Event::Connect, move |_, _| connected.send(()).unwrap_or_default()).on_any(move |event, payload, _| {
            tell.send((event.as_str().to_owned(), payload)).ok();
        });
        let client = options(builder).connect().unwrap();
        wait.recv_timeout(PATIENCE).expect("the client is let into the namespace");
        Peer { client, heard }
    }
}

impl Drop for App {
    fn drop(&mut self) {
        self.process.kill().ok();
        self.process.wait().ok();
    }
}

/// A connected client, and its received events.
struct Peer {
    client: Client,
    heard: Receiver<(String, Payload)>,
}

impl Peer {
    fn emit(&self, event: &str, args: impl Into<Payload>) {
        self.client.emit(event, args).unwrap();
    }

    /// The arguments of the answer to an event.
    fn ask(&self, event: &str, args: Vec<Value>) -> Value {
        let (tell, answer) = channel();
        self.client.emit_with_ack(event, args, PATIENCE, move |payload, _| tell.send(payload).unwrap_or_default()).unwrap();
        match answer.recv_timeout(PATIENCE).unwrap_or_else(|_| panic!("the acknowledgement of {event}")) {
            // This client wraps the arguments of an answer into one more list.
            Payload::Text(mut wrapped) => wrapped.remove(0),
            other => panic!("{other:?}"),
        }
    }

    /// The next event, whichever it is.
    fn next(&self) -> (String, Payload) {
        self.heard.recv_timeout(PATIENCE).expect("an event comes")
    }

    /// Asserts that no earlier event has come.
    fn heard_nothing(&self) {
        self.ask("echo", vec![json!("settled")]);
        assert!(self.heard.try_recv().is_err());
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        self.client.disconnect().ok();
    }
}

fn own_namespace() -> String {
    static NUMBER: AtomicU32 = AtomicU32::new(0);
    format!("/dyn-{}", NUMBER.fetch_add(1, Ordering::Relaxed))
}

fn text(event: &str, args: Value) -> (String, Payload) {
    let Value::Array(args) = args else { panic!("a list of arguments") };
    (event.into(), Payload::Text(args))
}

#[test]
fn events_return_with_all_arguments() {
    let app = App::start();
    for transport in TRANSPORTS {
        let peer = app.connect(&own_namespace(), transport);
        let args = json!(["a", 2, [3], { "four": null }, "пять"]);
        peer.emit("message", args.as_array().unwrap().clone());
        assert_eq!(peer.next(), text("message-back", args));
    }
}

#[test]
fn hundred_events_keep_their_order() {
    let app = App::start();
    for transport in TRANSPORTS {
        let peer = app.connect(&own_namespace(), transport);
        for number in 0..100 {
            peer.emit("echo", json!(number));
        }
        for number in 0..100 {
            assert_eq!(peer.next(), text("echo", json!([number])));
        }
    }
}

#[test]
fn server_acknowledges() {
    let app = App::start();
    for transport in TRANSPORTS {
        let peer = app.connect(&own_namespace(), transport);
        let args = vec![json!(1), json!({ "two": [null, true] })];
        assert_eq!(peer.ask("message-with-ack", args.clone()), Value::Array(args));
    }
}

#[test]
fn upgrade_ends_at_a_websocket() {
    let app = App::start();
    let peer = app.connect(&own_namespace(), TransportType::WebsocketUpgrade);
    assert_eq!(peer.ask("op", vec![json!({ "do": "id" })])[0]["value"]["transport"], "websocket");
}

#[test]
fn bytes_return() {
    let app = App::start();
    for transport in TRANSPORTS {
        let peer = app.connect(&own_namespace(), transport);
        // This client takes a WebSocket's bytes for a payload, which it parts at this one.
        let sent: Vec<u8> = (0..=255).filter(|&byte| byte != 0x1e).cycle().take(5000).collect();
        peer.emit("message", sent.clone());
        assert_eq!(peer.next(), ("message-back".into(), Payload::from(sent)));
    }
}

#[test]
fn broadcast_reaches_only_the_room() {
    let (app, namespace) = (App::start(), own_namespace());
    let inside = TRANSPORTS.map(|transport| app.connect(&namespace, transport));
    let outside = app.connect(&namespace, TransportType::Websocket);
    for peer in &inside {
        peer.ask("join", vec![json!("red")]);
    }
    outside.emit("broadcast", vec![json!("red"), json!("hi")]);
    for peer in &inside {
        assert_eq!(peer.next(), text("msg", json!(["hi"])));
    }
    outside.heard_nothing();

    inside[0].ask("leave", vec![json!("red")]);
    outside.emit("broadcast", vec![json!("red"), json!("again")]);
    assert_eq!(inside[1].next(), text("msg", json!(["again"])));
    inside[0].heard_nothing();
}

#[test]
fn namespace_middleware_decides() {
    let app = App::start();
    let token = |token: &str| json!({ "token": token });
    let peer = app.connect_with("/guarded", TransportType::Websocket, |builder| builder.auth(token("open sesame")));
    assert_eq!(peer.ask("echo", vec![json!("in")]), json!(["in"]));

    let (tell, told): (Sender<Payload>, _) = channel();
    let builder = ClientBuilder::new(&app.url).namespace("/guarded").reconnect(false).auth(token("wrong"));
    let refused = builder.on(Event::Error, move |payload, _| tell.send(payload).unwrap_or_default()).connect().unwrap();
    let payload = told.recv_timeout(PATIENCE).expect("the refusal");
    assert!(format!("{payload:?}").contains("not authorized"), "{payload:?}");
    refused.disconnect().ok();
}

#[test]
fn client_is_notified_when_the_server_disconnects_it() {
    let app = App::start();
    let (tell, told) = channel();
    let namespace = own_namespace();
    let on_close = |builder: ClientBuilder| builder.on(Event::Close, move |_, _| tell.send(()).unwrap_or_default());
    let peer = app.connect_with(&namespace, TransportType::Websocket, on_close);
    // The app takes an op only with an acknowledgement.
    peer.client.emit_with_ack("op", json!({ "do": "disconnect" }), PATIENCE, |_, _| {}).unwrap();
    assert_eq!(told.recv_timeout(PATIENCE), Ok(()));
}
