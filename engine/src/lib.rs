//! An Engine.IO server for actix-web: sessions over long-polling and WebSocket, spread over worker threads.
//!
//! Use it for your own protocol over Engine.IO clients. The items of [`layer`] support a larger protocol on top.
//!
//! # Layout
//!
//! From the bottom to the top, in the order in which a packet enters:
//!
//! * `serve/`: the server that hands WebSockets over as raw streams. `connections.rs`: the limit of connections. `drain.rs`: closing sessions before
//!   a stop.
//! * `http/`: requests of Engine.IO. `refusal.rs`, `connection_error.rs`: refusals by the application, and their reports. `handshake.rs`: the request
//!   that opened a session. `cors.rs`, `cookie.rs`.
//! * `transport/`: the carriers of a session: polling, a WebSocket, the upgrade between them, the bridge in a plain `HttpServer`.
//! * `session/`, `outbox.rs`, `timers.rs`: the connection of one client, on any transport. `memory.rs`: the memory budgets. `version.rs`,
//!   `reason.rs`.
//! * [`actor`], [`supervision`]: actors, and the consequences of their deaths.
//! * `worker.rs`, `inbox.rs`: one thread, and the calls of other threads. `owner.rs`: running work on the thread that owns it.
//! * `state.rs`: the state that threads share. `engine.rs`: the public API. `hooks.rs`: the layer above.
//! * `config.rs`, `options.rs`, `deflate.rs`: options, their checks and their setters. `counters.rs`, `trace.rs`: counters and log events.
//!
//! # Features
//!
//! | feature | default | |
//! |---|---|---|
//! | `compression` | yes | Compressed responses: gzip, deflate, and Brotli for files. |
//! | `rustls` | yes | `Serve::bind_rustls`: serving with TLS. |

// Documentation on docs.rs shows the feature that an item needs.
#![cfg_attr(docsrs, feature(doc_cfg))]

pub mod actor;
mod config;
mod connection_error;
mod connections;
mod cookie;
mod cors;
mod counters;
mod deflate;
mod drain;
mod engine;
mod handshake;
mod hooks;
mod http;
mod inbox;
mod memory;
mod options;
mod outbox;
mod owner;
mod reason;
mod refusal;
mod serve;
mod session;
mod state;
pub mod supervision;
mod timers;
mod trace;
mod transport;
mod version;
mod worker;

pub use self::config::ConfigError;
pub use self::connection_error::{ConnectionError, ErrorCode};
pub use self::cookie::Cookie;
pub use self::cors::Cors;
pub use self::counters::EngineStats;
pub use self::deflate::PerMessageDeflate;
pub use self::engine::{Engine, EngineBuilder};
pub use self::handshake::Handshake;
pub use self::http::{EngineRequest, EngineService};
pub use self::reason::CloseReason;
pub use self::refusal::Refusal;
pub use self::serve::Serve;
pub use self::session::{Connection, SendError, Session, SessionEvent};
pub use self::transport::Transport;
pub use self::transport::bridge::on_connect;

/// The interface of the engine for a layer on top of it.
///
/// Its items change with the needs of that layer.
pub mod layer {
    pub use actix_http::header::HeaderMap;

    pub use crate::config::Config;
    pub use crate::counters::{Count, Counters};
    pub use crate::hooks::LifecycleHooks;
    pub use crate::http::origin::Origins;
    pub use crate::http::{ServedFiles, ServedFilesError};
    pub use crate::memory::Memory;
    pub use crate::session::{Ending, Running, Waiting};
    pub use crate::state::{EngineState, Workers};
    pub use crate::timers::after;
    pub use crate::version::EngineVersion;
    pub use crate::worker::{Unreachable, Worker, WorkerHandle};
}
