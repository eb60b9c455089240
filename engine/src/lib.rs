//! An Engine.IO server for actix-web: sessions over long-polling and WebSocket, spread over worker threads.
//!
//! Use it for a protocol of your own over Engine.IO clients, or as the ground of a layer above: [`layer`] has what that needs.
//!
//! # Layout
//!
//! In the order of a packet's way in, from the bottom to the top:
//!
//! * `serve/`: the server that hands WebSockets over as raw streams. `connections.rs`: their number. `drain.rs`: closing sessions before a stop.
//! * `http/`: requests of Engine.IO. `refusal.rs`, `connection_error.rs`: refusals, as the application gives and sees them. `handshake.rs`: what is kept of
//!   the request that opened a session. `cors.rs`, `cookie.rs`.
//! * `transport/`: what carries a session: polling, a WebSocket, the upgrade from one to the other, the bridge in a plain `HttpServer`.
//! * `session/`, `outbox.rs`, `timers.rs`: one client's connection, whatever carries it. `memory.rs`: what all may take. `version.rs`, `reason.rs`.
//! * [`actor`], [`supervision`]: actors, and what follows from their deaths.
//! * `worker.rs`, `inbox.rs`: one thread, and the calls of other threads. `owner.rs`: running work on the thread that owns it.
//! * `state.rs`: what all threads share. `engine.rs`: the public face. `hooks.rs`: the layer above.
//! * `config.rs`, `options.rs`: options, their checks and their setters. `counters.rs`, `trace.rs`: what is counted and logged.
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
pub use self::engine::{Engine, EngineBuilder};
pub use self::handshake::Handshake;
pub use self::http::{EngineRequest, EngineService};
pub use self::reason::CloseReason;
pub use self::refusal::Refusal;
pub use self::serve::Serve;
pub use self::session::{Connection, SendError, Session};
pub use self::transport::Transport;
pub use self::transport::bridge::on_connect;

/// The inner face of the engine, for a layer that stands on it.
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
