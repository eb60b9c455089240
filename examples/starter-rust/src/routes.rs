//! The HTTP routes of users.
//!
//! | route | body | answer |
//! |---|---|---|
//! | `GET /` | | the page |
//! | `POST /login` | `{"name"}` | `{"name", "token"}` and a cookie |
//! | `POST /logout` | | closes the user's sockets on all nodes |
//! | `GET /me` | | `{"name"}` |
//! | `POST /rooms/{room}/announcements` | `{"text"}` | the message, once JetStream has it |

use actix_web::http::header::{CONTENT_SECURITY_POLICY, ContentType};
use actix_web::web::{self, Data, Json, ServiceConfig};
use actix_web::{HttpResponse, get, mime, post};
use serde::Deserialize;
use serde_json::json;
use sociable::Server;

use crate::chat::{self, Said};
use crate::login::{Logins, User};
use crate::problem::Problem;
use crate::text::{Message, Name};

/// Most bytes of a body.
const MAX_BODY: usize = 16 * 1024;

/// The page loads nothing from elsewhere.
const POLICY: &str = "default-src 'self'; frame-ancestors 'none'";

pub(crate) fn add(app: &mut ServiceConfig) {
    let json = web::JsonConfig::default().limit(MAX_BODY).error_handler(|error, _| Problem::from(error).into());
    let path = web::PathConfig::default().error_handler(|error, _| Problem::from(error).into());
    app.app_data(json).app_data(path).service(login).service(logout).service(me).service(announce);
    file(app, "/", ContentType::html(), include_str!("../page/index.html"));
    for (path, script) in [("/client.js", include_str!("../page/client.js")), ("/chat.js", include_str!("../page/chat.js"))] {
        file(app, path, ContentType(mime::APPLICATION_JAVASCRIPT_UTF_8), script);
    }
}

/// Accepts any name without a password. Ask your users, or your identity provider, here.
#[post("/login")]
async fn login(logins: Data<Logins>, Json(user): Json<User>) -> HttpResponse {
    let token = logins.issue(&user);
    HttpResponse::Ok().cookie(logins.cookie(token.clone())).json(json!({ "name": user.name, "token": token }))
}

/// A token that was copied elsewhere stays valid until its end.
#[post("/logout")]
async fn logout(user: User, logins: Data<Logins>, io: Data<Server>) -> Result<HttpResponse, Problem> {
    io.of(chat::NAMESPACE).to(user.room()).disconnect_sockets(true)?;
    Ok(HttpResponse::NoContent().cookie(logins.removal()).finish())
}

#[get("/me")]
async fn me(user: User) -> Json<User> {
    Json(user)
}

/// The body of an announcement.
#[derive(Deserialize)]
struct Announcement {
    text: Message,
}

/// A route emits as a handler does.
#[post("/rooms/{room}/announcements")]
async fn announce(user: User, room: web::Path<Name>, Json(body): Json<Announcement>, io: Data<Server>) -> Result<Json<Said>, Problem> {
    let said = Said::now(room.into_inner(), user, body.text);
    chat::send(&io.of(chat::NAMESPACE), "announced", &said)?;
    io.flushed().await?;
    Ok(Json(said))
}

fn file(app: &mut ServiceConfig, path: &str, kind: ContentType, text: &'static str) {
    let answer = move || {
        let response = HttpResponse::Ok().content_type(kind.clone()).insert_header((CONTENT_SECURITY_POLICY, POLICY)).body(text);
        async { response }
    };
    app.route(path, web::get().to(answer));
}
