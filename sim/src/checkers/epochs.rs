//! An epoch has one writer.

use std::collections::BTreeMap;

use super::Verdict;

/// The NameNode that became the writer in each epoch.
#[derive(Clone, Debug, Default)]
pub struct Epochs {
    writers: BTreeMap<u64, (usize, u64)>,
}

impl Epochs {
    /// A NameNode, in one of its attempts, has recovered the log in an epoch.
    pub fn became_writer(&mut self, epoch: u64, namenode: usize, attempt: u64) -> Verdict {
        match self.writers.insert(epoch, (namenode, attempt)) {
            Some(other) if other != (namenode, attempt) => Err(format!(
                "epoch {epoch} has two writers: {other:?} and {:?}",
                (namenode, attempt)
            )),
            _ => Ok(()),
        }
    }

    /// Number of epochs.
    pub fn count(&self) -> u64 {
        self.writers.len() as u64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_fires() {
        let mut checker = Epochs::default();
        checker.became_writer(1, 0, 1).unwrap();
        checker.became_writer(2, 1, 1).unwrap();
        assert!(checker.became_writer(2, 0, 2).is_err());
    }
}
