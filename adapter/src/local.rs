//! A node that is alone.

use std::sync::Arc;

use futures_util::future::{BoxFuture, FutureExt, ready};
use futures_util::stream::{BoxStream, StreamExt, empty};

use crate::{Adapter, AdapterError, Answer, Message, Node, Request};

/// The adapter of a node that is alone: there is nobody to tell, and nobody answers.
#[derive(Clone, Copy, Debug, Default)]
pub struct Local;

impl Adapter for Local {
    fn start(&self, _: Arc<dyn Node>) {}

    fn publish(&self, _: Message) -> Result<(), AdapterError> {
        Ok(())
    }

    fn request(&self, _: Request) -> BoxStream<'static, Answer> {
        empty().boxed()
    }

    fn server_count(&self) -> BoxFuture<'static, usize> {
        ready(1).boxed()
    }

    fn close(&self) -> BoxFuture<'static, ()> {
        ready(()).boxed()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Ask, Target};
    use sociable_protocol::Encoding;

    #[test]
    fn nobody_answers_at_once() {
        let ask = Ask::Sockets { target: Target::default() };
        let request = Request { namespace: "/".into(), ask };
        assert_eq!(Local.request(request).collect::<Vec<_>>().now_or_never(), Some(vec![]));
        assert_eq!(Local.server_count().now_or_never(), Some(1));
        let operation = crate::Operation::ServerEvent { name: "note".into(), args: sociable_protocol::Args::empty(Encoding::Json) };
        assert_eq!(Local.publish(Message { namespace: "/".into(), target: Target::default(), operation }), Ok(()));
    }
}
