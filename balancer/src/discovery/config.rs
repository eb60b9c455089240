//! The configuration of discovery.

use std::net::SocketAddr;
use std::time::Duration;

use http::Uri;

use super::address::{DnsTarget, HostPort};
use super::error::DiscoveryError;
use super::registry::rules::Rules;
use sociable_nats::NatsConfig as NatsSource;

/// The configuration of discovery and health probes. Sources may be mixed: what they say is merged by the tags of the
/// nodes.
///
/// ```
/// use sociable_balancer_core::DiscoveryConfig;
///
/// let discovery = DiscoveryConfig {
///     nodes: vec!["10.0.0.1:3000".parse()?, "node-2:3000".parse()?],
///     dns: vec!["dns://nodes.shop.svc.cluster.local:3000".parse()?],
///     ..DiscoveryConfig::default()
/// };
/// discovery.check()?;
/// # Ok::<(), sociable_balancer_core::DiscoveryError>(())
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct DiscoveryConfig {
    /// Nodes by their addresses. Names are resolved again periodically.
    pub nodes: Vec<HostPort>,
    /// Names in DNS that resolve to all nodes.
    pub dns: Vec<DnsTarget>,
    /// NATS, where nodes announce themselves.
    pub nats: Option<NatsSource>,
    /// The name servers; those of the system if empty.
    pub nameservers: Vec<SocketAddr>,
    /// The interval of name resolution: 5 s by default. Answers are not cached here: the name server knows their
    /// lifetime.
    pub resolve_every: Duration,
    /// The health probes of nodes.
    pub probe: Probing,
    /// The thresholds of the registry.
    pub rules: Rules,
}

impl Default for DiscoveryConfig {
    fn default() -> Self {
        Self {
            nodes: vec![],
            dns: vec![],
            nats: None,
            nameservers: vec![],
            resolve_every: Duration::from_secs(5),
            probe: Probing::default(),
            rules: Rules::default(),
        }
    }
}

/// Settings of the health probes of nodes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Probing {
    /// The path of probes: `/healthz` by default.
    pub path: String,
    /// The pause between two probes: 1 s by default.
    pub interval: Duration,
    /// The timeout of a probe, from connecting to the end of the answer: 1 s by default.
    pub timeout: Duration,
}

impl Default for Probing {
    fn default() -> Self {
        Self { path: "/healthz".into(), interval: Duration::from_secs(1), timeout: Duration::from_secs(1) }
    }
}

impl DiscoveryConfig {
    /// Checks the configuration without network access. Files that it names are read.
    ///
    /// # Errors
    ///
    /// The configuration is invalid.
    pub fn check(&self) -> Result<(), DiscoveryError> {
        if self.nodes.is_empty() && self.dns.is_empty() && self.nats.is_none() {
            return Err(DiscoveryError::Nothing);
        }
        if let Some(nats) = &self.nats {
            nats.check()?;
        }
        if !self.probe.path.starts_with('/') || self.probe.path.parse::<Uri>().is_err() {
            return Err(DiscoveryError::Path(self.probe.path.clone()));
        }
        let times = [
            ("resolve_every", self.resolve_every),
            ("probe.interval", self.probe.interval),
            ("probe.timeout", self.probe.timeout),
            ("rules.silence", self.rules.silence),
        ];
        let number = |name, bound| Err(DiscoveryError::Number { name, bound });
        if let Some((name, _)) = times.into_iter().find(|(_, time)| time.is_zero()) {
            return number(name, "above zero");
        }
        let counts =
            [("rules.rise", self.rules.rise), ("rules.fall", self.rules.fall), ("rules.connect_errors", self.rules.connect_errors)];
        if let Some((name, _)) = counts.into_iter().find(|(_, count)| *count == 0) {
            return number(name, "1 at least");
        }
        if self.rules.most_addresses == 0 {
            return number("rules.most_addresses", "1 at least");
        }
        if self.rules.dead_after <= self.probe.interval + self.probe.timeout {
            return number("rules.dead_after", "longer than a probe and the pause behind it");
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn config_is_refused_when_it_is_invalid() {
        let error = |change: fn(&mut DiscoveryConfig)| {
            let mut discovery = DiscoveryConfig { nodes: vec!["127.0.0.1:1".parse().unwrap()], ..DiscoveryConfig::default() };
            assert!(discovery.check().is_ok());
            change(&mut discovery);
            discovery.check().unwrap_err().to_string()
        };
        assert!(error(|it| it.nodes.clear()).contains("name some"));
        assert!(error(|it| it.probe.path = "healthz".into()).contains("slash"));
        assert!(error(|it| it.probe.path = "/a b".into()).contains("slash"));
        assert!(error(|it| it.probe.interval = Duration::ZERO).contains("probe.interval"));
        assert!(error(|it| it.rules.fall = 0).contains("rules.fall"));
        assert!(error(|it| it.rules.most_addresses = 0).contains("most_addresses"));
        assert!(error(|it| it.rules.dead_after = Duration::from_secs(2)).contains("dead_after"));
        assert!(error(|it| it.nats = Some(NatsSource::new("nats://127.0.0.1:no"))).contains("nats://HOST:PORT"));
        assert!(error(|it| it.nats = Some(NatsSource::new(""))).contains("no host"));
        assert!(error(|it| it.nats = Some(NatsSource::new("nats://127.0.0.1,"))).contains("no host"));
        assert!(error(|it| it.nats = Some(NatsSource { cluster: "a.b".into(), ..NatsSource::new("nats://127.0.0.1") })).contains("a.b"));
    }
}
