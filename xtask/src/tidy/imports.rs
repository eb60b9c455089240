//! The imports of a Rust file. Read line by line: rustfmt lays them out, and a parser would be a dependency for one rule.

use std::collections::BTreeMap;

/// The paths of one file, as they are written.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Imports {
    /// Paths that the code uses. A re-export (`pub use`) is none.
    pub(super) paths: Vec<String>,
    /// The paths of the names that the file has by a `use`.
    pub(super) names: BTreeMap<String, String>,
}

/// Reads a file. Comments and the module of the tests are left out.
pub(super) fn imports(text: &str) -> Imports {
    let code = text.split("\nmod tests {").next().unwrap_or_default();
    let mut lines = code.lines().map(|line| line.split("//").next().unwrap_or_default());
    let mut imports = Imports::default();
    while let Some(line) = lines.next() {
        let Some((visibility, tree)) = import(line) else {
            imports.paths.extend(qualified(line));
            continue;
        };
        let mut tree = tree.to_owned();
        while !tree.contains(';') {
            let Some(line) = lines.next() else { break };
            tree.push_str(line.trim());
        }
        let mut leaves = vec![];
        flatten(tree.trim_end_matches(';'), "", &mut leaves);
        if visibility.is_empty() {
            imports.paths.extend(leaves.iter().map(|(path, _)| path.clone()));
        }
        imports.names.extend(leaves.into_iter().map(|(path, name)| (name, path)));
    }
    imports
}

/// Returns the visibility and the tree of a line that starts an import.
fn import(line: &str) -> Option<(&str, &str)> {
    let (visibility, tree) = line.trim_start().split_once("use ")?;
    let visibility = visibility.trim_end();
    let known = visibility.is_empty() || visibility == "pub" || visibility.starts_with("pub(") && visibility.ends_with(')');
    known.then_some((visibility, tree))
}

/// The paths in a line of code.
fn qualified(line: &str) -> impl Iterator<Item = String> {
    let words = line.split(|c: char| !c.is_alphanumeric() && c != '_' && c != ':');
    words.map(|word| word.trim_matches(':')).filter(|word| word.contains("::")).map(str::to_owned)
}

/// Adds the path and the name of each leaf: `a::{b, c as d}` has `a::b` named `b`, and `a::c` named `d`.
fn flatten(tree: &str, prefix: &str, leaves: &mut Vec<(String, String)>) {
    if let Some((head, group)) = tree.split_once('{') {
        let group = group.rsplit_once('}').map_or(group, |(group, _)| group);
        for branch in branches(group) {
            flatten(branch, &format!("{prefix}{head}"), leaves);
        }
        return;
    }
    let (path, alias) = tree.split_once(" as ").map_or((tree, None), |(path, alias)| (path, Some(alias)));
    let path = format!("{prefix}{path}");
    let path = path.strip_suffix("::self").unwrap_or(&path);
    let name = alias.or(path.rsplit("::").next()).unwrap_or_default();
    leaves.push((path.to_owned(), name.to_owned()));
}

/// The branches of a group, parted by the commas that lie in no inner group.
fn branches(group: &str) -> impl Iterator<Item = &str> {
    let mut depth = 0;
    let outer = move |c: char| {
        depth += i32::from(c == '{') - i32::from(c == '}');
        c == ',' && depth == 0
    };
    group.split(outer).map(str::trim).filter(|branch| !branch.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn imports_are_flattened_and_named() {
        let text = "use crate::a::{self, b::{C, D as E}};\nuse super::{\n    f,\n    g::H,\n};\n";
        let imports = imports(text);
        assert_eq!(imports.paths, ["crate::a", "crate::a::b::C", "crate::a::b::D", "super::f", "super::g::H"]);
        assert_eq!(imports.names.get("E").map(String::as_str), Some("crate::a::b::D"));
        assert_eq!(imports.names.get("a").map(String::as_str), Some("crate::a"));
    }

    #[test]
    fn reexports_are_names_and_no_uses() {
        let imports = imports("pub use self::a::B;\npub(crate) use self::c::D;\n");
        assert_eq!(imports.paths, [""; 0]);
        assert_eq!(imports.names.keys().collect::<Vec<_>>(), ["B", "D"]);
    }

    #[test]
    fn paths_in_code_are_uses_but_not_in_comments_or_tests() {
        let text = "// crate::x::Y\nlet a: Vec<crate::b::C> = d::e(1); // super::f::G\n\n#[cfg(test)]\nmod tests {\n    use super::*;\n}\n";
        assert_eq!(imports(text).paths, ["crate::b::C", "d::e"]);
    }
}
