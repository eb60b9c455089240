//! Patterns of namespaces, and the namespaces that are made for them.

use std::fmt;
use std::sync::{Arc, Weak};

use bytestring::ByteString;
use futures_util::future::LocalBoxFuture;
use regex::Regex;
use sociable_protocol::Args;

use crate::emit::{EmitArgs, EmitError};
use crate::namespace::Namespace;
use crate::server::ServerInner;
use crate::setup::{SharedSetup, listeners};

type Function = Arc<dyn Fn(ByteString, Args) -> LocalBoxFuture<'static, bool> + Send + Sync>;

/// Which names are meant.
pub(crate) enum Matcher {
    Pattern(Regex),
    Function(Function),
}

/// All namespaces whose names fit a pattern, or a function.
///
/// What listens here is taken over by each of them when it is made. Patterns are tried in the order in which they were added.
#[derive(Clone)]
pub struct ParentNamespace(Arc<Inner>);

struct Inner {
    server: Weak<ServerInner>,
    matcher: Matcher,
    setup: SharedSetup,
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
    pub(crate) fn new(server: &Weak<ServerInner>, matcher: Matcher) -> Self {
        Self(Arc::new(Inner { server: Weak::clone(server), matcher, setup: SharedSetup::default() }))
    }

    listeners!();

    /// The namespaces that were made on this node.
    pub fn children(&self) -> Vec<Namespace> {
        let Some(server) = self.0.server.upgrade() else { return vec![] };
        let namespaces = server.namespaces.read();
        namespaces.values().filter(|child| child.parent().is_some_and(|parent| Arc::ptr_eq(&parent.0, &self.0))).cloned().collect()
    }

    /// Sends an event to all sockets of all namespaces that were made on this node.
    ///
    /// # Errors
    ///
    /// As [`Namespace::emit`], of the first that fails; the others get it all the same.
    pub fn emit(&self, event: &str, args: impl EmitArgs) -> Result<(), EmitError> {
        let children = self.children();
        let Some(first) = children.first() else { return Ok(()) };
        let args = args.into_args(first.encoding())?;
        let mut result = Ok(());
        for child in &children {
            // Each child is told, whatever became of the one before.
            let told = child.emit(event, args.clone());
            result = result.and(told);
        }
        result
    }

    pub(crate) fn setup(&self) -> &SharedSetup {
        &self.0.setup
    }

    /// True if the name alone is enough to know that it fits.
    pub(crate) fn matches_name(&self, name: &str) -> bool {
        matches!(&self.0.matcher, Matcher::Pattern(pattern) if pattern.is_match(name))
    }

    pub(crate) async fn matches(&self, name: &ByteString, auth: &Args) -> bool {
        match &self.0.matcher {
            Matcher::Pattern(pattern) => pattern.is_match(name),
            Matcher::Function(function) => function(name.clone(), auth.clone()).await,
        }
    }
}
