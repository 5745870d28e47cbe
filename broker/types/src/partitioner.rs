//! Which partition a key belongs to: murmur2, as Kafka's Java client and every door of ours do.

use crate::PartitionIndex;

/// The partition of `key` among `partitions`, as Kafka's default partitioner chooses it.
///
/// # Panics
/// If `partitions` is not positive.
#[must_use]
pub fn partition_of(key: &[u8], partitions: i32) -> PartitionIndex {
    assert!(partitions > 0, "a topic has at least one partition");
    PartitionIndex((murmur2(key) & 0x7fff_ffff) as i32 % partitions)
}

/// MurmurHash2, 32 bits, with Kafka's seed.
#[must_use]
pub fn murmur2(data: &[u8]) -> u32 {
    const SEED: u32 = 0x9747_b28c;
    const MULTIPLIER: u32 = 0x5bd1_e995;
    let mut hash = SEED ^ data.len() as u32;
    let mut words = data.chunks_exact(4);
    for word in &mut words {
        let word = u32::from_le_bytes([word[0], word[1], word[2], word[3]]);
        let mut mixed = word.wrapping_mul(MULTIPLIER);
        mixed ^= mixed >> 24;
        hash = hash.wrapping_mul(MULTIPLIER) ^ mixed.wrapping_mul(MULTIPLIER);
    }
    let rest = words.remainder();
    for (at, &byte) in rest.iter().enumerate() {
        hash ^= u32::from(byte) << (8 * at);
    }
    if !rest.is_empty() {
        hash = hash.wrapping_mul(MULTIPLIER);
    }
    hash ^= hash >> 13;
    hash = hash.wrapping_mul(MULTIPLIER);
    hash ^ (hash >> 15)
}

#[cfg(test)]
mod tests {
    use super::murmur2;

    /// Values computed with Kafka's `Utils.murmur2`.
    #[test]
    fn agrees_with_kafka() {
        let check = |key: &str, expected: i32| assert_eq!(murmur2(key.as_bytes()) as i32, expected);
        check("21", -973_932_308);
        check("foobar", -790_332_482);
        check("a-little-bit-long-string", -985_981_536);
        check("a-little-bit-longer-string", -1_486_304_829);
        check("lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8", -58_897_971);
    }
}
