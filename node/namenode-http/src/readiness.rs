//! Whether the NameNode is ready, for `/health/ready`.

use crate::pages::Pages;
use hathi_nameserver::health::Readiness;
use hathi_net::http::health::Health;

/// Why this NameNode can't be elected, as far as it is known without a look at the disks now.
#[must_use]
pub fn problem(pages: &Pages) -> Option<String> {
    let nn = &pages.nn;
    let problem = nn.health.lock().problem().map(str::to_owned);
    problem.or_else(|| nn.observed.shortage())
}

/// The HA state, and why the NameNode is not ready.
#[must_use]
pub fn of(pages: &Pages) -> Health {
    let nn = &pages.nn;
    let role = nn.replies.role();
    let problem = problem(pages);
    let readiness = Readiness {
        role,
        problem: problem.as_deref(),
        is_lease_held: nn.replies.is_lease_held(),
        lag_ms: pages.following.lock().lag_ms(nn.clock.ms()),
    };
    Health {
        state: role.ha_state().name().to_owned(),
        reasons: readiness.reasons_against(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing;
    use hathi_formats::ids::TxId;

    #[test]
    fn a_full_disk_is_a_problem_of_an_active_and_of_a_standby() {
        let alone = testing::active();
        let pages = Pages::new(alone.shared.web_parts());
        let nn = &pages.nn;
        nn.replies.set_lease(u64::MAX);
        nn.observed.set_shortage(Some("no room".to_owned()));
        assert_eq!(of(&pages).reasons, ["no room"]);
        nn.observed.set_shortage(None);
        assert_eq!(problem(&pages), None);
    }

    #[test]
    fn an_active_without_its_lease_is_not_ready() {
        let alone = testing::active();
        let pages = Pages::new(alone.shared.web_parts());
        let nn = &pages.nn;
        nn.replies.set_lease(u64::MAX);
        assert_eq!(of(&pages).reasons, Vec::<String>::new());
        nn.replies.set_lease(0);
        let health = of(&pages);
        assert_eq!((health.state.as_str(), health.reasons.len()), ("active", 1));
        pages.following.lock().note(0, TxId(u64::MAX), TxId(0));
        assert_eq!(of(&pages).reasons.len(), 1, "only a standby follows");
    }
}
