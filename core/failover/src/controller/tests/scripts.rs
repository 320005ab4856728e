//! Decisions of a failover controller as scripts, in `scripts/*.txt`. Behind `>` stand a time in milliseconds and an event,
//! and below it what the controller of NameNode b wants done. The NameNodes are a, b and c; there are three JournalNodes.
//!
//! `HATHI_REWRITE_SCRIPTS=1 cargo test -p hathi-failover scripts` writes what follows now into the files. A change of
//! behaviour is then a change of their text.

use super::*;
use std::fmt::Write;
use std::path::Path;

const REWRITE: &str = "HATHI_REWRITE_SCRIPTS";

fn state(word: &str) -> ServiceState {
    match word {
        "active" => ServiceState::Active,
        "standby" => ServiceState::Standby,
        "observer" => ServiceState::Observer,
        "initializing" => ServiceState::Initializing,
        other => panic!("no state: {other}"),
    }
}

fn events(words: &[&str]) -> Vec<ControllerEvent> {
    let leases = |view: Option<LeaseAnswer>, of: std::ops::Range<usize>| {
        of.map(|journalnode| ControllerEvent::Lease {
            journalnode,
            view: view.clone(),
        })
        .collect()
    };
    let held = |holder: &str| Some(answer(1, holder, true));
    let one = match words {
        ["lease", "free"] => return leases(Some(LeaseAnswer::Free), 0..3),
        ["lease", "held", "by", holder] => return leases(held(holder), 0..3),
        ["one", "JournalNode:", "lease", "held", "by", holder] => return leases(held(holder), 0..1),
        ["two", "JournalNodes", "are", "silent"] => return leases(None, 1..3),
        ["time"] => ControllerEvent::Tick,
        [name, "is", word] => healthy(name, state(word)),
        [name, "is", word, "in", "safe", "mode"] => healthy_in(name, state(word), true),
        [name, "is", "ill", "as", word] => unhealthy(name, state(word)),
        ["no", "answer"] => ControllerEvent::Health(Health::NotResponding),
        ["process", "of", name, "ended"] => ControllerEvent::ProcessEnded(instance(name)),
        ["lease", "of", name, "released"] => ControllerEvent::LeaseReleased((*name).to_owned()),
        ["became", "active"] => ControllerEvent::BecameActive(Ok(())),
        ["did", "not", "become", "active"] => ControllerEvent::BecameActive(Err(())),
        ["became", "standby"] => ControllerEvent::BecameStandby(Ok(())),
        ["did", "not", "become", "standby"] => ControllerEvent::BecameStandby(Err(())),
        ["cede", "for", millis] => ControllerEvent::Cede {
            millis: millis.parse().expect("milliseconds"),
        },
        ["quit"] => ControllerEvent::Quit,
        other => panic!("no event: {other:?}"),
    };
    vec![one]
}

fn wanted(action: &ControllerAction) -> String {
    match action {
        ControllerAction::BecomeActive => "make b active".to_owned(),
        ControllerAction::BecomeStandby => "make b a standby".to_owned(),
        ControllerAction::ReleaseLease(holder) => format!("give back the lease of {holder}"),
        ControllerAction::Kill(instance) => format!("kill {}", instance.holder),
        ControllerAction::Fence(former) => format!("fence {former:?}"),
        ControllerAction::Elector(ElectorRequest::ZooKeeper(_, ask)) => format!("ask ZooKeeper {ask:?}"),
        ControllerAction::GiveUp(why) => format!("end: {why}"),
    }
}

/// The script with what follows now below each event.
fn played(script: &str) -> String {
    let mut controller = controller(1);
    let mut out = String::new();
    for line in script.lines() {
        let Some(happens) = line.strip_prefix("> ") else {
            if line.starts_with('#') || line.is_empty() {
                let _ = writeln!(out, "{line}");
            }
            continue;
        };
        let _ = writeln!(out, "> {happens}");
        let mut words = happens.split_whitespace();
        let now_ms = words.next().and_then(|ms| ms.parse().ok()).expect("a time comes first");
        for event in events(&words.collect::<Vec<_>>()) {
            for action in controller.on(event, now_ms) {
                let _ = writeln!(out, "  {}", wanted(&action));
            }
        }
    }
    out
}

#[test]
fn what_follows_is_what_the_scripts_say() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/controller/tests/scripts");
    let mut names: Vec<_> = std::fs::read_dir(&folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    names.sort();
    assert!(names.len() >= 15, "scripts are missing: {names:?}");
    for path in names {
        let script = std::fs::read_to_string(&path).unwrap();
        let now = played(&script);
        if std::env::var_os(REWRITE).is_some() {
            std::fs::write(&path, now).unwrap();
        } else {
            assert_eq!(now, script, "{}", path.display());
        }
    }
}
