//! Extraction: the values that handlers can take from their context.

use std::any::type_name;
use std::ops::Deref;
use std::sync::Arc;

use bytestring::ByteString;
use serde::de::DeserializeOwned;
use sociable_engine::Handshake;
use sociable_protocol::Args as RawArgs;

use super::context::{DisconnectContext, HasEvent, HasNamespace, HasSocket};
use super::{ExtractError, Failure};
use crate::ack::Ack;
use crate::namespace::Namespace;
use crate::reason::DisconnectReason;
use crate::server::Server;
use crate::socket::Socket;

/// A value that a handler can take from the context `C`.
///
/// | type | value | contexts |
/// |---|---|---|
/// | [`Socket`] | the socket | all but server events |
/// | [`Data<T>`] | the first argument | events |
/// | [`Args<(A, B)>`](Args) | all arguments | events |
/// | [`RawArgs`](crate::RawArgs) | all arguments, still encoded | events |
/// | [`Ack`], `Option<Ack>` | the acknowledgement that the sender asked for | events |
/// | [`EventName`] | the event's name | events |
/// | [`State<T>`] | state of the application | all |
/// | [`Attached<T>`] | a value that was attached to the socket | all but server events |
/// | [`Namespace`], [`Server`] | the namespace, the server | all |
/// | [`Auth<T>`] | the client's `auth` payload | all but server events |
/// | [`Handshake`] | the request that opened the session | all but server events |
/// | [`DisconnectReason`] | the reason why a socket left | disconnections |
#[diagnostic::on_unimplemented(
    message = "a handler can't take `{Self}` here",
    label = "can't be taken from `{C}`",
    note = "`sociable::Extract` lists the types for each context; take data of a client as `Data<{Self}>`"
)]
pub trait Extract<C>: Sized {
    /// Takes the value from the context.
    ///
    /// # Errors
    ///
    /// The value is not available. The handler is then not called.
    fn extract(context: &C) -> Result<Self, ExtractError>;
}

/// The first argument of an event. `Data<Option<T>>` takes a missing argument as `None`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Data<T>(pub T);

/// All arguments of an event, as a tuple, or as a `Vec` of one type.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Args<T>(pub T);

/// The name of an event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EventName(pub ByteString);

/// A type whose values are checked further after decoding.
///
/// ```
/// use sociable::{Failure, Validate};
///
/// #[derive(serde::Deserialize)]
/// struct Move {
///     x: u8,
///     y: u8,
/// }
///
/// impl Validate for Move {
///     fn validate(&self) -> Result<(), Failure> {
///         if self.x < 8 && self.y < 8 { Ok(()) } else { Err(Failure::new("off the board")) }
///     }
/// }
/// # assert!(Move { x: 8, y: 0 }.validate().is_err());
/// ```
pub trait Validate {
    /// Checks the value.
    ///
    /// # Errors
    ///
    /// The reason, in words for the client.
    fn validate(&self) -> Result<(), Failure>;
}

/// The first argument of an event, if it is [valid](Validate). An invalid one is refused like an argument that does not fit.
///
/// ```
/// use sociable::{Ack, Server, Valid};
/// # use sociable::{Failure, Validate};
/// # #[derive(serde::Deserialize)]
/// # struct Move { x: u8 }
/// # impl Validate for Move {
/// #     fn validate(&self) -> Result<(), Failure> { Ok(()) }
/// # }
///
/// let io = Server::builder().answer_errors(true).build()?;
/// io.on("move", async |Valid(to): Valid<Move>, ack: Ack| {
///     ack.send(&to.x).ok();
/// });
/// # Ok::<(), sociable::ConfigError>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Valid<T>(pub T);

impl<C: HasEvent, T: DeserializeOwned + Validate> Extract<C> for Valid<T> {
    fn extract(context: &C) -> Result<Self, ExtractError> {
        let Data(value) = Data::<T>::extract(context)?;
        value.validate().map_err(ExtractError::Refused)?;
        Ok(Self(value))
    }
}

/// Takes an argument or the error of its extraction, for handlers that answer bad arguments themselves.
impl<C, T: Extract<C>> Extract<C> for Result<T, ExtractError> {
    fn extract(context: &C) -> Result<Self, ExtractError> {
        Ok(T::extract(context))
    }
}

/// The client's `auth` payload: the option `auth` of the JavaScript client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Auth<T>(pub T);

/// State of the application, registered with [`ServerBuilder::state`](crate::ServerBuilder::state).
#[derive(Debug)]
pub struct State<T: ?Sized>(pub Arc<T>);

impl<T: ?Sized> Clone for State<T> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<T: ?Sized> Deref for State<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.0
    }
}

/// The value of this type that the application [attached](Socket::attach) to the socket.
#[derive(Debug)]
pub struct Attached<T: ?Sized>(pub Arc<T>);

impl<T: ?Sized> Clone for Attached<T> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<T: ?Sized> Deref for Attached<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.0
    }
}

impl<C: HasSocket, T: Send + Sync + 'static> Extract<C> for Attached<T> {
    fn extract(context: &C) -> Result<Self, ExtractError> {
        context.socket().attached().map(Self).ok_or(ExtractError::NotAttached(type_name::<T>()))
    }
}

impl<C: HasSocket> Extract<C> for Socket {
    #[inline]
    fn extract(context: &C) -> Result<Self, ExtractError> {
        Ok(context.socket().clone())
    }
}

impl<C: HasNamespace> Extract<C> for Namespace {
    fn extract(context: &C) -> Result<Self, ExtractError> {
        Ok(context.namespace().clone())
    }
}

impl<C: HasNamespace> Extract<C> for Server {
    fn extract(context: &C) -> Result<Self, ExtractError> {
        context.namespace().server().ok_or(ExtractError::NoServer)
    }
}

impl<C: HasNamespace, T: Send + Sync + 'static> Extract<C> for State<T> {
    fn extract(context: &C) -> Result<Self, ExtractError> {
        let server = context.namespace().server().ok_or(ExtractError::NoServer)?;
        server.state::<T>().map(State).ok_or(ExtractError::NoState(type_name::<T>()))
    }
}

impl<C: HasSocket> Extract<C> for Handshake {
    fn extract(context: &C) -> Result<Self, ExtractError> {
        Ok(context.socket().handshake().clone())
    }
}

impl<C: HasSocket, T: DeserializeOwned> Extract<C> for Auth<T> {
    fn extract(context: &C) -> Result<Self, ExtractError> {
        Ok(Self(context.socket().auth()?))
    }
}

impl<C: HasEvent, T: DeserializeOwned> Extract<C> for Data<T> {
    fn extract(context: &C) -> Result<Self, ExtractError> {
        Ok(Self(context.args().decode(0)?))
    }
}

impl<C: HasEvent, T: DeserializeOwned> Extract<C> for Args<T> {
    fn extract(context: &C) -> Result<Self, ExtractError> {
        Ok(Self(context.args().decode_all()?))
    }
}

impl<C: HasEvent> Extract<C> for RawArgs {
    #[inline]
    fn extract(context: &C) -> Result<Self, ExtractError> {
        Ok(context.args().clone())
    }
}

impl<C: HasEvent> Extract<C> for EventName {
    fn extract(context: &C) -> Result<Self, ExtractError> {
        Ok(Self(context.name().clone()))
    }
}

impl<C: HasEvent> Extract<C> for Option<Ack> {
    #[inline]
    fn extract(context: &C) -> Result<Self, ExtractError> {
        Ok(context.ack().cloned())
    }
}

impl<C: HasEvent> Extract<C> for Ack {
    fn extract(context: &C) -> Result<Self, ExtractError> {
        Ok(context.ack().cloned().unwrap_or_default())
    }
}

impl Extract<DisconnectContext> for DisconnectReason {
    fn extract(context: &DisconnectContext) -> Result<Self, ExtractError> {
        Ok(context.reason)
    }
}
