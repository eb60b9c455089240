//! Resolution of names to addresses, by `/etc/hosts` and by DNS.

use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use hickory_resolver::config::{ConnectionConfig, NameServerConfig, ResolveHosts, ResolverConfig};
use hickory_resolver::net::NetError;
use hickory_resolver::net::runtime::TokioRuntimeProvider;
use hickory_resolver::proto::op::Query;
use hickory_resolver::proto::rr::{Name, RData, RecordType};
use hickory_resolver::{Hosts, TokioResolver};
use parking_lot::Mutex;
use sociable_protocol::maps::{Map, Set};
use thiserror::Error;

use crate::discovery::address::{Host, HostPort};

/// The timeout of one try of a question. The system's configuration says how many tries there are.
const TIMEOUT: Duration = Duration::from_secs(2);
/// The time for which `/etc/hosts` is not read again.
const HOSTS_AGE: Duration = Duration::from_secs(1);

/// An error of a name's resolution.
#[derive(Debug, Error)]
pub(super) enum NameError {
    /// DNS has no answer.
    #[error("resolving {name} failed: {error}")]
    Dns { name: String, error: NetError },
    /// The name has no addresses.
    #[error("resolving {0} failed: no such name, or no addresses")]
    Nothing(String),
    /// No servers are known.
    #[error("resolving {name} failed: unusable DNS configuration of the system ({error}); configure name servers here")]
    NoServers { name: String, error: String },
}

/// The addresses of a name: those of now, or the last known ones if there is no answer.
#[derive(Debug)]
pub(super) struct Resolved<T> {
    pub(super) all: Vec<T>,
    pub(super) failure: Option<NameError>,
}

/// The last answers for each name, of IPv4 and IPv6. If only one of both questions is answered, the other answer is kept.
#[derive(Debug, Default)]
pub(super) struct LastAnswers {
    known: Map<(String, RecordType), Vec<IpAddr>>,
    used: Set<String>,
}

impl LastAnswers {
    /// Forgets names that were not asked for since the last time.
    pub(super) fn sweep(&mut self) {
        let used = std::mem::take(&mut self.used);
        self.known.retain(|(name, _), _| used.contains(name));
    }
}

/// Asks for names. Nothing is cached: see `DiscoveryConfig::resolve_every`.
pub(super) struct Resolver {
    dns: Result<TokioResolver, NetError>,
    hosts: Mutex<Option<(Instant, std::sync::Arc<Hosts>)>>,
}

impl Resolver {
    /// Asks these servers, or those of the system if there are none.
    pub(super) fn new(servers: &[SocketAddr]) -> Self {
        Self { dns: resolver(servers), hosts: Mutex::default() }
    }

    /// Returns all current addresses of a node.
    pub(super) async fn resolve(&self, node: &HostPort, last: &mut LastAnswers) -> Resolved<SocketAddr> {
        let Resolved { all, failure } = match node.host() {
            Host::Address(ip) => Resolved { all: vec![*ip], failure: None },
            Host::Name(name) => self.addresses(name, last).await,
        };
        Resolved { all: all.into_iter().map(|ip| SocketAddr::new(ip, node.port())).collect(), failure }
    }

    /// Returns all IPv4 and IPv6 addresses of a name. A name without addresses is an error: it should resolve to nodes.
    async fn addresses(&self, name: &str, last: &mut LastAnswers) -> Resolved<IpAddr> {
        last.used.insert(name.to_owned());
        let by_file = self.in_hosts(name);
        if !by_file.is_empty() {
            return Resolved { all: by_file, failure: None };
        }
        let (four, six) = futures_util::join!(self.ask(name, RecordType::A), self.ask(name, RecordType::AAAA));
        let answers = [(RecordType::A, four), (RecordType::AAAA, six)]
            .map(|(kind, answer)| (kind, answer.map(|records| records.iter().filter_map(RData::ip_addr).collect::<Vec<_>>())));
        let any = answers.iter().any(|(_, answer)| answer.as_ref().is_ok_and(|ips| !ips.is_empty()));
        let (mut all, mut failure) = (vec![], None);
        for (kind, answer) in answers {
            let known = last.known.entry((name.to_owned(), kind)).or_default();
            match answer {
                Ok(ips) if any => *known = ips,
                Ok(_) => {}
                Err(error) => failure = Some(error),
            }
            all.extend_from_slice(known);
        }
        // Half an answer will do: there are servers that never answer one of both questions.
        let failure = (!any).then(|| failure.unwrap_or_else(|| NameError::Nothing(name.to_owned())));
        Resolved { all, failure }
    }

    /// Returns all hosts that offer a service. Priorities and weights are ignored: all nodes are equal.
    pub(super) async fn services(&self, name: &str) -> Result<Vec<HostPort>, NameError> {
        let records = self.ask(name, RecordType::SRV).await?;
        let services = records.iter().filter_map(|record| match record {
            // A dot says that the service is not offered.
            RData::SRV(service) if !service.target.is_root() => Some(HostPort::named(service.target.to_string(), service.port)),
            _ => None,
        });
        let services: Vec<_> = services.collect();
        if services.is_empty() { Err(NameError::Nothing(name.to_owned())) } else { Ok(services) }
    }

    /// Returns the answer to one question. Missing records are an empty answer; a missing name is an error.
    async fn ask(&self, name: &str, kind: RecordType) -> Result<Vec<RData>, NameError> {
        let dns = self.dns.as_ref().map_err(|error| NameError::NoServers { name: name.to_owned(), error: error.to_string() })?;
        match dns.lookup(name, kind).await {
            Ok(found) => Ok(found.answers().iter().map(|record| record.data.clone()).collect()),
            Err(error) if error.is_no_records_found() && !error.is_nx_domain() => Ok(vec![]),
            Err(error) => Err(NameError::Dns { name: name.to_owned(), error }),
        }
    }

    /// Returns the addresses in the hosts file. If it has the name, no server is asked.
    fn in_hosts(&self, name: &str) -> Vec<IpAddr> {
        let Ok(name) = Name::from_ascii(name) else { return vec![] };
        let mut hosts = self.hosts.lock();
        let fresh = hosts.take_if(|(read, _)| read.elapsed() < HOSTS_AGE);
        let (_, file) = hosts.insert(fresh.unwrap_or_else(|| (Instant::now(), Hosts::from_system().unwrap_or_default().into())));
        let kinds = [RecordType::A, RecordType::AAAA];
        let found = kinds.into_iter().filter_map(|kind| file.lookup_static_host(&Query::query(name.clone(), kind)));
        found.flat_map(|found| found.answers().iter().filter_map(|record| record.data.ip_addr()).collect::<Vec<_>>()).collect()
    }
}

fn resolver(servers: &[SocketAddr]) -> Result<TokioResolver, NetError> {
    let mut builder = if servers.is_empty() {
        TokioResolver::builder_tokio()?
    } else {
        let server = |address: &SocketAddr| {
            let mut connections = vec![ConnectionConfig::udp(), ConnectionConfig::tcp()];
            connections.iter_mut().for_each(|connection| connection.port = address.port());
            NameServerConfig::new(address.ip(), true, connections)
        };
        let config = ResolverConfig::from_name_servers(servers.iter().map(server).collect());
        TokioResolver::builder_with_config(config, TokioRuntimeProvider::default())
    };
    let options = builder.options_mut();
    options.use_hosts_file = ResolveHosts::Never;
    options.cache_size = 0;
    options.positive_max_ttl = Some(Duration::ZERO);
    options.negative_max_ttl = Some(Duration::ZERO);
    options.timeout = options.timeout.min(TIMEOUT);
    builder.build()
}
