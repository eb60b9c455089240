//! What the tests of the whole share: a server started in this process, clients that speak the protocol byte by byte, and waiting for
//! what is due.
//!
//! * `node.rs`: starts a server, the raw way or as a plain `HttpServer`.
//! * `nats.rs`: starts real NATS servers.
//! * `engines.rs`: an Engine.IO server that echoes and notes how its sessions end.
//! * `http.rs`, `websocket.rs`: HTTP/1.1 and WebSocket as bytes, with nothing done by itself.
//! * `folder.rs`: files of a test.
//! * `polling.rs`: an Engine.IO session by polling. `client.rs`: a Socket.IO client over either transport.
//! * `patience.rs`: the only clock of the tests. Nothing sleeps for a guessed time; nothing asserts how long something took.
#![allow(
    clippy::unwrap_used,
    clippy::missing_panics_doc,
    missing_docs,
    reason = "a helper that fails fails its test, and tests read well without"
)]

mod client;
mod engines;
mod folder;
mod http;
mod metrics;
mod nats;
mod node;
mod patience;
mod polling;
mod websocket;

pub use self::client::{Client, Message};
pub use self::engines::{Engines, note};
pub use self::folder::Folder;
pub use self::http::{Connection, Response, get, post, request};
pub use self::metrics::sample_value;
pub use self::nats::Nats;
pub use self::node::{Node, Serves, Tell};
pub use self::patience::{eventually, patience, within};
pub use self::polling::{Polling, packets};
pub use self::websocket::{Frame, Io, WebSocket, masked, upgrade_request};
