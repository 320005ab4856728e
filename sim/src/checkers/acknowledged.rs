//! An acknowledged transaction is in every log that is recovered later, under the same id and with the same content.

use std::collections::BTreeMap;

use super::Verdict;

/// The acknowledged transactions.
#[derive(Clone, Debug, Default)]
pub struct Acknowledged {
    content: BTreeMap<u64, u64>,
    /// Highest transaction that was acknowledged to the writer of each epoch.
    by_epoch: BTreeMap<u64, u64>,
}

impl Acknowledged {
    /// The writer of an epoch was told that a transaction with this content is on a majority.
    pub fn acknowledge(&mut self, epoch: u64, txid: u64, content: u64) -> Verdict {
        let highest = self.by_epoch.entry(epoch).or_default();
        *highest = txid.max(*highest);
        match self.content.insert(txid, content) {
            Some(other) if other != content => Err(format!("txid {txid} was acknowledged with two contents")),
            _ => Ok(()),
        }
    }

    /// Number of acknowledged transactions.
    pub fn count(&self) -> u64 {
        self.content.len() as u64
    }

    /// The writer of an epoch has recovered the log up to `end`. It may hear that late, when a later writer has already
    /// gone on.
    pub fn recovered(&self, epoch: u64, end: u64) -> Verdict {
        let highest = self.by_epoch.range(..epoch).map(|(_, highest)| *highest).max();
        match highest {
            Some(highest) if highest > end => Err(format!(
                "the log was recovered up to txid {end} in epoch {epoch}, but {highest} was acknowledged before"
            )),
            _ => Ok(()),
        }
    }

    /// A finalized segment holds these transactions.
    pub fn finalized(&self, contents: &[(u64, u64)]) -> Verdict {
        for (txid, content) in contents {
            if self
                .content
                .get(txid)
                .is_some_and(|acknowledged| acknowledged != content)
            {
                return Err(format!(
                    "a finalized segment has another txid {txid} than was acknowledged"
                ));
            }
        }
        Ok(())
    }

    /// The acknowledged transactions between `from` and `to`.
    pub fn between(&self, from: u64, to: u64) -> impl Iterator<Item = (u64, u64)> {
        let range = self.content.range(from..=to.max(from));
        range.map(|(txid, content)| (*txid, *content))
    }

    /// The whole log from `from` on, as the finalized segments and the open one hold it together.
    pub fn log(&self, log: &BTreeMap<u64, u64>, from: u64) -> Verdict {
        for (txid, content) in self.content.range(from..) {
            match log.get(txid) {
                Some(found) if found == content => {}
                Some(_) => return Err(format!("the log has another txid {txid} than was acknowledged")),
                None => return Err(format!("acknowledged txid {txid} is nowhere in the log")),
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_fires() {
        let mut checker = Acknowledged::default();
        checker.acknowledge(1, 1, 10).unwrap();
        checker.acknowledge(1, 2, 20).unwrap();
        assert!(checker.acknowledge(1, 2, 21).is_err());
        let mut checker = Acknowledged::default();
        checker.acknowledge(1, 1, 10).unwrap();
        checker.acknowledge(1, 2, 20).unwrap();
        assert!(checker.recovered(2, 2).is_ok());
        assert!(checker.recovered(2, 1).is_err());
        assert!(checker.recovered(1, 0).is_ok());
        assert!(checker.finalized(&[(1, 10), (2, 20), (3, 30)]).is_ok());
        assert!(checker.finalized(&[(2, 22)]).is_err());
        assert!(checker.log(&BTreeMap::from([(1, 10), (2, 20)]), 0).is_ok());
        assert!(checker.log(&BTreeMap::from([(1, 10)]), 0).is_err());
        assert!(checker.log(&BTreeMap::from([(2, 20)]), 2).is_ok());
        assert!(checker.log(&BTreeMap::from([(1, 11), (2, 20)]), 0).is_err());
    }
}
