//! The admin UI of Socket.IO in a namespace of the node: its flags, and the files with its users and its secret.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use clap::builder::BoolishValueParser;
use clap::{Args, ValueEnum};
use sociable::{AdminMode, AdminOptions, AdminUsers, ConfigError};
use thiserror::Error;

use crate::follow::follow;
use crate::namespaces::{NameFault, check_name};

/// The longest file with users or a secret, in bytes.
const MAX_FILE: u64 = 1 << 20;

/// The reason why the admin UI cannot be served.
#[derive(Debug, Error)]
pub(crate) enum AdminUiFault {
    #[error("cannot read {}: {error}", .path.display())]
    Read { path: PathBuf, error: io::Error },
    #[error("{}, line {line}: expected NAME:HASH, such as `htpasswd -nB NAME` prints", .path.display())]
    Line { path: PathBuf, line: usize },
    #[error("{}, line {line}: this user is there twice: remove one", .path.display())]
    Twice { path: PathBuf, line: usize },
    #[error("{}: the secret is empty: write one, such as that of `openssl rand -hex 32`", .0.display())]
    EmptySecret(PathBuf),
    #[error(transparent)]
    Options(#[from] ConfigError),
    #[error("`{0}` is the namespace of the demonstration or of a table too: give the admin UI another by --admin-ui-namespace")]
    Taken(String),
}

/// The extent of the reports.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Mode {
    Production,
    Development,
}

#[derive(Debug, Args)]
pub(crate) struct AdminUiFlags {
    /// File with the users of the Socket.IO admin UI: a line NAME:HASH for each, with the bcrypt hash of the password. The node reads it again when it changes. The UI is off if unset
    #[arg(long, env = "SOCIABLE_ADMIN_UI_USERS", value_name = "FILE")]
    admin_ui_users: Option<PathBuf>,

    /// Namespace of the admin UI
    #[arg(long, env = "SOCIABLE_ADMIN_UI_NAMESPACE", value_name = "NAMESPACE", default_value = "/admin", value_parser = namespace)]
    admin_ui_namespace: String,

    /// Extent of the reports to the admin UI: sums of each node, or also a sample of its sockets with their rooms and events
    #[arg(long, env = "SOCIABLE_ADMIN_UI_MODE", value_name = "MODE", value_enum, default_value_t = Mode::Production)]
    admin_ui_mode: Mode,

    /// Let users of the admin UI only look. Otherwise they may emit, and move and disconnect sockets
    #[arg(long, env = "SOCIABLE_ADMIN_UI_READONLY", value_parser = BoolishValueParser::new())]
    admin_ui_readonly: bool,

    /// File with the secret of the admin UI, at least 16 bytes. It signs session ids, with the hash of the user. All nodes need the same
    #[arg(long, env = "SOCIABLE_ADMIN_UI_SECRET", value_name = "FILE", requires = "admin_ui_users")]
    admin_ui_secret: Option<PathBuf>,

    /// Most sockets of this node that the admin UI shows, in the mode `development`
    #[arg(long, env = "SOCIABLE_ADMIN_UI_SOCKETS", value_name = "N", default_value_t = 200)]
    admin_ui_sockets: usize,

    /// Most events of its sockets that this node reports in a second, in the mode `development`
    #[arg(long, env = "SOCIABLE_ADMIN_UI_EVENTS", value_name = "N", default_value_t = 20)]
    admin_ui_events: u32,
}

impl AdminUiFlags {
    /// Returns the options of the admin UI, if it is on. `is_taken` tells the namespaces of other settings.
    ///
    /// # Errors
    ///
    /// A file or an option cannot be used.
    pub(crate) fn options(&self, node_name: &str, is_taken: impl Fn(&str) -> bool) -> Result<Option<AdminOptions>, AdminUiFault> {
        let Some(path) = &self.admin_ui_users else { return Ok(None) };
        if is_taken(&self.admin_ui_namespace) {
            return Err(AdminUiFault::Taken(self.admin_ui_namespace.clone()));
        }
        let mut options = AdminOptions::new(users(path, &read(path)?)?)
            .namespace(&*self.admin_ui_namespace)
            .server_id(node_name)
            .readonly(self.admin_ui_readonly)
            .sockets(self.admin_ui_sockets)
            .events_per_second(self.admin_ui_events)
            .mode(match self.admin_ui_mode {
                Mode::Production => AdminMode::Production,
                Mode::Development => AdminMode::Development,
            });
        if let Some(path) = &self.admin_ui_secret {
            let secret = read(path)?.trim_end().to_owned();
            if secret.is_empty() {
                return Err(AdminUiFault::EmptySecret(path.clone()));
            }
            options = options.secret(secret);
        }
        options.check()?;
        Ok(Some(options))
    }

    /// Lets the users of the admin UI follow their file. A text with a fault changes nothing.
    pub(crate) fn follow(&self, known: AdminUsers) {
        let Some(path) = self.admin_ui_users.clone() else { return };
        actix_web::rt::spawn(follow(path, read, move |path, text| {
            let replace = |text: String| known.replace(users(path, &text)?).map_err(AdminUiFault::from);
            match text.and_then(|text| replace(text).map_err(|error| error.to_string())) {
                Ok(()) => tracing::info!(users = ?known.names(), "admin UI users read again"),
                Err(error) => tracing::warn!(error, "admin UI users not read again; the earlier ones stay"),
            }
        }));
    }
}

fn namespace(text: &str) -> Result<String, NameFault> {
    check_name(text).map(|()| text.to_owned())
}

fn read(path: &Path) -> Result<String, AdminUiFault> {
    let fault = |error| AdminUiFault::Read { path: path.to_owned(), error };
    if fs::metadata(path).map_err(fault)?.len() > MAX_FILE {
        return Err(fault(io::Error::new(io::ErrorKind::FileTooLarge, "the file is longer than 1 MiB")));
    }
    fs::read_to_string(path).map_err(fault)
}

/// Returns the users of a text. Empty lines and comments (`#`) are skipped.
fn users(path: &Path, text: &str) -> Result<Vec<(String, String)>, AdminUiFault> {
    let mut users: Vec<(String, String)> = vec![];
    for (at, line) in text.trim_start_matches('\u{feff}').lines().enumerate() {
        let (line, number, path) = (line.trim(), at + 1, || path.to_owned());
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let (name, hash) = line.split_once(':').ok_or_else(|| AdminUiFault::Line { path: path(), line: number })?;
        if users.iter().any(|(known, _)| known == name) {
            return Err(AdminUiFault::Twice { path: path(), line: number });
        }
        users.push((name.to_owned(), hash.to_owned()));
    }
    Ok(users)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn users_are_lines_of_name_and_hash() {
        let read = |text: &str| users(Path::new("users"), text).map_err(|fault| fault.to_string());
        assert_eq!(read("# ours\n\nada:$2y$a\nbob:b:c\r\n"), Ok(vec![("ada".into(), "$2y$a".into()), ("bob".into(), "b:c".into())]));
        assert_eq!(read("\u{feff}ada:a"), Ok(vec![("ada".into(), "a".into())]));
        assert_eq!(read("ada:a\nbob\n").unwrap_err(), "users, line 2: expected NAME:HASH, such as `htpasswd -nB NAME` prints");
        assert_eq!(read("ada:a\nada:b\n").unwrap_err(), "users, line 2: this user is there twice: remove one");
    }
}
