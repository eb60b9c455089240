//! The tables of the file with settings. `programs/node/tables.toml` is an example, which the reference of the settings shows.

use std::collections::BTreeMap;

use serde::Deserialize;
use sociable_gateway::jwt;
use sociable_program::settings::Spanned;

/// The settings that are no flags.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub(crate) struct Tables {
    /// The namespaces by name, or by a pattern with `*`.
    pub(crate) namespaces: BTreeMap<Spanned<String>, NamespaceTable>,
}

/// A namespace, or all namespaces of a pattern.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub(crate) struct NamespaceTable {
    /// The tokens that let clients in.
    pub(crate) jwt: Option<Spanned<jwt::Settings>>,
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
        for key in keys::<NamespaceTable>().iter().chain(keys::<jwt::Settings>()) {
            assert!(names.contains(key), "{key}");
        }
    }
}
