//! A server and a client for the tests of applications: handlers are tried in the process that has them, over a real connection.
//!
//! It takes the feature `testing`:
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

/// What went wrong in a test.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum TestError {
    /// The namespace did not let the client in.
    #[error("not let in: {message}")]
    Refused {
        /// The text of the refusal.
        message: String,
        /// Its data; null if there is none.
        data: serde_json::Value,
    },
    /// The server did not open the WebSocket.
    #[error("the server answered {status}: {body}")]
    Http {
        /// The status of its response.
        status: u16,
        /// What it said.
        body: String,
    },
    /// What was waited for did not come in time.
    #[error("waited in vain for {what}; what came: {came:?}")]
    Timeout {
        /// What was waited for.
        what: String,
        /// The names of the events that came and were not taken.
        came: Vec<String>,
    },
    /// The connection ended while something was waited for.
    #[error("the connection ended ({reason}) while {what} was waited for")]
    Disconnected {
        /// What was waited for.
        what: String,
        /// Why it ended.
        reason: String,
    },
    /// Arguments can't be written, or don't fit the type that they are asked for.
    #[error("{0}")]
    Args(String),
    /// Arguments don't fit the type that they are asked for.
    #[error(transparent)]
    Decode(#[from] sociable_protocol::ArgsError),
    /// The server can't be started, or not be reached.
    #[error(transparent)]
    Io(#[from] std::io::Error),
}
