//! The operations: what a caller asks for, done on the cluster.

use std::time::Duration;

use sociable::{AckError, BroadcastOperator, EmitError, Namespace, RawArgs, RemoteSocket, Value};

use super::Api;
use super::keys::Key;
use super::limits::Limits;
use super::model::{
    Answer, Answers, Count, DEFAULT_LIMIT, DEFAULT_TIMEOUT_MS, Disconnect, Done, Emit, EmitWithAck, Emitted, Join, Leave, MissingAnswers,
    MissingNodes, NodeList, Operation, Outcome, RoomList, RoomReport, Rooms, SocketCount, SocketList, SocketReport, Sockets,
};
use super::peers::MAX_ROOMS;
use super::problem::{Problem, ProblemKind};
use super::repetition::Effects;
use super::routes::Route;
use crate::emit::EmitEvent;
use crate::json::Json;

/// The time after which an overloaded node may take an operation.
const BUSY: Duration = Duration::from_secs(1);

/// The time after which other nodes or JetStream may be back.
const AWAY: Duration = Duration::from_secs(5);

impl Operation {
    /// Returns the name.
    pub fn route(&self) -> Route {
        match self {
            Self::Emit(_) => Route::Emit,
            Self::EmitWithAck(_) => Route::EmitWithAck,
            Self::Join(_) => Route::Join,
            Self::Leave(_) => Route::Leave,
            Self::Disconnect(_) => Route::Disconnect,
            Self::Sockets(_) => Route::Sockets,
            Self::Rooms(_) => Route::Rooms,
            Self::Count(_) => Route::Count,
            Self::Info(_) => Route::Info,
        }
    }
}

/// The sockets that an operation is about.
struct Selection<'a> {
    namespace: &'a str,
    rooms: &'a [String],
    except: &'a [String],
}

impl Selection<'_> {
    /// Checks scope and limits. Returns the namespace.
    fn namespace(&self, api: &Api, key: &Key) -> Result<Namespace, Problem> {
        let namespace = namespace(self.namespace, api, key)?;
        key.scope().check_rooms(Some(self.rooms).filter(|rooms| !rooms.is_empty()), "/rooms")?;
        check_rooms(self.rooms, "/rooms", api.limits())?;
        check_rooms(self.except, "/except", api.limits())?;
        Ok(namespace)
    }

    fn operator(&self, api: &Api, key: &Key) -> Result<BroadcastOperator, Problem> {
        Ok(self.namespace(api, key)?.to(self.rooms).except(self.except))
    }
}

/// Returns the namespace of a request, if the key may use it.
fn namespace(name: &str, api: &Api, key: &Key) -> Result<Namespace, Problem> {
    let slash = if name.starts_with('/') { "" } else { "/" };
    let name = format!("{slash}{name}");
    key.scope().check_namespace(&name).map_err(|problem| problem.at("/namespace"))?;
    api.server().find(&name).ok_or_else(|| {
        let detail = "no namespace has this name: check it, or define the namespace on the nodes";
        Problem::new(ProblemKind::NotFound, detail).at("/namespace")
    })
}

macro_rules! selection {
    ($request:expr) => {
        Selection { namespace: &$request.namespace, rooms: &$request.rooms, except: &$request.except }
    };
}

impl Api {
    /// Performs an operation for the owner of a key.
    pub(crate) async fn perform(&self, key: &Key, operation: Operation, effects: &mut Effects) -> Result<Outcome, Problem> {
        key.scope().check_operation(operation.route())?;
        match operation {
            Operation::Emit(request) => self.emit(key, request, effects).await.map(Outcome::Emitted),
            Operation::EmitWithAck(request) => self.emit_with_ack(key, request, effects).await.map(Outcome::Answers),
            Operation::Join(request) => self.join(key, &request, effects).map(Outcome::Done),
            Operation::Leave(request) => self.leave(key, &request, effects).map(Outcome::Done),
            Operation::Disconnect(request) => self.disconnect(key, &request, effects).map(Outcome::Done),
            Operation::Sockets(request) => self.sockets(key, &request).await.map(Outcome::Sockets),
            Operation::Rooms(request) => self.rooms(key, &request).await.map(Outcome::Rooms),
            Operation::Count(request) => self.count_sockets(key, &request).await.map(Outcome::Count),
            Operation::Info(_) => Ok(Outcome::Info(self.info().await)),
        }
    }

    async fn emit(&self, key: &Key, request: Emit, effects: &mut Effects) -> Result<Emitted, Problem> {
        let namespace = selection!(request).namespace(self, key)?;
        check_args(&request.args, self.limits())?;
        let durable = request.durable;
        if durable {
            self.check_durability(request.volatile)?;
        }
        let event = EmitEvent::from(request);
        let args = event.args(&namespace).map_err(|error| not_sent(&error))?;
        effects.begin();
        event.operator(&namespace).emit(&event.event, args).map_err(|error| not_sent(&error))?;
        if durable {
            // The event was given to this node's own sockets already.
            self.server().flushed().await.map_err(|error| away(format!("the event was sent, but not persisted: {error}")))?;
        }
        Ok(Emitted { durable, idempotency: effects.reach() })
    }

    /// Refuses a durable event that cannot be persisted.
    fn check_durability(&self, volatile: bool) -> Result<(), Problem> {
        if volatile {
            let detail = "an event cannot be `volatile` and `durable`: leave one out";
            return Err(Problem::new(ProblemKind::Invalid, detail).at("/durable"));
        }
        if !self.server().shares_history() {
            let detail = "the cluster has no JetStream: leave `durable` out, or start the nodes with JetStream and recovery";
            return Err(Problem::new(ProblemKind::DurabilityUnavailable, detail).at("/durable"));
        }
        if !self.server().is_keeping() {
            return Err(away("JetStream refuses to persist events: the event was not sent"));
        }
        Ok(())
    }

    async fn emit_with_ack(&self, key: &Key, request: EmitWithAck, effects: &mut Effects) -> Result<Answers, Problem> {
        let namespace = selection!(request).namespace(self, key)?;
        check_args(&request.args, self.limits())?;
        let timeout = ack_timeout(&request, self.limits())?;
        let event = EmitEvent::from(request);
        let args = event.args(&namespace).map_err(|error| not_sent(&error))?;
        effects.begin();
        match event.operator(&namespace).timeout(timeout).emit_with_ack(&event.event, args).await {
            Ok(replies) => Ok(answers(replies, MissingAnswers::default(), false)),
            Err(error) => {
                let sockets = error.missing.iter().map(ToString::to_string).collect();
                let missing = MissingAnswers { sockets, nodes: error.missing_nodes };
                match error.reason {
                    AckError::Timeout => Ok(answers(error.replies, missing, true)),
                    // The sockets of this node were asked.
                    AckError::Emit(EmitError::Adapter(_)) if !missing.nodes.is_empty() => Ok(answers(error.replies, missing, false)),
                    AckError::Emit(cause) => Err(not_sent(&cause)),
                    _ => Ok(answers(error.replies, missing, false)),
                }
            }
        }
    }

    fn join(&self, key: &Key, request: &Join, effects: &mut Effects) -> Result<Done, Problem> {
        let sockets = selection!(request).operator(self, key)?;
        self.check_changed(key, &request.join, "/join")?;
        effects.begin();
        sockets.sockets_join(&request.join[..]).map_err(|error| not_sent(&error))?;
        Ok(Done {})
    }

    fn leave(&self, key: &Key, request: &Leave, effects: &mut Effects) -> Result<Done, Problem> {
        let sockets = selection!(request).operator(self, key)?;
        self.check_changed(key, &request.leave, "/leave")?;
        effects.begin();
        sockets.sockets_leave(&request.leave[..]).map_err(|error| not_sent(&error))?;
        Ok(Done {})
    }

    /// Checks the rooms that sockets join or leave.
    fn check_changed(&self, key: &Key, rooms: &[String], pointer: &'static str) -> Result<(), Problem> {
        key.scope().check_rooms(Some(rooms), pointer)?;
        check_rooms(rooms, pointer, self.limits())
    }

    fn disconnect(&self, key: &Key, request: &Disconnect, effects: &mut Effects) -> Result<Done, Problem> {
        let sockets = selection!(request).operator(self, key)?;
        effects.begin();
        sockets.disconnect_sockets(request.close).map_err(|error| not_sent(&error))?;
        Ok(Done {})
    }

    async fn sockets(&self, key: &Key, request: &Sockets) -> Result<SocketList, Problem> {
        let sockets = selection!(request).operator(self, key)?;
        let limit = limit(request.limit, self.limits().max_sockets)?;
        let (found, nodes) = match sockets.fetch_sockets().await {
            Ok(sockets) => (sockets, vec![]),
            Err(error) => match error.error {
                Some(cause) => return Err(not_sent(&cause)),
                None => (error.sockets, error.missing),
            },
        };
        let truncated = found.len() > limit;
        let sockets = found.iter().take(limit).map(|socket| report(socket, request.auth)).collect();
        Ok(SocketList { sockets, missing: MissingNodes { nodes }, truncated })
    }

    async fn rooms(&self, key: &Key, request: &Rooms) -> Result<RoomList, Problem> {
        let namespace = namespace(&request.namespace, self, key)?;
        key.scope().check_prefix(&request.prefix)?;
        let limit = limit(request.limit, MAX_ROOMS)?;
        let found = self.peers().rooms(namespace.name(), &request.prefix, limit).await;
        let rooms = found.rooms.into_iter().map(|(room, sockets)| RoomReport { room, sockets }).collect();
        Ok(RoomList { rooms, missing: MissingNodes { nodes: found.missing }, truncated: found.truncated })
    }

    async fn count_sockets(&self, key: &Key, request: &Count) -> Result<SocketCount, Problem> {
        let namespace = selection!(request).namespace(self, key)?;
        let found = self.peers().count(namespace.name(), &request.rooms, &request.except).await;
        Ok(SocketCount { sockets: found.sockets, missing: MissingNodes { nodes: found.missing } })
    }

    async fn info(&self) -> NodeList {
        let found = self.peers().info().await;
        NodeList { nodes: found.nodes, missing: MissingNodes { nodes: found.missing } }
    }
}

fn check_rooms(rooms: &[String], pointer: &str, limits: &Limits) -> Result<(), Problem> {
    too_many(rooms.len(), limits.max_rooms, "rooms", pointer)
}

fn check_args(args: &[Json], limits: &Limits) -> Result<(), Problem> {
    too_many(args.len(), limits.max_args, "arguments", "/args")
}

/// Returns the most things to list: those of the request, if the limit allows them.
fn limit(asked: Option<usize>, most: usize) -> Result<usize, Problem> {
    let limit = asked.unwrap_or(DEFAULT_LIMIT.min(most));
    if (1..=most).contains(&limit) {
        return Ok(limit);
    }
    Err(Problem::new(ProblemKind::Invalid, format!("wrong `limit`: use a number from 1 to {most}")).at("/limit"))
}

/// Refuses a list beyond a limit.
pub(crate) fn too_many(count: usize, most: usize, of: &str, pointer: &str) -> Result<(), Problem> {
    if count <= most {
        return Ok(());
    }
    Err(Problem::new(ProblemKind::Invalid, format!("{count} {of} are more than the limit: send at most {most}")).at(pointer))
}

/// Returns the deadline of acknowledgements, if it is within the limits.
pub(crate) fn ack_timeout(request: &EmitWithAck, limits: &Limits) -> Result<Duration, Problem> {
    let most = limits.max_ack_timeout;
    let timeout = request.timeout_ms.map_or(Duration::from_millis(DEFAULT_TIMEOUT_MS).min(most), Duration::from_millis);
    if timeout.is_zero() || timeout > most {
        let detail = format!("wrong `timeout_ms`: use a number from 1 to {}", most.as_millis());
        return Err(Problem::new(ProblemKind::Invalid, detail).at("/timeout_ms"));
    }
    Ok(timeout)
}

fn away(detail: impl Into<std::borrow::Cow<'static, str>>) -> Problem {
    Problem::new(ProblemKind::Unavailable, detail).retry_after(AWAY)
}

/// Returns the problem of an operation that was not sent, or not to all nodes.
fn not_sent(error: &EmitError) -> Problem {
    match error {
        EmitError::Reserved(_) => Problem::new(ProblemKind::Invalid, error.to_string()).at("/event"),
        EmitError::Encode(_) => Problem::new(ProblemKind::Invalid, error.to_string()).at("/args"),
        EmitError::Busy => Problem::new(ProblemKind::Unavailable, error.to_string()).retry_after(BUSY),
        _ => away(format!("other nodes were not reached: {error}")),
    }
}

fn answers(replies: Vec<sociable::AckReply>, missing: MissingAnswers, timed_out: bool) -> Answers {
    let answers = replies.into_iter().map(|reply| Answer { socket: reply.id.to_string(), args: json(&reply.args) }).collect();
    Answers { answers, missing, timed_out }
}

/// Returns arguments as values. An argument that cannot be decoded is null.
fn json(args: &RawArgs) -> Vec<Json> {
    (0..args.len()).map(|index| Json(args.decode::<Value>(index).unwrap_or_default())).collect()
}

fn report(socket: &RemoteSocket, with_auth: bool) -> SocketReport {
    SocketReport {
        id: socket.id().to_string(),
        rooms: socket.rooms().iter().map(ToString::to_string).collect(),
        data: Json(socket.data().clone()),
        auth: with_auth.then(|| Json(socket.auth().clone())),
        address: socket.address().to_owned(),
        issued: socket.issued(),
    }
}
