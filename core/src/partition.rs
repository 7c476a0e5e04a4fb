//! Which partition a key belongs to, and which slot a partition belongs to.
//!
//! Keys go by Java's murmur2, the default partitioner of every Kafka client, so that readers and writers outside agree
//! with us on both backends (org.apache.kafka.common.utils.Utils#murmur2).

use crate::{Partition, TopicPartition};

/// How many slots there are: the partitions of `fpaas.slots` (design §3, Placement).
pub const SLOTS: u32 = 64;

/// The unit of placement: the owner of a slot owns everything that hashes to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Slot(pub u32);

impl Slot {
    /// Every slot, in order.
    pub fn all() -> impl Iterator<Item = Slot> {
        (0..SLOTS).map(Slot)
    }

    /// The slot of a source partition.
    pub fn of_source(source: &TopicPartition) -> Slot {
        Self::of_parts(&[source.topic.as_bytes(), &source.partition.0.to_be_bytes()])
    }

    /// The slot of a lane: a partition of a subscription's deliveries.
    pub fn of_lane(tenant: &str, subscription: &str, lane: Partition) -> Slot {
        Self::of_parts(&[tenant.as_bytes(), subscription.as_bytes(), &lane.0.to_be_bytes()])
    }

    fn of_parts(parts: &[&[u8]]) -> Slot {
        let joined = parts.join(&0u8);
        Slot(positive(murmur2(&joined)) % SLOTS)
    }
}

/// The partition of `key` among `partitions`, as a Java client would choose it. `partitions` is at least 1.
pub fn of_key(key: &[u8], partitions: u32) -> Partition {
    Partition(positive(murmur2(key)) % partitions.max(1))
}

const fn positive(hash: u32) -> u32 {
    hash & 0x7fff_ffff
}

/// Java's murmur2 with the seed Kafka uses.
pub fn murmur2(data: &[u8]) -> u32 {
    const SEED: u32 = 0x9747_b28c;
    const M: u32 = 0x5bd1_e995;
    let mut h = SEED ^ u32::try_from(data.len()).unwrap_or(u32::MAX);
    let (words, tail) = data.as_chunks::<4>();
    for word in words {
        let mut k = u32::from_le_bytes(*word).wrapping_mul(M);
        k ^= k >> 24;
        h = h.wrapping_mul(M) ^ k.wrapping_mul(M);
    }
    for (at, byte) in tail.iter().enumerate() {
        h ^= u32::from(*byte) << (8 * at);
    }
    if !tail.is_empty() {
        h = h.wrapping_mul(M);
    }
    h ^= h >> 13;
    h = h.wrapping_mul(M);
    h ^ (h >> 15)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The values of org.apache.kafka.common.utils.UtilsTest#testMurmur2.
    #[test]
    fn murmur2_agrees_with_kafkas_own_test() {
        let cases: [(&[u8], i32); 6] = [
            (b"21", -973_932_308),
            (b"foobar", -790_332_482),
            (b"a-little-bit-long-string", -985_981_536),
            (b"a-little-bit-longer-string", -1_486_304_829),
            (b"lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8", -58_897_971),
            (b"abc", 479_470_107),
        ];
        for (key, expected) in cases {
            assert_eq!(murmur2(key).cast_signed(), expected, "{key:?}");
        }
    }

    #[test]
    fn a_key_always_lands_below_the_number_of_partitions() {
        for n in 1..20 {
            assert!(of_key(format!("did:plc:{n}").as_bytes(), n).0 < n);
        }
    }
}
