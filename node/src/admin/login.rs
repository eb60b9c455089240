//! The login: a session id, or a name with a password.

use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};

use super::attempts::Attempts;
use super::counters::Counters;
use super::options::AdminOptions;
use super::serialized::address;
use super::session_ids::SessionIds;
use super::users::AdminUsers;
use crate::handler::Failure;
use crate::socket::Socket;

/// The refusal, as the page knows it.
const INVALID: &str = "invalid credentials";

/// Most bytes of a password that are checked. Bcrypt uses 72.
const MAX_PASSWORD: usize = 1024;

/// The credentials, as the page sends them.
#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Credentials {
    session_id: Option<String>,
    username: Option<String>,
    password: Option<String>,
}

/// The data of a socket of the admin UI. The user's name is shown to the other users.
#[derive(Deserialize, Serialize)]
struct PageData {
    user: String,
}

pub(super) struct Login {
    users: AdminUsers,
    ids: SessionIds,
    attempts: Attempts,
    counters: Arc<Counters>,
}

impl Login {
    pub(super) fn new(options: &AdminOptions, counters: Arc<Counters>) -> Self {
        Self {
            users: options.users.clone(),
            ids: SessionIds::new(&options.secret, options.session_age),
            attempts: Attempts::new(options.attempts_per_minute, options.waiting_attempts),
            counters,
        }
    }

    /// Lets a socket in, or refuses it.
    pub(super) async fn check(self: Arc<Self>, socket: Socket) -> Result<(), Failure> {
        let credentials: Credentials = socket.auth().unwrap_or_default();
        let from = address(socket.handshake());
        let id = credentials.session_id.as_deref().filter(|id| !id.is_empty());
        let users = self.users.current();
        if let Some(user) = id.and_then(|id| self.ids.user_of(id, &users, now())) {
            self.counters.by_session.increment();
            tracing::info!(target: "sociable::admin", user, id = %socket.id().shortened(), %from, "login by session id");
            return self.let_in(&socket, user);
        }
        let (Some(user), Some(password)) = (credentials.username, credentials.password) else { return self.refuse(&socket) };
        // A program that makes hashes may have got no password.
        if password.is_empty() || password.len() > MAX_PASSWORD {
            return self.refuse(&socket);
        }
        let Some(turn) = self.attempts.turn().await else {
            self.counters.throttled.increment();
            tracing::warn!(target: "sociable::admin", id = %socket.id().shortened(), %from, "login refused: too many attempts");
            return Err(Failure::new("too many attempts: try again in a minute"));
        };
        let (checking, asked) = (Arc::clone(&users), user.clone());
        let checked = tokio::task::spawn_blocking(move || checking.verify(&asked, &password)).await;
        let Some((user, hash)) = checked.unwrap_or(false).then(|| users.find(&user)).flatten() else { return self.refuse(&socket) };
        turn.succeeded();
        self.counters.by_password.increment();
        tracing::info!(target: "sociable::admin", user, id = %socket.id().shortened(), %from, "login by password");
        let session = self.ids.issue(user, hash, now());
        socket.on_connect(move |socket: Socket| {
            super::pages::emit(socket.namespace(), Some(socket.id()), "session", &serde_json::json!([session]).to_string());
            std::future::ready(())
        });
        self.let_in(&socket, user)
    }

    /// Notes that a socket is connected. False if its user was removed meanwhile.
    pub(super) fn enter(&self, socket: &Socket) -> bool {
        socket.data().is_some_and(|PageData { user }| self.users.enter(socket, user))
    }

    /// Notes that a socket has left.
    pub(super) fn leave(&self, socket: &Socket) {
        self.users.leave(socket.id());
    }

    /// Returns the user of a socket that is let in. `None` for a socket whose user was removed.
    pub(super) fn user_of(&self, socket: &Socket) -> Option<String> {
        let PageData { user } = socket.data()?;
        self.users.current().find(&user).map(|_| user)
    }

    fn let_in(&self, socket: &Socket, user: &str) -> Result<(), Failure> {
        Ok(socket.set_data(&PageData { user: user.to_owned() })?)
    }

    fn refuse(&self, socket: &Socket) -> Result<(), Failure> {
        self.counters.refused.increment();
        let from = address(socket.handshake());
        tracing::warn!(target: "sociable::admin", id = %socket.id().shortened(), %from, "login refused: invalid credentials");
        Err(Failure::new(INVALID))
    }
}

/// The time in seconds since the Unix epoch.
fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs()
}
