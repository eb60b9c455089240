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

/// More events than this that nobody takes end the connection.
const MAX_EVENTS: usize = 10_000;

/// Describes a [`TestClient`].
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

    /// The namespace: `/` by default.
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

    /// What is sent to be let in: an object. What can't be written as JSON is left out.
    pub fn auth<T: Serialize + ?Sized>(mut self, auth: &T) -> Self {
        self.auth = serde_json::to_value(auth).ok();
        self
    }

    /// Comes back as a client that lost its connection.
    pub fn recover(mut self, lost: LostClient) -> Self {
        self.lost = Some(lost);
        self
    }

    /// How packets are written: as JSON by default.
    pub fn parser(mut self, parser: impl Parser) -> Self {
        self.parser = Arc::new(parser);
        self
    }

    /// How long anything may take: 5 s by default.
    pub fn patience(mut self, patience: Duration) -> Self {
        self.patience = patience;
        self
    }

    /// Connects, and waits to be let in.
    ///
    /// # Errors
    ///
    /// The server can't be reached, does not open the WebSocket, or does not let the client in.
    pub async fn connect(self) -> Result<TestClient, TestError> {
        let url = format!("ws://{}{}?EIO=4&transport=websocket{}", self.addr, self.path, self.query);
        let mut request = url.into_client_request().map_err(refused)?;
        for (name, value) in &self.headers {
            let bad = |_| TestError::Args(format!("not a header: {name}"));
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

/// What a client keeps that lost its connection: see [`TestClient::drop_connection`].
#[derive(Clone, Debug)]
pub struct LostClient {
    pid: Option<String>,
    offset: Option<String>,
}

/// A Socket.IO client for tests: one socket in one namespace, over a WebSocket. It needs the runtime of the test, and may be sent to other tasks.
///
/// It answers pings by itself. Events wait until they are taken, at most 10,000 of them.
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
    /// The last text at the end of an event, which clients take for its offset.
    offset: Option<String>,
    sent: u64,
    /// The last ping that was answered.
    pongs: u64,
    ended: Option<&'static str>,
}

/// An event that came.
#[derive(Clone, Debug)]
pub struct TestEvent {
    /// Its name.
    pub name: String,
    /// Its arguments.
    pub args: Args,
    /// The server waits for an acknowledgement: see [`TestClient::answer`].
    pub ack: Option<u64>,
}

impl TestEvent {
    /// The first argument.
    ///
    /// # Errors
    ///
    /// It does not fit the type.
    pub fn data<T: DeserializeOwned>(&self) -> Result<T, TestError> {
        self.args.decode(0).map_err(|error| TestError::Args(format!("{}: {error}", self.name)))
    }

    /// All arguments, as a tuple.
    ///
    /// # Errors
    ///
    /// They do not fit the type.
    pub fn all<T: DeserializeOwned>(&self) -> Result<T, TestError> {
        self.args.decode_all().map_err(|error| TestError::Args(format!("{}: {error}", self.name)))
    }
}

impl TestClient {
    /// The socket's id.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// Whether the client came back to the session that it had before.
    pub fn recovered(&self) -> bool {
        self.recovered
    }

    /// Sends an event.
    ///
    /// # Errors
    ///
    /// The arguments can't be written, or the connection has ended.
    pub fn emit(&self, event: &str, args: impl EmitArgs) -> Result<(), TestError> {
        self.send_event(event, args, None)
    }

    /// Sends an event and waits for its acknowledgement.
    ///
    /// # Errors
    ///
    /// As [`emit`](Self::emit), and if it does not come.
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
    /// As [`emit`](Self::emit), and if the server does not wait for an acknowledgement.
    pub fn answer(&self, event: &TestEvent, args: impl EmitArgs) -> Result<(), TestError> {
        let id = event.ack.ok_or_else(|| TestError::Args(format!("\"{}\" asks for no acknowledgement", event.name)))?;
        let args = args.into_args(self.parser.encoding()).map_err(|error| TestError::Args(error.to_string()))?;
        self.send(Body::Ack { args, id: Some(id) })
    }

    /// The next event.
    ///
    /// # Errors
    ///
    /// None comes.
    pub async fn next(&self) -> Result<TestEvent, TestError> {
        self.wait("an event", |state| state.events.pop_front()).await
    }

    /// The next event of this name. Those of other names that came before stay where they are.
    ///
    /// # Errors
    ///
    /// None comes.
    pub async fn expect(&self, name: &str) -> Result<TestEvent, TestError> {
        let take = |state: &mut State| {
            let at = state.events.iter().position(|event| event.name == name)?;
            state.events.remove(at)
        };
        self.wait(&format!("\"{name}\""), take).await
    }

    /// The names of the events that came and were not taken.
    pub fn pending(&self) -> Vec<String> {
        self.shared.state.lock().events.iter().map(|event| event.name.clone()).collect()
    }

    /// Waits until all that the server had sent to this client has come, what its handlers sent at once for events of this client among it. Then
    /// what is not [`pending`](Self::pending) was not sent.
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
        // What has ended is told by the wait.
        let _ = self.sender.send(Command::Ping(number));
        self.wait("what was sent before", |state| (state.pongs >= number).then_some(())).await
    }

    /// Leaves the namespace.
    pub fn disconnect(self) {
        // If the connection has ended, it has left.
        let _ = self.send(Body::Disconnect);
    }

    /// What it would keep if it lost its connection now: to come back while the server still takes the connection for a good one, or to have got only
    /// so much of what came.
    pub fn as_lost(&self) -> LostClient {
        LostClient { pid: self.pid.clone(), offset: self.shared.state.lock().offset.clone() }
    }

    /// Loses the connection, without a word to the server.
    pub fn drop_connection(self) -> LostClient {
        // If it has ended, it is lost.
        let _ = self.sender.send(Command::Cut);
        LostClient { pid: self.pid, offset: self.shared.state.lock().offset.take() }
    }

    /// Waits for the end of the connection: `io server disconnect` if the server put the client out, else `transport close`.
    ///
    /// # Errors
    ///
    /// It goes on.
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
        match self.wait("being let in", |state| state.entered.take()).await? {
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

    /// Waits for something in the state.
    async fn wait<T>(&self, what: &str, mut look: impl FnMut(&mut State) -> Option<T>) -> Result<T, TestError> {
        let waiting = async {
            loop {
                let changed = self.shared.changed.notified();
                tokio::pin!(changed);
                // From here on nothing is missed.
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
                    // What has ended is seen by the next read.
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

/// Takes a packet of the server. It may be the last.
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
                return Some("too many events were not taken");
            }
            state.events.push_back(TestEvent { name: name.to_string(), args, ack: id });
        }
    }
    None
}
