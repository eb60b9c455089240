//! The server of the benchmarks with a backend: the API, and a webhook that acknowledges events. `bench/README.md` has the loads.
//!
//! `PORT` is the port on 127.0.0.1. `WEBHOOK` is the URL of the backend. `BACKEND=1` starts the backend instead.

use actix_web::{App, HttpResponse, HttpServer, web};
use sociable::{Ack, Data, Server, Socket};
use sociable_gateway::api::{Api, KeyFile, Keys};
use sociable_gateway::webhooks::{NamespaceHooks, Settings, Webhooks};

/// The key of the load generator.
const KEYS: &str =
    r#"{"keys":{"load":{"secret":"the-key-of-the-load-generator-0001","operations":["emit"],"rate":1000000,"burst":1000000}}}"#;

/// The secret that signs webhooks.
const SECRET: &str = "whsec_c29jaWFibGUtYmVuY2gtc2VjcmV0LW9mLTMyLWJ5dGVz";

async fn join(socket: Socket, Data(room): Data<String>, ack: Ack) {
    socket.join(room);
    ack.send(()).ok();
}

/// Gives the arguments of an event back as its acknowledgement.
async fn acknowledge(event: web::Json<serde_json::Value>) -> HttpResponse {
    HttpResponse::Ok().json(serde_json::json!({ "ack": event["args"] }))
}

#[actix_web::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let port = std::env::var("PORT").ok().and_then(|port| port.parse().ok()).unwrap_or(3000);
    if std::env::var_os("BACKEND").is_some() {
        let app = || App::new().route("/", web::post().to(acknowledge));
        return Ok(HttpServer::new(app).workers(1).bind(("127.0.0.1", port))?.run().await?);
    }
    let io = Server::builder().build()?;
    io.on("join", join);
    let api = Api::builder(&io, Keys::new(serde_json::from_str::<KeyFile>(KEYS)?)?).build();
    if let Ok(url) = std::env::var("WEBHOOK") {
        let hooks: NamespaceHooks = serde_json::from_value(serde_json::json!({ "events": { "echo": url } }))?;
        let settings: Settings = serde_json::from_value(serde_json::json!({ "secrets": [SECRET] }))?;
        Webhooks::start(settings, "bench", "bench")?.hook(&io, &hooks)?;
    }
    let service = io.service();
    let app = move || App::new().service(service.clone()).service(api.service());
    Ok(io.serve(app).bind(("127.0.0.1", port))?.run().await?)
}
