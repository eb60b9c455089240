//! Every input of `fuzz/corpus` is held against its check, without a fuzzer.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

fn fuzz() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the checks lie in the folder of the fuzzer")
}

fn entries(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
    entries.map(|entry| entry.expect("an entry").path()).collect()
}

#[test]
fn every_input_passes_its_check() {
    for (name, check) in sociable_fuzz_checks::ALL {
        let inputs = entries(&fuzz().join("corpus").join(name));
        assert!(!inputs.is_empty(), "{name} has no inputs");
        for input in inputs {
            // Shown if the check fails.
            println!("{}", input.display());
            check(&fs::read(&input).expect("an input"));
        }
    }
}

#[test]
fn every_check_has_a_target_and_inputs() {
    let checks: BTreeSet<_> = sociable_fuzz_checks::ALL.iter().map(|(name, _)| (*name).to_owned()).collect();
    for folder in ["corpus", "fuzz_targets"] {
        let names = entries(&fuzz().join(folder));
        let names: BTreeSet<_> = names.iter().filter_map(|path| Some(path.file_stem()?.to_str()?.to_owned())).collect();
        assert_eq!(names, checks, "{folder}");
    }
}
