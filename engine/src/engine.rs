//! The public API of an engine: its builder and its handle.

use std::fmt;
use std::io;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use sociable_protocol::Health;
use sociable_protocol::id::NodeTag;

use crate::config::{Config, ConfigError};
use crate::counters::EngineStats;
use crate::drain;
use crate::hooks::LifecycleHooks;
use crate::http::EngineService;
use crate::serve::Serve;
use crate::serve::stop::{self, Stop};
use crate::session::{Connection, Session};
use crate::state::EngineState;

/// An Engine.IO server. Clones are cheap and share the same server.
///
/// The first session fixes the worker threads among which all sessions are spread. Several HTTP servers may serve one engine. The servers present at
/// the first session have to keep running. A stopped one would lose its share of new sessions.
///
/// ```
/// use std::rc::Rc;
/// use bytes::Bytes;
/// use bytestring::ByteString;
/// use sociable_engine::{CloseReason, Connection, Engine, Session};
///
/// struct Echo(Rc<Session>);
///
/// impl Connection for Echo {
///     fn text(&self, text: ByteString) {
///         self.0.send_text(&text).ok();
///     }
///     fn binary(&self, bytes: Bytes) {
///         self.0.send_binary(&bytes).ok();
///     }
///     fn closed(&self, reason: CloseReason) {
///         println!("{} ended: {reason}", self.0.id());
///     }
/// }
///
/// let engine = Engine::builder().build(Echo)?;
/// let app = actix_web::App::new().service(engine.service());
/// # Ok::<(), sociable_engine::ConfigError>(())
/// ```
#[derive(Clone)]
pub struct Engine(Arc<EngineState>);

impl fmt::Debug for Engine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Engine").field("path", &self.0.config.path).finish_non_exhaustive()
    }
}

/// A builder of an [`Engine`].
#[derive(Clone, Debug)]
pub struct EngineBuilder {
    config: Config,
}

impl EngineBuilder {
    crate::engine_options!();

    /// Returns the engine. `accept` is called with each new session, on the session's thread, and returns the receiver of its messages.
    ///
    /// # Errors
    ///
    /// All options that cannot work.
    pub fn build<C: Connection>(self, accept: impl Fn(Rc<Session>) -> C + Send + Sync + 'static) -> Result<Engine, ConfigError> {
        Ok(Engine::new(self.config.check()?, NodeTag::random(), move |session| -> Rc<dyn Connection> { Rc::new(accept(session)) }))
    }
}

impl Engine {
    /// Returns a builder with the defaults of the JavaScript engine. Its path is `/engine.io/`.
    pub fn builder() -> EngineBuilder {
        EngineBuilder { config: Config::with_path("/engine.io") }
    }

    /// Returns an engine with checked options, for a layer above. `tag` names this process in all its ids.
    pub fn new(config: Config, tag: NodeTag, accept: impl Fn(Rc<Session>) -> Rc<dyn Connection> + Send + Sync + 'static) -> Self {
        Self(Arc::new(EngineState::new(config, tag, Box::new(accept))))
    }

    /// Installs the callbacks of the layer above. Only the first call counts.
    pub fn set_hooks(&self, hooks: impl LifecycleHooks) {
        self.0.set_hooks(Box::new(hooks));
    }

    /// Returns the state that all worker threads share.
    pub fn state(&self) -> &Arc<EngineState> {
        &self.0
    }

    /// Returns the service for an actix-web `App`. The service answers polling, and WebSockets where the `App` runs in a plain `HttpServer`.
    pub fn service(&self) -> EngineService {
        EngineService::new(Arc::clone(&self.0))
    }

    /// Returns a server that hands WebSockets over to this engine as raw streams, with the `App` beside it. See [`Serve`].
    pub fn serve<F>(&self, app: F) -> Serve<F> {
        Serve::new(Arc::clone(&self.0), app)
    }

    /// Returns the number of open sessions, over all threads.
    pub fn session_count(&self) -> usize {
        self.0.session_count()
    }

    /// Returns the counters since the start.
    pub fn stats(&self) -> EngineStats {
        self.0.stats()
    }

    /// Returns the report that load balancers poll, as a process that is connected and whose history accepts entries.
    pub fn health(&self) -> Health {
        self.0.health(true, true)
    }

    /// Serves a plain `HttpServer` until SIGINT or SIGTERM, then closes every session within `timeout` and stops the server.
    ///
    /// # Errors
    ///
    /// The server ended with an error.
    pub async fn run(&self, server: actix_web::dev::Server, timeout: Duration) -> io::Result<()> {
        stop::run(&self.0, server, Stop { drain: Duration::ZERO, timeout, signals: true }).await
    }

    /// Closes the sessions in batches, spread over `time`, while the engine still accepts new ones.
    ///
    /// A time of zero only announces that the process is draining.
    pub async fn drain(&self, time: Duration) {
        drain::drain(&self.0, time).await;
    }

    /// Closes all sessions, and refuses new ones from now on.
    ///
    /// Resolves when every client has its close packet, or after `grace`; the rest is then cut off.
    pub async fn close(&self, grace: Duration) {
        self.0.close(grace).await;
    }
}
