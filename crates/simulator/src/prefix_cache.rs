//! The prefix cache: which beginnings of prompts the engine has seen lately.
//!
//! As in real engines a block is known by the hash of itself *and everything before it*, so two
//! prompts share blocks exactly as far as their bytes agree from the start. Blocks are 64 bytes
//! (16 tokens of 4 bytes). When full, the block unused for longest goes, tails before heads: a tail
//! without its head could never be found.

use std::collections::{BTreeMap, HashMap};
use std::hash::{DefaultHasher, Hasher};

pub(crate) const BLOCK_BYTES: usize = 64;

/// A bounded set of block hashes, least recently used first out.
#[derive(Debug)]
pub(crate) struct PrefixCache {
    capacity: usize,
    last_use: HashMap<u64, u64>,
    by_use: BTreeMap<u64, u64>,
    clock: u64,
}

impl PrefixCache {
    /// Holds up to `capacity` blocks; 0 is a cache that never hits.
    pub(crate) fn new(capacity: usize) -> Self {
        Self { capacity, last_use: HashMap::new(), by_use: BTreeMap::new(), clock: 0 }
    }

    /// How many bytes from the start of `prompt` were cached; afterwards all its whole blocks are.
    pub(crate) fn visit(&mut self, prompt: &[u8]) -> usize {
        if self.capacity == 0 {
            return 0;
        }
        let blocks = chain_hashes(prompt);
        let hits = blocks.iter().take_while(|block| self.last_use.contains_key(block)).count();
        // What does not fit from the start on is not worth touching; heads are touched last.
        for block in blocks.iter().take(self.capacity).rev() {
            self.touch(*block);
        }
        self.evict();
        hits * BLOCK_BYTES
    }

    /// Share of the capacity in use, 0 to 1.
    pub(crate) fn usage(&self) -> f64 {
        if self.capacity == 0 { 0.0 } else { self.last_use.len() as f64 / self.capacity as f64 }
    }

    fn touch(&mut self, block: u64) {
        self.clock += 1;
        if let Some(before) = self.last_use.insert(block, self.clock) {
            let _was = self.by_use.remove(&before);
        }
        let _new = self.by_use.insert(self.clock, block);
    }

    fn evict(&mut self) {
        while self.last_use.len() > self.capacity {
            let Some((_, oldest)) = self.by_use.pop_first() else { return };
            let _gone = self.last_use.remove(&oldest);
        }
    }
}

/// The hash of each whole block chained to all before it.
fn chain_hashes(prompt: &[u8]) -> Vec<u64> {
    let mut parent = 0;
    let whole_blocks = prompt.chunks_exact(BLOCK_BYTES);
    whole_blocks
        .map(|block| {
            let mut hasher = DefaultHasher::new();
            hasher.write_u64(parent);
            hasher.write(block);
            parent = hasher.finish();
            parent
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn prompt(blocks: &[u8]) -> Vec<u8> {
        blocks.iter().flat_map(|block| [*block; BLOCK_BYTES]).collect()
    }

    #[test]
    fn prompts_share_blocks_as_far_as_they_agree_from_the_start() {
        let mut cache = PrefixCache::new(100);
        assert_eq!(cache.visit(&prompt(b"abcd")), 0);
        assert_eq!(cache.visit(&prompt(b"abcd")), 4 * BLOCK_BYTES);
        assert_eq!(cache.visit(&prompt(b"abXd")), 2 * BLOCK_BYTES);
        assert_eq!(cache.visit(&prompt(b"bcd")), 0, "the same blocks elsewhere are other blocks");
    }

    #[test]
    fn an_unfinished_block_is_never_cached() {
        let mut cache = PrefixCache::new(100);
        let almost_two = vec![b'a'; 2 * BLOCK_BYTES - 1];
        assert_eq!(cache.visit(&almost_two), 0);
        assert_eq!(cache.visit(&almost_two), BLOCK_BYTES);
    }

    #[test]
    fn the_block_unused_for_longest_goes_first_and_tails_before_heads() {
        let mut cache = PrefixCache::new(4);
        let _first = cache.visit(&prompt(b"ab"));
        let _second = cache.visit(&prompt(b"cd"));
        let _again = cache.visit(&prompt(b"ab"));
        let _third = cache.visit(&prompt(b"e")); // full: the tail of "cd" goes
        assert_eq!(cache.visit(&prompt(b"ab")), 2 * BLOCK_BYTES);
        assert_eq!(cache.visit(&prompt(b"cd")), BLOCK_BYTES);
        assert!(cache.usage() <= 1.0);
    }

    #[test]
    fn a_prompt_longer_than_the_cache_keeps_its_head() {
        let mut cache = PrefixCache::new(2);
        assert_eq!(cache.visit(&prompt(b"abcd")), 0);
        assert_eq!(cache.visit(&prompt(b"abcd")), 2 * BLOCK_BYTES);
    }

    #[test]
    fn without_capacity_nothing_hits() {
        let mut cache = PrefixCache::new(0);
        assert_eq!((cache.visit(&prompt(b"a")), cache.visit(&prompt(b"a"))), (0, 0));
    }
}
