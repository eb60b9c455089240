//! Handlers: plain async functions that take the arguments they need.

pub(crate) mod context;
mod extract;
mod outcome;
pub(crate) mod registry;
pub(crate) mod run;

use std::sync::Arc;

use futures_util::future::{FutureExt, LocalBoxFuture, ready};

pub use self::context::{ConnectContext, DisconnectContext, EventContext, HasEvent, HasNamespace, HasSocket, ServerEventContext};
pub use self::extract::{Args, Attached, Auth, Data, EventName, Extract, State, Valid, Validate};
pub use self::outcome::{Failure, Outcome};
use crate::spans::Fault;

/// An async function that handles an event, a connection or a disconnection: the context `C`.
///
/// A handler has up to eight arguments, each of a type that can be taken from the context (see [`Extract`]). A handler returns nothing or a
/// `Result<(), E>`. The future stays on its thread, so it need not be `Send`.
///
/// ```
/// use sociable::{Ack, Data, Server, Socket, State};
///
/// struct Greeting(String);
///
/// async fn greet(socket: Socket, State(greeting): State<Greeting>, Data(name): Data<String>, ack: Ack) {
///     socket.emit("greeted", &name).ok();
///     ack.send(&format!("{}, {name}", greeting.0)).ok();
/// }
///
/// let io = Server::builder().state(Greeting("Hello".into())).build()?;
/// io.on("greet", greet);
/// io.on("leave", async |socket: Socket| socket.disconnect());
/// # Ok::<(), sociable::ConfigError>(())
/// ```
///
/// A closure can be called again while its first future still runs. So a captured value has to be cloned into each future:
///
/// ```
/// # let io = sociable::Server::builder().build()?;
/// # let log = std::sync::Arc::new(std::sync::Mutex::new(vec![]));
/// io.on("note", move |sociable::Data(text): sociable::Data<String>| {
///     let log = log.clone();
///     async move { log.lock().unwrap().push(text) }
/// });
/// # Ok::<(), sociable::ConfigError>(())
/// ```
///
/// The compiler refuses an argument that cannot be taken, and lists the possible ones:
///
/// ```compile_fail
/// # let io = sociable::Server::builder().build()?;
/// io.on("add", async |number: u32| println!("{number}"));
/// # Ok::<(), sociable::ConfigError>(())
/// ```
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot handle this",
    label = "not a handler",
    note = "a handler is an `async fn`, or a closure that returns a future, with up to eight arguments",
    note = "each argument has to implement `sociable::Extract<{C}>`: `Socket`, `Data<T>`, `Args<(A, B)>`, `Ack`, `State<T>`, `Namespace`, …",
    note = "`T` of `Data<T>` has to implement `serde::de::DeserializeOwned`",
    note = "a handler returns `()` or `Result<(), E>`"
)]
pub trait Handler<C, Taken>: Send + Sync + 'static {
    /// Takes the arguments from the context and starts to handle it.
    fn call(&self, context: &C) -> LocalBoxFuture<'static, Result<(), HandlerError>>;
}

/// The reason why a handler failed.
#[derive(Clone, Debug)]
pub enum HandlerError {
    /// An argument could not be taken from the context.
    Arguments(ExtractError),
    /// The handler returned an error.
    Failed(Failure),
}

/// The reason why an argument of a handler is not available.
#[derive(Clone, Debug, thiserror::Error, PartialEq)]
#[non_exhaustive]
pub enum ExtractError {
    /// The arguments of the client do not fit.
    #[error(transparent)]
    Args(#[from] sociable_protocol::ArgsError),
    /// No state of this type is registered.
    #[error("no state of type {0}: register it with `ServerBuilder::state`")]
    NoState(&'static str),
    /// No value of this type is attached to the socket.
    #[error("no value of type {0} is attached: attach it with `Socket::attach`")]
    NotAttached(&'static str),
    /// The server has been dropped.
    #[error("server dropped")]
    NoServer,
    /// [`Valid`] refused an argument that fits.
    #[error("{}", .0.message())]
    Refused(Failure),
}

impl Fault for HandlerError {
    fn kind(&self) -> &'static str {
        match self {
            Self::Failed(_) => "handler_error",
            Self::Arguments(ExtractError::NoState(_) | ExtractError::NotAttached(_) | ExtractError::NoServer) => "no_state",
            Self::Arguments(_) => "invalid_arguments",
        }
    }

    fn text(&self) -> Option<&str> {
        match self {
            Self::Failed(failure) => Some(failure.message()),
            Self::Arguments(_) => None,
        }
    }
}

impl HandlerError {
    /// Returns the error that the client may see.
    ///
    /// Arguments that do not fit have the data `{"code":"E_ARGUMENTS"}`, with the index of the argument if there is one.
    pub(crate) fn into_failure(self) -> Failure {
        use sociable_protocol::ArgsError;
        match self {
            Self::Failed(failure) | Self::Arguments(ExtractError::Refused(failure)) => failure,
            Self::Arguments(ExtractError::Args(error)) => {
                let data = match &error {
                    ArgsError::Missing { index } | ArgsError::Invalid { index, .. } => {
                        serde_json::json!({ "code": "E_ARGUMENTS", "argument": index })
                    }
                    _ => serde_json::json!({ "code": "E_ARGUMENTS" }),
                };
                Failure::from(error).with_data(&data)
            }
            // The client is not at fault, and the text would reveal internals.
            Self::Arguments(ExtractError::NoState(_) | ExtractError::NotAttached(_) | ExtractError::NoServer) => {
                Failure::new("Internal server error")
            }
        }
    }
}

/// A handler with its argument types erased.
pub(crate) type Erased<C> = Arc<dyn Fn(&C) -> LocalBoxFuture<'static, Result<(), HandlerError>> + Send + Sync>;

pub(crate) fn erase<C: 'static, Taken>(handler: impl Handler<C, Taken>) -> Erased<C> {
    Arc::new(move |context| handler.call(context))
}

macro_rules! impl_handler {
    ($($name:ident)*) => {
        impl<F, Fut, C, $($name,)*> Handler<C, ($($name,)*)> for F
        where
            F: Fn($($name,)*) -> Fut + Send + Sync + 'static,
            Fut: Future + 'static,
            Fut::Output: Outcome,
            $($name: Extract<C>,)*
        {
            #[allow(non_snake_case, unused_variables)]
            fn call(&self, context: &C) -> LocalBoxFuture<'static, Result<(), HandlerError>> {
                $(let $name = match $name::extract(context) {
                    Ok(value) => value,
                    Err(error) => return ready(Err(HandlerError::Arguments(error))).boxed_local(),
                };)*
                let future = self($($name,)*);
                Box::pin(async move { future.await.into_result().map_err(HandlerError::Failed) })
            }
        }
    };
}

impl_handler!();
impl_handler!(A);
impl_handler!(A B);
impl_handler!(A B D);
impl_handler!(A B D E);
impl_handler!(A B D E G);
impl_handler!(A B D E G H);
impl_handler!(A B D E G H I);
impl_handler!(A B D E G H I J);
