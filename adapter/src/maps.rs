//! Hash maps, by who chooses their keys.
//!
//! Who knows a hash function finds as many keys as they like that share one hash. A map with such keys is a list: each look-up walks all of it.
//! `cargo xtask tidy` keeps the crate `rustc_hash` out of all other files.
//! [Why this hash](../../docs/decisions/0011-seeded-hashes.md).

/// A map whose keys a client, an application or another node may choose. Its hash has a random seed of its own.
pub(crate) type Map<K, V> = rapidhash::RapidHashMap<K, V>;

/// A set whose members a client, an application or another node may choose.
pub(crate) type Set<K> = rapidhash::RapidHashSet<K>;

/// A map by numbers that this process counts up itself. Nobody else chooses them, so that the hash needs no seed.
#[cfg(feature = "nats")]
pub(crate) type Numbered<V> = rustc_hash::FxHashMap<u64, V>;

#[cfg(test)]
mod tests {
    use std::hash::BuildHasher;

    use super::*;

    #[test]
    fn each_map_hashes_by_its_own_seed() {
        let (one, other) = (Map::<&str, ()>::default(), Map::<&str, ()>::default());
        assert_ne!(one.hasher().hash_one("red"), other.hasher().hash_one("red"));
    }
}
