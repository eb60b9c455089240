//! The handlers and listeners of one socket.

use std::sync::Arc;

use bytestring::ByteString;

use crate::handler::{self, ConnectContext, DisconnectContext, EventContext, Handler};
use crate::socket::{Socket, SocketError};

/// Handlers of this socket alone. A call on another thread than the socket's own takes effect soon.
impl Socket {
    /// Handles an event of this client; see [`Namespace::on`](crate::Namespace::on). A call on another thread than the socket's own takes effect soon.
    pub fn on<Taken>(&self, event: &str, handler: impl Handler<EventContext, Taken>) {
        let (event, handler) = (ByteString::from(event), handler::erase(handler));
        self.run_on_owner(0, move |socket| socket.configure(|own| own.on(&event, handler)));
    }

    /// Handles the next event of this name, after the handlers of [`on`](Self::on).
    ///
    /// An event that middleware refuses does not count. One whose arguments do not fit does.
    ///
    /// ```
    /// use sociable::{Data, Server, Socket};
    ///
    /// let io = Server::builder().build()?;
    /// io.on_connect(async |socket: Socket| {
    ///     socket.once("choice", async |socket: Socket, Data(color): Data<String>| socket.join(color));
    ///     socket.emit("choose", &["red", "blue"]).ok();
    /// });
    /// # Ok::<(), sociable::ConfigError>(())
    /// ```
    pub fn once<Taken>(&self, event: &str, handler: impl Handler<EventContext, Taken>) {
        let (event, handler) = (ByteString::from(event), handler::erase(handler));
        self.run_on_owner(0, move |socket| socket.configure(|own| own.once(&event, handler)));
    }

    /// Removes the handlers of an event that were added to this socket, and those of [`Namespace::once`](crate::Namespace::once) for it.
    pub fn off(&self, event: &str) {
        let event = ByteString::from(event);
        self.run_on_owner(0, move |socket| socket.configure(|own| (own.events.remove(&event), own.once.remove(&event))));
    }

    /// Removes all handlers, listeners and middleware that were added to this socket.
    ///
    /// Those of its namespace stay, except the ones of [`Namespace::once`](crate::Namespace::once).
    pub fn off_all(&self) {
        self.run_on_owner(0, move |socket| socket.configure(std::mem::take));
    }

    /// Handles this socket's connection, after it was confirmed to the client and after the handlers of [`Namespace::on_connect`](crate::Namespace::on_connect).
    ///
    /// Middleware adds such a handler for work that has to wait until the socket is let in. Afterwards this does nothing.
    ///
    /// ```
    /// use sociable::{Server, Socket};
    ///
    /// let io = Server::builder().build()?;
    /// io.middleware(async |socket: Socket| {
    ///     let greeting = format!("hello, {}", socket.auth::<String>()?);
    ///     socket.on_connect(move |socket: Socket| std::future::ready(drop(socket.emit("greeting", &greeting))));
    ///     Ok::<_, sociable::Failure>(())
    /// });
    /// # Ok::<(), sociable::ConfigError>(())
    /// ```
    pub fn on_connect<Taken>(&self, handler: impl Handler<ConnectContext, Taken>) {
        let handler = handler::erase(handler);
        self.run_on_owner(0, move |socket| {
            if !socket.shared.has_been_let_in() {
                socket.configure(|own| own.connect.push(handler));
            }
        });
    }

    /// Handles this socket's departure before it leaves its rooms; see [`Namespace::on_disconnecting`](crate::Namespace::on_disconnecting).
    pub fn on_disconnecting<Taken>(&self, handler: impl Handler<DisconnectContext, Taken>) {
        let handler = handler::erase(handler);
        self.run_on_owner(0, move |socket| socket.configure(|own| own.disconnecting.push(handler)));
    }

    /// Handles this socket's departure after it has left.
    pub fn on_disconnect<Taken>(&self, handler: impl Handler<DisconnectContext, Taken>) {
        let handler = handler::erase(handler);
        self.run_on_owner(0, move |socket| socket.configure(|own| own.disconnect.push(handler)));
    }

    /// Runs `middleware` for each event of this client; see [`Namespace::event_middleware`](crate::Namespace::event_middleware). The JavaScript server calls this `use`.
    pub fn middleware<Taken>(&self, middleware: impl Handler<EventContext, Taken>) {
        let middleware = handler::erase(middleware);
        self.run_on_owner(0, move |socket| socket.configure(|own| own.event_middleware.push(middleware)));
    }

    /// Calls `listener` with every event of this client, before middleware and handlers.
    pub fn on_any(&self, listener: impl Fn(&EventContext) + Send + Sync + 'static) {
        self.run_on_owner(0, move |socket| socket.configure(|own| own.any.push(Arc::new(listener))));
    }

    /// Adds a listener as [`on_any`](Self::on_any) does, but before this socket's earlier ones.
    pub fn prepend_any(&self, listener: impl Fn(&EventContext) + Send + Sync + 'static) {
        self.run_on_owner(0, move |socket| socket.configure(|own| own.any.insert(0, Arc::new(listener))));
    }

    /// Removes the listeners that were added by [`on_any`](Self::on_any) and [`prepend_any`](Self::prepend_any).
    pub fn off_any(&self) {
        self.run_on_owner(0, move |socket| socket.configure(|own| std::mem::take(&mut own.any)));
    }

    /// Calls `listener` with every event sent to this client, broadcasts included. Acknowledgements are not events.
    pub fn on_any_outgoing(&self, listener: impl Fn(&EventContext) + Send + Sync + 'static) {
        self.run_on_owner(0, move |socket| socket.configure(|own| own.any_outgoing.push(Arc::new(listener))));
    }

    /// Adds a listener as [`on_any_outgoing`](Self::on_any_outgoing) does, but before this socket's earlier ones.
    pub fn prepend_any_outgoing(&self, listener: impl Fn(&EventContext) + Send + Sync + 'static) {
        self.run_on_owner(0, move |socket| socket.configure(|own| own.any_outgoing.insert(0, Arc::new(listener))));
    }

    /// Removes the listeners that were added by [`on_any_outgoing`](Self::on_any_outgoing) and [`prepend_any_outgoing`](Self::prepend_any_outgoing).
    pub fn off_any_outgoing(&self) {
        self.run_on_owner(0, move |socket| socket.configure(|own| std::mem::take(&mut own.any_outgoing)));
    }

    /// Calls `listener` with every error of this socket.
    pub fn on_error(&self, listener: impl Fn(&Socket, &SocketError) + Send + Sync + 'static) {
        self.run_on_owner(0, move |socket| socket.configure(|own| own.errors.push(Arc::new(listener))));
    }
}
