//! Hash maps, by the origin of their keys.
//!
//! With a known hash function, an attacker can choose many keys that share one hash. Each look-up then walks all of them. `cargo xtask tidy` keeps
//! the crate `rustc_hash` out of all other files. `docs/decisions/0011-seeded-hashes.md` compares the hashes.

/// A map whose keys a client, an application or another process may choose. Its hash has a random seed of its own.
pub type Map<K, V> = rapidhash::RapidHashMap<K, V>;

/// A set whose members a client, an application or another process may choose.
pub type Set<K> = rapidhash::RapidHashSet<K>;

/// A map keyed by numbers that this process counts itself. No one else chooses them, so the hash needs no seed.
pub type Numbered<V> = rustc_hash::FxHashMap<u64, V>;

/// A map keyed by slots of a slab, which this process assigns.
pub type Slots<V> = rustc_hash::FxHashMap<u32, V>;

/// A map keyed by types of the program.
pub type ByType<V> = rustc_hash::FxHashMap<std::any::TypeId, V>;

#[cfg(test)]
mod tests {
    use std::cell::Cell;
    use std::hash::{BuildHasher, Hash, Hasher};

    use super::*;

    thread_local! {
        static COMPARED: Cell<u64> = const { Cell::new(0) };
    }

    /// A name that counts its comparisons.
    struct Name(String);

    impl Hash for Name {
        fn hash<H: Hasher>(&self, state: &mut H) {
            self.0.hash(state);
        }
    }

    impl PartialEq for Name {
        fn eq(&self, other: &Self) -> bool {
            COMPARED.set(COMPARED.get() + 1);
            self.0 == other.0
        }
    }

    impl Eq for Name {}

    fn mix(x: u64, y: u64) -> u64 {
        let product = u128::from(x) * u128::from(y);
        product as u64 ^ (product >> 64) as u64
    }

    /// Returns names of 32 characters that share one hash of `rustc-hash`: the last eight undo the first sixteen.
    fn colliding(count: usize) -> Vec<String> {
        const SEED: u64 = 0x243f_6a88_85a3_08d3;
        const ZERO: u64 = 0xa409_3822_299f_31d0;
        let candidates = (0u64..).filter_map(|number| {
            let first = format!("{number:016}");
            let (x, y) = first.as_bytes().split_at(8);
            let read = |half: &[u8]| half.iter().rev().fold(0, |word, byte| word << 8 | u64::from(*byte));
            let last = mix(SEED ^ read(x), ZERO ^ read(y)) ^ u64::from_le_bytes(*b"sociable");
            let last = last.to_le_bytes();
            last.is_ascii().then(|| format!("{first}{}{}", "attacker", String::from_utf8_lossy(&last)))
        });
        candidates.take(count).collect()
    }

    fn comparisons<S: BuildHasher + Default>(names: &[String]) -> u64 {
        COMPARED.set(0);
        let mut map = std::collections::HashMap::with_hasher(S::default());
        for name in names {
            map.insert(Name(name.clone()), ());
        }
        assert_eq!(map.len(), names.len());
        COMPARED.get()
    }

    #[test]
    fn seed_separates_names_with_equal_hashes() {
        let names = colliding(1_000);
        let hash = |name: &String| rustc_hash::FxBuildHasher.hash_one(name.as_str());
        assert!(names.iter().all(|name| name.len() == 32 && hash(name) == hash(&names[0])));
        assert_eq!(comparisons::<rustc_hash::FxBuildHasher>(&names), 1_000 * 999 / 2, "the names are an attack");
        let compared = comparisons::<rapidhash::fast::RandomState>(&names);
        assert!(compared < 1_000, "{compared} comparisons");
    }

    #[test]
    fn every_map_has_its_own_seed() {
        let (one, other) = (Map::<&str, ()>::default(), Map::<&str, ()>::default());
        assert_ne!(one.hasher().hash_one("red"), other.hasher().hash_one("red"));
    }
}
