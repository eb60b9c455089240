//! The rules of a release: the state of the repository to what is wrong with it.

use super::changelog::{Section, section};
use crate::packages::Package;

/// The ending of an address that nobody can have. The manifest of the workspace holds one until the repository has an
/// address.
const PLACEHOLDER: &str = ".invalid";

/// A rule with its outcome.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Finding {
    pub(super) rule: &'static str,
    pub(super) complaint: Option<String>,
    /// Whether only the release itself has to keep the rule.
    pub(super) when_released: bool,
}

/// Checks the published packages, the text of the changelog, and the output of `git status --porcelain`.
pub(super) fn check(packages: &[Package], changelog: &str, changes: &str) -> Vec<Finding> {
    let finding = |rule, when_released, complaint| Finding { rule, complaint, when_released };
    vec![
        finding("one version", false, one_version(packages)),
        finding("the repository's address", true, address(packages)),
        finding("a dated section of the changelog", true, logged(packages, changelog)),
        finding("no open changes", true, clean(changes)),
    ]
}

/// All packages have the version of the first.
fn one_version(packages: &[Package]) -> Option<String> {
    let Some(first) = packages.first() else { return Some("no package is published".into()) };
    let other = packages.iter().find(|package| package.version != first.version)?;
    Some(format!("{} has {}, {} has {}", first.name, first.version, other.name, other.version))
}

/// No package names the placeholder.
fn address(packages: &[Package]) -> Option<String> {
    let unset = |address: &str| host(address).is_none_or(|host| host.ends_with(PLACEHOLDER));
    let package = packages.iter().find(|it| unset(&it.shown.repository) || unset(&it.shown.homepage))?;
    Some(format!("{} has none: set `repository` and `homepage` in `[workspace.package]` of Cargo.toml", package.name))
}

/// The host of an address with `https`.
fn host(address: &str) -> Option<&str> {
    address.strip_prefix("https://")?.split('/').next().filter(|host| !host.is_empty())
}

fn logged(packages: &[Package], changelog: &str) -> Option<String> {
    let version = &packages.first()?.version;
    match section(changelog, version) {
        Section::Complete => None,
        Section::Missing => Some(format!("CHANGELOG.md has no section {version}: rename `Unreleased` to `[{version}] - YEAR-MONTH-DAY`")),
        Section::Undated => Some(format!("the section {version} of CHANGELOG.md has no date: write `[{version}] - YEAR-MONTH-DAY`")),
        Section::Empty => Some(format!("the section {version} of CHANGELOG.md has no entry")),
    }
}

fn clean(changes: &str) -> Option<String> {
    let changed: Vec<_> = changes.lines().collect();
    let first = changed.first()?;
    Some(format!("{} files differ from the last commit, among them `{}`: commit them first", changed.len(), first.trim()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::packages::Shown;

    fn package(name: &str, version: &str, address: &str) -> Package {
        let shown = Shown { repository: address.into(), homepage: address.into(), ..Shown::default() };
        Package { name: name.into(), version: version.into(), shown, ..Package::default() }
    }

    const ADDRESS: &str = "https://forge.example/shop";
    const CHANGELOG: &str = "## [0.2.0] - 2027-01-31\n\n- a\n";

    #[test]
    fn release_is_ready_when_every_rule_holds() {
        let packages = [package("till", "0.2.0", ADDRESS), package("shop", "0.2.0", ADDRESS)];
        assert!(check(&packages, CHANGELOG, "").iter().all(|finding| finding.complaint.is_none()));
    }

    #[test]
    fn versions_that_differ_are_named() {
        let packages = [package("till", "0.2.0", ADDRESS), package("shop", "0.1.0", ADDRESS)];
        assert_eq!(one_version(&packages).as_deref(), Some("till has 0.2.0, shop has 0.1.0"));
        assert!(one_version(&[]).is_some());
    }

    #[test]
    fn placeholder_is_refused_as_an_address() {
        for unset in ["https://sociable.invalid/repository", "https://sociable.invalid", "", "https://", "forge.example/shop"] {
            assert!(address(&[package("shop", "0.2.0", unset)]).is_some_and(|it| it.contains("[workspace.package]")), "{unset}");
        }
        let mut half = package("shop", "0.2.0", ADDRESS);
        half.shown.homepage = "https://sociable.invalid".into();
        assert!(address(&[half]).is_some());
        assert_eq!(address(&[package("shop", "0.2.0", "https://forge.example/shop.invalid")]), None);
    }

    #[test]
    fn changelog_needs_the_version() {
        let packages = [package("shop", "0.3.0", ADDRESS)];
        assert!(logged(&packages, CHANGELOG).is_some_and(|it| it.contains("no section 0.3.0")));
        assert_eq!(logged(&[package("shop", "0.2.0", ADDRESS)], CHANGELOG), None);
    }

    #[test]
    fn open_changes_are_counted() {
        assert_eq!(clean(""), None);
        assert!(clean(" M README.md\n?? notes\n").is_some_and(|it| it.starts_with("2 files") && it.contains("M README.md")));
    }

    #[test]
    fn dry_run_excuses_all_but_the_versions() {
        let findings = check(&[package("shop", "0.3.0", "")], "", "?? a\n");
        let excused: Vec<_> = findings.iter().filter(|it| it.complaint.is_some()).map(|it| it.when_released).collect();
        assert_eq!(excused, [true, true, true]);
    }
}
