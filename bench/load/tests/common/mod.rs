//! The servers and plans of the tests.
#![allow(clippy::unwrap_used, reason = "a helper that fails fails its test")]

use sociable::{Ack, Data, RawArgs, Server, ServerBuilder, Socket};
use sociable_load::{Address, Load, Plan, Target};

pub(crate) const CLIENTS: usize = 20;

/// Returns a server that answers the events of the benchmarks.
pub(crate) fn server_with(options: ServerBuilder) -> Server {
    let io = deaf_server_with(options);
    io.on("broadcast", async |socket: Socket, args: RawArgs| {
        let room = args.decode::<String>(0).unwrap();
        socket.namespace().to(room).emit("msg", args.get(1).unwrap()).unwrap();
    });
    io
}

/// Returns a server that answers all of them but broadcasts.
pub(crate) fn deaf_server_with(options: ServerBuilder) -> Server {
    let io = options.build().unwrap();
    io.on("echo", async |socket: Socket, args: RawArgs, ack: Option<Ack>| {
        match ack {
            Some(ack) => ack.send(args).unwrap(),
            None => socket.emit("echo", args).unwrap(),
        };
    });
    io.on("join", async |socket: Socket, Data(room): Data<String>, ack: Ack| {
        socket.join(room);
        ack.send(()).unwrap();
    });
    io
}

/// Returns a short plan.
pub(crate) fn plan(load: Load, server: Address) -> Plan {
    let targets = vec![Target { name: "node".into(), id: std::process::id() }];
    let plan = Plan { clients: CLIENTS, seconds: 0.2, warmup: 0.1, handshakes: 8, sources: 2, ..Plan::default() };
    Plan { load, servers: vec![server], targets, ..plan }
}
