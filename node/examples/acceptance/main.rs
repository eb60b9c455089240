//! The acceptance app: the whole server API, opened to any Socket.IO client, so that test suites in other languages can drive it.

mod flags;

use std::rc::Rc;
use std::time::Duration;

use actix_web::App;
use bytes::Bytes;
use bytestring::ByteString;
use clap::Parser;
use sociable::CloseReason;
use sociable::engine::{Connection, Engine, Session};

use flags::Flags;

/// Sends each message back as it came.
struct Echo(Rc<Session>);

impl Connection for Echo {
    fn text(&self, text: ByteString) {
        self.0.send_text(&text).ok();
    }

    fn binary(&self, bytes: Bytes) {
        self.0.send_binary(&bytes).ok();
    }

    fn closed(&self, _: CloseReason) {}
}

#[actix_web::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    tracing_subscriber::fmt().with_env_filter(tracing_subscriber::EnvFilter::from_default_env()).with_writer(std::io::stderr).init();
    let flags = Flags::parse();
    if flags.engine {
        let engine = flags.apply(Engine::builder().path(flags.path("/engine.io/"))).build(Echo)?;
        let service = engine.service();
        let server = engine.serve(move || App::new().service(service.clone())).bind((&*flags.host, flags.port))?;
        println!("listening on http://{}", server.addrs()[0]);
        return Ok(server.shutdown_timeout(Duration::from_secs(4)).run().await?);
    }
    Ok(())
}
