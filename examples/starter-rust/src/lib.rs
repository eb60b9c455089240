//! A team chat: an actix-web application that runs alone, or as one node of a Sociable cluster.
//!
//! Layout, in reading order:
//!
//! * `settings.rs`: the flags and variables. The variables are those of `sociable-node`, so the program takes its place.
//! * `login.rs`: users and their signed tokens, as a cookie or a bearer token.
//! * `chat.rs`: the namespace `/chat`, its rooms and events.
//! * `routes.rs`: the HTTP routes of users. `problem.rs`: their errors.
//! * `text.rs`: names and messages, checked while they are decoded.
//! * `operations.rs`: health, readiness and metrics. `api.rs`: the API for other programs.
//!
//! | feature | default | |
//! |---|---|---|
//! | `api` | yes | The HTTP API of the cluster, for programs in other languages. |
//!
//! No node has state of its own: a token is valid on every node, and rooms span the cluster. So clients may come to any node.

#[cfg(feature = "api")]
pub mod api;
pub mod chat;
pub mod login;
pub mod operations;
pub mod problem;
pub mod routes;
pub mod settings;
pub mod text;

use actix_web::web::{Data, ServiceConfig};
use sociable::{ConfigError, Server, ServerBuilder};

use crate::login::Logins;
use crate::operations::Operations;

/// The application: its Socket.IO server and its logins.
#[derive(Clone)]
pub struct Application {
    pub io: Server,
    pub operations: Operations,
    logins: Data<Logins>,
}

impl Application {
    /// Builds the server of the node of this name, with its namespace.
    ///
    /// # Errors
    ///
    /// An option of the builder is invalid.
    pub fn new(name: &str, builder: ServerBuilder, logins: Logins) -> Result<Self, ConfigError> {
        // Clients that wait for an acknowledgement get errors as the answer.
        let io = builder.answer_errors(true).state(logins.clone()).build()?;
        chat::set_up(&io.of(chat::NAMESPACE));
        Ok(Self { operations: Operations::new(name, &io), io, logins: Data::new(logins) })
    }

    /// Adds all routes of clients, those of Socket.IO included.
    pub fn configure(&self, app: &mut ServiceConfig) {
        app.app_data(Data::new(self.io.clone())).app_data(self.logins.clone());
        app.service(self.io.service()).configure(routes::add).configure(|app| self.operations.add_health(app));
    }
}
