//! What every adapter asks of topics and records before it takes them, and which partition a key has.

use crate::{Error, Record, TopicSpec};

/// The largest payload, in bytes.
pub(crate) const MAX_VALUE: usize = 1024 * 1024;
/// The largest key, in bytes.
pub(crate) const MAX_KEY: usize = 1024;
/// The largest number of partitions of one topic.
pub(crate) const MAX_PARTITIONS: u32 = 1024;
/// The longest name of a topic, in bytes; Apache Kafka has the same bound.
pub(crate) const MAX_NAME: usize = 249;

/// Refuses a topic that some adapter could not make.
pub fn check_topic(spec: &TopicSpec) -> Result<(), Error> {
    let name = &spec.name;
    let plain = name
        .bytes()
        .all(|byte| byte.is_ascii_alphanumeric() || b"._-".contains(&byte));
    if name.is_empty() || name.len() > MAX_NAME || !plain {
        return Err(Error::Invalid(format!(
            "`{name}` is no name for a topic: letters, digits, `.`, `_`, `-`"
        )));
    }
    if !(1..=MAX_PARTITIONS).contains(&spec.partitions) {
        return Err(Error::Invalid(format!(
            "topic {name} cannot have {} partitions, only 1 to {MAX_PARTITIONS}",
            spec.partitions
        )));
    }
    Ok(())
}

/// Refuses a batch of which one record is too large.
pub(crate) fn check_records(records: &[Record]) -> Result<(), Error> {
    for record in records {
        if record.value.len() > MAX_VALUE {
            let size = record.value.len();
            return Err(Error::Invalid(format!(
                "a payload of {size} bytes is over the limit of {MAX_VALUE}"
            )));
        }
        if record.key.len() > MAX_KEY {
            let size = record.key.len();
            return Err(Error::Invalid(format!(
                "a key of {size} bytes is over the limit of {MAX_KEY}"
            )));
        }
    }
    Ok(())
}

/// The partition of a key: FNV-1a with 64 bits, folded. It is part of the file format, since records
/// with one key must stay in one partition from start to start.
pub(crate) fn partition_of(key: &[u8], partitions: u32) -> u32 {
    let hash = key.iter().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3)
    });
    let folded = (hash >> 32) ^ (hash & 0xffff_ffff);
    u32::try_from(folded % u64::from(partitions)).expect("less than the number of partitions")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_partition_of_a_key_never_changes() {
        assert_eq!(partition_of(b"", 8), 1);
        assert_eq!(partition_of(b"c:1", 8), partition_of(b"c:1", 8));
        assert_eq!(partition_of(b"anything", 1), 0);
    }

    #[test]
    fn keys_spread_over_all_partitions() {
        let mut counts = [0_u32; 8];
        for number in 0..8000_u32 {
            counts[partition_of(format!("c:{number}").as_bytes(), 8) as usize] += 1;
        }
        assert!(
            counts.iter().all(|count| (700..1300).contains(count)),
            "{counts:?}"
        );
    }

    #[test]
    fn a_topic_that_kafka_could_not_make_is_refused() {
        let spec = |name: &str, partitions| TopicSpec {
            name: name.into(),
            partitions,
        };
        assert!(check_topic(&spec("chat.message.persist", 8)).is_ok());
        for bad in [
            spec("", 8),
            spec("a b", 8),
            spec(&"x".repeat(250), 8),
            spec("a", 0),
            spec("a", 1025),
        ] {
            assert!(check_topic(&bad).is_err(), "{bad:?}");
        }
    }
}
