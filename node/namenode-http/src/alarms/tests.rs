use super::*;

fn namenode(id: &str, state: &str) -> Value {
    json!({"id": id, "state": state, "reachable": true, "settings": {"dfs.replication": "3"},
        "last_checkpoint": {"time": 1, "transaction": 5}, "applied_transaction": 5, "log_lines_lost": 0,
        "racks_unknown": {"hosts": 0, "why": null}})
}

fn journalnode(address: &str) -> Value {
    json!({"address": address, "up": true, "lag_ms": 0.0, "reasons": [], "log_lines_lost": 0, "slow_sync_ms": null,
        "directories": [{"path": "/j", "free": 900_u64 << 20, "size": 1000_u64 << 20}]})
}

/// A cluster where all is well.
struct Cluster {
    namenodes: Vec<Value>,
    journalnodes: Vec<Value>,
    clocks: BTreeMap<String, (i64, i64)>,
    data: Data,
}

impl Cluster {
    fn well() -> Cluster {
        Cluster {
            namenodes: vec![namenode("nn0", "active"), namenode("nn1", "standby")],
            journalnodes: ["a", "b", "c"].map(journalnode).to_vec(),
            clocks: BTreeMap::from([
                ("NameNode nn1".to_owned(), (-3, 5)),
                ("JournalNode a".to_owned(), (-2, 9)),
            ]),
            data: Data::default(),
        }
    }

    fn alarms(self) -> Vec<String> {
        let seen = Seen {
            own: "nn0",
            time_ms: 100_000,
            split: None,
            namenodes: &self.namenodes,
            journalnodes: &self.journalnodes,
            clocks: self.clocks,
            data: self.data,
        };
        of(&seen).into_iter().map(|alarm| alarm.text).collect()
    }
}

/// The alarms of a cluster in which one thing is wrong.
fn with(change: impl FnOnce(&mut Cluster)) -> Vec<String> {
    let mut cluster = Cluster::well();
    change(&mut cluster);
    cluster.alarms()
}

fn one(key: &str, value: Value) -> Vec<String> {
    with(|cluster| cluster.namenodes[1][key] = value)
}

fn of_journal(key: &str, value: Value) -> Vec<String> {
    with(|cluster| cluster.journalnodes[2][key] = value)
}

#[test]
fn nothing_is_wrong_in_a_good_cluster() {
    assert_eq!(Cluster::well().alarms(), Vec::<String>::new());
}

#[test]
fn an_alarm_names_the_daemon_and_what_is_wrong_with_it() {
    let silent = |last: Value| {
        with(|cluster| {
            cluster.namenodes[1] = json!({"id": "nn1", "reachable": false, "last_heard": last, "reasons": ["refused"]});
        })
    };
    let cases: Vec<(Vec<String>, &str)> = vec![
        (
            silent(json!(88_000)),
            "NameNode nn1 is dead: heard last 12.0 s ago (refused).",
        ),
        (
            silent(Value::Null),
            "NameNode nn1 does not answer, and was not heard of since nn0 started (refused).",
        ),
        (
            one("problem", json!("no room")),
            "NameNode nn1 is not healthy, and can't be elected: no room",
        ),
        (
            one("lag_ms", json!(31_000)),
            "Standby nn1 is 31.0 s behind the journal.",
        ),
        (
            one(
                "directories",
                json!([{"path": "/n", "free": 499 << 20, "reserved": 100 << 20, "size": 4_u64 << 30}]),
            ),
            "Low disk: 499.0 MiB of 4.0 GiB are free in /n of NameNode nn1.",
        ),
        (
            one("directories", json!([{"path": "/n", "failed": "I/O error"}])),
            "Directory /n of NameNode nn1 has failed: I/O error",
        ),
        (
            one("log_lines_lost", json!(2)),
            "The log of NameNode nn1 can't be written, and 2 lines are lost: is its disk full?",
        ),
        (
            one("racks_unknown", json!({"hosts": 1, "why": "/x: not found"})),
            "NameNode nn1 does not know the racks of 1 DataNode host, and uses the default rack: /x: not found",
        ),
        (
            one("settings", json!({"dfs.replication": "2"})),
            "The NameNodes run with different values of dfs.replication: '2' at nn1 and '3' at nn0.",
        ),
        (
            of_journal("reasons", json!(["ns has failed: EIO"])),
            "JournalNode c does not do its part: ns has failed: EIO",
        ),
        (
            of_journal("slow_sync_ms", json!(300.7)),
            "The disk of JournalNode c is slow: a sync took 300 ms.",
        ),
        (
            of_journal("directories", json!([{"path": "/j", "free": 49, "size": 1000}])),
            "Low disk: 49 B of 1000 B are free in /j of JournalNode c.",
        ),
        (
            of_journal("distrusted", json!("impossible")),
            "JournalNode c is not trusted: impossible.",
        ),
        (
            with(|cluster| cluster.data.dead.push("d".to_owned())),
            "1 DataNode is dead: d.",
        ),
        (
            with(|cluster| cluster.data.stale.push("d".to_owned())),
            "1 DataNode is silent: d.",
        ),
        (with(|cluster| cluster.data.missing = 2), "2 blocks are missing."),
        (
            with(|cluster| (cluster.data.capacity, cluster.data.remaining) = (1000, 99)),
            "The cluster is nearly full: 99 B (9.9 %) are free.",
        ),
    ];
    for (alarms, expected) in cases {
        assert_eq!(alarms, [expected]);
    }
}

#[test]
fn the_majority_of_the_journalnodes_is_told_of_in_its_own_words() {
    assert_eq!(
        of_journal("up", json!(false)),
        [
            "JournalNode c does not answer.",
            "No further JournalNode may fail: writing needs all that are left."
        ]
    );
    let lost = with(|cluster| {
        cluster.journalnodes[1..]
            .iter_mut()
            .for_each(|node| node["up"] = json!(false))
    });
    assert_eq!(
        lost,
        ["The majority of the JournalNodes is lost: 2 of 3 do not answer (b, c). Nothing can be written."]
    );
    let none = with(|cluster| cluster.namenodes[0]["state"] = json!("standby"));
    assert_eq!(none, ["No NameNode is active. Nobody can read or write."]);
}

#[test]
fn the_clock_that_is_apart_from_most_is_named_whoever_looks() {
    let clock = |name: &str, between| with(|cluster| cluster.clocks.extend([(name.to_owned(), between)]));
    assert_eq!(
        clock("NameNode nn1", (4900, 5000)),
        ["The clock of NameNode nn1 is 4.9 s ahead of those of other daemons."]
    );
    // A slow answer says less.
    assert_eq!(clock("NameNode nn1", (1900, 5000)), Vec::<String>::new());
    let own = with(|cluster| cluster.clocks.values_mut().for_each(|clock| *clock = (4999, 5001)));
    assert_eq!(
        own,
        ["The clock of NameNode nn0 is 5.0 s behind those of other daemons."]
    );
}

#[test]
fn what_lasts_is_told_once_and_its_end_too() {
    let alarm = |key: &str, text: &str| Alarm {
        critical: false,
        key: key.to_owned(),
        text: text.to_owned(),
    };
    let mut lasting = Lasting::default();
    assert_eq!(lasting.note(&[alarm("a", "a 1"), alarm("b", "b 1")]), []);
    assert_eq!(lasting.note(&[alarm("a", "a 2")]), [Change::Lasts(alarm("a", "a 2"))]);
    assert_eq!(lasting.note(&[alarm("a", "a 3")]), []);
    assert_eq!(lasting.note(&[]), [Change::Over("a 2".to_owned())]);
    assert_eq!(lasting.note(&[]), []);
}
