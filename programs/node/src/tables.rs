//! The tables of the file with settings. `programs/node/tables.toml` is an example, which the reference of the settings shows.

use std::collections::BTreeMap;

use serde::Deserialize;
use sociable_gateway::jwt;
use sociable_gateway::webhooks::{self, NamespaceHooks, Target};
use sociable_program::settings::Spanned;

/// The settings that are no flags.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub(crate) struct Tables {
    /// The settings of all webhooks.
    pub(crate) webhooks: webhooks::Settings,
    /// The namespaces by name, or by a pattern with `*`.
    pub(crate) namespaces: BTreeMap<Spanned<String>, NamespaceTable>,
}

/// A namespace, or all namespaces of a pattern.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub(crate) struct NamespaceTable {
    /// The tokens that let clients in.
    pub(crate) jwt: Option<jwt::Settings>,
    /// The backend that is asked before a socket is let in.
    connect: Option<Target>,
    /// The backend that is told of a socket that was let in.
    connected: Option<Target>,
    /// The backend that is told of a socket that has left.
    disconnected: Option<Target>,
    /// The backends of events, by the name of the event.
    events: BTreeMap<String, Target>,
}

impl NamespaceTable {
    /// Returns the webhooks.
    pub(crate) fn hooks(&self) -> NamespaceHooks {
        let Self { connect, connected, disconnected, events, .. } = self;
        NamespaceHooks {
            connect: connect.clone(),
            connected: connected.clone(),
            disconnected: disconnected.clone(),
            events: events.clone(),
        }
    }

    /// Returns each webhook with the path of its key in the table.
    pub(crate) fn each_hook(&self) -> Vec<(Vec<&str>, NamespaceHooks)> {
        let none = NamespaceHooks::default;
        let mut hooks = vec![
            (vec!["connect"], NamespaceHooks { connect: self.connect.clone(), ..none() }),
            (vec!["connected"], NamespaceHooks { connected: self.connected.clone(), ..none() }),
            (vec!["disconnected"], NamespaceHooks { disconnected: self.disconnected.clone(), ..none() }),
        ];
        hooks.extend(self.events.iter().map(|(event, target)| {
            let events = BTreeMap::from([(event.clone(), target.clone())]);
            (vec!["events", event], NamespaceHooks { events, ..none() })
        }));
        hooks
    }
}

#[cfg(test)]
mod tests {
    use sociable_program::settings::keys;

    use super::*;

    /// The names of the keys and tables that the example has, with those of alternatives.
    fn names_in_the_example() -> Vec<&'static str> {
        let lines = include_str!("../tables.toml").lines().filter(|line| !line.starts_with("# ")).map(|line| line.trim_start_matches('#'));
        let name = |line: &'static str| match line.strip_prefix('[') {
            Some(table) => table.trim_end_matches(']').split('.').next_back(),
            None => line.split_once(" = ").map(|(key, _)| key),
        };
        lines.filter_map(name).collect()
    }

    #[test]
    fn example_has_every_key() {
        let names = names_in_the_example();
        for key in keys::<NamespaceTable>().iter().chain(keys::<jwt::Settings>()).chain(keys::<webhooks::Settings>()) {
            assert!(names.contains(key), "{key}");
        }
    }
}
