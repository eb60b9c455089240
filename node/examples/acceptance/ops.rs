//! The event `op`: one request of the client for one call of the server API.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::Deserialize;
use serde_json::json;
use sociable::protocol::Raw;
use sociable::{Ack, AckError, BroadcastOperator, Data, Handshake, Namespace, RawArgs, Socket, State, Value};

use crate::NodeName;
use crate::events::{Seen, install};
use crate::log::Logs;

/// A request.
#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Request {
    #[serde(rename = "do")]
    op: String,
    from: From,
    to: Vec<String>,
    except: Vec<String>,
    local: bool,
    volatile: bool,
    compress: Option<bool>,
    timeout: Option<u64>,
    event: Option<String>,
    args: Vec<Raw>,
    rooms: Vec<String>,
    data: Value,
    close: bool,
}

/// The origin of a selection of sockets.
#[derive(Default, Deserialize, PartialEq)]
#[serde(rename_all = "lowercase")]
enum From {
    #[default]
    Io,
    Socket,
    /// This socket alone.
    #[serde(rename = "self")]
    Myself,
}

/// An error, with the results that arrived despite it.
struct Failed {
    error: String,
    value: Option<Value>,
}

impl<E: std::fmt::Display> std::convert::From<E> for Failed {
    fn from(error: E) -> Self {
        Self { error: error.to_string(), value: None }
    }
}

type Answer = Result<Value, Failed>;

pub(crate) async fn on_connect(socket: Socket, logs: State<Logs>) {
    let seen = install(&socket, &logs);
    socket.on("op", move |socket: Socket, Data(request): Data<Request>, logs: State<Logs>, name: State<NodeName>, ack: Option<Ack>| {
        let seen = seen.clone();
        async move {
            let Some(ack) = ack else { return };
            // The asking client may be among the disconnected ones, so its answer is sent first.
            match request.op.as_str() {
                "disconnect" => {
                    ack.send(json!({ "ok": true, "value": null })).ok();
                    if request.close { socket.disconnect_and_close() } else { socket.disconnect() }
                }
                "disconnectSockets" => {
                    ack.send(json!({ "ok": true, "value": null })).ok();
                    tokio::task::yield_now().await;
                    match request.from {
                        From::Myself if request.close => socket.disconnect_and_close(),
                        From::Myself => socket.disconnect(),
                        _ => drop(request.select(&socket).disconnect_sockets(request.close)),
                    }
                }
                _ => {
                    let answer = match request.run(&socket, &logs, &name, &seen).await {
                        Ok(value) => vec![("ok", Value::Bool(true)), ("value", value)],
                        Err(Failed { error, value }) => {
                            let value = value.map(|value| ("value", value));
                            [("ok", Value::Bool(false)), ("error", error.into())].into_iter().chain(value).collect()
                        }
                    };
                    ack.send(Value::Object(answer.into_iter().map(|(key, value)| (key.to_owned(), value)).collect())).ok();
                }
            }
        }
    });
}

impl Request {
    fn select(&self, socket: &Socket) -> BroadcastOperator {
        let namespace: &Namespace = socket.namespace();
        let mut operator = match self.from {
            From::Io => namespace.to(self.to.clone()),
            From::Socket => socket.to(self.to.clone()),
            From::Myself => namespace.to(socket.id()),
        };
        operator = operator.except(self.except.clone());
        if self.local {
            operator = operator.local();
        }
        if self.volatile {
            operator = operator.volatile();
        }
        if let Some(compress) = self.compress {
            operator = operator.compress(compress);
        }
        if let Some(timeout) = self.timeout {
            operator = operator.timeout(Duration::from_millis(timeout));
        }
        operator
    }

    /// Returns the name and the arguments of the event to send.
    fn event(&self, socket: &Socket) -> Result<(&str, RawArgs), Failed> {
        let name = self.event.as_deref().ok_or("no event is named")?;
        let mut args = RawArgs::builder(socket.namespace().encoding());
        for arg in &self.args {
            args.append(arg.args())?;
        }
        Ok((name, args.finish()))
    }

    async fn run(&self, socket: &Socket, logs: &Logs, name: &NodeName, seen: &Seen) -> Answer {
        let namespace = socket.namespace();
        match self.op.as_str() {
            "emit" => {
                let (event, args) = self.event(socket)?;
                if self.from == From::Myself {
                    let emitter = socket.compress(self.compress.unwrap_or(true));
                    let emitter = if self.volatile { emitter.volatile() } else { emitter };
                    emitter.emit(event, args)?;
                } else {
                    self.select(socket).emit(event, args)?;
                }
            }
            "emitWithAck" => return self.emit_with_ack(socket).await,
            "join" => socket.join(self.rooms.clone()),
            "leave" => socket.leave(self.rooms.clone()),
            "rooms" => return to_value(&sorted(socket.rooms().iter().map(ToString::to_string))),
            "fetchSockets" => return self.fetch_sockets(socket).await,
            "socketsJoin" => self.select(socket).sockets_join(self.rooms.clone())?,
            "socketsLeave" => self.select(socket).sockets_leave(self.rooms.clone())?,
            "setData" => socket.set_data(&self.data)?,
            "handshake" => return Ok(handshake(socket)),
            "id" => {
                let transport = socket.transport().map(|transport| transport.as_str());
                return to_value(&json!({
                    "id": &*socket.client_id(), "nsp": &**namespace.name(), "recovered": socket.recovered(), "node": name.0, "transport": transport,
                }));
            }
            "serverSideEmit" => {
                let (event, args) = self.event(socket)?;
                namespace.server_side_emit(event, args)?;
            }
            "serverSideEmitWithAck" => {
                let (event, args) = self.event(socket)?;
                let first = |args: Vec<RawArgs>| Value::Array(args.iter().map(first_arg).collect());
                return match namespace.server_side_emit_with_ack(event, args).await {
                    Ok(responses) => Ok(first(responses)),
                    Err(error) => Err(Failed { error: error.to_string(), value: Some(first(error.responses)) }),
                };
            }
            "localRooms" => {
                let rooms: BTreeMap<_, _> =
                    namespace.local_rooms().await.into_iter().map(|(room, size)| (room.to_string(), size)).collect();
                return to_value(&rooms);
            }
            "serverCount" => {
                let server = namespace.server().ok_or("no server")?;
                return to_value(&server.server_count().await);
            }
            "log" => return to_value(&*logs.of(namespace).entries()),
            "clearLog" => *logs.of(namespace).entries() = Default::default(),
            "seen" => return to_value(&seen.get()),
            _ => return Err("unknown op".into()),
        }
        Ok(Value::Null)
    }

    async fn emit_with_ack(&self, socket: &Socket) -> Answer {
        let (event, args) = self.event(socket)?;
        if self.from == From::Myself {
            let answer = match self.timeout {
                Some(timeout) => socket.timeout(Duration::from_millis(timeout)).emit_with_ack(event, args).await,
                None => socket.emit_with_ack(event, args).await,
            };
            return Ok(first_arg(&answer?));
        }
        let values = |replies: &[sociable::AckReply]| Value::Array(replies.iter().map(|reply| first_arg(&reply.args)).collect());
        match self.select(socket).emit_with_ack(event, args).await {
            Ok(replies) => Ok(values(&replies)),
            Err(error) => {
                // In the contract of the suites, a client that left counts as one that did not answer in time.
                let text = if error.reason == AckError::Disconnected { AckError::Timeout.to_string() } else { error.to_string() };
                Err(Failed { error: text, value: Some(values(&error.replies)) })
            }
        }
    }

    async fn fetch_sockets(&self, socket: &Socket) -> Answer {
        let mut sockets = self.select(socket).fetch_sockets().await?;
        sockets.sort_by_key(|socket| socket.id());
        let list = sockets.iter().map(|socket| {
            let rooms = sorted(socket.rooms().iter().map(ToString::to_string));
            let query = socket.query().map(|(name, value)| (name.into_owned(), Value::from(value.into_owned()))).collect();
            Ok(object([
                ("id", socket.id().as_str().into()),
                ("rooms", to_value(&rooms)?),
                ("data", socket.data().clone()),
                ("auth", socket.auth().clone()),
                ("query", Value::Object(query)),
            ]))
        });
        Ok(Value::Array(list.collect::<Result<_, Failed>>()?))
    }
}

fn handshake(socket: &Socket) -> Value {
    let handshake: &Handshake = socket.handshake();
    let texts = |pairs: Vec<(String, String)>| Value::Object(pairs.into_iter().map(|(name, value)| (name, value.into())).collect());
    let query = handshake.query().map(|(name, value)| (name.into_owned(), value.into_owned())).collect();
    let headers = handshake.headers().map(|(name, value)| (name.to_owned(), value.to_owned())).collect();
    let address = handshake.peer_addr().map(|peer| peer.ip().to_string()).unwrap_or_default();
    object([
        ("auth", socket.auth().unwrap_or_default()),
        ("query", texts(query)),
        ("headers", texts(headers)),
        ("url", handshake.url().into()),
        ("address", address.into()),
        ("secure", handshake.secure().into()),
        ("xdomain", handshake.xdomain().into()),
        ("issued", handshake.issued().into()),
    ])
}

fn object<const N: usize>(entries: [(&str, Value); N]) -> Value {
    Value::Object(entries.into_iter().map(|(key, value)| (key.to_owned(), value)).collect())
}

fn first_arg(args: &RawArgs) -> Value {
    args.decode::<Option<Value>>(0).ok().flatten().unwrap_or_default()
}

fn sorted(texts: impl Iterator<Item = String>) -> Vec<String> {
    let mut texts: Vec<_> = texts.collect();
    texts.sort();
    texts
}

fn to_value<T: serde::Serialize + ?Sized>(value: &T) -> Answer {
    Ok(serde_json::to_value(value)?.into())
}
