//! The arguments.

use std::convert::Infallible;
use std::fs;
use std::path::PathBuf;

use clap::builder::BoolishValueParser;
use clap::{Parser, Subcommand};
use sociable_adapter::{JetStreamOptions, NatsOptions};
use sociable_nats::NatsConfig;
use sociable_program::nats::NatsFlags;

use crate::failure::Failure;

/// The variable with the key of the API. No flag has it, so that no list of processes shows it.
const KEY: &str = "SOCIABLE_API_KEY";

/// The namespace if no flag names one.
const MAIN: &str = "/";

/// Sends events to the sockets of a cluster, moves them, lists them, and watches what passes
///
/// With --api commands use the HTTP API of the cluster. With a key alone they use the API over NATS. Without a key `emit`, `join`, `leave` and
/// `disconnect` go to the nodes by NATS directly, as `server` always does. Answers are JSON. Exit codes: 1 failed or refused, 2 wrong arguments,
/// 3 unavailable now, 4 incomplete answer.
#[derive(Debug, Parser)]
#[command(version)]
pub(crate) struct Flags {
    /// Address of the HTTP API, such as http://127.0.0.1:3002
    #[arg(long, env = "SOCIABLE_API", value_name = "URL")]
    pub(crate) api: Option<String>,
    /// File with the key of the API; or set SOCIABLE_API_KEY to the key itself
    #[arg(long, env = "SOCIABLE_API_KEY_FILE", value_name = "FILE")]
    api_key_file: Option<PathBuf>,
    /// Key under which the API does a repeated command only once
    #[arg(long, value_name = "KEY")]
    pub(crate) idempotency_key: Option<String>,
    /// Seconds to wait for the answer of the API, besides --ack-timeout
    #[arg(long, value_name = "S", default_value_t = 30, value_parser = clap::value_parser!(u64).range(1..=86_400))]
    pub(crate) timeout: u64,
    /// NATS servers of the cluster, separated by commas
    #[arg(long, env = "SOCIABLE_NATS", hide_env_values = true, default_value = "nats://127.0.0.1:4222")]
    nats: String,
    #[command(flatten)]
    credentials: NatsFlags,
    /// Persist an event with JetStream, for clients that resume later; set it if the nodes have it set. The API needs no such flag
    #[arg(long, env = "SOCIABLE_JETSTREAM", value_parser = BoolishValueParser::new())]
    jetstream: bool,
    /// Name of the cluster
    #[arg(long, env = "SOCIABLE_CLUSTER", default_value = "sociable")]
    cluster: String,
    /// Namespace of the sockets; `/` if unset, and all for `watch`
    #[arg(long, short, global = true, value_parser = with_slash)]
    namespace: Option<String>,
    /// Room or socket id; repeatable. All sockets if unset; `disconnect` then needs --all
    // Ids may begin with a dash.
    #[arg(long, short, value_name = "ROOM", allow_hyphen_values = true, global = true)]
    pub(crate) to: Vec<String>,
    /// Room to leave out; repeatable
    #[arg(long, value_name = "ROOM", allow_hyphen_values = true, global = true)]
    pub(crate) except: Vec<String>,
    /// Encode for nodes that use the MessagePack parser. The API needs no such flag
    #[arg(long)]
    pub(crate) msgpack: bool,
    #[command(subcommand)]
    pub(crate) what: What,
}

#[derive(Debug, Subcommand)]
pub(crate) enum What {
    /// Send an event
    Emit {
        /// Name of the event
        event: String,
        /// Arguments as JSON; other text is a string
        args: Vec<String>,
        /// Drop the event for clients that cannot get it at once
        #[arg(long)]
        volatile: bool,
        /// Wait until JetStream has persisted the event; needs the API
        #[arg(long)]
        durable: bool,
    },
    /// Send an event, and print the acknowledgements; needs the API
    EmitWithAck {
        /// Name of the event
        event: String,
        /// Arguments as JSON; other text is a string
        args: Vec<String>,
        /// Milliseconds that the sockets have for their acknowledgements
        #[arg(long, value_name = "MS", default_value_t = 5000, value_parser = clap::value_parser!(u64).range(1..=86_400_000))]
        ack_timeout: u64,
    },
    /// Make the sockets join rooms
    Join {
        /// The rooms
        #[arg(required = true)]
        rooms: Vec<String>,
    },
    /// Make the sockets leave rooms
    Leave {
        /// The rooms
        #[arg(required = true)]
        rooms: Vec<String>,
    },
    /// Disconnect the sockets from the namespace
    Disconnect {
        /// Close their connections too
        #[arg(long)]
        close: bool,
        /// Disconnect all sockets of the namespace; needed without --to
        #[arg(long)]
        all: bool,
    },
    /// List the sockets; needs the API
    Sockets {
        /// Most sockets
        #[arg(long, value_name = "N", default_value_t = 1000)]
        limit: u64,
        /// Print the `auth` payloads of the clients too
        #[arg(long)]
        auth: bool,
    },
    /// List the rooms with their numbers of sockets; needs the API
    Rooms {
        /// First part of the names
        #[arg(long, default_value = "", hide_default_value = true)]
        prefix: String,
        /// Most rooms
        #[arg(long, value_name = "N", default_value_t = 1000)]
        limit: u64,
    },
    /// Count the sockets; needs the API
    Count,
    /// List the nodes; needs the API
    Info,
    /// Send a server event to the application on every node
    Server {
        /// Name of the event
        event: String,
        /// Argument as JSON; other text is a string
        arg: Option<String>,
    },
    /// Print what the nodes send each other, a line of JSON each
    Watch {
        /// End after so many lines
        #[arg(long, value_name = "N")]
        lines: Option<u64>,
    },
}

impl Flags {
    /// Returns the namespace of the sockets.
    pub(crate) fn namespace(&self) -> &str {
        self.namespace.as_deref().unwrap_or(MAIN)
    }

    /// Returns the namespace if a flag names one.
    pub(crate) fn given_namespace(&self) -> Option<&str> {
        self.namespace.as_deref()
    }

    /// Returns the key of the API, if there is one.
    pub(crate) fn key(&self) -> Result<Option<String>, Failure> {
        let key = match &self.api_key_file {
            Some(file) => {
                let read = fs::read_to_string(file);
                read.map_err(|error| Failure::Usage(format!("reading the key of the API from {} failed: {error}", file.display())))?
            }
            None => match std::env::var(KEY) {
                Ok(key) if !key.is_empty() => key,
                _ => return Ok(None),
            },
        };
        let key = key.trim();
        if key.is_empty() || !key.bytes().all(|byte| (b' '..=b'~').contains(&byte)) {
            return Err(Failure::Usage("the key of the API has no or other characters than ASCII: write it on one line".into()));
        }
        Ok(Some(key.to_owned()))
    }

    /// Refuses an address of the API beside a command that uses NATS alone.
    pub(crate) fn refuse_api(&self, command: &str) -> Result<(), Failure> {
        match &self.api {
            Some(_) => Err(Failure::Usage(format!("`{command}` uses NATS: leave --api out, or unset SOCIABLE_API"))),
            None => Ok(()),
        }
    }

    /// Refuses to disconnect all sockets because of a forgotten flag.
    pub(crate) fn refuse_all(&self) -> Result<(), Failure> {
        let What::Disconnect { all, .. } = self.what else { return Ok(()) };
        match (all, self.to.is_empty()) {
            (false, true) => {
                Err(Failure::Usage("`disconnect` has no rooms: name them with --to, or add --all for all sockets of the namespace".into()))
            }
            (true, false) => Err(Failure::Usage("`disconnect` has --all and --to: leave one out".into())),
            _ => Ok(()),
        }
    }

    /// Returns the settings of the connection to NATS.
    pub(crate) fn nats(&self) -> NatsConfig {
        NatsConfig { cluster: self.cluster.clone(), ..self.credentials.config(&self.nats) }
    }

    /// Returns the settings of an emitter.
    pub(crate) fn emitter(&self) -> NatsOptions {
        let options = NatsOptions::from(self.nats());
        if self.jetstream { options.jetstream(JetStreamOptions::default()) } else { options }
    }
}

/// Returns the name of a namespace, which may be given without its slash.
fn with_slash(name: &str) -> Result<String, Infallible> {
    Ok(if name.starts_with('/') { name.to_owned() } else { format!("/{name}") })
}

/// Returns an argument: JSON, or else a string.
pub(crate) fn value(text: &str) -> serde_json::Value {
    serde_json::from_str(text).unwrap_or_else(|_| text.into())
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
    fn namespace_needs_no_slash() {
        let namespace = |name| Flags::parse_from(["ctl", "--namespace", name, "count"]).namespace;
        assert_eq!((namespace("chat"), namespace("/chat")), (Some("/chat".into()), Some("/chat".into())));
    }

    #[test]
    fn argument_is_a_string_when_it_is_no_json() {
        assert_eq!(value("{\"a\":1}"), serde_json::json!({ "a": 1 }));
        assert_eq!(value("hello there"), "hello there");
    }
}
