//! Deletes of what is too large to be looked at under one hold of the lock.

use super::*;
use crate::sub_access::AT_ONCE;
use crate::watch::CHANGES_MAX;
use hathi_formats::editlog::{AclEntry, AclEntryScope, AclEntryType};

const BIG: &str = "/own/big";

/// More of alice's directories below [`BIG`] than are looked at at once. Each has one below it.
fn with_a_big_directory() -> Fixture {
    let mut fix = Fixture::new();
    fix.mkdirs(ROOT, "/own").unwrap();
    fix.chmod("/own", 0o777);
    fix.mkdirs(ALICE, BIG).unwrap();
    for n in 0..AT_ONCE {
        fix.mkdirs(ALICE, &format!("{BIG}/{n}/empty")).unwrap();
    }
    fix
}

impl Fixture {
    fn chmod(&mut self, path: &str, mode: u16) {
        let plan = self.ns.plan_set_permission(&self.ctx(ROOT), path, mode).unwrap();
        self.commit(plan);
    }

    fn chown(&mut self, path: &str, user: &str) {
        let plan = self.ns.plan_set_owner(&self.ctx(ROOT), path, Some(user), None).unwrap();
        self.commit(plan);
    }

    fn move_to(&mut self, src: &str, dst: &str) {
        let options = RenameOptions::default();
        let plan = self.ns.plan_rename2(&self.ctx(ROOT), src, dst, options).unwrap();
        self.commit(plan);
    }

    fn refuse_by_acl(&mut self, path: &str) {
        let entry = AclEntry {
            scope: AclEntryScope::Access,
            entry_type: AclEntryType::User,
            name: Some("alice".to_owned()),
            permission: 0,
        };
        let plan = self.ns.plan_modify_acl(&self.ctx(ROOT), path, &[entry]).unwrap();
        self.commit(plan);
    }

    fn plan_delete_by_alice(&self, walk: Option<&SubAccessWalk>) -> Result<Deleted, Refused> {
        let plan = self.ns.plan_delete(&self.ctx(ALICE), BIG, true, walk)?;
        assert_eq!(plan.ops.len(), usize::from(plan.reply == Deleted::Answer(true)));
        Ok(plan.reply)
    }

    /// Begins to look through [`BIG`].
    fn watch(&mut self) -> SubAccessWalk {
        let Ok(Deleted::WalkFirst(dir)) = self.plan_delete_by_alice(None) else {
            panic!("all of it was looked at at once");
        };
        self.ns.watch_access(dir)
    }

    fn walk_to_the_end(&self, walk: &mut SubAccessWalk) {
        while !self.ns.sub_access_step(&ALICE, walk, 100) {}
    }

    fn is_refused(&mut self, mut walk: SubAccessWalk) -> bool {
        assert!(self.ns.catch_up_access(&ALICE, &mut walk), "it is watched");
        match self.plan_delete_by_alice(Some(&walk)) {
            Ok(Deleted::Answer(true)) => false,
            Ok(other) => panic!("{other:?}"),
            Err(refused) => {
                assert!(refused.is(hathi_formats::exceptions::ACCESS_CONTROL), "{refused:?}");
                true
            }
        }
    }
}

/// What another does between the end of a walk and the plan, and whether alice may still delete.
#[test]
fn what_changes_below_a_directory_that_is_looked_through_is_looked_at_again() {
    let check = |what: &str, before: &dyn Fn(&mut Fixture), change: &dyn Fn(&mut Fixture), refused: bool| {
        let mut fix = with_a_big_directory();
        before(&mut fix);
        let mut walk = fix.watch();
        fix.walk_to_the_end(&mut walk);
        change(&mut fix);
        assert_eq!(fix.is_refused(walk), refused, "{what}");
        // As if all of it were looked at now.
        let mut walk = fix.watch();
        fix.walk_to_the_end(&mut walk);
        assert_eq!(fix.is_refused(walk), refused, "{what}, afterwards");
    };
    let at = |name: &str| format!("{BIG}/{name}");
    let nothing = |_: &mut Fixture| {};
    check("nothing", &nothing, &nothing, false);
    check("a mode", &nothing, &|fix| fix.chmod(&at("7"), 0o500), true);
    check(
        "the mode of an empty one",
        &nothing,
        &|fix| fix.chmod(&at("7/empty"), 0),
        false,
    );
    check("an owner", &nothing, &|fix| fix.chown(&at("7"), "bob"), true);
    let of_bob = |fix: &mut Fixture| {
        fix.chown(&at("7"), "bob");
        fix.chmod(&at("7"), 0o777);
    };
    check("an ACL", &of_bob, &|fix| fix.refuse_by_acl(&at("7")), true);
    let not_empty = |fix: &mut Fixture| {
        fix.mkdirs(ROOT, &at("7/empty/new")).unwrap();
    };
    check(
        "one that was empty",
        &|fix| fix.chmod(&at("7/empty"), 0o500),
        &not_empty,
        true,
    );
    let tree = |fix: &mut Fixture| {
        fix.mkdirs(ROOT, &at("7/new/below")).unwrap();
    };
    check("a new tree of another's", &nothing, &tree, true);
    let elsewhere = |fix: &mut Fixture| {
        fix.mkdirs(ROOT, "/tree/one/below").unwrap();
        fix.chmod("/tree", 0o777);
    };
    check(
        "a tree that is moved there",
        &elsewhere,
        &|fix| fix.move_to("/tree", &at("7/tree")),
        true,
    );
    let away = |fix: &mut Fixture| {
        fix.chmod(&at("7"), 0);
        fix.move_to(&at("7"), "/away");
    };
    check("one that is moved away", &nothing, &away, false);
    let sticky = |fix: &mut Fixture| {
        fix.chmod(&at("7"), 0o1777);
        fix.chown(&at("7"), "bob");
    };
    let file = |fix: &mut Fixture| {
        fix.create(ROOT, &at("7/file"), false).unwrap();
    };
    check("a file of another's in a sticky directory", &sticky, &file, true);
    let own_file = |fix: &mut Fixture| {
        fix.create(ALICE, &at("7/file"), false).unwrap();
    };
    check("an own file in a sticky directory", &sticky, &own_file, false);
    let of_others = |fix: &mut Fixture| {
        file(fix);
        fix.chown(&at("7"), "bob");
        fix.chmod(&at("7"), 0o777);
    };
    check(
        "a directory that becomes sticky",
        &of_others,
        &|fix| fix.chmod(&at("7"), 0o1777),
        true,
    );
    let given_away = |fix: &mut Fixture| {
        sticky(fix);
        own_file(fix);
    };
    check(
        "a file that is given away",
        &given_away,
        &|fix| fix.chown(&at("7/file"), "bob"),
        true,
    );
}

/// Deeds in any order between slices of a walk: what the walk allows, a look at everything allows.
#[test]
fn a_walk_never_allows_what_a_look_at_everything_refuses() {
    let (mut allowed, mut refused_by_both) = (0, 0);
    for seed in 1..400_u64 {
        let mut state = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15);
        let mut random = |below: u64| {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            state % below
        };
        let mut fix = Fixture::new();
        fix.mkdirs(ROOT, BIG).unwrap();
        fix.mkdirs(ROOT, "/else").unwrap();
        fix.chown("/own", "alice");
        fix.chown(BIG, "alice");
        let path = |random: &mut dyn FnMut(u64) -> u64| {
            let mut path = if random(5) == 0 {
                "/else".to_owned()
            } else {
                BIG.to_owned()
            };
            for _ in 0..random(4) {
                path.push_str(&format!("/{}", random(4)));
            }
            path
        };
        for _ in 0..12 {
            let path = path(&mut random);
            let _ = fix.mkdirs(ROOT, &path);
            if let Ok(plan) = fix.ns.plan_set_owner(&fix.ctx(ROOT), &path, Some("alice"), None) {
                fix.commit(plan);
            }
        }
        let dir = fix.ns.resolve(BIG).unwrap().last().unwrap();
        let mut walk = fix.ns.watch_access(dir);
        for _ in 0..random(30) {
            fix.ns.sub_access_step(&ALICE, &mut walk, 1 + random(3) as usize);
            let (one, other) = (path(&mut random), path(&mut random));
            let ctx = fix.ctx(ROOT);
            let mode = [0o755, 0o500, 0o777, 0o1777][random(4) as usize];
            let plan = match random(8) {
                0 => fix.ns.plan_set_permission(&ctx, &one, mode),
                1 => {
                    let owner = ["alice", "bob"][random(2) as usize];
                    fix.ns.plan_set_owner(&ctx, &one, Some(owner), None)
                }
                2 | 3 => {
                    let _ = fix.create(ALICE, &one, false);
                    continue;
                }
                4 => {
                    let _ = fix.mkdirs(ALICE, &one);
                    continue;
                }
                5 => fix.ns.plan_rename2(&ctx, &one, &other, RenameOptions::default()),
                6 if one != BIG => {
                    let _ = fix.delete(ROOT, &one, true);
                    continue;
                }
                _ => continue,
            };
            if let Ok(plan) = plan {
                fix.commit(plan);
            }
            // Looked at again as often as the lock is taken.
            if random(4) == 0 {
                fix.ns.catch_up_access(&ALICE, &mut walk);
            }
        }
        if fix.ns.resolve(BIG).unwrap().last() != Some(dir) {
            continue;
        }
        fix.walk_to_the_end(&mut walk);
        assert!(fix.ns.catch_up_access(&ALICE, &mut walk));
        let by_walk = fix.plan_delete_by_alice(Some(&walk));
        let by_all = fix.plan_delete_by_alice(None);
        match (&by_walk, &by_all) {
            (Ok(Deleted::Answer(true)), Ok(Deleted::Answer(true))) => allowed += 1,
            (Err(_), Err(_)) => refused_by_both += 1,
            // It was refused when it was looked at.
            (Err(_), Ok(_)) => {}
            _ => panic!("seed {seed}: {by_walk:?}, and of everything {by_all:?}"),
        }
    }
    assert!(allowed > 0 && refused_by_both > 0, "{allowed} {refused_by_both}");
}

#[test]
fn a_walk_whose_watch_is_gone_begins_anew() {
    let mut fix = with_a_big_directory();
    let mut first = fix.watch();
    fix.walk_to_the_end(&mut first);
    // Another one takes its place.
    let mut second = fix.watch();
    fix.chmod(&format!("{BIG}/7"), 0);
    assert!(
        !fix.ns.catch_up_access(&ALICE, &mut first),
        "what has changed is not known"
    );
    assert!(matches!(
        fix.plan_delete_by_alice(Some(&first)),
        Ok(Deleted::WalkFirst(_))
    ));
    fix.ns.unwatch_access(&first);
    assert!(fix.ns.catch_up_access(&ALICE, &mut second), "it is not the first one's");
    // So does one that has seen too many changes.
    for n in 0..=CHANGES_MAX {
        fix.chmod(&format!("{BIG}/8"), if n.is_multiple_of(2) { 0o700 } else { 0o755 });
    }
    fix.ns.check();
    assert!(!fix.ns.catch_up_access(&ALICE, &mut second));
}
