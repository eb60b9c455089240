//! The server side of the admin UI, for the page of the npm package `@socket.io/admin-ui`.
//!
//! * `options.rs`: the options.
//! * `login.rs`: who may look. `users.rs`: names and hashes. `attempts.rs`: the bounds on passwords. `session_ids.rs`: logins without a password.
//! * `reports.rs`: the task that reports. `interest.rs`: whether someone looks. `server_stats.rs`: the sums of a node.
//! * `sample.rs`: the sockets that are reported. `hooks.rs`: the listeners on them. `serialized.rs`: a socket as the page shows it.
//! * `records.rs`, `budget.rs`: the reports that wait, and their bounds. `pages.rs`: what is sent to the pages of this node.
//! * `commands.rs`: what users may do. `counters.rs`: the counters.

mod attempts;
mod budget;
mod commands;
mod counters;
mod hooks;
mod interest;
mod login;
mod options;
mod pages;
mod records;
mod reports;
mod sample;
mod serialized;
mod server_stats;
mod session_ids;
#[cfg(all(test, feature = "testing"))]
mod tests;
mod users;

use std::future::ready;
use std::sync::Arc;

use sociable_engine::ConfigError;

use self::counters::Counters;
use self::login::Login;
pub use self::options::{AdminMode, AdminOptions};
use self::reports::Reports;
pub use self::users::AdminUsers;
use crate::server::Server;
use crate::socket::Socket;

impl Server {
    /// Serves the [admin UI](https://socket.io/docs/v4/admin-ui/) of the npm package `@socket.io/admin-ui` in a namespace of its own.
    ///
    /// Call this once, before clients connect, on every server of the cluster. Users log in by name and password. The page keeps a session id, which is
    /// valid on every server. While nobody looks, the server does nothing for the admin UI: no timer runs, and no listener is there.
    ///
    /// # Errors
    ///
    /// As [`AdminOptions::check`].
    pub fn admin(&self, options: AdminOptions) -> Result<(), ConfigError> {
        options.check()?;
        let counters = Arc::<Counters>::default();
        let namespace = self.of(&options.namespace);
        let login = Arc::new(Login::new(&options, Arc::clone(&counters)));
        let reports = Reports::new(self, &options, Arc::clone(&counters));
        let checked = Arc::clone(&login);
        namespace.middleware(move |socket: Socket| Arc::clone(&checked).check(socket));
        let (config, known, added) = (reports::config(&options), Arc::clone(&login), Arc::clone(&reports));
        namespace.on_connect(move |socket: Socket| {
            if known.enter(&socket) {
                pages::emit(socket.namespace(), Some(socket.id()), "config", &config);
                added.add(socket.id());
            } else {
                // Its user was removed while the client logged in, or was disconnected.
                socket.disconnect();
            }
            ready(())
        });
        let (left, removed) = (Arc::clone(&login), Arc::clone(&reports));
        namespace.on_disconnect(move |socket: Socket| {
            left.leave(&socket);
            removed.remove(socket.id());
            ready(())
        });
        reports.install(self, &namespace);
        if !options.readonly {
            commands::install(&namespace, &login, &counters);
        }
        #[cfg(feature = "metrics")]
        self.add_metrics(move || counters.metrics(reports.are_running()));
        tracing::info!(target: "sociable::admin", namespace = %crate::trace::plain(&options.namespace), mode = ?options.mode, readonly = options.readonly, "admin UI served");
        Ok(())
    }
}
