//! The flags of the app.

use std::time::Duration;

use clap::{Parser, ValueEnum};
use sociable::engine::{EngineBuilder, EngineRequest};
use sociable::{
    Cookie, Cors, JetStreamOptions, MsgPackParser, NatsAdapter, NatsError, NatsOptions, PerMessageDeflate, Recovery, Refusal,
    ServerBuilder, Transport,
};

#[derive(Clone, Copy, Debug, ValueEnum)]
pub(crate) enum PacketParser {
    Json,
    Msgpack,
}

#[derive(Debug, Parser)]
pub(crate) struct Flags {
    #[arg(long, default_value = "127.0.0.1")]
    pub(crate) host: String,
    #[arg(long, default_value_t = 3000)]
    pub(crate) port: u16,
    /// Shown by the ops `id` and `whoami`.
    #[arg(long)]
    pub(crate) node_name: Option<String>,
    /// The servers of NATS, separated by commas.
    #[arg(long)]
    nats: Option<String>,
    #[arg(long, default_value = "acceptance")]
    cluster: String,
    /// The address of this node for balancers, HOST:PORT.
    #[arg(long)]
    advertise: Option<String>,
    /// Recovers clients on any node, by JetStream.
    #[arg(long)]
    jetstream: bool,
    #[arg(long)]
    path: Option<String>,
    #[arg(long, default_value_t = 25_000)]
    ping_interval: u64,
    #[arg(long, default_value_t = 20_000)]
    ping_timeout: u64,
    #[arg(long, default_value_t = 45_000)]
    connect_timeout: u64,
    #[arg(long, default_value_t = 10_000)]
    upgrade_timeout: u64,
    #[arg(long, default_value_t = 1_000_000)]
    max_payload: usize,
    #[arg(long, default_value_t = 30_000)]
    http_request_body_timeout: u64,
    #[arg(long, value_delimiter = ',', default_value = "polling,websocket")]
    transports: Vec<String>,
    #[arg(long, value_enum, default_value = "json")]
    parser: PacketParser,
    #[arg(long, default_value = "*")]
    cors_origin: String,
    #[arg(long)]
    cors_credentials: bool,
    #[arg(long)]
    cookie: Option<String>,
    #[arg(long, default_value_t = 5_000)]
    request_timeout: u64,
    /// Milliseconds for which a disconnected client may return.
    #[arg(long)]
    recovery: Option<u64>,
    /// Milliseconds over which a stop closes sessions in batches.
    #[arg(long, default_value_t = 0)]
    drain_time: u64,
    /// Compresses the messages of WebSockets.
    #[arg(long)]
    per_message_deflate: bool,
    /// Compresses them in the context of earlier ones, in both directions.
    #[arg(long)]
    takeover: bool,
    #[arg(long)]
    server_bits: Option<u8>,
    #[arg(long)]
    client_bits: Option<u8>,
    /// Accepts clients of Engine.IO 3 and Socket.IO 2.
    #[arg(long)]
    eio3: bool,
    /// Serves the Engine.IO layer alone, which echoes each message.
    #[arg(long)]
    pub(crate) engine: bool,
}

/// The options of both layers.
macro_rules! common {
    ($flags:expr, $builder:expr) => {{
        let flags = $flags;
        let transports = flags.transports.iter().map(|name| match name.as_str() {
            "polling" => Ok(Transport::Polling),
            "websocket" => Ok(Transport::WebSocket),
            other => Err(format!("unknown transport {other}")),
        });
        $builder
            .transports(transports.collect::<Result<Vec<_>, _>>()?)
            .ping_interval(Duration::from_millis(flags.ping_interval))
            .ping_timeout(Duration::from_millis(flags.ping_timeout))
            .upgrade_timeout(Duration::from_millis(flags.upgrade_timeout))
            .allow_eio3(flags.eio3)
            .per_message_deflate(flags.deflate())
            // JSONP is always on in the JavaScript server.
            .jsonp(true)
            .max_http_buffer_size(flags.max_payload)
            .http_request_body_timeout(Duration::from_millis(flags.http_request_body_timeout))
            .allow_request(async |request| match request.query_value("deny") {
                None => Ok(()),
                Some(text) if text.is_empty() => Err(Refusal::forbidden()),
                Some(text) => Err(text.into_owned().into()),
            })
            .cors(Cors::origin(flags.cors_origin.as_str()).credentials(flags.cors_credentials))
            .cookie(flags.cookie.as_deref().map(Cookie::named))
    }};
}

impl Flags {
    pub(crate) fn engine(&self, builder: EngineBuilder) -> Result<EngineBuilder, String> {
        let builder = common!(self, builder).path(self.path.as_deref().unwrap_or("/engine.io/"));
        Ok(builder.engine_middleware(async |request: EngineRequest| match request.http().query_string().contains("fail=") {
            false => Ok(()),
            true => Err(Refusal::forbidden()),
        }))
    }

    fn deflate(&self) -> Option<PerMessageDeflate> {
        let options = PerMessageDeflate::default()
            .server_no_context_takeover(!self.takeover)
            .client_no_context_takeover(!self.takeover)
            .server_max_window_bits(self.server_bits)
            .client_max_window_bits(self.client_bits);
        self.per_message_deflate.then_some(options)
    }

    pub(crate) fn drain_time(&self) -> Duration {
        Duration::from_millis(self.drain_time)
    }

    /// Returns the adapter for NATS, if servers are given.
    pub(crate) async fn adapter(&self, name: &str) -> Result<Option<NatsAdapter>, NatsError> {
        let Some(servers) = &self.nats else { return Ok(None) };
        let mut options = NatsOptions::new(servers).cluster(&self.cluster).node_name(name);
        if let Some(address) = &self.advertise {
            options = options.address(address);
        }
        // Without recovery the history would be empty.
        let keeps = self.jetstream && self.recovery.is_some();
        NatsAdapter::connect(if keeps { options.jetstream(JetStreamOptions::default()) } else { options }).await.map(Some)
    }

    pub(crate) fn server(&self, builder: ServerBuilder) -> Result<ServerBuilder, String> {
        let builder = common!(self, builder)
            .path(self.path.as_deref().unwrap_or("/socket.io/"))
            .connect_timeout(Duration::from_millis(self.connect_timeout))
            .request_timeout(Duration::from_millis(self.request_timeout))
            // As in the JavaScript server.
            .cleanup_empty_child_namespaces(false)
            .max_private_rooms(10_000);
        let builder = match self.recovery {
            Some(duration) => builder.recovery(Recovery::default().max_disconnection_duration(Duration::from_millis(duration))),
            None => builder,
        };
        Ok(match self.parser {
            PacketParser::Json => builder,
            PacketParser::Msgpack => builder.parser(MsgPackParser::default()),
        })
    }
}
