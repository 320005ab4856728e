//! While a writer holds the read lease, no other NameNode is the writer of a later epoch.

use super::Verdict;

/// A writer that believes that it holds the lease.
#[derive(Clone, Copy, Debug)]
pub struct Holder {
    /// The NameNode.
    pub namenode: usize,
    /// Its epoch.
    pub epoch: u64,
    /// How long it still holds the lease, on its own clock.
    pub remaining: u64,
}

/// A NameNode has become the writer of an epoch, while `holders` believe that they hold the lease.
pub fn became_writer(namenode: usize, epoch: u64, holders: &[Holder]) -> Verdict {
    for holder in holders {
        if holder.namenode != namenode && holder.epoch < epoch && holder.remaining > 0 {
            return Err(format!(
                "NameNode {namenode} is the writer of epoch {epoch} while NameNode {} holds the lease of epoch {} for {} us",
                holder.namenode, holder.epoch, holder.remaining
            ));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_fires() {
        let holder = Holder {
            namenode: 0,
            epoch: 3,
            remaining: 1,
        };
        assert!(became_writer(1, 4, &[holder]).is_err());
        assert!(became_writer(1, 4, &[Holder { remaining: 0, ..holder }]).is_ok());
        assert!(became_writer(0, 4, &[holder]).is_ok());
        assert!(became_writer(1, 2, &[holder]).is_ok());
    }
}
