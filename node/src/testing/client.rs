//! A Socket.IO client over WebSocket, for tests.

use std::collections::{HashMap, VecDeque};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytestring::ByteString;
use futures_util::{SinkExt, StreamExt};
use parking_lot::Mutex;
use serde::Serialize;
use serde::de::DeserializeOwned;
use sociable_protocol::packet::MAIN_NAMESPACE;
use sociable_protocol::websocket::Payload;
use sociable_protocol::{Args, Body, Decoder, JsonParser, Packet, Parser, Value};
use tokio::sync::{Notify, mpsc};
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::http::{HeaderName, HeaderValue};
use tokio_tungstenite::tungstenite::{Error, Message};
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream, connect_async};

use super::TestError;
use crate::emit::EmitArgs;

/// The limit of unread events. One more ends the connection.
const MAX_EVENTS: usize = 10_000;

/// A builder of a [`TestClient`].
#[derive(Clone, Debug)]
#[must_use = "call `connect`"]
pub struct TestClientBuilder {
    addr: SocketAddr,
    path: String,
    namespace: ByteString,
    query: String,
    headers: Vec<(String, String)>,
    auth: Option<serde_json::Value>,
    lost: Option<LostClient>,
    parser: Arc<dyn Parser>,
    patience: Duration,
}

impl TestClientBuilder {
    pub(super) fn new(addr: SocketAddr, path: &str) -> Self {
        Self {
            addr,
            path: path.to_owned(),
            namespace: MAIN_NAMESPACE.into(),
            query: String::new(),
            headers: vec![],
            auth: None,
            lost: None,
            parser: Arc::new(JsonParser::default()),
            patience: Duration::from_secs(5),
        }
    }

    /// Sets the namespace: `/` by default.
    pub fn namespace(mut self, name: &str) -> Self {
        self.namespace = name.into();
        self
    }

    /// Adds a parameter to the query of the request that opens the session.
    pub fn query(mut self, name: &str, value: &str) -> Self {
        let more = form_urlencoded::Serializer::new(String::new()).append_pair(name, value).finish();
        self.query.push('&');
        self.query.push_str(&more);
        self
    }

    /// Adds a header to the request that opens the session.
    pub fn header(mut self, name: &str, value: &str) -> Self {
        self.headers.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Sets the `auth` payload: an object. A value that cannot be encoded as JSON is left out.
    pub fn auth<T: Serialize + ?Sized>(mut self, auth: &T) -> Self {
        self.auth = serde_json::to_value(auth).ok();
        self
    }

    /// Recovers the session of a client that lost its connection.
    pub fn recover(mut self, lost: LostClient) -> Self {
        self.lost = Some(lost);
        self
    }

    /// Sets how packets are encoded: as JSON by default.
    pub fn parser(mut self, parser: impl Parser) -> Self {
        self.parser = Arc::new(parser);
        self
    }

    /// Sets the deadline of every wait: 5 s by default.
    pub fn patience(mut self, patience: Duration) -> Self {
        self.patience = patience;
        self
    }

    /// Connects, and waits until the namespace has accepted the client.
    ///
    /// # Errors
    ///
    /// The server cannot be reached, does not open the WebSocket, or refuses the client.
    pub async fn connect(self) -> Result<TestClient, TestError> {
        let url = format!("ws://{}{}?EIO=4&transport=websocket{}", self.addr, self.path, self.query);
        let mut request = url.into_client_request().map_err(refused)?;
        for (name, value) in &self.headers {
            let bad = |_| TestError::Args(format!("header {name}: name or value not valid"));
            let (name, value) = (HeaderName::try_from(name).map_err(|_| bad(()))?, HeaderValue::from_str(value).map_err(|_| bad(()))?);
            request.headers_mut().append(name, value);
        }
        let (socket, _) = connect_async(request).await.map_err(refused)?;
        let (sender, commands) = mpsc::unbounded_channel();
        let shared = Arc::new(Shared { state: Mutex::default(), changed: Notify::new() });
        let decoder = self.parser.decoder();
        tokio::spawn(run(socket, commands, decoder, Arc::clone(&shared), self.namespace.clone()));
        let mut client = TestClient {
            shared,
            sender,
            namespace: self.namespace,
            parser: self.parser,
            patience: self.patience,
            id: String::new(),
            pid: None,
            recovered: false,
        };
        client.enter(self.auth, self.lost).await?;
        Ok(client)
    }
}

fn refused(error: Error) -> TestError {
    match error {
        Error::Http(response) => TestError::Http {
            status: response.status().as_u16(),
            body: response.into_body().map(|body| String::from_utf8_lossy(&body).into_owned()).unwrap_or_default(),
        },
        Error::Io(error) => TestError::Io(error),
        other => TestError::Io(std::io::Error::other(other)),
    }
}

/// The state of a client that lost its connection: see [`TestClient::drop_connection`].
#[derive(Clone, Debug)]
pub struct LostClient {
    pid: Option<String>,
    offset: Option<String>,
}

/// A Socket.IO client for tests: one socket in one namespace, over a WebSocket.
///
/// The client needs the runtime of the test, and may be sent to other tasks. Pings are answered automatically. Received events wait until they are
/// read, at most 10,000 of them.
#[derive(Debug)]
pub struct TestClient {
    shared: Arc<Shared>,
    sender: mpsc::UnboundedSender<Command>,
    namespace: ByteString,
    parser: Arc<dyn Parser>,
    patience: Duration,
    id: String,
    pid: Option<String>,
    recovered: bool,
}

#[derive(Debug)]
enum Command {
    Send(Packet, Vec<Message>),
    Ping(u64),
    Cut,
}

#[derive(Debug)]
struct Shared {
    state: Mutex<State>,
    changed: Notify,
}

#[derive(Debug, Default)]
struct State {
    events: VecDeque<TestEvent>,
    acks: HashMap<u64, Args>,
    entered: Option<Result<Args, Args>>,
    /// The last text at the end of an event. Clients read it as their offset.
    offset: Option<String>,
    sent: u64,
    /// The number of the last answered ping.
    pongs: u64,
    ended: Option<&'static str>,
}

/// A received event.
#[derive(Clone, Debug)]
pub struct TestEvent {
    /// The name.
    pub name: String,
    /// The arguments.
    pub args: Args,
    /// The id of the acknowledgement that the server asks for: see [`TestClient::answer`].
    pub ack: Option<u64>,
}

impl TestEvent {
    /// Returns the first argument.
    ///
    /// # Errors
    ///
    /// The argument does not fit the type.
    pub fn data<T: DeserializeOwned>(&self) -> Result<T, TestError> {
        self.args.decode(0).map_err(|error| TestError::Args(format!("{}: {error}", self.name)))
    }

    /// Returns all arguments, as a tuple.
    ///
    /// # Errors
    ///
    /// The arguments do not fit the type.
    pub fn all<T: DeserializeOwned>(&self) -> Result<T, TestError> {
        self.args.decode_all().map_err(|error| TestError::Args(format!("{}: {error}", self.name)))
    }
}

impl TestClient {
    /// Returns the socket's id.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// Returns whether the client's session was recovered.
    pub fn recovered(&self) -> bool {
        self.recovered
    }

    /// Sends an event.
    ///
    /// # Errors
    ///
    /// The arguments cannot be encoded, or the connection has ended.
    pub fn emit(&self, event: &str, args: impl EmitArgs) -> Result<(), TestError> {
        self.send_event(event, args, None)
    }

    /// Sends an event and waits for its acknowledgement.
    ///
    /// # Errors
    ///
    /// As [`emit`](Self::emit), and if no acknowledgement arrives in time.
    pub async fn emit_with_ack(&self, event: &str, args: impl EmitArgs) -> Result<Args, TestError> {
        let id = {
            let mut state = self.shared.state.lock();
            state.sent += 1;
            state.sent
        };
        self.send_event(event, args, Some(id))?;
        self.wait(&format!("the acknowledgement of \"{event}\""), |state| state.acks.remove(&id)).await
    }

    /// Acknowledges an event.
    ///
    /// # Errors
    ///
    /// As [`emit`](Self::emit), and if the server asked for no acknowledgement.
    pub fn answer(&self, event: &TestEvent, args: impl EmitArgs) -> Result<(), TestError> {
        let id = event.ack.ok_or_else(|| TestError::Args(format!("event \"{}\": no acknowledgement asked for", event.name)))?;
        let args = args.into_args(self.parser.encoding()).map_err(|error| TestError::Args(error.to_string()))?;
        self.send(Body::Ack { args, id: Some(id) })
    }

    /// Returns the next event.
    ///
    /// # Errors
    ///
    /// No event arrives in time.
    pub async fn next(&self) -> Result<TestEvent, TestError> {
        self.wait("an event", |state| state.events.pop_front()).await
    }

    /// Returns the next event of this name. Earlier events of other names stay queued.
    ///
    /// # Errors
    ///
    /// No such event arrives in time.
    pub async fn expect(&self, name: &str) -> Result<TestEvent, TestError> {
        let take = |state: &mut State| {
            let at = state.events.iter().position(|event| event.name == name)?;
            state.events.remove(at)
        };
        self.wait(&format!("\"{name}\""), take).await
    }

    /// Returns the names of the received events that were not read yet.
    pub fn pending(&self) -> Vec<String> {
        self.shared.state.lock().events.iter().map(|event| event.name.clone()).collect()
    }

    /// Waits until all that the server had sent to this client has arrived.
    ///
    /// This includes packets that handlers sent at once for events of this client. An event that is not [`pending`](Self::pending) afterwards was not
    /// sent.
    ///
    /// # Errors
    ///
    /// The connection has ended.
    pub async fn sync(&self) -> Result<(), TestError> {
        let number = {
            let mut state = self.shared.state.lock();
            state.sent += 1;
            state.sent
        };
        // The wait reports an ended connection.
        let _ = self.sender.send(Command::Ping(number));
        self.wait("the packets sent before", |state| (state.pongs >= number).then_some(())).await
    }

    /// Leaves the namespace.
    pub fn disconnect(self) {
        // An ended connection has left the namespace.
        let _ = self.send(Body::Disconnect);
    }

    /// Returns the state for a recovery, as if the connection were lost now.
    ///
    /// With it, a test can return before the server notices a loss, or pretend to have missed later events.
    pub fn as_lost(&self) -> LostClient {
        LostClient { pid: self.pid.clone(), offset: self.shared.state.lock().offset.clone() }
    }

    /// Drops the connection without a close, and returns the state for a recovery.
    pub fn drop_connection(self) -> LostClient {
        // An ended connection is lost already.
        let _ = self.sender.send(Command::Cut);
        LostClient { pid: self.pid, offset: self.shared.state.lock().offset.take() }
    }

    /// Waits for the end of the connection.
    ///
    /// Returns `io server disconnect` if the server disconnected the client, else `transport close`.
    ///
    /// # Errors
    ///
    /// The connection does not end in time.
    pub async fn disconnected(&self) -> Result<&'static str, TestError> {
        let ended = self.wait("the end of the connection", |state| state.ended.map(|_| ()));
        match ended.await {
            Err(timeout @ TestError::Timeout { .. }) => Err(timeout),
            _ => Ok(self.shared.state.lock().ended.unwrap_or("transport close")),
        }
    }

    async fn enter(&mut self, auth: Option<serde_json::Value>, lost: Option<LostClient>) -> Result<(), TestError> {
        let mut fields = serde_json::Map::new();
        if let Some(LostClient { pid: Some(pid), offset }) = &lost {
            fields.insert("pid".into(), pid.as_str().into());
            fields.extend(offset.as_ref().map(|offset| ("offset".to_owned(), offset.as_str().into())));
        }
        if let Some(serde_json::Value::Object(own)) = auth {
            fields.extend(own);
        }
        let auth = (!fields.is_empty()).then(|| Args::encode(self.parser.encoding(), &fields)).transpose();
        self.send(Body::Connect(auth.map_err(|error| TestError::Args(error.to_string()))?))?;
        match self.wait("the connect packet", |state| state.entered.take()).await? {
            Ok(answer) => {
                let answer: Value = answer.decode(0).unwrap_or_default();
                let text = |name: &str| answer.get(name).and_then(Value::as_str).map(str::to_owned);
                (self.id, self.pid) = (text("sid").unwrap_or_default(), text("pid"));
                self.recovered = self.pid.is_some() && lost.and_then(|lost| lost.pid) == self.pid;
                Ok(())
            }
            Err(refusal) => {
                let mut refusal: serde_json::Value = refusal.decode(0).unwrap_or_default();
                let message = refusal["message"].as_str().unwrap_or_default().to_owned();
                Err(TestError::Refused { message, data: refusal["data"].take() })
            }
        }
    }

    fn send_event(&self, event: &str, args: impl EmitArgs, id: Option<u64>) -> Result<(), TestError> {
        let args = args.into_args(self.parser.encoding()).map_err(|error| TestError::Args(error.to_string()))?;
        self.send(Body::Event { name: event.into(), args, id })
    }

    fn send(&self, body: Body) -> Result<(), TestError> {
        let packet = Packet { namespace: self.namespace.clone(), body };
        let frames = self.parser.encode(&packet);
        let messages = frames.iter().map(|payload| match payload {
            Payload::Text(text) => Message::text(text),
            Payload::Binary(bytes) => Message::binary(bytes.to_vec()),
        });
        let sent = self.sender.send(Command::Send(packet, messages.collect()));
        sent.map_err(|_| TestError::Disconnected { what: "room to send".into(), reason: self.reason().into() })
    }

    fn reason(&self) -> &'static str {
        self.shared.state.lock().ended.unwrap_or("transport close")
    }

    /// Waits until `look` finds something in the state.
    async fn wait<T>(&self, what: &str, mut look: impl FnMut(&mut State) -> Option<T>) -> Result<T, TestError> {
        let waiting = async {
            loop {
                let changed = self.shared.changed.notified();
                tokio::pin!(changed);
                // From here on, no change is missed.
                changed.as_mut().enable();
                {
                    let mut state = self.shared.state.lock();
                    if let Some(found) = look(&mut state) {
                        return Ok(found);
                    }
                    if let Some(reason) = state.ended {
                        return Err(TestError::Disconnected { what: what.to_owned(), reason: reason.to_owned() });
                    }
                }
                changed.await;
            }
        };
        match tokio::time::timeout(self.patience, waiting).await {
            Ok(found) => found,
            Err(_) => Err(TestError::Timeout { what: what.to_owned(), came: self.pending() }),
        }
    }
}

type Socket = WebSocketStream<MaybeTlsStream<tokio::net::TcpStream>>;

/// Carries packets both ways until the connection ends.
async fn run(
    mut socket: Socket,
    mut commands: mpsc::UnboundedReceiver<Command>,
    mut decoder: Box<dyn Decoder>,
    shared: Arc<Shared>,
    namespace: ByteString,
) {
    let reason = loop {
        tokio::select! {
            command = commands.recv() => match command {
                Some(Command::Send(packet, messages)) => {
                    let leaves = matches!(packet.body, Body::Disconnect);
                    for message in messages {
                        if socket.feed(message).await.is_err() {
                            break;
                        }
                    }
                    if socket.flush().await.is_err() || leaves {
                        break "io client disconnect";
                    }
                }
                Some(Command::Ping(number)) => {
                    // The next read sees an ended connection.
                    let _ = socket.send(Message::Ping(number.to_be_bytes().to_vec().into())).await;
                }
                Some(Command::Cut) | None => break "io client disconnect",
            },
            message = socket.next() => {
                let Some(Ok(message)) = message else { break "transport close" };
                let decoded = match &message {
                    Message::Text(text) if text.as_str() == "2" => {
                        let _ = socket.send(Message::text("3")).await;
                        continue;
                    }
                    Message::Text(text) => match text.as_str().strip_prefix('4') {
                        Some(text) => decoder.text(text.into()),
                        None => continue,
                    },
                    Message::Binary(bytes) => decoder.binary(bytes.clone()),
                    Message::Pong(number) => {
                        let number = number.as_ref().try_into().map_or(0, u64::from_be_bytes);
                        shared.state.lock().pongs = number;
                        shared.changed.notify_waiters();
                        continue;
                    }
                    _ => continue,
                };
                match decoded {
                    Ok(Some(packet)) if packet.namespace == namespace => {
                        if let Some(reason) = apply(&mut shared.state.lock(), packet.body) {
                            break reason;
                        }
                        shared.changed.notify_waiters();
                    }
                    Ok(_) => {}
                    Err(_) => break "parse error",
                }
            }
        }
    };
    shared.state.lock().ended = Some(reason);
    shared.changed.notify_waiters();
}

/// Applies a packet of the server. Returns the reason if the packet ends the connection.
fn apply(state: &mut State, body: Body) -> Option<&'static str> {
    match body {
        Body::Connect(answer) => state.entered = answer.map(Ok),
        Body::ConnectError(refusal) => state.entered = Some(Err(refusal)),
        Body::Ack { args, id: Some(id) } => drop(state.acks.insert(id, args)),
        Body::Ack { id: None, .. } => {}
        Body::Disconnect => return Some("io server disconnect"),
        Body::Event { name, args, id } => {
            if let (None, Some(Ok(offset))) = (id, args.len().checked_sub(1).map(|last| args.decode::<String>(last))) {
                state.offset = Some(offset);
            }
            if state.events.len() >= MAX_EVENTS {
                return Some("too many unread events");
            }
            state.events.push_back(TestEvent { name: name.to_string(), args, ack: id });
        }
    }
    None
}
