//! Every feature of every published package on its own. The checks of all features together miss a feature that needs
//! another.

use std::io;

use crate::packages::{self, Package};
use crate::report::Report;
use crate::rust::cargo;

/// The library that applications name. The others are linted as parts of it.
const LIBRARY: &str = "sociable";

/// One run of clippy: the packages, without their default features, and one feature.
#[derive(Debug, PartialEq, Eq)]
struct Lint {
    packages: Vec<String>,
    feature: Option<String>,
}

/// Lints packages without their features, and with each of them alone.
pub(crate) fn run(report: &mut Report) {
    let lints = match packages::published() {
        Ok(packages) => lints(&packages),
        Err(error) => {
            report.step("features", || Err::<_, io::Error>(error));
            return;
        }
    };
    for Lint { packages, feature } in lints {
        let name = format!("{} with {}", packages.join(", "), feature.as_deref().unwrap_or("no feature"));
        let mut clippy = cargo(&["clippy", "--quiet", "--no-default-features"]);
        clippy.args(packages.iter().flat_map(|package| ["--package", package]));
        clippy.args(feature.iter().flat_map(|feature| ["--features", feature]));
        report.check(&name, clippy.args(["--", "--deny", "warnings"]));
    }
}

/// Returns the runs that lint each feature once.
///
/// Clippy also lints the dependencies of a package that belong to the workspace. So a feature that the library passes on
/// to a lower package is linted with the library. The check of all features covers a package with one feature, so here
/// that package is linted without it.
fn lints(packages: &[Package]) -> Vec<Lint> {
    let lint = |packages: &[&str], feature: Option<String>| Lint { packages: packages.iter().map(|&it| it.into()).collect(), feature };
    let Some(library) = packages.iter().find(|package| package.name == LIBRARY) else { return vec![] };
    let mut lints = vec![lint(&[LIBRARY], None)];
    lints.extend(library.features.keys().map(|feature| lint(&[LIBRARY], Some(feature.clone()))));
    let is_passed_on = |feature: &String| library.features.values().any(|parts| parts[..] == [feature.clone()]);
    let (below, others): (Vec<_>, Vec<_>) =
        packages.iter().filter(|it| it.name != LIBRARY).partition(|it| library.dependencies.contains(&it.name));
    for package in below {
        let features = package.features.keys().map(|feature| format!("{}/{feature}", package.name));
        lints.extend(features.filter(|it| !is_passed_on(it)).map(|feature| lint(&[LIBRARY, &package.name], Some(feature))));
    }
    for package in others.iter().filter(|it| it.features.len() > 1) {
        lints.push(lint(&[&package.name], None));
        lints.extend(package.features.keys().map(|feature| lint(&[&package.name], Some(feature.clone()))));
    }
    let single: Vec<_> = others.iter().filter(|it| it.features.len() == 1).map(|it| it.name.as_str()).collect();
    if !single.is_empty() {
        lints.push(lint(&single, None));
    }
    lints
}

#[cfg(test)]
mod tests {
    use super::*;

    fn package(name: &str, features: &[(&str, &[&str])], dependencies: &[&str]) -> Package {
        let texts = |list: &[&str]| list.iter().map(|&it| it.to_owned()).collect::<Vec<_>>();
        let features = features.iter().map(|(name, parts)| ((*name).to_owned(), texts(parts))).collect();
        Package { name: name.into(), features, dependencies: texts(dependencies), ..Package::default() }
    }

    #[test]
    fn each_feature_is_linted_alone_and_none_too() {
        let packages = [
            package("engine", &[("tls", &["dep:rustls"]), ("trace", &[])], &[]),
            package("sociable", &[("metrics", &[]), ("tls", &["engine/tls"])], &["engine"]),
            package("node", &[("otel", &[])], &["sociable"]),
            package("plain", &[], &[]),
            package("proxy", &[("a", &[]), ("b", &[])], &[]),
        ];
        let lints: Vec<_> = lints(&packages).into_iter().map(|it| (it.packages.join("+"), it.feature.unwrap_or_default())).collect();
        let expected = [
            ("sociable", ""),
            ("sociable", "metrics"),
            ("sociable", "tls"),
            ("sociable+engine", "engine/trace"),
            ("proxy", ""),
            ("proxy", "a"),
            ("proxy", "b"),
            ("node", ""),
        ];
        assert_eq!(lints, expected.map(|(packages, feature)| (packages.to_owned(), feature.to_owned())));
    }
}
