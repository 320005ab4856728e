//! Finalized segments that share transactions have the same ones.

use std::collections::BTreeMap;

use super::Verdict;

/// The transactions of finalized segments, wherever they were found.
#[derive(Clone, Debug, Default)]
pub struct Finalized {
    log: BTreeMap<u64, u64>,
    names: BTreeMap<u64, u64>,
    bytes: BTreeMap<u64, Vec<u8>>,
}

impl Finalized {
    /// A JournalNode has a finalized segment of this name with these transactions.
    pub fn found(&mut self, journalnode: usize, start: u64, end: u64, contents: &[(u64, u64)]) -> Verdict {
        let expected = (end - start + 1) as usize;
        if contents.len() != expected {
            return Err(format!(
                "JournalNode {journalnode}: segment {start}-{end} holds {} whole transactions",
                contents.len()
            ));
        }
        if let Some(other) = self.names.insert(start, end).filter(|other| *other != end) {
            return Err(format!("segment {start} is finalized with the ends {other} and {end}"));
        }
        for (txid, content) in contents {
            if self.log.insert(*txid, *content).is_some_and(|other| other != *content) {
                return Err(format!(
                    "JournalNode {journalnode}: segment {start}-{end} has another txid {txid} than its peers"
                ));
            }
        }
        Ok(())
    }

    /// A JournalNode has a finalized segment that begins here and is this file.
    pub fn bytes(&mut self, journalnode: usize, start: u64, file: &[u8]) -> Verdict {
        let known = self.bytes.entry(start).or_insert_with(|| file.to_vec());
        if known == file {
            return Ok(());
        }
        let at = known.iter().zip(file).position(|(a, b)| a != b);
        Err(format!(
            "JournalNode {journalnode}: segment {start} has other bytes than those of its peers, at {:?}, {} for {} bytes",
            at,
            file.len(),
            known.len()
        ))
    }

    /// All transactions found.
    pub fn log(&self) -> &BTreeMap<u64, u64> {
        &self.log
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_fires() {
        let mut checker = Finalized::default();
        checker.found(0, 1, 2, &[(1, 10), (2, 20)]).unwrap();
        checker.found(1, 1, 2, &[(1, 10), (2, 20)]).unwrap();
        assert!(checker.found(2, 1, 2, &[(1, 10), (2, 21)]).is_err());
        assert!(Finalized::default().found(2, 1, 2, &[(1, 10)]).is_err());
        checker.bytes(0, 1, b"ab").unwrap();
        assert!(checker.bytes(1, 1, b"ac").is_err());
        assert!(checker.found(2, 1, 1, &[(1, 10)]).is_err());
    }
}
