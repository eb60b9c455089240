//! The server of the benchmarks: echo, acknowledgements, rooms and broadcasts, and nothing else.
//!
//! `PORT` is the port on 127.0.0.1. `PLAIN=1` serves by a plain `HttpServer` instead of raw streams. `NATS=nats://…` joins a cluster.
//! `DEFLATE=1` compresses WebSocket messages for clients that offer it. `ADVERTISE=HOST:PORT` is the address for balancers. `RECOVERY=1` enables recovery on this node, and `JETSTREAM=1` on any node of the cluster.

use actix_web::{App, HttpServer, web};
use sociable::{Ack, Data, JetStreamOptions, NatsAdapter, NatsOptions, PerMessageDeflate, RawArgs, Recovery, Server, Socket};

async fn echo(socket: Socket, args: RawArgs, ack: Option<Ack>) {
    match ack {
        Some(ack) => ack.send(args).ok(),
        None => socket.emit("echo", args).ok(),
    };
}

async fn join(socket: Socket, Data(room): Data<String>, ack: Ack) {
    socket.join(room);
    ack.send(()).ok();
}

async fn broadcast(socket: Socket, args: RawArgs) {
    if let (Ok(room), Some(payload)) = (args.decode::<String>(0), args.get(1)) {
        socket.namespace().to(room).emit("msg", payload).ok();
    }
}

#[actix_web::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let port = std::env::var("PORT").ok().and_then(|port| port.parse().ok()).unwrap_or(3000);
    let is_set = |name: &str| std::env::var_os(name).is_some();
    let mut builder = Server::builder();
    if let Ok(servers) = std::env::var("NATS") {
        let options = NatsOptions::new(servers);
        let options = match std::env::var("ADVERTISE") {
            Ok(address) => options.address(address),
            Err(_) => options,
        };
        let options = if is_set("JETSTREAM") { options.jetstream(JetStreamOptions::default()) } else { options };
        builder = builder.adapter(NatsAdapter::connect(options).await?);
    }
    if is_set("RECOVERY") || is_set("JETSTREAM") {
        builder = builder.recovery(Recovery::default());
    }
    if is_set("DEFLATE") {
        builder = builder.per_message_deflate(PerMessageDeflate::default());
    }
    let io = builder.build()?;
    io.on("echo", echo).on("join", join).on("broadcast", broadcast);
    let (service, asked) = (io.service(), io.clone());
    let app = move || {
        let io = asked.clone();
        let health = move || std::future::ready(web::Json(io.health()));
        App::new().service(service.clone()).route("/healthz", web::get().to(health))
    };
    if std::env::var_os("PLAIN").is_some() {
        return Ok(HttpServer::new(app)
            .on_connect(sociable::on_connect)
            .h1_allow_half_closed(false)
            .max_connections(200_000)
            .keep_alive(std::time::Duration::from_secs(75))
            .bind(("127.0.0.1", port))?
            .run()
            .await?);
    }
    Ok(io.serve(app).direct_polls(true).bind(("127.0.0.1", port))?.run().await?)
}
