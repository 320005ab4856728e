//! The administrators of a daemon.

use super::{AccessControlList, Groups};
use hathi_conf::Configuration;

/// The user that a daemon runs as, and the users and groups that are listed besides.
#[derive(Clone)]
pub struct Administrators {
    own_user: String,
    listed: Vec<AccessControlList>,
    groups: Groups,
}

impl std::fmt::Debug for Administrators {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Administrators")
            .field("own_user", &self.own_user)
            .field("listed", &self.listed)
            .finish_non_exhaustive()
    }
}

impl Administrators {
    /// `own_user` alone.
    #[must_use]
    pub fn own(own_user: &str, groups: Groups) -> Administrators {
        Administrators {
            own_user: own_user.to_owned(),
            listed: Vec::new(),
            groups,
        }
    }

    /// `own_user`, and the users and groups in `dfs.cluster.administrators`.
    #[must_use]
    pub fn of(conf: &Configuration, own_user: &str, groups: Groups) -> Administrators {
        let listed = conf.raw("dfs.cluster.administrators").unwrap_or_default();
        Administrators::own(own_user, groups).and_listed(&listed)
    }

    /// Adds the users and groups of a list.
    #[must_use]
    pub fn and_listed(mut self, acl: &str) -> Administrators {
        self.listed.push(AccessControlList::parse(acl));
        self
    }

    /// Whether a user is an administrator. `None` while the user's groups are looked up: see [`Administrators::ask`].
    #[must_use]
    pub fn include(&self, user: &str) -> Option<bool> {
        if user == self.own_user {
            return Some(true);
        }
        let by_name = |acl: &AccessControlList| acl.includes(user, None);
        if self.listed.iter().any(|acl| by_name(acl) == Some(true)) {
            return Some(true);
        }
        if self.listed.iter().all(|acl| by_name(acl) == Some(false)) {
            return Some(false);
        }
        let identity = self.groups.get_now(user)?;
        let in_list = |acl: &AccessControlList| acl.includes(user, Some(&identity.groups)) == Some(true);
        Some(self.listed.iter().any(in_list))
    }

    /// As [`Administrators::include`], and waits for the groups. A user whose groups do not become known is no
    /// administrator.
    pub async fn ask(&self, user: &str) -> bool {
        if let Some(known) = self.include(user) {
            return known;
        }
        self.groups.resolve(user).await.is_some() && self.include(user) == Some(true)
    }
}
