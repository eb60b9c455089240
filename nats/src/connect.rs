//! The connection of one client.

use std::future::ready;
use std::time::Duration;

use async_nats::{Client, ConnectErrorKind, ConnectOptions};

use crate::config::NatsConfig;
use crate::error::NatsConnectError;
use crate::event::LinkEvent;

/// The time that one server has to answer.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// Messages that the client holds unwritten: after a break it sends them, however late.
const MAX_UNWRITTEN: usize = 128;

/// The role of a connection within its process.
#[derive(Clone, Copy, Debug)]
pub struct Role {
    /// The role's name, which the server lists.
    pub name: &'static str,
    /// The messages that one subscription holds. Beyond it the client drops them.
    pub subscription_capacity: usize,
    /// True if a first attempt that fails is repeated in the background.
    pub retry_on_initial_connect: bool,
}

impl NatsConfig {
    /// Opens a connection. `on_event` is called for each of its ups and downs.
    ///
    /// # Errors
    ///
    /// A setting can't work, no server answers, or none accepts the credentials.
    pub async fn connect(&self, role: Role, on_event: impl Fn(LinkEvent) + Send + Sync + 'static) -> Result<Client, NatsConnectError> {
        let servers = self.addresses()?;
        let mut options = ConnectOptions::new()
            .name(format!("sociable {} {}", self.cluster, role.name))
            .no_echo()
            .subscription_capacity(role.subscription_capacity)
            .client_capacity(MAX_UNWRITTEN)
            .ping_interval(self.ping_interval)
            .connection_timeout(CONNECT_TIMEOUT)
            .require_tls(self.require_tls)
            .event_callback(move |event| {
                on_event(event.into());
                ready(())
            });
        if role.retry_on_initial_connect {
            options = options.retry_on_initial_connect();
        }
        if let Some(file) = &self.root_certificates {
            options = options.add_root_certificates(file.clone());
        }
        if let Some((certificate, key)) = &self.client_certificate {
            options = options.add_client_certificate(certificate.clone(), key.clone());
        }
        let options = self.auth.apply(options, &servers).await?;
        options.connect(servers).await.map_err(|error| self.failure(&error))
    }

    fn failure(&self, error: &async_nats::ConnectError) -> NatsConnectError {
        let (servers, text) = (self.shown_servers(), error.to_string());
        match error.kind() {
            ConnectErrorKind::Authentication | ConnectErrorKind::AuthorizationViolation => {
                NatsConnectError::Refused { servers, error: text }
            }
            _ => NatsConnectError::Unreachable { servers, error: text },
        }
    }
}

#[cfg(test)]
mod tests {
    use async_nats::ConnectError;

    use super::*;

    #[test]
    fn failure_names_servers_without_credentials() {
        let config = NatsConfig::new("nats://me:secret@a:1,nats://b:2");
        let refused = config.failure(&ConnectError::new(ConnectErrorKind::AuthorizationViolation)).to_string();
        let unreachable = config.failure(&ConnectError::new(ConnectErrorKind::Dns)).to_string();
        assert!(refused.contains("NATS at nats://…@a:1, nats://b:2 rejected the credentials") && !refused.contains("secret"), "{refused}");
        assert!(
            unreachable.contains("connecting to NATS at nats://…@a:1, nats://b:2 failed") && !unreachable.contains("secret"),
            "{unreachable}"
        );
    }
}
