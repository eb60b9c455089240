//! The rule that files of a crate import each other in one direction, except the listed import cycles.
//!
//! An import is a path to another file of the crate, in a `use` or in the code. A path through a re-export leads to the
//! file of the definition. `lib.rs`, programs and tests are skipped.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use super::imports::{Imports, imports};
use super::{Complaint, has_extension, visit};
use crate::workspace;

/// The modules of each crate that may be in an import cycle. A list only shrinks.
const CYCLES: [(&str, &[&str]); 11] = [
    ("adapter", &[]),
    ("balancer", &[]),
    // The engine holds its workers, a worker its sessions, a session its worker; the hooks get a worker.
    ("engine", &["hooks", "session", "state", "worker"]),
    ("metrics", &[]),
    ("nats", &[]),
    // Handlers take contexts, contexts hold sockets, sockets hold namespaces, namespaces hold handlers.
    ("node", &NODE),
    ("programs/balancer", &[]),
    ("programs/common", &[]),
    ("programs/ctl", &[]),
    ("programs/node", &[]),
    ("protocol", &[]),
];

const NODE: [&str; 20] = [
    "ack",
    "broadcast",
    "handler::context",
    "handler::registry",
    "namespace",
    "parent_namespace",
    "recovery::registry",
    "remote_socket",
    "server",
    "server_state",
    "socket",
    "socket_state",
    "thread",
    "thread::fan_out",
    "thread::namespace",
    "thread::namespace_actor",
    "thread::private_rooms",
    "thread::room",
    "thread::socket",
    "thread::socket_actor",
];

/// The imports of a crate by the path of the module, such as `thread::room`. `lib.rs` is the empty path.
type Modules = BTreeMap<String, Imports>;

/// The modules that each module imports.
type Arrows<'a> = BTreeMap<&'a str, BTreeSet<&'a str>>;

/// Checks a crate as a whole, when its `lib.rs` is visited.
pub(super) fn listed(path: &Path, _: &str) -> Vec<Complaint> {
    let Some((krate, allowed)) = CYCLES.iter().find(|(krate, _)| path == Path::new(krate).join("src/lib.rs")) else {
        return vec![];
    };
    let source = workspace::root().join(krate).join("src");
    let mut modules = Modules::new();
    let read = visit(&source, &mut |path, text| {
        if let Some(module) = module(path.strip_prefix(&source).unwrap_or(path)) {
            modules.insert(module, imports(text));
        }
    });
    match read {
        Ok(()) => compare(&arrows(&modules), allowed),
        Err(error) => vec![Complaint::new(1, format!("cannot read the crate: {error}"))],
    }
}

/// The module of a file in `src`. None for a program or a test.
fn module(file: &Path) -> Option<String> {
    let mut names: Vec<_> = file.with_extension("").iter().map(|name| name.to_string_lossy().into_owned()).collect();
    let test = names.iter().any(|name| name == "tests" || name.ends_with("_tests"));
    if !has_extension(file, "rs") || test || names.first().is_some_and(|name| name == "bin" || name == "main") {
        return None;
    }
    names.pop_if(|name| name == "mod" || name == "lib");
    Some(names.join("::"))
}

/// Complains of each unlisted module in a cycle, and of each listed module in no cycle.
fn compare(arrows: &Arrows<'_>, allowed: &[&str]) -> Vec<Complaint> {
    let cycles = cycles(arrows);
    let mut complaints = vec![];
    for (module, cycle) in cycles.iter().flat_map(|cycle| cycle.iter().map(move |module| (*module, cycle))) {
        if !allowed.contains(&module) {
            let into: Vec<_> = arrows[module].intersection(cycle).copied().collect();
            let what = format!("`{module}` is in an import cycle by its imports of {}", into.join(", "));
            complaints.push(Complaint::new(1, format!("{what}: move the shared part into a lower file, or use a trait")));
        }
    }
    for module in allowed.iter().filter(|module| !cycles.iter().any(|cycle| cycle.contains(**module))) {
        complaints.push(Complaint::new(1, format!("`{module}` is in no import cycle now: remove it from the list in {}", file!())));
    }
    complaints
}

/// Returns the strongly connected components of more than one module.
fn cycles<'a>(arrows: &Arrows<'a>) -> BTreeSet<BTreeSet<&'a str>> {
    let reached: Arrows<'a> = arrows.keys().map(|module| (*module, reach(arrows, module))).collect();
    let component = |from: &str| reached[from].iter().copied().filter(|to| reached[to].contains(from)).collect::<BTreeSet<_>>();
    reached.keys().map(|module| component(module)).filter(|cycle| cycle.len() > 1).collect()
}

/// Returns the imports between modules. `lib.rs` imports nothing, and no module imports it.
fn arrows(modules: &Modules) -> Arrows<'_> {
    let targets = |module: &str, imports: &Imports| {
        let paths = imports.paths.iter().filter_map(|path| absolute(modules, module, path));
        paths.map(|path| definition(modules, &path)).filter(|target| !target.is_empty() && *target != module).collect()
    };
    let named = modules.iter().filter(|(module, _)| !module.is_empty());
    named.map(|(module, imports)| (module.as_str(), targets(module, imports))).collect()
}

/// Returns the modules that a module reaches by its imports. A module reaches itself in a cycle.
fn reach<'a>(arrows: &Arrows<'a>, from: &str) -> BTreeSet<&'a str> {
    let mut reached = BTreeSet::new();
    let mut ahead: Vec<_> = arrows[from].iter().copied().collect();
    while let Some(module) = ahead.pop() {
        if reached.insert(module) {
            ahead.extend(&arrows[module]);
        }
    }
    reached
}

/// Returns the path from the top of the crate. None for a path into another crate.
fn absolute(modules: &Modules, module: &str, path: &str) -> Option<String> {
    let mut base: Vec<_> = module.split("::").filter(|name| !name.is_empty()).collect();
    let mut names = path.split("::").peekable();
    let first = *names.peek()?;
    match first {
        "crate" => base.clear(),
        "self" | "super" => (),
        child if modules.contains_key(&join(module, child)) => (),
        _ => return None,
    }
    for name in names {
        match name {
            "crate" | "self" => (),
            "super" => drop(base.pop()),
            name => base.push(name),
        }
    }
    Some(base.join("::"))
}

/// Returns the module that defines what a path leads to. Names that a module has by a `use` are followed.
fn definition<'a>(modules: &'a Modules, path: &str) -> &'a str {
    let mut path = path.to_owned();
    // A module is passed once at most, so that names that import each other end.
    for _ in modules {
        let (module, rest) = longest(modules, &path);
        let name = rest.split("::").next().and_then(|name| modules[module].names.get(name));
        match name.and_then(|original| absolute(modules, module, original)) {
            Some(original) => path = original,
            None => return module,
        }
    }
    longest(modules, &path).0
}

/// The longest beginning of a path that is a module, and the rest.
fn longest<'a, 'p>(modules: &'a Modules, path: &'p str) -> (&'a str, &'p str) {
    let mut ends = [path.len()].into_iter().chain(path.rmatch_indices("::").map(|(end, _)| end));
    let found = ends.find_map(|end| Some((modules.get_key_value(&path[..end])?.0.as_str(), path[end..].trim_start_matches("::"))));
    found.unwrap_or(("", path))
}

fn join(module: &str, child: &str) -> String {
    if module.is_empty() { child.to_owned() } else { format!("{module}::{child}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn modules(files: &[(&str, &str)]) -> Modules {
        files.iter().filter_map(|(file, text)| Some((module(Path::new(file))?, imports(text)))).collect()
    }

    #[test]
    fn cycles_are_found_across_files() {
        let files = [
            ("lib.rs", "mod a;\nmod b;\nmod c;\n"),
            ("a.rs", "use crate::b::B;\n"),
            ("b/mod.rs", "fn f() -> self::d::D {}\n"),
            ("b/d.rs", "use super::super::a::A;\n"),
            ("c.rs", "use crate::a::A;\n"),
        ];
        assert_eq!(cycles(&arrows(&modules(&files))), BTreeSet::from([BTreeSet::from(["a", "b", "b::d"])]));
    }

    #[test]
    fn reexports_lead_to_the_definition() {
        let facade = [
            ("lib.rs", "pub use self::a::{B, C};\n"),
            ("a/mod.rs", "mod b;\nmod c;\npub use b::B;\npub use self::c::C as D;\n"),
            ("a/b.rs", "use super::D;\n"),
            ("a/c.rs", ""),
        ];
        assert_eq!(cycles(&arrows(&modules(&facade))), BTreeSet::new());
        let behind = [facade[0], facade[1], facade[2], ("a/c.rs", "use crate::B;\n")];
        assert_eq!(cycles(&arrows(&modules(&behind))), BTreeSet::from([BTreeSet::from(["a::b", "a::c"])]));
    }

    #[test]
    fn names_that_import_each_other_end() {
        let round =
            [("lib.rs", ""), ("a.rs", "pub use crate::b::X;\n"), ("b.rs", "pub use crate::a::X;\n"), ("c.rs", "use crate::a::X;\n")];
        assert_eq!(cycles(&arrows(&modules(&round))), BTreeSet::new());
    }

    #[test]
    fn programs_and_tests_are_no_modules() {
        for left_out in ["main.rs", "bin/node.rs", "a/tests.rs", "a/tests/b.rs", "a_tests.rs", "a.md"] {
            assert_eq!(module(Path::new(left_out)), None, "{left_out}");
        }
        assert_eq!(module(Path::new("a/b.rs")).as_deref(), Some("a::b"));
        assert_eq!(module(Path::new("lib.rs")).as_deref(), Some(""));
    }

    #[test]
    fn list_is_a_complaint_unless_it_matches_its_cycle() {
        let arrows: Arrows<'_> = [("a", ["b"].into()), ("b", ["a", "c"].into()), ("c", [].into())].into();
        assert_eq!(compare(&arrows, &["a", "b"]), []);
        let joined = compare(&arrows, &["a"]);
        assert!(matches!(&joined[..], [it] if it.what.starts_with("`b` is in an import cycle by its imports of a:")), "{joined:?}");
        let left = compare(&arrows, &["a", "b", "c"]);
        assert!(matches!(&left[..], [it] if it.what.starts_with("`c` is in no import cycle")), "{left:?}");
    }
}
