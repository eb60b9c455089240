//! The task that sends the queue.

use std::sync::Arc;

use async_nats::{Client, Subject};

use super::context::NatsContext;
use super::links::Link;
use super::route::Route;

/// Sends what waits in the queue.
pub(super) async fn run(context: Arc<NatsContext>, client: Client) {
    let (me, queue) = (context.me(), &context.send_queue);
    let all = Subject::from(context.subject("all"));
    loop {
        if queue.is_empty() {
            queue.empty.notify_waiters();
            queue.wake.notified().await;
        }
        queue.expire(&context.counters);
        // While the link is down, records wait here: the client would send them however late.
        if tokio::time::timeout(queue.patience(), context.links.wait_until_up(Link::Data)).await.is_err() {
            continue;
        }
        queue.set_max_payload(client.max_payload());
        let Some((route, envelope, headers)) = queue.pack(me, &context.counters) else { continue };
        let subject = match route {
            Route::All | Route::Stream => all.clone(),
            Route::Node(tag) => context.unicast_subject(tag, "node").into(),
            Route::Socket(id) => context.unicast_subject(id.tag(), id.as_str()).into(),
        };
        let publish = async {
            match headers {
                None => client.publish(subject, envelope).await,
                Some(headers) => client.publish_with_headers(subject, headers, envelope).await,
            }
        };
        match tokio::time::timeout(context.options.publish_deadline, publish).await {
            Ok(Ok(())) => context.counters.sent.increment(),
            // The receivers see a gap.
            Ok(Err(error)) => {
                context.counters.unsent.increment();
                tracing::warn!(target: "sociable::adapter", %error, "envelope was not sent");
            }
            Err(_) => context.counters.unsent.increment(),
        }
    }
}
