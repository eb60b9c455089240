//! A server and a client for tests of applications: they run in the test's own process, over a real connection.
//!
//! This module needs the feature `testing`:
//!
//! ```toml
//! [dev-dependencies]
//! sociable = { version = "0.1", features = ["testing"] }
//! tokio = { version = "1", features = ["macros", "rt"] }
//! ```
//!
//! ```
//! use sociable::testing::{TestError, TestServer};
//! use sociable::{Ack, Data, Server, Socket};
//!
//! fn server() -> Server {
//!     let io = Server::builder().build().unwrap();
//!     io.on("join", async |socket: Socket, Data(room): Data<String>, ack: Ack| {
//!         socket.to(room.as_str()).emit("joined", socket.id()).ok();
//!         socket.join(room);
//!         ack.send(()).ok();
//!     });
//!     io
//! }
//!
//! #[tokio::main(flavor = "current_thread")]
//! async fn main() -> Result<(), TestError> {
//!     let server = TestServer::start(&server())?;
//!     let (ada, bob) = (server.connect().await?, server.connect().await?);
//!     ada.emit_with_ack("join", "red").await?;
//!     bob.emit_with_ack("join", "red").await?;
//!     assert_eq!(ada.expect("joined").await?.data::<String>()?, bob.id());
//!     bob.sync().await?;
//!     assert!(bob.pending().is_empty(), "Bob hears nothing of his own coming");
//!     Ok(())
//! }
//! ```

mod client;
mod server;

use thiserror::Error;

pub use self::client::{LostClient, TestClient, TestClientBuilder, TestEvent};
pub use self::server::TestServer;

/// An error of a test client.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum TestError {
    /// The namespace refused the client.
    #[error("client refused: {message}")]
    Refused {
        /// The text of the refusal.
        message: String,
        /// The data of the refusal; null if there is none.
        data: serde_json::Value,
    },
    /// The server did not open the WebSocket.
    #[error("WebSocket not opened: status {status}: {body}")]
    Http {
        /// The status of the response.
        status: u16,
        /// The body of the response.
        body: String,
    },
    /// The deadline passed during a wait.
    #[error("timed out waiting for {what}: received {came:?}")]
    Timeout {
        /// The awaited event, in words.
        what: String,
        /// The names of the received events that were not read.
        came: Vec<String>,
    },
    /// The connection ended during a wait.
    #[error("connection ended while waiting for {what}: {reason}")]
    Disconnected {
        /// The awaited event, in words.
        what: String,
        /// The reason of the end.
        reason: String,
    },
    /// Arguments cannot be encoded, or do not fit the requested type.
    #[error("{0}")]
    Args(String),
    /// Arguments do not fit the requested type.
    #[error(transparent)]
    Decode(#[from] sociable_protocol::ArgsError),
    /// The server cannot be started or reached.
    #[error(transparent)]
    Io(#[from] std::io::Error),
}
