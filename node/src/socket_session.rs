//! The session below a socket, and the other sockets of its client.

use std::rc::Rc;

use sociable_engine::{Session, Transport};

use crate::socket::Socket;

/// The session.
impl Socket {
    /// Returns the session's current transport. `None` on other threads than the socket's own; its handlers all run there.
    pub fn transport(&self) -> Option<Transport> {
        self.here().map(|socket| socket.session.transport())
    }

    /// Returns the session below: the client's connection, with its id, transport, protocol and [events](Session::on_event).
    ///
    /// `None` on other threads than the socket's own, where its handlers all run; see [`with_session`](Self::with_session). The JavaScript server calls
    /// this `conn`. Messages that are sent to a session directly are no Socket.IO packets, and clients close on them.
    ///
    /// ```
    /// use sociable::{Server, SessionEvent, Socket};
    ///
    /// let io = Server::builder().build()?;
    /// io.on_connect(async |socket: Socket| {
    ///     let Some(session) = socket.session() else { return };
    ///     println!("{} by Engine.IO {}", session.transport().as_str(), session.protocol());
    ///     session.on_event(|_session, event| {
    ///         if let SessionEvent::Upgraded(transport) = event {
    ///             println!("now {}", transport.as_str());
    ///         }
    ///     });
    /// });
    /// # Ok::<(), sociable::ConfigError>(())
    /// ```
    pub fn session(&self) -> Option<Rc<Session>> {
        self.here().map(|socket| Rc::clone(&socket.session))
    }

    /// Acts on the session on its thread, at once or soon. Does nothing after the socket has left.
    pub fn with_session(&self, act: impl FnOnce(&Session) + Send + 'static) {
        self.run_on_owner(0, move |socket| act(&socket.session));
    }

    /// Returns the sockets of the same client in all its namespaces, this one included.
    ///
    /// Empty on other threads than the socket's own, and after the socket has left; its handlers all run on that thread.
    ///
    /// ```
    /// use sociable::{Server, Socket};
    ///
    /// let io = Server::builder().build()?;
    /// io.of("/admin").on_connect(async |socket: Socket| {
    ///     let main = socket.client_sockets().into_iter().find(|other| other.namespace().name() == "/");
    ///     println!("{:?} is {:?} in the main namespace", socket.id(), main.map(|main| main.id()));
    /// });
    /// # Ok::<(), sociable::ConfigError>(())
    /// ```
    pub fn client_sockets(&self) -> Vec<Socket> {
        self.here().map(|socket| socket.of_client()).unwrap_or_default()
    }
}
