//! Adds Socket.IO to an existing actix-web application.
//!
//! **Before.** `POST /login` sets a cookie for a session in the state of the app. `GET /` is a page for logged-in users, and `/ws` an echo over a
//! WebSocket by `actix-ws`.
//!
//! **Added.** Two handlers, `authenticate` and `whoami`, and five lines, marked with `+` below:
//!
//! 1. The server is created, and shares the sessions with the app.
//! 2. Its middleware admits only logged-in users, and its handler answers with the name of the user.
//! 3. and 4. The app gets the service of the server, which answers polling.
//! 5. `io.serve(app)` replaces `HttpServer::new(app)`, so that WebSockets cost as little as possible.
//!
//! The app keeps its routes, its state, its middleware, and its own WebSocket.
//!
//! ```text
//! cargo run -p sociable --example embed
//! curl -i -d name=Ada http://127.0.0.1:3000/login
//! ```

use std::collections::HashMap;
use std::sync::Arc;

use actix_web::cookie::{Cookie, SameSite};
use actix_web::{App, Error, HttpRequest, HttpResponse, Responder, get, post, web};
use actix_ws::Message;
use futures_util::StreamExt;
use parking_lot::RwLock;
use serde::Deserialize;
use sociable::{Ack, Failure, Handshake, Server, Socket, State};

const COOKIE: &str = "session";

/// The logged-in users, by the value of their cookie.
#[derive(Clone, Default)]
struct Sessions(Arc<RwLock<HashMap<String, String>>>);

impl Sessions {
    /// Opens a session and returns the value of its cookie.
    fn open(&self, user: String) -> Result<String, getrandom::Error> {
        let secret = format!("{:016x}{:016x}", getrandom::u64()?, getrandom::u64()?);
        self.0.write().insert(secret.clone(), user);
        Ok(secret)
    }

    fn user(&self, secret: &str) -> Option<String> {
        self.0.read().get(secret).cloned()
    }
}

#[derive(Deserialize)]
struct Login {
    name: String,
}

/// Accepts any name without a password, to keep the example short.
#[post("/login")]
async fn login(sessions: web::Data<Sessions>, form: web::Form<Login>) -> Result<impl Responder, Error> {
    let secret = sessions.open(form.into_inner().name).map_err(actix_web::error::ErrorInternalServerError)?;
    // Strict: no page of another site can open a connection in the name of the user.
    let cookie = Cookie::build(COOKIE, secret).path("/").http_only(true).same_site(SameSite::Strict).finish();
    Ok(HttpResponse::NoContent().cookie(cookie).finish())
}

#[get("/")]
async fn home(sessions: web::Data<Sessions>, request: HttpRequest) -> impl Responder {
    match request.cookie(COOKIE).and_then(|cookie| sessions.user(cookie.value())) {
        Some(user) => HttpResponse::Ok().body(format!("Welcome back, {user}.\n")),
        None => HttpResponse::Unauthorized().body("Log in first.\n"),
    }
}

/// Sends each message back.
#[get("/ws")]
async fn echo(request: HttpRequest, body: web::Payload) -> Result<HttpResponse, Error> {
    let (response, mut session, mut messages) = actix_ws::handle(&request, body)?;
    actix_web::rt::spawn(async move {
        while let Some(Ok(message)) = messages.next().await {
            let sent = match message {
                Message::Text(text) => session.text(text).await,
                Message::Binary(bytes) => session.binary(bytes).await,
                Message::Ping(bytes) => session.pong(&bytes).await,
                Message::Close(reason) => return drop(session.close(reason).await),
                _ => Ok(()),
            };
            if sent.is_err() {
                return;
            }
        }
    });
    Ok(response)
}

/// Admits logged-in users, and attaches the name to the socket.
async fn authenticate(socket: Socket, handshake: Handshake, sessions: State<Sessions>) -> Result<(), Failure> {
    let user = handshake.cookie(COOKIE).and_then(|secret| sessions.user(secret));
    Ok(socket.set_data(&user.ok_or_else(|| Failure::new("log in first"))?)?)
}

async fn whoami(socket: Socket, ack: Ack) -> Result<(), Failure> {
    Ok(ack.send(socket.data::<String>())?)
}

#[actix_web::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    tracing_subscriber::fmt().init();
    let sessions = Sessions::default();

    let io = Server::builder().state(sessions.clone()).build()?; // +
    io.middleware(authenticate).on("whoami", whoami); // +
    let service = io.service(); // +

    let app = move || {
        App::new()
            .app_data(web::Data::new(sessions.clone()))
            .service(service.clone()) // +
            .service(login)
            .service(home)
            .service(echo)
    };
    io.serve(app).bind(("127.0.0.1", 3000))?.run().await?; // + before: HttpServer::new(app)
    Ok(())
}
