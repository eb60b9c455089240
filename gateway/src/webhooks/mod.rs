//! Requests to backends about connections and events.
//!
//! * `settings.rs`, `target.rs`, `secret.rs`: the settings.

mod secret;
mod settings;
mod target;

pub use self::secret::{Secret, SecretFault};
pub use self::settings::{NamespaceHooks, Settings, SettingsFault};
pub use self::target::{HookUrl, Target, UrlFault};
