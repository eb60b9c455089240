//! `sociable-emit`: sends events to the sockets of a cluster from a shell, and moves sockets between rooms.

use std::process::ExitCode;

use clap::builder::BoolishValueParser;
use clap::{Parser, Subcommand};
use sociable_adapter::{Emitter, EmitterError, JetStreamOptions, NatsError, NatsOptions};
use sociable_program::nats::NatsFlags;
use sociable_program::settings;
use sociable_protocol::{Args, Encoding};
use thiserror::Error;

/// Sends events to the sockets of a cluster, and moves sockets between rooms
#[derive(Debug, Parser)]
#[command(version)]
struct Flags {
    /// NATS servers of the cluster, separated by commas
    #[arg(long, env = "SOCIABLE_NATS", hide_env_values = true, default_value = "nats://127.0.0.1:4222")]
    nats: String,
    #[command(flatten)]
    credentials: NatsFlags,
    /// Persist the event with JetStream, for clients that resume later; set it if the nodes have it set
    #[arg(long, env = "SOCIABLE_JETSTREAM", value_parser = BoolishValueParser::new())]
    jetstream: bool,
    /// Name of the cluster
    #[arg(long, env = "SOCIABLE_CLUSTER", default_value = "sociable")]
    cluster: String,
    /// Namespace of the sockets
    #[arg(long, short, default_value = "/")]
    namespace: String,
    /// Room or socket id; repeatable. All sockets if unset
    // Ids may begin with a dash.
    #[arg(long, short, value_name = "ROOM", allow_hyphen_values = true)]
    to: Vec<String>,
    /// Room to leave out; repeatable
    #[arg(long, value_name = "ROOM", allow_hyphen_values = true)]
    except: Vec<String>,
    /// Encode for nodes that use the MessagePack parser
    #[arg(long)]
    msgpack: bool,
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Subcommand)]
enum What {
    /// Send an event
    Emit {
        /// Name of the event
        event: String,
        /// Arguments as JSON; other text is a string
        args: Vec<String>,
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
    },
    /// Send a server event to the application on every node
    Server {
        /// Name of the event
        event: String,
        /// Argument as JSON; other text is a string
        arg: Option<String>,
    },
}

#[derive(Debug, Error)]
enum Failed {
    #[error(transparent)]
    Nats(#[from] NatsError),
    #[error(transparent)]
    Emitter(#[from] EmitterError),
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    let emitted = match settings::parse(std::env::args_os().collect()) {
        Ok(flags) => run(flags).await.map_err(|error| error.to_string()),
        Err(error) => Err(error.exit_on_arguments().to_string()),
    };
    match emitted {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

async fn run(flags: Flags) -> Result<(), Failed> {
    let mut options = NatsOptions::from(flags.credentials.config(&flags.nats)).cluster(&*flags.cluster);
    if flags.jetstream {
        options = options.jetstream(JetStreamOptions::default());
    }
    let mut emitter = Emitter::connect(options).await?.of(&flags.namespace);
    if flags.msgpack {
        emitter = emitter.msgpack();
    }
    emitter = flags.to.iter().fold(emitter, |emitter, room| emitter.to(room.as_str()));
    emitter = flags.except.iter().fold(emitter, |emitter, room| emitter.except(room.as_str()));
    match flags.what {
        What::Emit { event, args } => {
            let mut builder = Args::builder(if flags.msgpack { Encoding::MsgPack } else { Encoding::Json });
            for arg in args {
                builder.push(&value(&arg)).map_err(EmitterError::from)?;
            }
            emitter.emit_args(&event, builder.finish())?;
        }
        What::Join { rooms } => emitter.sockets_join(rooms)?,
        What::Leave { rooms } => emitter.sockets_leave(rooms)?,
        What::Disconnect { close } => emitter.disconnect_sockets(close)?,
        What::Server { event, arg } => emitter.server_side_emit(&event, &arg.as_deref().map(value))?,
    }
    emitter.close().await;
    Ok(())
}

fn value(text: &str) -> serde_json::Value {
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
    fn argument_is_a_string_when_it_is_no_json() {
        assert_eq!(value("{\"a\":1}"), serde_json::json!({ "a": 1 }));
        assert_eq!(value("hello there"), "hello there");
    }
}
