//! The settings of the balancer.

mod check;
#[cfg(test)]
mod tests;

use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::num::NonZeroU16;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Parser};
use ipnet::IpNet;
use sociable_balancer_core::{Affinity, DiscoveryConfig, DiscoveryError, NatsSource, Options, Pair};
use sociable_program::log::{self, FilterError, Format};
use sociable_program::nats::NatsFlags;

pub(crate) use self::check::CheckError;

/// Brings every request of a Socket.IO session to the node that owns it.
#[derive(Debug, Parser)]
#[command(version)]
pub(crate) struct Flags {
    /// File with settings (TOML): each flag without its dashes, such as `listen = ["0.0.0.0:8080"]`. Flags and the environment win over it
    #[arg(long, env = "SOCIABLE_BALANCER_CONFIG", value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,

    /// Check all settings, print the first fault, and exit
    #[arg(long)]
    pub(crate) check: bool,

    /// Exit with 0 if the balancer that runs with these settings on this machine is healthy; it needs --admin-addr
    #[arg(long)]
    pub(crate) probe: bool,

    #[command(flatten)]
    pub(crate) settings: Settings,
}

/// All settings, as far as they are given.
#[derive(Clone, Debug, Default, PartialEq, Args)]
pub(crate) struct Settings {
    /// Addresses to listen on, separated by commas; 127.0.0.1:8080 if neither this nor --tls-listen is set
    #[arg(long, env = "SOCIABLE_BALANCER_LISTEN", value_name = "ADDRESSES", value_delimiter = ',')]
    pub(crate) listen: Option<Vec<SocketAddr>>,

    /// Addresses to listen on with TLS, such as 127.0.0.1:8443, separated by commas
    #[arg(long, env = "SOCIABLE_BALANCER_TLS_LISTEN", value_name = "ADDRESSES", value_delimiter = ',')]
    pub(crate) tls_listen: Option<Vec<SocketAddr>>,

    /// Files with certificate chains (PEM), separated by commas; the server name (SNI) of the client selects one. Changed files are reloaded
    #[arg(long, env = "SOCIABLE_BALANCER_TLS_CERT", value_name = "FILES", value_delimiter = ',')]
    pub(crate) tls_cert: Option<Vec<PathBuf>>,

    /// Files with the keys (PEM) of these certificates, in the same order
    #[arg(long, env = "SOCIABLE_BALANCER_TLS_KEY", value_name = "FILES", value_delimiter = ',')]
    pub(crate) tls_key: Option<Vec<PathBuf>>,

    /// Expect a PROXY protocol header, version 2, from one of the --trusted networks on every connection
    #[arg(long, env = "SOCIABLE_BALANCER_PROXY_PROTOCOL", num_args = 0..=1, default_missing_value = "true")]
    pub(crate) proxy_protocol: Option<bool>,

    /// Nodes, separated by commas: HOST:PORT, or dns://NAME:PORT for all addresses of a name, or srv://_SERVICE._tcp.NAME
    #[arg(long, env = "SOCIABLE_BALANCER_NODES", value_name = "NODES", value_delimiter = ',')]
    pub(crate) nodes: Option<Vec<String>>,

    /// NATS servers on which nodes announce themselves, separated by commas
    #[arg(long, env = "SOCIABLE_NATS", value_name = "URLS", hide_env_values = true)]
    pub(crate) nats: Option<String>,

    /// Name of the cluster: `sociable` by default
    #[arg(long, env = "SOCIABLE_CLUSTER", value_name = "NAME")]
    pub(crate) cluster: Option<String>,

    #[command(flatten)]
    pub(crate) credentials: NatsFlags,

    /// Address of the administration (status page, /nodes, /metrics, /healthz, /readyz), such as 127.0.0.1:8081; off if unset
    #[arg(long, env = "SOCIABLE_BALANCER_ADMIN_ADDR", value_name = "ADDRESS")]
    pub(crate) admin_addr: Option<SocketAddr>,

    /// Path of a socket through which the next process takes over the listening sockets. A process that listens there already hands over to this one
    #[arg(long, env = "SOCIABLE_BALANCER_HANDOVER", value_name = "PATH")]
    pub(crate) handover: Option<PathBuf>,

    /// Worker threads: one per core by default
    #[arg(long, env = "SOCIABLE_BALANCER_WORKERS")]
    pub(crate) workers: Option<NonZeroU16>,

    /// Paths of Socket.IO endpoints, separated by commas: /socket.io/ by default
    #[arg(long, env = "SOCIABLE_BALANCER_PATH", value_name = "PATHS", value_delimiter = ',')]
    pub(crate) path: Option<Vec<String>>,

    /// Key by which new sessions are placed: none (the default: on the node with the fewest), address, cookie:NAME, query:NAME or header:NAME
    #[arg(long, env = "SOCIABLE_BALANCER_AFFINITY", value_name = "KEY")]
    pub(crate) affinity: Option<Affinity>,

    /// Most sessions that affinity places on a node, as a multiple of the average: 1.25 by default
    #[arg(long, env = "SOCIABLE_BALANCER_BOUND", value_name = "FACTOR")]
    pub(crate) bound: Option<f64>,

    /// Seconds in which a new node gets fewer new sessions: 20 by default
    #[arg(long, env = "SOCIABLE_BALANCER_SLOW_START", value_name = "S")]
    pub(crate) slow_start: Option<u64>,

    /// Networks of the proxies in front, such as 10.0.0.0/8, separated by commas. Their headers with client addresses are trusted
    #[arg(long, env = "SOCIABLE_BALANCER_TRUSTED", value_name = "NETWORKS", value_delimiter = ',')]
    pub(crate) trusted: Option<Vec<IpNet>>,

    /// Further headers with client addresses, such as X-Visitor, separated by commas: dropped like X-Real-IP unless a --trusted proxy sends them
    #[arg(long, env = "SOCIABLE_BALANCER_DROP_HEADERS", value_name = "NAMES", value_delimiter = ',')]
    pub(crate) drop_headers: Option<Vec<String>>,

    /// Seconds without a sign of life after which a node is removed: 10 by default
    #[arg(long, env = "SOCIABLE_BALANCER_DEAD_AFTER", value_name = "S")]
    pub(crate) dead_after: Option<u64>,

    /// Seconds for the head of a request: 10 by default
    #[arg(long, env = "SOCIABLE_BALANCER_HEADER_TIMEOUT", value_name = "S")]
    pub(crate) header_timeout: Option<u64>,

    /// Seconds for the body of a request, on top of its length at the lowest rate: 30 by default
    #[arg(long, env = "SOCIABLE_BALANCER_BODY_TIMEOUT", value_name = "S")]
    pub(crate) body_timeout: Option<u64>,

    /// Lowest rate of a body in bytes per second: 1024 by default
    #[arg(long, env = "SOCIABLE_BALANCER_MIN_BODY_RATE", value_name = "BYTES")]
    pub(crate) min_body_rate: Option<u64>,

    /// Seconds that a closing connection goes on reading from a client that still sends, so that the client gets its answer: 10 by default
    #[arg(long, env = "SOCIABLE_BALANCER_LINGER", value_name = "S")]
    pub(crate) linger: Option<u64>,

    /// Most bytes that are read and dropped meanwhile: 16777216 by default
    #[arg(long, env = "SOCIABLE_BALANCER_LINGER_BYTES", value_name = "BYTES")]
    pub(crate) linger_bytes: Option<u64>,

    /// Seconds that a connection may wait for its next request: 75 by default
    #[arg(long, env = "SOCIABLE_BALANCER_KEEP_ALIVE", value_name = "S")]
    pub(crate) keep_alive: Option<u64>,

    /// Seconds that a node may take for an answer, and between two pieces of it: 75 by default. It must exceed the nodes' ping interval
    #[arg(long, env = "SOCIABLE_BALANCER_ANSWER_TIMEOUT", value_name = "S")]
    pub(crate) answer_timeout: Option<u64>,

    /// Seconds that a client may take to read up to 64 KiB: 30 by default
    #[arg(long, env = "SOCIABLE_BALANCER_WRITE_TIMEOUT", value_name = "S")]
    pub(crate) write_timeout: Option<u64>,

    /// Seconds that a WebSocket may be idle: 75 by default, or 30 more than the ping interval and timeout of the node if that is longer
    #[arg(long, env = "SOCIABLE_BALANCER_TUNNEL_IDLE", value_name = "S")]
    pub(crate) tunnel_idle: Option<u64>,

    /// Seconds that one side of a WebSocket may go on when the other has ended: 10 by default
    #[arg(long, env = "SOCIABLE_BALANCER_HALF_CLOSE", value_name = "S")]
    pub(crate) half_close: Option<u64>,

    /// Milliseconds to connect to a node: 2000 by default
    #[arg(long, env = "SOCIABLE_BALANCER_CONNECT_TIMEOUT", value_name = "MS")]
    pub(crate) connect_timeout: Option<u64>,

    /// Seconds that a connection to a node waits for its next request: 4 by default. It must be below the nodes' own keep-alive
    #[arg(long, env = "SOCIABLE_BALANCER_POOL_IDLE", value_name = "S")]
    pub(crate) pool_idle: Option<u64>,

    /// Longest body: 16777216 by default; the limit of the node applies too
    #[arg(long, env = "SOCIABLE_BALANCER_MAX_BODY", value_name = "BYTES")]
    pub(crate) max_body: Option<u64>,

    /// Most memory for data that slow clients and nodes do not read, and for incomplete heads: 268435456 by default. Reads shrink as it fills
    #[arg(long, env = "SOCIABLE_BALANCER_MAX_WAITING", value_name = "BYTES")]
    pub(crate) max_waiting: Option<usize>,

    /// Most connections of clients: 100000 by default, or as many as the limit on open files allows
    #[arg(long, env = "SOCIABLE_BALANCER_MAX_CONNECTIONS", value_name = "N")]
    pub(crate) max_connections: Option<usize>,

    /// Most connections of one address (IPv6: of a /64), such as 1000; a tenth of all if unset, and at least 64. Each HTTP/2 stream beyond the first counts. --trusted proxies are exempt
    #[arg(long, env = "SOCIABLE_BALANCER_MAX_CONNECTIONS_PER_ADDRESS", value_name = "N")]
    pub(crate) max_connections_per_address: Option<usize>,

    /// Connections accepted per second: 5000 by default
    #[arg(long, env = "SOCIABLE_BALANCER_ACCEPT_RATE", value_name = "N")]
    pub(crate) accept_rate: Option<f64>,

    /// Sessions that one address may open per second, and ten times as many in a burst: 1000 by default
    #[arg(long, env = "SOCIABLE_BALANCER_SESSION_RATE", value_name = "N")]
    pub(crate) session_rate: Option<f64>,

    /// Unknown session ids that one address may send per second, and ten times as many in a burst: 100 by default
    #[arg(long, env = "SOCIABLE_BALANCER_GUESS_RATE", value_name = "N")]
    pub(crate) guess_rate: Option<f64>,

    /// Seconds of the drain before a stop: 30 by default. It should exceed the nodes' ping interval, for which polls wait
    #[arg(long, env = "SOCIABLE_BALANCER_DRAIN_TIME", value_name = "S")]
    pub(crate) drain_time: Option<u64>,

    /// Seconds of the drain after a handover: 600 by default
    #[arg(long, env = "SOCIABLE_BALANCER_HANDOVER_TIME", value_name = "S")]
    pub(crate) handover_time: Option<u64>,

    /// Log every request
    #[arg(long, env = "SOCIABLE_BALANCER_ACCESS_LOG", num_args = 0..=1, default_missing_value = "true")]
    pub(crate) access_log: Option<bool>,

    /// Filter of the log, e.g. `warn` or `info,sociable::balancer=debug`; `RUST_LOG` if unset, else `info`
    #[arg(long, env = "SOCIABLE_BALANCER_LOG", value_name = "FILTER")]
    pub(crate) log: Option<String>,

    /// Format of the log: for people (the default), or a line of JSON for each event
    #[arg(long, env = "SOCIABLE_BALANCER_LOG_FORMAT", value_name = "FORMAT", value_enum)]
    pub(crate) log_format: Option<Format>,
}

impl Settings {
    /// Returns the address at which this machine reaches the administration.
    pub(crate) fn own_admin_addr(&self) -> Option<SocketAddr> {
        let mut address = self.admin_addr?;
        if address.ip().is_unspecified() {
            address.set_ip(if address.is_ipv4() { Ipv4Addr::LOCALHOST.into() } else { Ipv6Addr::LOCALHOST.into() });
        }
        Some(address)
    }

    /// Returns the addresses without TLS.
    pub(crate) fn plain(&self) -> Vec<SocketAddr> {
        match (&self.listen, &self.tls_listen) {
            (None, None) => vec![SocketAddr::from(([127, 0, 0, 1], 8080))],
            (listen, _) => listen.clone().unwrap_or_default(),
        }
    }

    /// Returns the filter of the log.
    pub(crate) fn filter(&self) -> Result<String, CheckError> {
        let filter = log::chosen(self.log.as_deref())?;
        // Requests are many, so they have a switch of their own.
        let access = if self.access_log == Some(true) { "info" } else { "off" };
        let filter = format!("{filter},sociable::access={access}");
        log::parse(&filter).map_err(FilterError::Setting)?;
        Ok(filter)
    }

    /// Returns the settings of discovery.
    pub(crate) fn discovery(&self) -> Result<DiscoveryConfig, DiscoveryError> {
        let mut discovery = DiscoveryConfig::default();
        for node in self.nodes.iter().flatten() {
            if node.contains("://") { discovery.dns.push(node.parse()?) } else { discovery.nodes.push(node.parse()?) }
        }
        discovery.nats = self.nats.as_ref().map(|servers| self.nats_source(servers));
        if let Some(seconds) = self.dead_after {
            discovery.rules.dead_after = Duration::from_secs(seconds);
        }
        discovery.check()?;
        Ok(discovery)
    }

    fn nats_source(&self, servers: &str) -> NatsSource {
        let mut source = self.credentials.config(servers);
        if let Some(cluster) = &self.cluster {
            source.cluster.clone_from(cluster);
        }
        source
    }

    /// Returns the names of the settings that differ in `new` and need another process.
    pub(crate) fn settled(&self, new: &Self) -> Vec<&'static str> {
        let differs = [
            ("listen", self.listen != new.listen),
            ("tls-listen", self.tls_listen != new.tls_listen),
            ("proxy-protocol", self.proxy_protocol != new.proxy_protocol),
            ("admin-addr", self.admin_addr != new.admin_addr),
            ("handover", self.handover != new.handover),
            ("workers", self.workers != new.workers),
            ("log-format", self.log_format != new.log_format),
        ];
        differs.into_iter().filter(|(_, differs)| *differs).map(|(name, _)| name).collect()
    }

    /// Returns the certificates with their keys.
    pub(crate) fn pairs(&self) -> Result<Vec<Pair>, CheckError> {
        let (certificates, keys) = (self.tls_cert.as_deref().unwrap_or_default(), self.tls_key.as_deref().unwrap_or_default());
        if certificates.len() != keys.len() {
            return Err(CheckError::Pairs { certificates: certificates.len(), keys: keys.len() });
        }
        Ok(certificates.iter().zip(keys).map(|(certificate, key)| Pair { certificate: certificate.clone(), key: key.clone() }).collect())
    }

    /// Returns the options of the balancer.
    pub(crate) fn options(&self) -> Options {
        let mut options = Options::default();
        fn set<T: Clone>(option: &mut T, setting: &Option<T>) {
            if let Some(setting) = setting {
                option.clone_from(setting);
            }
        }
        let seconds = |option: &mut Duration, setting: Option<u64>| set(option, &setting.map(Duration::from_secs));
        set(&mut options.engine_paths, &self.path);
        set(&mut options.affinity, &self.affinity);
        set(&mut options.bound, &self.bound);
        seconds(&mut options.slow_start, self.slow_start);
        set(&mut options.trusted, &self.trusted);
        set(&mut options.drop_headers, &self.drop_headers);
        seconds(&mut options.header_timeout, self.header_timeout);
        seconds(&mut options.body_timeout, self.body_timeout);
        set(&mut options.min_body_rate, &self.min_body_rate);
        seconds(&mut options.linger, self.linger);
        set(&mut options.linger_bytes, &self.linger_bytes);
        seconds(&mut options.keep_alive, self.keep_alive);
        seconds(&mut options.answer_timeout, self.answer_timeout);
        seconds(&mut options.write_timeout, self.write_timeout);
        seconds(&mut options.tunnel_idle, self.tunnel_idle);
        seconds(&mut options.half_close, self.half_close);
        set(&mut options.connect_timeout, &self.connect_timeout.map(Duration::from_millis));
        seconds(&mut options.pool_idle, self.pool_idle);
        set(&mut options.max_body, &self.max_body);
        set(&mut options.max_waiting, &self.max_waiting);
        set(&mut options.max_connections, &self.max_connections);
        if self.max_connections_per_address.is_some() {
            options.max_connections_per_address = self.max_connections_per_address;
        }
        set(&mut options.accept_rate, &self.accept_rate);
        set(&mut options.session_rate, &self.session_rate);
        set(&mut options.guess_rate, &self.guess_rate);
        seconds(&mut options.drain_time, self.drain_time);
        seconds(&mut options.handover_time, self.handover_time);
        options
    }
}
