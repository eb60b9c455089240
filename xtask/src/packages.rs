//! The packages of the workspace, as `cargo metadata` lists them.

use std::collections::BTreeMap;
use std::io;

use serde_json::Value;

use crate::rust::cargo;

/// A package of the workspace.
#[derive(Clone, Debug, Default)]
pub(crate) struct Package {
    pub(crate) name: String,
    pub(crate) version: String,
    /// Whether the package goes to the registry.
    pub(crate) published: bool,
    /// Each feature but `default`, with what it turns on.
    pub(crate) features: BTreeMap<String, Vec<String>>,
    /// Whether it has a program.
    pub(crate) has_program: bool,
    /// The packages of the workspace that it is built with.
    pub(crate) dependencies: Vec<String>,
    /// The fields of `[package]` that the registry shows.
    pub(crate) shown: Shown,
}

/// The fields that the registry shows. A field that the manifest lacks is empty.
#[derive(Clone, Debug, Default)]
pub(crate) struct Shown {
    pub(crate) description: String,
    pub(crate) license: String,
    pub(crate) readme: String,
    pub(crate) repository: String,
    pub(crate) homepage: String,
    pub(crate) documentation: String,
    pub(crate) rust_version: String,
    pub(crate) keywords: Vec<String>,
    pub(crate) categories: Vec<String>,
    /// Whether `[package.metadata.docs.rs]` says `all-features = true`.
    pub(crate) docs_of_all_features: bool,
}

/// Returns all packages of the workspace.
pub(crate) fn all() -> io::Result<Vec<Package>> {
    let output = cargo(&["metadata", "--no-deps", "--format-version=1", "--locked"]).output()?;
    if !output.status.success() {
        return Err(io::Error::other(format!("cargo metadata failed: {}", String::from_utf8_lossy(&output.stderr).trim())));
    }
    parse(&serde_json::from_slice(&output.stdout)?)
}

/// Returns the published packages, each after those that it depends on.
pub(crate) fn published() -> io::Result<Vec<Package>> {
    in_order(all()?.into_iter().filter(|package| package.published).collect())
}

fn parse(metadata: &Value) -> io::Result<Vec<Package>> {
    let packages = metadata["packages"].as_array().ok_or_else(|| io::Error::other("cargo metadata lists no packages"))?;
    Ok(packages.iter().map(package).collect())
}

fn package(json: &Value) -> Package {
    let text = |key: &str| json[key].as_str().unwrap_or_default().to_owned();
    let texts = |value: &Value| value.as_array().into_iter().flatten().filter_map(Value::as_str).map(str::to_owned).collect::<Vec<_>>();
    // `publish` is null where every registry may have the package, and an empty list for `publish = false`.
    let published = !json["publish"].as_array().is_some_and(Vec::is_empty);
    let dependencies = json["dependencies"].as_array().into_iter().flatten();
    // A dependency of tests has the kind `dev`. One outside the workspace has no path.
    let built_with = dependencies.filter(|it| it["kind"] != "dev" && it["path"].is_string());
    let features = json["features"].as_object();
    let mut targets = json["targets"].as_array().into_iter().flatten();
    Package {
        name: text("name"),
        version: text("version"),
        published,
        features: features
            .into_iter()
            .flatten()
            .filter(|(name, _)| *name != "default")
            .map(|(name, parts)| (name.clone(), texts(parts)))
            .collect(),
        has_program: targets.any(|target| target["kind"][0] == "bin"),
        dependencies: built_with.filter_map(|it| it["name"].as_str()).map(str::to_owned).collect(),
        shown: Shown {
            description: text("description"),
            license: text("license"),
            readme: text("readme"),
            repository: text("repository"),
            homepage: text("homepage"),
            documentation: text("documentation"),
            rust_version: text("rust_version"),
            keywords: texts(&json["keywords"]),
            categories: texts(&json["categories"]),
            docs_of_all_features: json["metadata"]["docs"]["rs"]["all-features"] == true,
        },
    }
}

/// Puts each package behind its dependencies, and otherwise by name.
fn in_order(mut packages: Vec<Package>) -> io::Result<Vec<Package>> {
    packages.sort_by(|a, b| a.name.cmp(&b.name));
    let mut ordered: Vec<Package> = vec![];
    while !packages.is_empty() {
        let waits = |package: &Package| package.dependencies.iter().any(|name| packages.iter().any(|it| it.name == *name));
        let Some(next) = packages.iter().position(|package| !waits(package)) else {
            let names: Vec<_> = packages.iter().map(|package| package.name.as_str()).collect();
            return Err(io::Error::other(format!("packages depend on each other: {}", names.join(", "))));
        };
        ordered.push(packages.remove(next));
    }
    Ok(ordered)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn package_is_read_from_metadata() {
        let metadata = json!({ "packages": [{
            "name": "shop", "version": "1.2.3", "publish": null, "description": "A shop",
            "keywords": ["a", "b"], "metadata": { "docs": { "rs": { "all-features": true } } },
            "targets": [{ "kind": ["lib"] }, { "kind": ["bin"] }],
            "features": { "default": ["tls"], "tls": ["dep:rustls"], "otel": [] },
            "dependencies": [
                { "name": "till", "kind": null, "path": "/w/till" },
                { "name": "tests", "kind": "dev", "path": "/w/tests" },
                { "name": "bytes", "kind": null },
            ],
        }] });
        let packages = parse(&metadata).unwrap();
        let [shop] = packages.as_slice() else { panic!("{packages:?}") };
        assert_eq!((shop.name.as_str(), shop.version.as_str(), shop.published), ("shop", "1.2.3", true));
        assert_eq!(shop.features.keys().collect::<Vec<_>>(), ["otel", "tls"]);
        assert_eq!(shop.features["tls"], ["dep:rustls"]);
        assert_eq!(shop.dependencies, ["till"]);
        assert_eq!((shop.shown.description.as_str(), shop.shown.keywords.len()), ("A shop", 2));
        assert!(shop.has_program && shop.shown.docs_of_all_features && shop.shown.readme.is_empty());
    }

    #[test]
    fn unpublished_package_is_recognised() {
        assert!(!package(&json!({ "name": "tests", "publish": [] })).published);
        assert!(package(&json!({ "name": "shop", "publish": ["a-registry"] })).published);
    }

    #[test]
    fn package_follows_its_dependencies() {
        let of = |name: &str, dependencies: &[&str]| Package {
            name: name.into(),
            dependencies: dependencies.iter().map(|&it| it.into()).collect(),
            ..Package::default()
        };
        let ordered = in_order(vec![of("a", &["c", "elsewhere"]), of("b", &[]), of("c", &["b"])]).unwrap();
        assert_eq!(ordered.iter().map(|it| it.name.as_str()).collect::<Vec<_>>(), ["b", "c", "a"]);
        assert!(in_order(vec![of("a", &["b"]), of("b", &["a"])]).is_err());
    }
}
