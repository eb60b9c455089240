//! The namespaces that the settings name.

use std::str::FromStr;

use regex::Regex;
use sociable::protocol::packet::MAIN_NAMESPACE;
use sociable::{Failure, Namespace, ParentNamespace, Server, Socket};
use sociable_gateway::jwt::{Jwt, JwtFault};
use sociable_gateway::webhooks::{NamespaceHooks, Webhooks, WebhooksFault};
use sociable_program::settings::{FileError, Tables as File};
use thiserror::Error;

use crate::tables::{NamespaceTable, Tables};
use crate::webhooks;

/// The longest name of a namespace, in bytes. Nodes refuse clients that ask for a longer one.
const MAX_NAME: usize = 1024;

/// The text that stands for any text in the name of a table.
const ANY: char = '*';

/// The refusal of a client that asks for a namespace without settings.
const INVALID_NAMESPACE: &str = "Invalid namespace";

/// The reason why a text is no name of a namespace.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub(crate) enum NameFault {
    #[error("the namespace does not begin with `/`: use a name such as `/chat`")]
    NoSlash,
    #[error("the namespace has `{}`, which no client can send: remove it", .0.escape_default())]
    Unsendable(char),
    #[error("the namespace has `*`: use one name")]
    Pattern,
    #[error("the namespace has {0} bytes: use at most {MAX_NAME}")]
    TooLong(usize),
}

/// The reason why a table cannot be used.
#[derive(Debug, Error)]
enum TableFault<'a> {
    #[error("{0}")]
    Name(NameFault),
    #[error("`{0}` is the namespace of the demonstration too: remove the table, or set `demo` to another namespace or to \"off\"")]
    Demo(&'a str),
    #[error("the pattern `{0}` is too complex: use a shorter one")]
    Complex(&'a str),
}

/// The namespace of the demonstration; none if it is off.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Demo(Option<String>);

impl Demo {
    /// Returns the name of the namespace.
    pub(crate) fn namespace(&self) -> Option<&str> {
        self.0.as_deref()
    }
}

impl FromStr for Demo {
    type Err = NameFault;

    fn from_str(text: &str) -> Result<Self, NameFault> {
        match text {
            "off" => Ok(Self(None)),
            name => check_name(name).map(|()| Self(Some(name.into()))),
        }
    }
}

/// The reason why namespaces were not created.
#[derive(Debug, Error)]
pub(crate) enum CreateFault {
    #[error(transparent)]
    Tokens(#[from] JwtFault),
    #[error(transparent)]
    Webhooks(#[from] WebhooksFault),
}

/// Checks the name of one namespace.
pub(crate) fn check_name(name: &str) -> Result<(), NameFault> {
    if name.contains(ANY) { Err(NameFault::Pattern) } else { check_pattern(name) }
}

/// Checks the name of a table, which may be a pattern.
fn check_pattern(name: &str) -> Result<(), NameFault> {
    if !name.starts_with('/') {
        return Err(NameFault::NoSlash);
    }
    if name.len() > MAX_NAME {
        return Err(NameFault::TooLong(name.len()));
    }
    // A comma ends the name in a packet, and clients cut off a query and a fragment.
    match name.chars().find(|char| matches!(char, ',' | '?' | '#') || char.is_control()) {
        Some(char) => Err(NameFault::Unsendable(char)),
        None => Ok(()),
    }
}

/// The namespaces of the settings, checked.
#[derive(Debug)]
pub(crate) struct Namespaces<'a> {
    names: Vec<(&'a str, &'a NamespaceTable)>,
    /// In the order of the file: the first that matches decides.
    patterns: Vec<(Regex, &'a NamespaceTable)>,
    demo: Demo,
}

/// A namespace, or all namespaces of a pattern.
enum Place {
    One(Namespace),
    Pattern(ParentNamespace),
}

impl Place {
    /// Refuses clients without a valid token.
    fn check_tokens(&self, jwt: &Jwt) {
        match self {
            Self::One(namespace) => drop(namespace.middleware(jwt.middleware())),
            Self::Pattern(namespaces) => drop(namespaces.middleware(jwt.middleware())),
        }
    }

    /// Adds the webhooks.
    fn hook(&self, webhooks: &Webhooks, hooks: &NamespaceHooks) -> Result<(), WebhooksFault> {
        match self {
            Self::One(namespace) => webhooks.hook(namespace, hooks),
            Self::Pattern(namespaces) => webhooks.hook_pattern(namespaces, hooks),
        }
    }
}

impl<'a> Namespaces<'a> {
    /// Returns the namespaces of the tables and of the demonstration.
    ///
    /// # Errors
    ///
    /// A name is not valid, the demonstration has the name too, or tokens or webhooks cannot be used.
    pub(crate) fn new(file: &'a File<Tables>, demo: &Demo) -> Result<Self, FileError> {
        let mut tables: Vec<_> = file.namespaces.iter().collect();
        tables.sort_by_key(|(name, _)| name.span().start);
        let mut namespaces = Self { names: vec![], patterns: vec![], demo: demo.clone() };
        for (name, table) in tables {
            namespaces.add(name.get_ref(), table).map_err(|fault| file.fault(&name.span(), fault))?;
            if let Some(settings) = &table.jwt {
                Jwt::check(settings).map_err(|fault| file.fault_of(&["namespaces", name.get_ref(), "jwt"], fault))?;
            }
            webhooks::check_table(file, name.get_ref(), table)?;
        }
        Ok(namespaces)
    }

    fn add(&mut self, name: &'a str, table: &'a NamespaceTable) -> Result<(), TableFault<'a>> {
        check_pattern(name).map_err(TableFault::Name)?;
        if self.demo.namespace() == Some(name) {
            return Err(TableFault::Demo(name));
        }
        if name.contains(ANY) {
            self.patterns.push((pattern(name).map_err(|_| TableFault::Complex(name))?, table));
        } else {
            self.names.push((name, table));
        }
        Ok(())
    }

    /// Creates the namespaces. Clients get into no other.
    ///
    /// # Errors
    ///
    /// Tokens cannot be checked, or webhooks cannot be delivered.
    pub(crate) fn create(&self, io: &Server, webhooks: Option<&Webhooks>) -> Result<(), CreateFault> {
        // A namespace takes over the handlers of a pattern, so those with a table of their own are created before the patterns.
        if let Some(demo) = self.demo.namespace() {
            io.of(demo);
        }
        let mut places: Vec<_> = self.names.iter().map(|(name, table)| (Place::One(io.of(name)), *table)).collect();
        // The main namespace of a server always exists.
        let main = Place::One(io.of(MAIN_NAMESPACE));
        match self.main() {
            Main::Open => {}
            Main::ByPattern(table) => places.push((main, table)),
            Main::Closed => drop(io.middleware(async |_: Socket| Err::<(), _>(Failure::new(INVALID_NAMESPACE)))),
        }
        places.extend(self.patterns.iter().map(|(pattern, table)| (Place::Pattern(io.of_pattern(pattern.clone())), *table)));
        for (place, table) in &places {
            // Middlewares run in this order: a token is checked before a backend is asked, and the backend gets its claims.
            if let Some(settings) = &table.jwt {
                let jwt = Jwt::start(settings.clone())?;
                place.check_tokens(&jwt);
                io.add_metrics(move || jwt.metrics());
            }
            if let Some(webhooks) = webhooks {
                place.hook(webhooks, &table.hooks())?;
            }
        }
        Ok(())
    }

    /// Returns whether a table or the demonstration has this name.
    pub(crate) fn has(&self, name: &str) -> bool {
        self.names.iter().map(|(known, _)| *known).chain(self.demo.namespace()).any(|known| known == name)
    }

    /// Returns whether a namespace checks tokens.
    pub(crate) fn have_tokens(&self) -> bool {
        let tables = self.names.iter().map(|(_, table)| table).chain(self.patterns.iter().map(|(_, table)| table));
        tables.into_iter().any(|table| table.jwt.is_some())
    }

    /// Returns whether a namespace has webhooks.
    pub(crate) fn have_webhooks(&self) -> bool {
        let tables = self.names.iter().map(|(_, table)| table).chain(self.patterns.iter().map(|(_, table)| table));
        tables.into_iter().any(|table| !table.hooks().is_empty())
    }

    fn main(&self) -> Main<'a> {
        if self.names.iter().map(|(name, _)| *name).chain(self.demo.namespace()).any(|name| name == MAIN_NAMESPACE) {
            return Main::Open;
        }
        let pattern = self.patterns.iter().find(|(pattern, _)| pattern.is_match(MAIN_NAMESPACE));
        pattern.map_or(Main::Closed, |(_, table)| Main::ByPattern(table))
    }
}

/// What the settings say about the main namespace.
#[derive(Debug)]
enum Main<'a> {
    /// A table or the demonstration names it.
    Open,
    /// A pattern matches it.
    ByPattern(&'a NamespaceTable),
    /// No setting names it.
    Closed,
}

/// Returns the expression for a name in which each `*` stands for any text.
fn pattern(name: &str) -> Result<Regex, regex::Error> {
    let parts: Vec<_> = name.split(ANY).map(regex::escape).collect();
    Regex::new(&format!(r"(?s)\A{}\z", parts.join(".*")))
}

#[cfg(test)]
mod tests {
    use std::sync::LazyLock;

    use super::*;

    static TABLE: LazyLock<NamespaceTable> = LazyLock::new(NamespaceTable::default);

    fn namespaces<'a>(names: &[&'a str], demo: &str) -> Result<Namespaces<'a>, String> {
        let demo = demo.parse().unwrap();
        let mut namespaces = Namespaces { names: vec![], patterns: vec![], demo };
        names.iter().try_for_each(|name| namespaces.add(name, &TABLE)).map_err(|fault| fault.to_string())?;
        Ok(namespaces)
    }

    #[test]
    fn name_is_refused_with_a_remedy() {
        for (name, fault) in [
            ("", "the namespace does not begin with `/`: use a name such as `/chat`"),
            ("chat", "the namespace does not begin with `/`: use a name such as `/chat`"),
            ("/a,b", "the namespace has `,`, which no client can send: remove it"),
            ("/a?b=c", "the namespace has `?`, which no client can send: remove it"),
            ("/a\nb", "the namespace has `\\n`, which no client can send: remove it"),
        ] {
            assert_eq!(check_pattern(name).unwrap_err().to_string(), fault);
        }
        assert_eq!(check_pattern(&format!("/{}", "a".repeat(1024))), Err(NameFault::TooLong(1025)));
        assert!(check_pattern("/*").is_ok() && check_pattern("/").is_ok() && check_pattern("/ä b").is_ok());
    }

    #[test]
    fn demonstration_is_one_namespace_or_off() {
        let namespace = |text: &str| text.parse().map(|Demo(namespace)| namespace);
        assert_eq!(namespace("/chat"), Ok(Some("/chat".into())));
        assert_eq!(namespace("off"), Ok(None));
        assert_eq!(namespace("chat"), Err(NameFault::NoSlash));
        assert_eq!(namespace("/a*"), Err(NameFault::Pattern));
    }

    #[test]
    fn table_contradicts_the_demonstration_of_the_same_name() {
        let fault = "`/` is the namespace of the demonstration too: remove the table, or set `demo` to another namespace or to \"off\"";
        assert_eq!(namespaces(&["/"], "/").unwrap_err(), fault);
        assert!(namespaces(&["/"], "/demo").is_ok() && namespaces(&["/"], "off").is_ok() && namespaces(&["/*"], "/").is_ok());
    }

    #[test]
    fn star_stands_for_any_text() {
        let matches = |name: &str, other: &str| pattern(name).unwrap().is_match(other);
        assert!(matches("/org-*", "/org-7") && matches("/org-*", "/org-") && matches("/*", "/a/b\nc") && matches("/a*c*", "/abcd"));
        assert!(!matches("/org-*", "/org") && !matches("/org-*", "/x/org-7") && !matches("/a.c*", "/abc"));
    }

    #[test]
    fn main_namespace_is_open_only_by_a_setting() {
        for (names, demo, open) in [
            (&[][..], "/", true),
            (&["/"], "off", true),
            (&["/*"], "off", true),
            (&[], "off", false),
            (&["/chat", "/org-*"], "/demo", false),
        ] {
            assert_eq!(!matches!(namespaces(names, demo).unwrap().main(), Main::Closed), open, "{names:?} {demo}");
        }
    }
}
