//! The values that an application keeps with a socket: data for the cluster, and attached values of this process.

use std::sync::Arc;

use serde::Serialize;
use serde::de::DeserializeOwned;
use sociable_protocol::{Args, Encoding};

use crate::socket::Socket;
use crate::thread::socket::LocalSocket;

/// Data and attached values.
impl Socket {
    /// Attaches data, which [`fetch_sockets`](crate::Namespace::fetch_sockets) returns on every node.
    ///
    /// # Errors
    ///
    /// The data cannot be encoded.
    pub fn set_data<T: Serialize + ?Sized>(&self, data: &T) -> Result<(), sociable_protocol::EncodeError> {
        let value = Args::encode(Encoding::MsgPack, data)?.decode(0).unwrap_or_default();
        self.0.set_data(value);
        if self.0.namespace.recoveries().is_some_and(|recoveries| recoveries.history.refresh_interval().is_some()) {
            self.run_on_owner(0, LocalSocket::changed);
        }
        Ok(())
    }

    /// Returns the attached data. `None` if there is none, or if it does not fit the type.
    pub fn data<T: DeserializeOwned>(&self) -> Option<T> {
        let value = self.0.data()?;
        T::deserialize(value).ok()
    }

    /// Attaches a value of this process, one of each type, and returns the one from before.
    ///
    /// The value is neither sent nor stored anywhere, so it may be a channel, a task or a connection. [`set_data`](Self::set_data) is for data that
    /// other nodes see. The value is dropped with the last handle of the socket, so it must not contain that socket. A recovered client is a new
    /// socket here, without the value. Handlers take it as [`Attached`](crate::Attached).
    ///
    /// ```
    /// use sociable::{Attached, Data, Server, Socket};
    /// use tokio::sync::mpsc;
    ///
    /// let io = Server::builder().build()?;
    /// io.on_connect(async |socket: Socket| {
    ///     let (sender, mut moves) = mpsc::channel::<String>(8);
    ///     socket.attach(sender);
    ///     while let Some(step) = moves.recv().await {
    ///         println!("{step}");
    ///     }
    /// });
    /// io.on("move", async |Attached(moves): Attached<mpsc::Sender<String>>, Data(step): Data<String>| moves.send(step).await);
    /// io.on_disconnect(async |socket: Socket| drop(socket.detach::<mpsc::Sender<String>>()));
    /// # Ok::<(), sociable::ConfigError>(())
    /// ```
    pub fn attach<T: Send + Sync + 'static>(&self, value: T) -> Option<Arc<T>> {
        self.0.attach(value)
    }

    /// Returns the [attached](Self::attach) value of a type.
    pub fn attached<T: Send + Sync + 'static>(&self) -> Option<Arc<T>> {
        self.0.attached()
    }

    /// Removes the [attached](Self::attach) value of a type, and returns it.
    pub fn detach<T: Send + Sync + 'static>(&self) -> Option<Arc<T>> {
        self.0.detach()
    }
}
