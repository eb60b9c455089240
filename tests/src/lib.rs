//! The tools of all tests: servers in this process, one client, and waiting for outcomes.
//!
//! * `node.rs`: starts a server, the raw way or as a plain `HttpServer`.
//! * `nats.rs`: starts real NATS servers.
//! * `engines.rs`: an Engine.IO server that echoes and notes how its sessions end.
//! * `client.rs`: the Socket.IO client, over polling or WebSocket, of Engine.IO 4 and 3. `packet.rs`: builders of
//!   packets, also for comparisons: `client.packet().await == event("news", 1)`.
//! * `polling.rs`, `websocket.rs`: its transports, for tests of Engine.IO. `deflate.rs`: compressed messages. `http.rs`: the raw connection, for tests of the bytes themselves.
//! * `door.rs`: a target of a balancer's probes. `folder.rs`: files of a test. `metrics.rs`: samples of a server's metrics.
//! * `patience.rs`: the only clock of the tests. Nothing sleeps for a guessed time; nothing asserts how long something took.
//!
//! The tests are chapters of few programs, because each program is linked separately:
//!
//! * `engine`: Engine.IO. `sockets`: Socket.IO on one node. `hostile`: attacks. `embedding`: the library in an application.
//! * `gateway`: the API for backends. `cluster`: several nodes over NATS. `recovery`: clients that return.
//! * `balancer_sources`, `recovery_memory`, `standstill`: tests that need a process of their own.
#![allow(
    clippy::unwrap_used,
    clippy::missing_panics_doc,
    missing_docs,
    reason = "a helper that fails fails its test, and tests read well without"
)]

mod client;
mod deflate;
mod door;
mod engines;
mod folder;
mod http;
mod metrics;
mod nats;
mod node;
mod packet;
mod patience;
mod polling;
mod websocket;

pub use self::client::{Client, Message, Revision};
pub use self::deflate::Deflating;
pub use self::door::Door;
pub use self::engines::{Engines, note};
pub use self::folder::Folder;
pub use self::http::{Connection, Response, get, post, request, upgrade};
pub use self::metrics::sample_value;
pub use self::nats::{Nats, deployed_permissions};
pub use self::node::{Node, Serves, Tell};
pub use self::packet::{Kind, Packet, ack, attachment, connect, connect_error, disconnect, event, message};
pub use self::patience::{eventually, eventually_async, patience, within};
pub use self::polling::{Polling, packets};
pub use self::websocket::{Frame, Io, WebSocket, masked, upgrade_request};
