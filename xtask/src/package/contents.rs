//! The rules for the contents of a package, and for the fields that the registry shows.

use crate::packages::{Package, Shown};

/// Every package has these.
const FILES: [&str; 4] = ["Cargo.toml", "LICENSE-APACHE", "LICENSE-MIT", "README.md"];
/// Nobody who builds a package needs these.
const FOLDERS: [&str; 3] = ["tests/", "benches/", "fuzz/"];
/// A package this large holds something that does not belong there.
const LARGEST: u64 = 512 * 1024;
/// The registry takes so many of each.
const MOST_WORDS: usize = 5;

/// Returns the complaints about a package: its files, the size of its archive, its fields.
pub(super) fn check(package: &Package, files: &[String], size: u64) -> Vec<String> {
    let missing = FILES.iter().filter(|&&wanted| !files.iter().any(|file| file == wanted)).map(|file| format!("{file} is missing"));
    let extra = files.iter().filter(|file| FOLDERS.iter().any(|folder| file.starts_with(folder)));
    let mut complaints: Vec<_> = missing.chain(extra.map(|file| format!("{file} does not belong into the package"))).collect();
    if size > LARGEST {
        complaints.push(format!("{} KB is more than {} KB", size / 1024, LARGEST / 1024));
    }
    complaints.extend(fields(&package.shown));
    complaints
}

fn fields(shown: &Shown) -> Vec<String> {
    let Shown {
        description,
        license,
        readme,
        repository,
        homepage,
        documentation,
        rust_version,
        keywords,
        categories,
        docs_of_all_features,
    } = shown;
    let texts = [
        ("description", description),
        ("license", license),
        ("readme", readme),
        ("repository", repository),
        ("homepage", homepage),
        ("documentation", documentation),
        ("rust-version", rust_version),
    ];
    let mut complaints: Vec<_> = texts.iter().filter(|(_, text)| text.is_empty()).map(|(name, _)| format!("`{name}` is missing")).collect();
    for (name, words) in [("keywords", keywords), ("categories", categories)] {
        if words.is_empty() || words.len() > MOST_WORDS {
            complaints.push(format!("`{name}` has {} entries: the registry takes 1 to {MOST_WORDS}", words.len()));
        }
    }
    if !docs_of_all_features {
        complaints.push("`[package.metadata.docs.rs]` does not say `all-features = true`".into());
    }
    complaints
}

#[cfg(test)]
mod tests {
    use super::*;

    fn complete() -> Package {
        let text = || "text".to_owned();
        let shown = Shown {
            description: text(),
            license: text(),
            readme: text(),
            repository: text(),
            homepage: text(),
            documentation: text(),
            rust_version: text(),
            keywords: vec![text()],
            categories: vec![text()],
            docs_of_all_features: true,
        };
        Package { shown, ..Package::default() }
    }

    fn files(names: &[&str]) -> Vec<String> {
        FILES.iter().chain(names).map(|&name| name.to_owned()).collect()
    }

    #[test]
    fn complete_package_has_no_complaint() {
        assert_eq!(check(&complete(), &files(&["src/lib.rs", "examples/chat/main.rs"]), 1000), Vec::<String>::new());
    }

    #[test]
    fn missing_and_foreign_files_are_named() {
        let with_tests = files(&["tests/life.rs"]);
        assert_eq!(check(&complete(), &with_tests, 1000), ["tests/life.rs does not belong into the package"]);
        let without_license: Vec<_> = files(&[]).into_iter().filter(|file| file != "LICENSE-MIT").collect();
        assert_eq!(check(&complete(), &without_license, 1000), ["LICENSE-MIT is missing"]);
    }

    #[test]
    fn large_package_is_refused() {
        assert_eq!(check(&complete(), &files(&[]), LARGEST), Vec::<String>::new());
        assert_eq!(check(&complete(), &files(&[]), LARGEST + 1024), ["513 KB is more than 512 KB"]);
    }

    #[test]
    fn each_missing_field_is_named() {
        let complaints = fields(&Shown::default());
        assert_eq!(complaints.len(), 10, "{complaints:?}");
        let mut many = complete().shown;
        many.keywords = vec!["word".into(); MOST_WORDS + 1];
        assert_eq!(fields(&many), ["`keywords` has 6 entries: the registry takes 1 to 5"]);
    }
}
