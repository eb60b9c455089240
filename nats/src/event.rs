//! Ups and downs of a connection.

use async_nats::{ClientError, ConnectErrorKind, Event};

/// A change of a connection, or a complaint about it.
#[derive(Clone, Debug)]
pub enum LinkEvent {
    /// The connection is up.
    Up,
    /// The connection is down. The client reconnects automatically.
    Down,
    /// The client dropped messages of a subscription that was drained too slowly.
    SlowConsumer,
    /// The server refused something: a subject without permission, or credentials that are no longer valid.
    Refused(Event),
    /// Anything else, for logs.
    Other(Event),
}

impl From<Event> for LinkEvent {
    fn from(event: Event) -> Self {
        match event {
            Event::Connected => Self::Up,
            Event::Disconnected | Event::Closed => Self::Down,
            Event::SlowConsumer(_) => Self::SlowConsumer,
            event if is_refusal(&event) => Self::Refused(event),
            event => Self::Other(event),
        }
    }
}

fn is_refusal(event: &Event) -> bool {
    match event {
        Event::ServerError(_) => true,
        // The client reports a refused login by its text alone.
        Event::ClientError(ClientError::Other(error)) => *error == ConnectErrorKind::AuthorizationViolation.to_string(),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use async_nats::ServerError;

    use super::*;

    #[test]
    fn refusals_of_the_server_are_no_other_errors() {
        let login = ClientError::Other(ConnectErrorKind::AuthorizationViolation.to_string());
        for event in [Event::ServerError(ServerError::Other("Permissions Violation".into())), Event::ClientError(login)] {
            assert!(matches!(event.into(), LinkEvent::Refused(_)));
        }
        assert!(matches!(Event::ClientError(ClientError::Other("reset".into())).into(), LinkEvent::Other(_)));
        assert!(matches!(Event::Closed.into(), LinkEvent::Down));
    }
}
