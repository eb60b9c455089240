//! The flags. Each has an environment variable and a key of the file.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use actix_web::http::Uri;
use clap::Parser;
use clap::builder::{BoolishValueParser, RangedU64ValueParser};
use sociable::{Cors, Recovery, Server, ServerBuilder};
use sociable_program::log::{self, Format};

use crate::admin_ui::AdminUiFlags;
use crate::api::ApiFlags;
use crate::cluster::ClusterFlags;
use crate::deflate::DeflateFlags;
use crate::namespaces::Demo;
use crate::origins;

/// Seconds of the drain of a node with others. Kubernetes kills a container after 30 s, and the stop behind the drain takes up to 10.
const DRAIN_SECS: u64 = 10;

/// The longest time that a flag takes.
const DAY_SECS: u64 = 24 * 60 * 60;

/// A Socket.IO server with a page on which browser tabs talk to each other through rooms.
#[derive(Debug, Parser)]
#[command(version)]
pub(crate) struct Flags {
    /// File with settings (TOML): each flag without its dashes, such as `port = 3000`. Flags and the environment win over it
    #[arg(long, env = "SOCIABLE_CONFIG", value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,

    /// Check all settings, print the first fault, and exit
    #[arg(long)]
    pub(crate) check: bool,

    /// Exit with 0 if the node that runs with these settings on this machine is healthy
    #[arg(long)]
    pub(crate) probe: bool,

    /// Address or name to listen on; 0.0.0.0 is all of this machine's
    #[arg(long, env = "SOCIABLE_HOST", default_value = "127.0.0.1")]
    pub(crate) host: String,

    /// Port to listen on; 0 is any free one
    #[arg(long, env = "SOCIABLE_PORT", default_value_t = 3000)]
    pub(crate) port: u16,

    /// Worker threads; one per core if unset
    #[arg(long, env = "SOCIABLE_WORKERS", value_parser = clap::value_parser!(u16).range(1..))]
    pub(crate) workers: Option<u16>,

    /// Path of the Socket.IO endpoint
    #[arg(long, env = "SOCIABLE_PATH", default_value = "/socket.io/")]
    pub(crate) path: String,

    /// Time between two pings of a client
    #[arg(long, env = "SOCIABLE_PING_INTERVAL", value_name = "MS", default_value_t = 25_000, value_parser = within(DAY_SECS * 1000))]
    ping_interval: u64,

    /// Time for the pong of a client, after which its session is closed
    #[arg(long, env = "SOCIABLE_PING_TIMEOUT", value_name = "MS", default_value_t = 20_000, value_parser = within(DAY_SECS * 1000))]
    ping_timeout: u64,

    /// Longest message of a client. A longer one ends its session
    #[arg(long, env = "SOCIABLE_MAX_PAYLOAD", value_name = "BYTES", default_value_t = 1_000_000)]
    max_payload: usize,

    /// Time in which the body of a request has to arrive. A later one ends its session
    #[arg(long, env = "SOCIABLE_HTTP_REQUEST_BODY_TIMEOUT", value_name = "MS", default_value_t = 30_000, value_parser = within(DAY_SECS * 1000))]
    http_request_body_timeout: u64,

    /// Send buffer of one session; a slow client whose buffer is full is disconnected
    #[arg(long, env = "SOCIABLE_MAX_OUTBOX", value_name = "BYTES", default_value_t = 1 << 20)]
    max_outbox: usize,

    /// Send buffers of all sessions together. A slow client that holds a sixteenth of the free budget is disconnected
    #[arg(long, env = "SOCIABLE_MAX_UNREAD", value_name = "BYTES", default_value_t = 1 << 30)]
    max_unread: usize,

    /// Most sessions. Further clients get 503, and balancers place them on other nodes
    #[arg(long, env = "SOCIABLE_MAX_SESSIONS", value_name = "N", default_value_t = 1_000_000)]
    max_sessions: usize,

    /// Most memory of all sessions. Further clients get 503, and balancers place them on other nodes
    #[arg(long, env = "SOCIABLE_MAX_SESSION_MEMORY", value_name = "BYTES", default_value_t = 4 << 30)]
    max_session_memory: usize,

    /// Most sessions that have not joined a namespace yet. Beyond it the oldest of them is closed
    #[arg(long, env = "SOCIABLE_MAX_PENDING_SESSIONS", value_name = "N", default_value_t = 20_000)]
    max_pending_sessions: usize,

    /// Most bytes of the handshake request (URL and headers) that a session keeps
    #[arg(long, env = "SOCIABLE_MAX_HANDSHAKE", value_name = "BYTES", default_value_t = 4096)]
    max_handshake: usize,

    /// Longest `auth` payload of a client
    #[arg(long, env = "SOCIABLE_MAX_AUTH", value_name = "BYTES", default_value_t = 16 * 1024)]
    max_auth: usize,

    /// Most memory for input of one client (incomplete packets, namespaces with `auth`), such as 4000000; four times --max-payload if unset
    #[arg(long, env = "SOCIABLE_MAX_CLIENT_BYTES", value_name = "BYTES")]
    max_client_bytes: Option<usize>,

    /// Most connections; as many as the limit on open files allows if unset. Further connections get 503
    #[arg(long, env = "SOCIABLE_MAX_CONNECTIONS", value_name = "N", value_parser = RangedU64ValueParser::<usize>::new().range(1..))]
    pub(crate) max_connections: Option<usize>,

    /// Seconds that a closing connection goes on reading from a client that still sends, so that the client gets its answer
    #[arg(long, env = "SOCIABLE_LINGER", value_name = "S", default_value_t = 10, value_parser = within(DAY_SECS))]
    pub(crate) linger: u64,

    /// Most bytes that are read and dropped meanwhile
    #[arg(long, env = "SOCIABLE_LINGER_BYTES", value_name = "BYTES", default_value_t = 16 << 20)]
    pub(crate) linger_bytes: usize,

    /// Seconds a disconnected client can resume its session; off if unset
    #[arg(long, env = "SOCIABLE_RECOVERY", value_name = "S", value_parser = within(DAY_SECS))]
    recovery: Option<u64>,

    /// Origin whose pages may read responses (CORS), such as `https://example.com`; `*` is every origin. Repeatable
    #[arg(long, env = "SOCIABLE_CORS_ORIGIN", value_name = "ORIGIN", value_delimiter = ',', value_parser = origins::readable)]
    cors_origin: Vec<String>,

    /// Let pages of these origins send cookies and other credentials, as the admin UI of Socket.IO does
    #[arg(long, env = "SOCIABLE_CORS_CREDENTIALS", value_parser = BoolishValueParser::new(), requires = "cors_origin")]
    cors_credentials: bool,

    /// Origin whose pages may connect by any transport, such as `https://example.com`; all may if unset. Repeatable
    #[arg(long, env = "SOCIABLE_ALLOW_ORIGIN", value_name = "ORIGIN", value_delimiter = ',', value_parser = origins::allowed)]
    allow_origin: Vec<String>,

    /// Serve clients that poll by JSONP. Pages of any site can do so: give --allow-origin too
    #[arg(long, env = "SOCIABLE_JSONP", value_parser = BoolishValueParser::new())]
    jsonp: bool,

    /// Serve clients of Socket.IO 2, which speak Engine.IO 3
    #[arg(long, env = "SOCIABLE_ALLOW_EIO3", value_parser = BoolishValueParser::new())]
    allow_eio3: bool,

    /// Namespace of the demonstration and of its page on `/`; `off` switches both off
    #[arg(long, env = "SOCIABLE_DEMO", value_name = "NAMESPACE", default_value = "/")]
    pub(crate) demo: Demo,

    /// Folder with the files of the official client to serve: `dist` of the npm package socket.io-client
    #[arg(long, env = "SOCIABLE_SERVE_CLIENT", value_name = "FOLDER")]
    serve_client: Option<PathBuf>,

    /// Seconds of the drain before a stop, in which clients are moved to other nodes; a second signal ends it. 10 with --nats, else 0
    #[arg(long, env = "SOCIABLE_DRAIN_TIME", value_name = "S", value_parser = RangedU64ValueParser::<u64>::new().range(..=DAY_SECS))]
    drain_time: Option<u64>,

    /// Seconds that a stop may take after the drain, until remaining connections are cut
    #[arg(long, env = "SOCIABLE_SHUTDOWN_TIMEOUT", value_name = "S", default_value_t = 10, value_parser = within(DAY_SECS))]
    pub(crate) shutdown_timeout: u64,

    /// Filter of the log, e.g. `warn` or `info,sociable::parser=debug`; `RUST_LOG` if unset, else `info`
    #[arg(long, env = "SOCIABLE_LOG", value_name = "FILTER", value_parser = filter)]
    pub(crate) log: Option<String>,

    /// Format of the log: for people, or a line of JSON for each event
    #[arg(long, env = "SOCIABLE_LOG_FORMAT", value_name = "FORMAT", value_enum, default_value_t = Format::Text)]
    pub(crate) log_format: Format,

    /// Collector of traces by OTLP over HTTP, such as http://127.0.0.1:4318; `OTEL_EXPORTER_OTLP_ENDPOINT` if unset, else off. Needs the feature `otel`
    #[arg(long, env = "SOCIABLE_OTLP_ENDPOINT", value_name = "URL", value_parser = collector)]
    pub(crate) otlp_endpoint: Option<String>,

    /// Share of all traces that is sent, from 0 to 1; `OTEL_TRACES_SAMPLER` if unset, else 1
    #[arg(long, env = "SOCIABLE_OTLP_SHARE", value_name = "FACTOR", value_parser = share)]
    pub(crate) otlp_share: Option<f64>,

    /// Address of the administration (/metrics, /healthz, /readyz, /actors, /log), such as 127.0.0.1:3001; off if unset. It has no authentication
    #[arg(long, env = "SOCIABLE_ADMIN_ADDR", value_name = "ADDRESS")]
    pub(crate) admin_addr: Option<SocketAddr>,

    /// Seconds for which a worker thread may be blocked, as by a deadlock. Beyond it /healthz of the administration has status 503
    #[arg(long, env = "SOCIABLE_MAX_BLOCK", value_name = "S", default_value_t = 60, value_parser = within(DAY_SECS))]
    pub(crate) max_block: u64,

    /// Name of this node in logs and on the page; the host name if unset
    #[arg(long, env = "SOCIABLE_NODE_NAME", value_name = "NAME")]
    node_name: Option<String>,

    #[command(flatten)]
    pub(crate) admin_ui: AdminUiFlags,

    #[command(flatten)]
    deflate: DeflateFlags,

    #[command(flatten)]
    pub(crate) api: ApiFlags,

    #[command(flatten)]
    pub(crate) cluster: ClusterFlags,
}

impl Flags {
    /// Returns a server builder with these options. Clients that resume pass the middleware again if namespaces check tokens.
    pub(crate) fn builder(&self, have_tokens: bool) -> ServerBuilder {
        let builder = Server::builder()
            .path(&self.path)
            .ping_interval(Duration::from_millis(self.ping_interval))
            .ping_timeout(Duration::from_millis(self.ping_timeout))
            .max_http_buffer_size(self.max_payload)
            .http_request_body_timeout(Duration::from_millis(self.http_request_body_timeout))
            .max_outbox(self.max_outbox)
            .max_unread(self.max_unread)
            .max_sessions(self.max_sessions)
            .max_session_memory(self.max_session_memory)
            .max_pending_sessions(self.max_pending_sessions)
            .max_handshake_bytes(self.max_handshake)
            .max_auth_bytes(self.max_auth)
            .jsonp(self.jsonp)
            .allow_eio3(self.allow_eio3)
            .per_message_deflate(self.deflate.options())
            .cors(self.cors());
        let builder = match self.max_client_bytes {
            Some(bytes) => builder.max_client_bytes(bytes),
            None => builder,
        };
        let builder = match &self.allow_origin[..] {
            [] => builder,
            origins => builder.allow_origins(origins),
        };
        let builder = match self.recovery {
            Some(seconds) => {
                let recovery = Recovery::default().max_disconnection_duration(Duration::from_secs(seconds));
                builder.recovery(recovery.skip_middlewares(!have_tokens))
            }
            None => builder,
        };
        match &self.serve_client {
            Some(folder) => builder.serve_client(folder),
            None => builder,
        }
    }

    fn allows_all_origins(&self) -> bool {
        self.cors_origin.iter().any(|origin| origin == "*")
    }

    /// Returns whether all origins may send credentials, which browsers refuse.
    pub(crate) fn allows_credentials_for_all(&self) -> bool {
        self.cors_credentials && self.allows_all_origins()
    }

    /// Returns the time of the drain. A node without others has no node to move clients to.
    pub(crate) fn drain_time(&self) -> Duration {
        let default = if self.cluster.is_one_of_many() { DRAIN_SECS } else { 0 };
        Duration::from_secs(self.drain_time.unwrap_or(default))
    }

    fn cors(&self) -> Option<Cors> {
        match &self.cors_origin[..] {
            [] => None,
            _ if self.allows_all_origins() => Some(Cors::any()),
            origins => Some(Cors::list(origins).credentials(self.cors_credentials)),
        }
    }

    /// Returns the address at which this machine reaches the node.
    pub(crate) fn own_address(&self) -> (&str, u16) {
        let host = match &*self.host {
            "0.0.0.0" => "127.0.0.1",
            "::" => "::1",
            host => host,
        };
        (host, self.port)
    }

    /// Returns the name of this node.
    pub(crate) fn node_name(&self) -> String {
        let given = self.node_name.clone();
        given.or_else(machine_name).unwrap_or_else(|| "node".into())
    }
}

/// The name of this machine, on every UNIX system.
fn machine_name() -> Option<String> {
    let system = rustix::system::uname();
    Some(system.nodename().to_string_lossy().into_owned()).filter(|name| !name.is_empty())
}

/// Returns a parser of times from 1 to `longest`.
fn within(longest: u64) -> RangedU64ValueParser {
    RangedU64ValueParser::new().range(1..=longest)
}

/// Parses a share.
fn share(text: &str) -> Result<f64, String> {
    text.parse().ok().filter(|share| (0.0..=1.0).contains(share)).ok_or_else(|| "expected a number from 0 to 1".into())
}

/// Checks the address of a collector: exporters report what they cannot reach late, and only in the log.
pub(crate) fn collector(text: &str) -> Result<String, &'static str> {
    let uri = text.parse::<Uri>().ok();
    let is_http = |uri: &Uri| matches!(uri.scheme_str(), Some("http" | "https")) && uri.host().is_some_and(|host| !host.is_empty());
    if uri.is_some_and(|uri| is_http(&uri)) { Ok(text.into()) } else { Err("expected http://HOST:PORT or https://HOST:PORT") }
}

/// Checks a filter, so that a wrong one is reported like every other wrong flag.
fn filter(text: &str) -> Result<String, tracing_subscriber::filter::ParseError> {
    log::parse(text).map(|_| text.to_owned())
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn flags_are_consistent() {
        Flags::command().debug_assert();
    }

    #[test]
    fn every_flag_has_its_environment_variable() {
        let asked = ["check", "probe"];
        for flag in Flags::command().get_arguments().filter(|flag| !asked.contains(&flag.get_id().as_str())) {
            let variable = format!("SOCIABLE_{}", flag.get_id().as_str().to_uppercase());
            assert_eq!(flag.get_env().and_then(|env| env.to_str()), Some(&*variable));
        }
    }

    #[test]
    fn drain_time_depends_on_other_nodes() {
        let drain = |flags: &[&str]| Flags::parse_from([&["sociable-node"], flags].concat()).drain_time().as_secs();
        assert_eq!(drain(&[]), 0);
        assert_eq!(drain(&["--nats", "nats://127.0.0.1"]), DRAIN_SECS);
        assert_eq!(drain(&["--nats", "nats://127.0.0.1", "--drain-time", "0"]), 0);
        assert_eq!(drain(&["--drain-time", "30"]), 30);
    }

    #[test]
    fn collector_is_an_address_of_http_or_https() {
        assert!(collector("http://127.0.0.1:4318").is_ok() && collector("https://collector/").is_ok());
        for wrong in ["collector:4318", "collector", "", "ftp://collector", "http://"] {
            assert!(collector(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn filter_is_refused_when_it_does_not_parse() {
        assert!(filter("info,sociable::parser=debug").is_ok());
        assert!(filter("sociable=loud").is_err());
    }
}
