//! Opens a connection, and keeps the record of its ups and downs.

use std::sync::Arc;
use std::time::Duration;

use async_nats::Client;
use sociable_nats::{LinkEvent, LogThrottle};

use super::context::NatsContext;
use super::error::NatsError;
use super::links::Link;

/// The pause between two logged refusals of the server.
const REFUSALS: Duration = Duration::from_secs(1);

/// Opens a connection. The links of the context hold its state.
pub(super) async fn connect(context: &Arc<NatsContext>, link: Link) -> Result<Client, NatsError> {
    let (weak, throttle) = (Arc::downgrade(context), LogThrottle::new(REFUSALS));
    let on_event = move |event| {
        if let Some(context) = weak.upgrade() {
            observe(&context, link, event, &throttle);
        }
    };
    let client = context.options.connection.connect(link.role(), on_event).await?;
    if link == Link::Data {
        context.send_queue.set_max_payload(client.max_payload());
    }
    context.links.set(link, true);
    Ok(client)
}

fn observe(context: &NatsContext, link: Link, event: LinkEvent, throttle: &LogThrottle) {
    let (role, counters) = (link.role().name, &context.counters);
    match event {
        LinkEvent::Up => {
            tracing::info!(target: "sociable::adapter", role, "NATS connection up");
            context.links.set(link, true);
            // The new server may have another payload limit, so the sender reads the limit again.
            context.send_queue.wake.notify_one();
        }
        LinkEvent::Down => {
            counters.disconnected.increment();
            tracing::warn!(target: "sociable::adapter", role, "NATS connection down");
            context.links.set(link, false);
            if link == Link::Data {
                context.note_loss();
            }
        }
        LinkEvent::SlowConsumer => {
            counters.slow_consumer.increment();
            tracing::warn!(target: "sociable::adapter", role, "slow consumer; NATS messages were dropped");
        }
        LinkEvent::Refused(event) => {
            counters.server_errors.increment();
            // The server may refuse every envelope, so the log is throttled.
            if throttle.permits() {
                tracing::error!(target: "sociable::adapter", role, %event, "refused by the NATS server; check the permissions of this node");
            }
        }
        LinkEvent::Other(event) => tracing::debug!(target: "sociable::adapter", role, %event, "NATS client event"),
    }
}
