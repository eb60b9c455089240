//! The acceptance app: the whole server API for test suites in other languages, driven by any Socket.IO client.

mod events;
mod flags;
mod log;
mod ops;

use std::rc::Rc;
use std::time::Duration;

use actix_web::{App, web};
use bytes::Bytes;
use bytestring::ByteString;
use clap::Parser;
use sociable::engine::{Connection, Engine, Session};
use sociable::{Auth, CloseReason, Failure, Health, Server, Socket, State, Value};

use flags::Flags;
use log::Logs;

/// The deadline of a stop. Test suites expect an end within 5 s.
const SHUTDOWN: Duration = Duration::from_secs(4);

/// A connection that echoes each message.
struct Echo(Rc<Session>);

impl Connection for Echo {
    fn text(&self, text: ByteString) {
        self.0.send_text(&text).ok();
    }

    fn binary(&self, bytes: Bytes) {
        self.0.send_binary(&bytes).ok();
    }

    fn closed(&self, reason: CloseReason) {
        println!("closed {}: {reason}", self.0.id().as_str());
    }
}

/// The name of this node in the answers of ops.
pub(crate) struct NodeName(pub String);

#[actix_web::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let filter = tracing_subscriber::EnvFilter::from_default_env();
    tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).init();
    let flags = Flags::parse();
    let address = (flags.host.as_str(), flags.port);
    if flags.engine {
        let engine = flags.engine(Engine::builder())?.build(Echo)?;
        let (service, asked) = (engine.service(), engine.clone());
        let app = move || App::new().service(service.clone()).configure(healthz(asked.clone(), Engine::health));
        let server = engine.serve(app).drain(flags.drain_time()).shutdown_timeout(SHUTDOWN).bind(address)?;
        println!("listening on http://{}", server.addrs()[0]);
        return Ok(server.run().await?);
    }
    let name = flags.node_name.clone().unwrap_or_else(|| format!("node-{}", std::process::id()));
    let builder = match flags.adapter(&name).await? {
        Some(adapter) => Server::builder().adapter(adapter),
        None => Server::builder(),
    };
    let io = flags.server(builder)?.state(NodeName(name)).state(Logs::default()).build()?;
    set_up(&io);
    let (service, asked) = (io.service(), io.clone());
    let app = move || App::new().service(service.clone()).configure(healthz(asked.clone(), Server::health));
    let server = io.serve(app).drain(flags.drain_time()).shutdown_timeout(SHUTDOWN).bind(address)?;
    println!("listening on http://{}", server.addrs()[0]);
    Ok(server.run().await?)
}

/// Adds the health report for balancers.
fn healthz<S: Clone + 'static>(server: S, health: fn(&S) -> Health) -> impl FnOnce(&mut web::ServiceConfig) {
    move |app| {
        app.route("/healthz", web::get().to(move || std::future::ready(web::Json(health(&server)))));
    }
}

fn set_up(io: &Server) {
    io.on_new_namespace(log::watch);
    log::watch(io);
    for name in ["/", "/custom"] {
        io.of(name).on_connect(greet);
    }
    for name in ["/api", "/api2", "/guarded"] {
        io.of(name).on_connect(ops::on_connect);
    }
    // In JavaScript \d is [0-9].
    for pattern in ["^/dyn-[0-9]+$", "(?s)^/odd-.+$"] {
        io.of_pattern(regex::Regex::new(pattern).expect("a valid pattern")).on_connect(ops::on_connect);
    }
    io.of("/guarded").middleware(async |auth: Auth<Value>| match auth.0.get("token").and_then(Value::as_str) {
        Some("open sesame") => Ok(()),
        _ => Err(Failure::new("not authorized").with_data(&serde_json::json!({ "code": "E_AUTH" }))),
    });
}

async fn greet(socket: Socket, Auth(auth): Auth<Value>, logs: State<Logs>) {
    socket.emit("auth", auth).ok();
    events::install(&socket, &logs);
}
