//! The quick start, read from README.md: no copy of it can go stale.

/// The name of the project.
pub(super) const PROJECT: &str = "hello";
/// The port of the server in the text.
const PORT: &str = "3000";

/// The parts of the quick start.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct QuickStart {
    /// The crates, each with its features.
    pub(super) dependencies: Vec<Dependency>,
    /// The text of `src/main.rs`.
    pub(super) server: String,
    /// The text of a client in JavaScript.
    pub(super) client: String,
}

#[derive(Debug, PartialEq, Eq)]
pub(super) struct Dependency {
    pub(super) name: String,
    pub(super) features: Vec<String>,
}

impl QuickStart {
    /// Reads the first block of Rust, the first of JavaScript, and every `cargo add`.
    pub(super) fn read(readme: &str) -> Result<Self, &'static str> {
        let dependencies: Vec<_> = block_lines(readme, "sh").filter_map(|line| line.split('#').next()).flat_map(dependencies).collect();
        if dependencies.is_empty() {
            return Err("README.md has no `cargo add` in a block of shell commands");
        }
        Ok(Self {
            dependencies,
            server: block(readme, "rust").ok_or("README.md has no block of Rust")?,
            client: block(readme, "js").ok_or("README.md has no block of JavaScript")?,
        })
    }

    /// Returns server and client with another port.
    pub(super) fn at(&self, port: u16) -> (String, String) {
        let port = port.to_string();
        (self.server.replace(PORT, &port), self.client.replace(PORT, &port))
    }
}

/// The dependencies that a line of shell commands adds.
fn dependencies(line: &str) -> Vec<Dependency> {
    line.split("&&").filter_map(|command| dependency(command.trim().strip_prefix("cargo add ")?)).collect()
}

fn dependency(arguments: &str) -> Option<Dependency> {
    let mut words = arguments.split_whitespace();
    let mut dependency = Dependency { name: words.next()?.to_owned(), features: vec![] };
    while let Some(word) = words.next() {
        if word == "--features" || word == "-F" {
            dependency.features.extend(words.next().unwrap_or_default().split(',').map(str::to_owned));
        }
    }
    Some(dependency)
}

/// The text of the first block in a language.
fn block(text: &str, language: &str) -> Option<String> {
    let lines: Vec<_> = blocks(text, language).next()?;
    Some(lines.iter().flat_map(|line| [line, "\n"]).collect())
}

fn block_lines<'a>(text: &'a str, language: &'a str) -> impl Iterator<Item = &'a str> {
    blocks(text, language).flatten()
}

/// The lines of each fenced block in a language.
fn blocks<'a>(text: &'a str, language: &'a str) -> impl Iterator<Item = Vec<&'a str>> {
    let mut lines = text.lines();
    std::iter::from_fn(move || {
        lines.find(|line| line.strip_prefix("```").is_some_and(|info| info.split(',').next() == Some(language)))?;
        Some(lines.by_ref().take_while(|line| !line.starts_with("```")).collect())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const README: &str = "# A\n\n```sh\ncargo new hello && cd hello\ncargo add shop --path ../shop  # it is near\n\
        cargo add web && cargo add serde --features derive,std\n```\n\n```rust,no_run\nbind(\"127.0.0.1:3000\");\n```\n\n\
        ```js\nio(\"http://127.0.0.1:3000\");\n```\n\n```rust\nother();\n```\n";

    #[test]
    fn quick_start_is_read_from_its_blocks() {
        let quick_start = QuickStart::read(README).unwrap();
        let dependency =
            |name: &str, features: &[&str]| Dependency { name: name.into(), features: features.iter().map(|&it| it.into()).collect() };
        assert_eq!(quick_start.dependencies, [dependency("shop", &[]), dependency("web", &[]), dependency("serde", &["derive", "std"])]);
        assert_eq!(quick_start.server, "bind(\"127.0.0.1:3000\");\n");
        assert_eq!(quick_start.at(4999).1, "io(\"http://127.0.0.1:4999\");\n");
    }

    #[test]
    fn readme_without_a_part_is_refused() {
        for part in ["```sh", "```rust", "```js"] {
            let without = README.replace(part, "```text");
            assert!(QuickStart::read(&without).is_err(), "{part}");
        }
    }

    #[test]
    fn readme_of_the_repository_has_a_quick_start() {
        let readme = std::fs::read_to_string(crate::workspace::root().join("README.md")).unwrap();
        let quick_start = QuickStart::read(&readme).unwrap();
        assert!(quick_start.dependencies.iter().any(|it| it.name == "sociable"));
        assert!(quick_start.server.contains(PORT) && quick_start.client.contains(PORT), "both name the port {PORT}");
    }
}
