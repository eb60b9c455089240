//! Patterns of namespaces, and the namespaces that are created for them.

use std::fmt;
use std::sync::{Arc, Weak};

use bytestring::ByteString;
use futures_util::future::LocalBoxFuture;
use regex::Regex;
use sociable_protocol::Args;

use crate::broadcast::{BroadcastOperator, IntoRooms};
use crate::emit::{EmitArgs, EmitError};
use crate::handler::registry::{HandlerRegistry, listeners};
use crate::namespace::Namespace;
use crate::server_state::ServerState;

type Function = Arc<dyn Fn(ByteString, Args) -> LocalBoxFuture<'static, bool> + Send + Sync>;

/// The condition on the name of a namespace.
pub(crate) enum Matcher {
    Pattern(Regex),
    Function(Function),
}

/// All namespaces whose names match a pattern or satisfy a function.
///
/// Each takes over these handlers when it is created. Patterns are tried in the order in which they were added.
#[derive(Clone)]
pub struct ParentNamespace(Arc<Inner>);

struct Inner {
    server: Weak<ServerState>,
    matcher: Matcher,
    setup: HandlerRegistry,
}

impl fmt::Debug for ParentNamespace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let pattern: &dyn fmt::Debug = match &self.0.matcher {
            Matcher::Pattern(pattern) => pattern,
            Matcher::Function(_) => &"function",
        };
        f.debug_tuple("ParentNamespace").field(pattern).finish()
    }
}

impl ParentNamespace {
    pub(crate) fn new(server: &Weak<ServerState>, matcher: Matcher) -> Self {
        Self(Arc::new(Inner { server: Weak::clone(server), matcher, setup: HandlerRegistry::default() }))
    }

    listeners!();

    /// Returns the namespaces that exist on this node.
    pub fn children(&self) -> Vec<Namespace> {
        let Some(server) = self.0.server.upgrade() else { return vec![] };
        let namespaces = server.namespaces.read();
        namespaces.values().filter(|child| child.parent().is_some_and(|parent| Arc::ptr_eq(&parent.0, &self.0))).cloned().collect()
    }

    /// Selects the sockets of all namespaces that exist on this node.
    fn all(&self) -> ParentOperator {
        ParentOperator(self.children().into_iter().map(BroadcastOperator::new).collect())
    }

    /// Selects the sockets in these rooms, in all namespaces that exist on this node.
    pub fn to(&self, rooms: impl IntoRooms) -> ParentOperator {
        self.all().to(rooms)
    }

    /// Selects the sockets in these rooms, like [`to`](Self::to). Other languages call this `in`.
    pub fn within(&self, rooms: impl IntoRooms) -> ParentOperator {
        self.to(rooms)
    }

    /// Selects all sockets except those in these rooms, in all namespaces that exist on this node.
    pub fn except(&self, rooms: impl IntoRooms) -> ParentOperator {
        self.all().except(rooms)
    }

    /// Sends an event to all sockets of all namespaces that exist on this node.
    ///
    /// # Errors
    ///
    /// As [`Namespace::emit`], for the first namespace that fails. The others still get the event.
    pub fn emit(&self, event: &str, args: impl EmitArgs) -> Result<(), EmitError> {
        self.all().emit(event, args)
    }

    /// Selects the sockets of this node, in all namespaces.
    pub fn local(&self) -> ParentOperator {
        self.all().local()
    }

    /// Selects all sockets. The next event is dropped for clients that cannot take it at once.
    pub fn volatile(&self) -> ParentOperator {
        self.all().volatile()
    }

    /// Selects all sockets, and sets whether poll responses with the next event may be compressed.
    pub fn compress(&self, compress: bool) -> ParentOperator {
        self.all().compress(compress)
    }

    /// Sends a `message` event to all sockets of all namespaces that exist on this node.
    ///
    /// # Errors
    ///
    /// As [`emit`](Self::emit).
    pub fn send(&self, args: impl EmitArgs) -> Result<(), EmitError> {
        self.emit("message", args)
    }

    pub(crate) fn setup(&self) -> &HandlerRegistry {
        &self.0.setup
    }

    /// Returns the pattern, unless a function chooses.
    pub(crate) fn pattern(&self) -> Option<&str> {
        match &self.0.matcher {
            Matcher::Pattern(pattern) => Some(pattern.as_str()),
            Matcher::Function(_) => None,
        }
    }

    /// Returns whether the name alone decides that the namespace matches.
    pub(crate) fn matches_name(&self, name: &str) -> bool {
        matches!(&self.0.matcher, Matcher::Pattern(pattern) if pattern.is_match(name))
    }

    /// Returns whether a namespace of this name may be created for a client.
    pub(crate) fn may_match(&self, name: &str) -> bool {
        match &self.0.matcher {
            Matcher::Pattern(pattern) => pattern.is_match(name),
            Matcher::Function(_) => true,
        }
    }

    pub(crate) async fn matches(&self, name: &ByteString, auth: &Args) -> bool {
        match &self.0.matcher {
            Matcher::Pattern(pattern) => pattern.is_match(name),
            Matcher::Function(function) => function(name.clone(), auth.clone()).await,
        }
    }
}

/// A selection of sockets in all namespaces of a pattern; made by [`ParentNamespace::to`] and [`ParentNamespace::except`].
///
/// ```
/// # fn show(documents: sociable::ParentNamespace) -> Result<(), sociable::EmitError> {
/// documents.to("editors").except("muted").emit("saved", ())?;
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
#[must_use = "it does nothing by itself: call `emit`"]
pub struct ParentOperator(Vec<BroadcastOperator>);

impl ParentOperator {
    fn each(self, change: impl Fn(BroadcastOperator) -> BroadcastOperator) -> Self {
        Self(self.0.into_iter().map(change).collect())
    }

    /// Adds the sockets in these rooms.
    pub fn to(self, rooms: impl IntoRooms) -> Self {
        let rooms = rooms.into_rooms();
        self.each(|operator| operator.to(rooms.clone()))
    }

    /// Adds the sockets in these rooms, like [`to`](Self::to). Other languages call this `in`.
    pub fn within(self, rooms: impl IntoRooms) -> Self {
        self.to(rooms)
    }

    /// Excludes the sockets in these rooms.
    pub fn except(self, rooms: impl IntoRooms) -> Self {
        let rooms = rooms.into_rooms();
        self.each(|operator| operator.except(rooms.clone()))
    }

    /// Restricts the selection to this node.
    pub fn local(self) -> Self {
        self.each(BroadcastOperator::local)
    }

    /// Marks the event as volatile: it is dropped for each client that cannot take it at once.
    pub fn volatile(self) -> Self {
        self.each(BroadcastOperator::volatile)
    }

    /// Sets whether a poll response with the event may be compressed: yes by default.
    pub fn compress(self, compress: bool) -> Self {
        self.each(|operator| operator.compress(compress))
    }

    /// Sends a `message` event to the sockets.
    ///
    /// # Errors
    ///
    /// As [`emit`](Self::emit).
    pub fn send(self, args: impl EmitArgs) -> Result<(), EmitError> {
        self.emit("message", args)
    }

    /// Sends an event to the sockets.
    ///
    /// # Errors
    ///
    /// As [`BroadcastOperator::emit`], for the first namespace that fails. The others still get the event.
    pub fn emit(self, event: &str, args: impl EmitArgs) -> Result<(), EmitError> {
        let Some(first) = self.0.first() else { return Ok(()) };
        let args = args.into_args(first.encoding())?;
        let mut result = Ok(());
        for operator in self.0 {
            let sent = operator.emit(event, args.clone());
            result = result.and(sent);
        }
        result
    }
}
