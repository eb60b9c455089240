//! The adapter of a single node.

use std::sync::Arc;

use futures_util::future::{BoxFuture, FutureExt, ready};
use futures_util::stream::{BoxStream, StreamExt, empty};

use crate::{Adapter, AdapterError, Answer, Message, Node, Request};

/// The adapter of a single node. Messages go nowhere, and questions get no answers.
#[derive(Clone, Copy, Debug, Default)]
pub struct SingleNodeAdapter;

impl Adapter for SingleNodeAdapter {
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
    fn single_node_adapter_ends_answers_at_once() {
        let ask = Ask::Sockets { target: Target::default() };
        let request = Request { namespace: "/".into(), ask, trace: None };
        assert_eq!(SingleNodeAdapter.request(request).collect::<Vec<_>>().now_or_never(), Some(vec![]));
        assert_eq!(SingleNodeAdapter.server_count().now_or_never(), Some(1));
        let operation = crate::Operation::ServerEvent { name: "note".into(), args: sociable_protocol::Args::empty(Encoding::Json) };
        assert_eq!(SingleNodeAdapter.publish(Message { namespace: "/".into(), target: Target::default(), operation, trace: None }), Ok(()));
    }
}
