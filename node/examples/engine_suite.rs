//! The server for the test suite of `engine.io-client`: `tests/js/engine-client.suite.mjs`.
//!
//! The example uses the Engine.IO layer alone. Its parts are admission, headers that set cookies, and a middleware of the `App` for the requests of a
//! session.

use std::collections::HashMap;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use actix_web::dev::{Service, ServiceRequest};
use actix_web::http::Method;
use actix_web::http::header::{HeaderMap, HeaderValue, HttpDate, SET_COOKIE};
use actix_web::{App, web};
use bytes::Bytes;
use bytestring::ByteString;
use clap::Parser;
use parking_lot::Mutex;
use serde::Deserialize;
use sociable::engine::{Connection, Engine, Session};
use sociable::{CloseReason, Handshake, Refusal};

#[derive(Parser)]
struct Flags {
    #[arg(long, default_value_t = 3000)]
    port: u16,
}

/// The headers of the last request with which each session sent packets, by the session's id.
#[derive(Clone, Default)]
struct LastHeaders(Arc<Mutex<HashMap<String, HashMap<String, String>>>>);

#[derive(Deserialize)]
struct Query {
    sid: Option<String>,
}

impl LastHeaders {
    /// Notes the headers of a request.
    fn note(&self, request: &ServiceRequest) {
        let query = web::Query::<Query>::from_query(request.query_string());
        if let (&Method::POST, Ok(Some(sid))) = (request.method(), query.map(|query| query.into_inner().sid)) {
            let texts = request.headers().iter().filter_map(|(name, value)| Some((name.to_string(), value.to_str().ok()?.to_owned())));
            self.0.lock().insert(sid, texts.collect());
        }
    }
}

/// One client.
struct Client {
    session: Rc<Session>,
    headers: LastHeaders,
}

impl Client {
    fn open(session: Rc<Session>, headers: LastHeaders) -> Self {
        session.send_text("hi").ok();
        Self { session, headers }
    }
}

impl Connection for Client {
    fn text(&self, text: ByteString) {
        let sent = match &*text {
            "give binary" => self.session.send_binary(&[0, 1, 2, 3, 4]),
            "give utf8" => self.session.send_text("пойду спать всем спокойной ночи"),
            "sendHeaders" => {
                let headers = self.headers.0.lock().get(self.session.id().as_str()).cloned();
                self.session.send_text(&serde_json::json!(headers).to_string())
            }
            other => self.session.send_text(other),
        };
        // A closed session needs no answer.
        sent.ok();
    }

    fn binary(&self, bytes: Bytes) {
        self.session.send_binary(&bytes).ok();
    }

    fn closed(&self, _: CloseReason) {
        self.headers.0.lock().remove(self.session.id().as_str());
    }
}

/// Sets cookies of many kinds. The client has to keep the first two.
fn set_cookies(headers: &mut HeaderMap, _: &Handshake) {
    let now = HttpDate::from(SystemTime::now());
    let expired = format!("4=4; Expires={now}");
    for cookie in ["1=1; Max-Age=86400", "2=2; Path=/; HttpOnly; Secure; SameSite=Strict", "3=3; Max-Age=0", &expired] {
        if let Ok(value) = HeaderValue::from_str(cookie) {
            headers.append(SET_COOKIE, value);
        }
    }
}

#[actix_web::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let flags = Flags::parse();
    let headers = LastHeaders::default();
    let of_clients = headers.clone();
    let engine = Engine::builder()
        .ping_interval(Duration::from_millis(500))
        .max_http_buffer_size(100)
        .allow_request(async |request: Handshake| match request.query_value("deny") {
            Some(_) => Err(Refusal::forbidden()),
            None => Ok(()),
        })
        .on_initial_headers(set_cookies)
        .build(move |session| Client::open(session, of_clients.clone()))?;

    let service = engine.service();
    let app = move || {
        let headers = headers.clone();
        let noting = move |request: ServiceRequest, app: &_| {
            headers.note(&request);
            Service::call(app, request)
        };
        App::new().wrap_fn(noting).service(service.clone())
    };
    // The tests connect to `localhost`, which may be either loopback address.
    let server = engine.serve(app).shutdown_timeout(Duration::from_secs(1)).bind(("localhost", flags.port))?;
    println!("listening on http://{}", server.addrs()[0]);
    Ok(server.run().await?)
}
