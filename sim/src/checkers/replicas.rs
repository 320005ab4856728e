//! Every NameNode's namespace is what the journal makes of it: at the same transaction all have the same digest.

use super::Verdict;
use std::collections::BTreeMap;

/// The digests that were seen.
#[derive(Clone, Debug, Default)]
pub struct Replicas {
    digests: BTreeMap<u64, (u64, String)>,
}

impl Replicas {
    /// A namespace that holds everything up to `txid` has this digest.
    pub fn saw(&mut self, who: &str, txid: u64, digest: u64) -> Verdict {
        let (known, first) = self.digests.entry(txid).or_insert_with(|| (digest, who.to_owned()));
        if *known == digest {
            return Ok(());
        }
        Err(format!(
            "at transaction {txid} the namespace of {who} is another one than that of {first}"
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_fires() {
        let mut replicas = Replicas::default();
        replicas.saw("a", 1, 10).unwrap();
        replicas.saw("b", 1, 10).unwrap();
        replicas.saw("b", 2, 20).unwrap();
        assert!(replicas.saw("a", 2, 21).is_err());
    }
}
