//! A Socket.IO server for actix-web, alone or as a cluster over NATS.
//!
//! Sockets, rooms and namespaces are actors. The Socket.IO clients of any language connect unchanged.
//!
//! ```no_run
//! use actix_web::App;
//! use sociable::{Ack, Args, Data, Server, Socket};
//!
//! #[actix_web::main]
//! async fn main() -> Result<(), Box<dyn std::error::Error>> {
//!     let io = Server::builder().build()?;
//!     io.on("join", async |socket: Socket, Data(room): Data<String>, ack: Ack| {
//!         socket.join(room);
//!         ack.send(()).ok();
//!     });
//!     io.on("say", async |socket: Socket, Args((room, text)): Args<(String, String)>| {
//!         socket.to(room).emit("said", &text).ok();
//!     });
//!
//!     let service = io.service();
//!     let app = move || App::new().service(service.clone());
//!     io.serve(app).bind("127.0.0.1:3000")?.run().await?;
//!     Ok(())
//! }
//! ```
//!
//! Start with [`Server::builder`], [`Server::on`](Namespace::on) and [`Socket`]. [`handler`] lists the arguments that a handler can take. The repository has a
//! guide for each concept in `docs/guide`.
//!
//! # Layout of the source
//!
//! Below lies `sociable-engine`: sessions, transports, HTTP and worker threads. This crate follows a packet inwards:
//!
//! * `connection.rs`: the sockets of a session, and the packets between.
//! * `thread/`: the state of one worker thread: its sockets, its namespaces, and the rooms with their members.
//! * `handler/`: the handlers of applications, how they run, and where they are registered.
//! * `socket.rs`, `socket_listeners.rs`, `socket_session.rs`, `socket_values.rs`, `namespace.rs`, `parent_namespace.rs`, `server.rs`, `builder.rs`,
//!   `broadcast.rs`, `ack.rs`, `emit.rs`, `remote_socket.rs`: the public API. `reason.rs`: the table of reasons for which sockets leave.
//! * `server_state.rs`, `socket_state.rs`, `joined_rooms.rs`: the state that threads share. `namespace_limits.rs`: the limits on namespaces that
//!   clients create. `client_files.rs`: the files of the official client.
//! * `cluster/`: the operations across threads and nodes. `recovery/`: the return of disconnected clients.
//! * `stats.rs`, `prometheus.rs`, `metric_family.rs`, `actors.rs`, `trace.rs`, `spans.rs`: counters, metrics, the report on actors, logs, and spans.
//! * `admin/`: the server side of the admin UI (feature `admin`).
//! * `testing/`: a server and a client for the tests of applications (feature `testing`).
//!
//! # Features
//!
//! | feature | default | |
//! |---|---|---|
//! | `admin` | no | `Server::admin`: the server side of the Socket.IO admin UI. |
//! | `compression` | yes | Compressed responses: gzip, deflate, and Brotli for the files of the client. |
//! | `metrics` | yes | `Server::metrics` and `Server::add_metrics`: counters and latencies as text for Prometheus. |
//! | `nats` | yes | `NatsAdapter`: many nodes over NATS are one server. |
//! | `rustls` | yes | `Serve::bind_rustls`: serving with TLS. |
//! | `testing` | no | `testing`: a server and a client for the tests of applications. |
//!
//! # Panics
//!
//! A panic ends its handler and nothing else, unless the program is built with `panic = "abort"`.

// Documentation on docs.rs shows the feature that an item needs.
#![cfg_attr(docsrs, feature(doc_cfg))]

mod ack;
mod actors;
#[cfg(feature = "admin")]
mod admin;
mod broadcast;
mod builder;
mod client_files;
mod cluster;
mod connection;
mod emit;
pub mod handler;
mod joined_rooms;
#[cfg(feature = "metrics")]
mod metric_family;
mod namespace;
mod namespace_limits;
mod parent_namespace;
#[cfg(feature = "metrics")]
mod prometheus;
mod reason;
mod recovery;
mod remote_socket;
mod server;
mod server_state;
mod socket;
mod socket_listeners;
mod socket_session;
mod socket_state;
mod socket_values;
mod spans;
mod stats;
#[cfg(feature = "testing")]
pub mod testing;
mod thread;
mod trace;

pub use sociable_adapter::{self as adapter, Member, Room};

#[cfg(feature = "nats")]
pub use sociable_adapter::{JetStreamOptions, NatsAdapter, NatsAuth, NatsError, NatsOptions, NatsStats};
/// The Engine.IO layer, which also works alone: sessions with messages, without namespaces.
pub use sociable_engine as engine;
pub use sociable_engine::{
    CloseReason, ConfigError, ConnectionError, Cookie, Cors, EngineService, EngineStats, ErrorCode, Handshake, PerMessageDeflate, Refusal,
    SendError, Serve, Session, SessionEvent, Transport, on_connect,
};
/// The encoded arguments of an event or acknowledgement, as they were received.
pub use sociable_protocol::Args as RawArgs;
pub use sociable_protocol::{self as protocol, Health, Id, JsonParser, MsgPackParser, NodeTag, Parser, TraceContext, Value};

pub use self::ack::{Ack, AckError, AckReply, BroadcastAckError, PendingAck};
pub use self::actors::{ActorDeath, ActorKindReport, Actors, NamespaceActors, WorkerActors};
#[cfg(feature = "admin")]
pub use self::admin::{AdminMode, AdminOptions, AdminUsers};
pub use self::broadcast::{BroadcastOperator, IntoRooms};
pub use self::builder::ServerBuilder;
pub use self::cluster::questions::ServerAckError;
pub use self::emit::{EmitArgs, EmitError};
pub use self::handler::registry::RoomEvent;
pub use self::handler::{Args, Attached, Auth, Data, EventName, Extract, ExtractError, Failure, Handler, State, Valid, Validate};
#[cfg(feature = "metrics")]
pub use self::metric_family::MetricFamily;
pub use self::namespace::Namespace;
pub use self::parent_namespace::{ParentNamespace, ParentOperator};
#[cfg(feature = "metrics")]
pub use self::prometheus::METRICS_TYPE;
pub use self::reason::DisconnectReason;
pub use self::recovery::options::Recovery;
pub use self::remote_socket::{FetchError, RemoteSocket};
pub use self::server::Server;
pub use self::socket::{Socket, SocketEmitter, SocketError};
pub use self::spans::TracePropagator;
pub use self::stats::Stats;
#[cfg(feature = "metrics")]
pub use sociable_metrics::MetricsFormat;

/// The examples of the README and the guides, compiled and run as doctests.
#[cfg(doctest)]
mod guides {
    macro_rules! pages {
        ($($name:ident = $path:literal,)*) => { $(#[doc = include_str!($path)] struct $name;)* };
    }
    pages! {
        Readme = "../../README.md",
        Acks = "../../docs/guide/acks.md",
        Cluster = "../../docs/guide/cluster.md",
        Embedding = "../../docs/guide/embedding.md",
        Errors = "../../docs/guide/errors.md",
        FromJavascript = "../../docs/guide/from-javascript.md",
        Middlewares = "../../docs/guide/middlewares.md",
        Namespaces = "../../docs/guide/namespaces.md",
        Recovery = "../../docs/guide/recovery.md",
        Rooms = "../../docs/guide/rooms.md",
        Security = "../../docs/guide/security.md",
    }
    #[cfg(feature = "admin")]
    pages! {
        AdminUi = "../../docs/guide/admin-ui.md",
    }
    #[cfg(feature = "metrics")]
    pages! {
        Metrics = "../../docs/guide/metrics.md",
    }
    #[cfg(feature = "testing")]
    pages! {
        FromSocketioxide = "../../docs/guide/from-socketioxide.md",
        Testing = "../../docs/guide/testing.md",
    }
}
