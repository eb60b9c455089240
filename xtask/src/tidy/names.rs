//! The rule that the tables of names in the guides name existing items.
//!
//! The tables stand in the section `## Every name`, with the header `| … | Sociable | |`. Each name in code font of their second column has to be a public type, or a
//! public item of one: `Socket`, `Socket::once`, `SessionEvent::Drain`.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::OnceLock;

use super::{Complaint, has_extension, visit};
use crate::workspace;

/// The guides with such tables.
const GUIDES: [&str; 2] = ["docs/guide/from-javascript.md", "docs/guide/from-socketioxide.md"];

/// The heading of the section with the tables.
const SECTION: &str = "## Every name";

/// The macros that declare public methods in an `impl`, as they are called.
const MACROS: [&str; 2] = ["listeners", "engine_options"];

/// Checks the names of a guide.
pub(super) fn exist(path: &Path, text: &str) -> Vec<Complaint> {
    static ITEMS: OnceLock<BTreeSet<String>> = OnceLock::new();
    if !GUIDES.iter().any(|guide| path == Path::new(guide)) {
        return vec![];
    }
    let items = ITEMS.get_or_init(|| {
        let mut sources = vec![];
        for krate in ["adapter", "engine", "node", "protocol"] {
            // A folder that cannot be read has no items, so its names are reported.
            let _ = visit(&workspace::root().join(krate).join("src"), &mut |path, text| {
                if has_extension(path, "rs") {
                    sources.push(text.to_owned());
                }
            });
        }
        items(&sources)
    });
    missing(text, items)
}

/// Complains of each name in the tables that is no item, and of a guide without a table.
fn missing(guide: &str, items: &BTreeSet<String>) -> Vec<Complaint> {
    let (mut complaints, mut within, mut tables) = (vec![], false, 0);
    let section = guide.lines().enumerate().skip_while(|(_, line)| *line != SECTION).skip(1);
    for (i, line) in section.take_while(|(_, line)| !line.starts_with("## ")) {
        let cells: Vec<_> = line.split('|').map(str::trim).collect();
        if cells.len() < 4 {
            within = false;
        } else if cells[2] == "Sociable" {
            within = true;
            tables += 1;
        } else if within {
            // Every second part is in code font.
            let names = cells[2].split('`').skip(1).step_by(2);
            let unknown = names.filter(|name| !items.contains(*name) && !inherited(name, items));
            complaints.extend(unknown.map(|name| Complaint::new(i + 1, format!("`{name}` is no public item"))));
        }
    }
    if tables == 0 {
        complaints.push(Complaint::new(1, "no table of names: give the section `## Every name` one with the header `| … | Sociable | |`"));
    }
    complaints
}

/// Returns whether a name of the server is one of its main namespace.
fn inherited(name: &str, items: &BTreeSet<String>) -> bool {
    name.strip_prefix("Server::").is_some_and(|method| items.contains(&format!("Namespace::{method}")))
}

/// Returns the public types, and their public methods, fields and variants.
fn items(sources: &[String]) -> BTreeSet<String> {
    let mut items = BTreeSet::new();
    let methods = MACROS.map(|name| (name, sources.iter().flat_map(|source| declared(source, name)).collect::<Vec<_>>()));
    for source in sources {
        // The type whose block is open, and whether all its members are public.
        let mut open: Option<(&str, bool)> = None;
        for line in source.lines() {
            if let Some((name, all)) = opened(line) {
                if line.starts_with("pub ") {
                    items.insert(name.to_owned());
                }
                open = (line.ends_with('{')).then_some((name, all));
            } else if line == "}" {
                open = None;
            } else if let Some((name, all)) = open {
                items.extend(member(line, all).map(|member| format!("{name}::{member}")));
                for (_, methods) in methods.iter().filter(|(macro_name, _)| line.trim().contains(&format!("{macro_name}!()"))) {
                    items.extend(methods.iter().map(|method| format!("{name}::{method}")));
                }
            }
        }
    }
    items
}

/// Returns the methods that a macro declares.
fn declared<'a>(source: &'a str, name: &str) -> Vec<&'a str> {
    let lines = source.lines().skip_while(|line| *line != format!("macro_rules! {name} {{")).take_while(|line| *line != "}");
    lines.filter_map(|line| member(line.strip_prefix("    ")?, false)).collect()
}

/// Returns the type of a block that a line opens, and whether all members of the block are public.
fn opened(line: &str) -> Option<(&str, bool)> {
    if let Some(rest) = line.strip_prefix("impl") {
        let target = rest.rsplit(" for ").next()?;
        // Generic parameters of the block itself stand before the type.
        let target = if target.starts_with('<') { target.split_once("> ")?.1 } else { target };
        return word(target.trim_start()).map(|name| (name, false));
    }
    let rest = line.strip_prefix("pub ")?;
    let (kind, rest) = rest.split_once(' ')?;
    let all = matches!(kind, "enum" | "trait");
    (all || kind == "struct").then(|| word(rest).map(|name| (name, all)))?
}

/// Returns the name of a member that a line of a block declares.
fn member(line: &str, all: bool) -> Option<&str> {
    let line = line.strip_prefix("    ").filter(|line| !line.starts_with(' '))?;
    let line = match line.strip_prefix("pub ") {
        Some(line) => line,
        None if all => line,
        None => return None,
    };
    let line = line.strip_prefix("const ").unwrap_or(line);
    let line = line.strip_prefix("async ").unwrap_or(line);
    word(line.strip_prefix("fn ").unwrap_or(line))
}

/// Returns the identifier at the start.
fn word(text: &str) -> Option<&str> {
    let end = text.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(text.len());
    (end > 0).then(|| &text[..end])
}

#[cfg(test)]
mod tests {
    use super::*;

    const SOURCE: &str = "
pub struct Socket(Arc<State>);

impl Socket {
    listeners!();

    pub fn join(&self) {
        self.not_this();
    }

    pub(crate) fn hidden(&self) {}

    pub async fn ready(&self) {}
}

impl<T> Extract<T> for Auth<T> {
    fn extract() {}
}

#[non_exhaustive]
pub enum Event<'a> {
    /// A packet.
    Packet(&'a Packet),
    Drain,
}

pub trait Adapter: Send {
    fn start(&self);
}

macro_rules! listeners {
    () => {
        pub fn on(&self) {
            pub_fn_inside();
        }
    };
}
";

    #[test]
    fn public_items_are_found() {
        let found = items(&[SOURCE.to_owned()]);
        let expected = [
            "Adapter",
            "Adapter::start",
            "Event",
            "Event::Drain",
            "Event::Packet",
            "Socket",
            "Socket::join",
            "Socket::on",
            "Socket::ready",
        ];
        assert_eq!(found.iter().map(String::as_str).collect::<Vec<_>>(), expected);
    }

    #[test]
    fn unknown_names_of_the_tables_are_reported() {
        let items = ["Socket", "Socket::join", "Namespace::to"].map(str::to_owned).into();
        let guide = "\
| Rust | Sociable |
|---|---|
| `a` | `not::checked` |

## Every name

| JavaScript | Sociable | |
|---|---|---|
| `join` | `Socket::join`, `Socket::leap` | `whatever` |
| `to` | `Server::to` | |
| `x` | – | |

| option | default |
|---|---|
| `y` | `Socket::leap` |

## The end

| Rust | Sociable |
|---|---|
| `a` | `not::checked` |
";
        assert_eq!(missing(guide, &items), [Complaint::new(9, "`Socket::leap` is no public item")]);
        assert_eq!(missing("no table", &items).len(), 1);
    }
}
