//! socketioxide on axum.
//!
//! `PORT` is the port on 127.0.0.1. `REDIS_URL` makes it a node of a cluster over Redis.

use std::convert::Infallible;
use std::env;
use std::error::Error;
use std::sync::Arc;

use axum::Router;
use axum::serve::ListenerExt;
use rmpv::Value;
use socketioxide::SocketIo;
use socketioxide::adapter::{Adapter, LocalAdapter};
use socketioxide::extract::{AckSender, Data, SocketRef};
use socketioxide::handler::{FromMessageParts, Value as Packet};
use socketioxide::socket::Socket;
use socketioxide_redis::drivers::redis::redis_client as redis;
use socketioxide_redis::{RedisAdapter, RedisAdapterCtr};
use tokio::net::TcpListener;

/// Whether the client asked for an acknowledgement.
struct WantsAck(bool);

impl<A: Adapter> FromMessageParts<A> for WantsAck {
    type Error = Infallible;

    fn from_message_parts(_: &Arc<Socket<A>>, _: &mut Packet, ack: &Option<i64>) -> Result<Self, Infallible> {
        Ok(Self(ack.is_some()))
    }
}

async fn echo<A: Adapter>(socket: SocketRef<A>, WantsAck(wants_ack): WantsAck, Data(argument): Data<Value>, ack: AckSender<A>) {
    // A client that is gone needs no answer.
    if wants_ack {
        ack.send(&argument).ok();
    } else {
        socket.emit("echo", &argument).ok();
    }
}

async fn join<A: Adapter>(socket: SocketRef<A>, Data(room): Data<String>, ack: AckSender<A>) {
    socket.join(room);
    ack.send(&()).ok();
}

async fn broadcast<A: Adapter>(socket: SocketRef<A>, Data((room, payload)): Data<(String, Value)>) {
    socket.within(room).emit("msg", &payload).await.ok();
}

async fn on_connect<A: Adapter>(socket: SocketRef<A>) {
    socket.on("echo", echo);
    socket.on("join", join);
    socket.on("broadcast", broadcast);
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let port: u16 = env::var("PORT").unwrap_or_else(|_| "3000".into()).parse()?;
    let router = match env::var("REDIS_URL") {
        Ok(url) => {
            // The adapter needs the third version of the protocol.
            let client = redis::Client::open(format!("{url}?protocol=resp3"))?;
            let adapter = RedisAdapterCtr::new_with_redis(&client).await?;
            let (layer, io) = SocketIo::builder().with_adapter::<RedisAdapter<_>>(adapter).build_layer();
            io.ns("/", on_connect).await?;
            Router::new().layer(layer)
        }
        Err(_) => {
            let (layer, io) = SocketIo::new_layer();
            io.ns("/", on_connect::<LocalAdapter>);
            Router::new().layer(layer)
        }
    };
    let listener = TcpListener::bind(("127.0.0.1", port)).await?.tap_io(|stream| {
        // Small messages leave at once, as with all peers.
        let _ = stream.set_nodelay(true);
    });
    axum::serve(listener, router).await?;
    Ok(())
}
