//! Sociable: a Socket.IO server for actix-web that is a cluster from the start.
//!
//! Sockets, rooms and namespaces are actors; clients connect unchanged, whatever language they are written in.
//!
//! ```no_run
//! use actix_web::App;
//! use sociable::{Ack, Data, Server, Socket};
//!
//! #[actix_web::main]
//! async fn main() -> Result<(), Box<dyn std::error::Error>> {
//!     let io = Server::builder().build()?;
//!     io.on("join", async |socket: Socket, Data(room): Data<String>, ack: Ack| {
//!         socket.join(room);
//!         ack.send(()).ok();
//!     });
//!     io.on("say", async |socket: Socket, sociable::Args((room, text)): sociable::Args<(String, String)>| {
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
//! # Layout
//!
//! In the order of a packet's way in, from the bottom to the top:
//!
//! * `serve/`: the server that hands WebSockets over as raw streams. `drain.rs`: how it lets go of its clients. `http/`: requests of Engine.IO, and their refusals.
//! * `transport/`: what carries a session: polling, a WebSocket, the upgrade from one to the other, the bridge in a plain `HttpServer`.
//! * `session.rs`, `outbox.rs`, `timers.rs`: one client's connection, whatever carries it. `engine.rs`: all of them. `memory.rs`: what they may take.
//! * `worker.rs`: one thread and its hub. `actor.rs`: actors and their supervision.
//! * `client.rs`, `sockets.rs`: the sockets of a session. `local.rs`: sockets and namespaces on their thread. `rooms.rs`: who is where. `joined.rs`: the rooms of one socket.
//! * `maps.rs`: hash maps, by who chooses their keys.
//! * `handler/`, `launch.rs`, `setup.rs`: users' handlers, how they run, and where they are kept.
//! * `socket.rs`, `namespace.rs`, `parent.rs`, `server.rs`, `operator.rs`, `ack.rs`: what users see.
//! * `delivery.rs`, `server_events.rs`: what crosses threads and nodes. `recovery.rs`: clients that come back.
//! * `trace.rs`: what is logged of each packet, room and message.
//! * `testing/`: a server and a client for the tests of applications (feature `testing`).
//!
//! # Panics
//!
//! A handler that panics ends; nobody else notices, unless the program is built with `panic = "abort"`.

mod ack;
mod actor;
mod client;
mod config;
mod cors;
mod delivery;
mod drain;
mod dynamic;
mod emit;
pub mod engine;
#[cfg(feature = "metrics")]
mod exporter;
pub mod handler;
mod handshake;
mod http;
mod joined;
mod launch;
mod local;
mod maps;
mod memory;
mod metrics;
mod namespace;
mod operator;
mod outbox;
mod parent;
mod reason;
mod recovery;
mod remote_socket;
mod rooms;
mod serve;
mod server;
mod server_events;
mod session;
mod setup;
mod socket;
mod sockets;
#[cfg(feature = "testing")]
pub mod testing;
mod timers;
mod trace;
mod transport;
mod worker;

pub use sociable_adapter::{self as adapter, Room};
#[cfg(feature = "nats")]
pub use sociable_adapter::{JetStreamOptions, NatsAdapter, NatsAuth, NatsError, NatsOptions, NatsStats};
/// The arguments of an event or acknowledgement, still encoded as they came.
pub use sociable_protocol::Args as RawArgs;
pub use sociable_protocol::{self as protocol, Health, Id, JsonParser, MsgPackParser, Parser, Value};

pub use self::ack::{Ack, AckError, AckReply, BroadcastAckError, PendingAck};
pub use self::config::{ConfigError, Cookie, Refusal, Transport};
pub use self::cors::Cors;
pub use self::emit::{EmitArgs, EmitError};
pub use self::engine::SendError;
#[cfg(feature = "metrics")]
pub use self::exporter::METRICS_TYPE;
pub use self::handler::{Args, Auth, Data, EventName, Extract, ExtractError, Failure, Handler, State, Valid, Validate};
pub use self::handshake::Handshake;
pub use self::http::{ConnectionError, EngineService, ErrorCode};
pub use self::metrics::Stats;
pub use self::namespace::Namespace;
pub use self::operator::{BroadcastOperator, IntoRooms};
pub use self::parent::{ParentNamespace, ParentOperator};
pub use self::reason::{CloseReason, DisconnectReason};
pub use self::recovery::Recovery;
pub use self::remote_socket::{FetchError, RemoteSocket};
pub use self::serve::Serve;
pub use self::server::{Server, ServerBuilder};
pub use self::server_events::ServerAckError;
pub use self::setup::RoomEvent;
pub use self::socket::{Socket, SocketEmitter, SocketError};
pub use self::transport::bridge::on_connect;

/// The code of the README and of the guides is compiled with the examples of this crate, and run where it can be.
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
