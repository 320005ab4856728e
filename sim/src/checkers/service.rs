//! One NameNode answers at a time: who answers has the highest epoch of all that have become active.

use super::Verdict;

/// The newest active.
#[derive(Clone, Debug, Default)]
pub struct Service {
    newest: Option<(u64, usize)>,
}

impl Service {
    /// A NameNode has become active, in this epoch. It may hear of its epoch late.
    pub fn became_active(&mut self, namenode: usize, epoch: u64) {
        self.newest = self.newest.max(Some((epoch, namenode)));
    }

    /// A reply of an active leaves.
    pub fn answers(&self, namenode: usize, epoch: u64) -> Verdict {
        match self.newest {
            Some((newest, other)) if newest > epoch => Err(format!(
                "NameNode {namenode} answers in epoch {epoch}, and NameNode {other} is active in epoch {newest}"
            )),
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_fires() {
        let mut service = Service::default();
        service.became_active(0, 1);
        assert!(service.answers(0, 1).is_ok());
        service.became_active(1, 3);
        assert!(service.answers(0, 1).is_err());
        service.became_active(0, 2);
        assert!(service.answers(1, 3).is_ok() && service.answers(0, 2).is_err());
    }
}
