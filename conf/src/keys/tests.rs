use super::*;
use crate::{Configuration, Environment, text};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::path::{Path, PathBuf};

/// Every key begins with one of these.
const FAMILIES: &[&str] = &["dfs.", "fs.", "ha.", "hadoop.", "hathi.", "io.", "ipc.", "net."];
/// The table in docs/configuration.md stands between these lines.
const DOCS_BEGIN: &str = "<!-- the table of keys begins -->\n";
const DOCS_END: &str = "<!-- the table of keys ends -->\n";

fn workspace() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

fn conf(properties: &[(&str, &str)]) -> Configuration {
    let mut conf = Configuration::new(Environment::default());
    let text: String = properties
        .iter()
        .map(|(name, value)| format!("<property><name>{name}</name><value>{value}</value></property>"))
        .collect();
    conf.add_text("hdfs-site.xml", &format!("<configuration>{text}</configuration>"))
        .unwrap();
    conf
}

fn findings(properties: &[(&str, &str)], program: Program) -> Vec<String> {
    let findings = conf(properties).check(Some(program));
    findings.iter().map(ToString::to_string).collect()
}

#[test]
fn the_table_is_sorted_and_every_key_of_one_namenode_and_every_old_name_leads_into_it() {
    for pair in all().windows(2) {
        assert!(
            pair[0].name < pair[1].name,
            "{} is not before {}",
            pair[0].name,
            pair[1].name
        );
    }
    for key in SPECIFIC_KEYS {
        assert_eq!(find(key).map(|key| key.name), Some(*key));
        assert_eq!(find(&format!("{key}.ns1.nn1")).map(|key| key.name), Some(*key));
    }
    for (old, new) in text::RENAMED {
        assert!(find(new).is_some(), "{old} is called {new}, which is not in the table");
    }
}

#[test]
fn a_setting_that_asks_for_protection_is_refused_by_the_daemons_that_would_give_it() {
    let encrypted = [("dfs.encrypt.data.transfer", "true")];
    let refused = findings(&encrypted, Program::DataNode);
    assert_eq!(refused.len(), 1, "{refused:?}");
    assert!(
        refused[0].starts_with("dfs.encrypt.data.transfer = 'true' (hdfs-site.xml) is refused: "),
        "{refused:?}"
    );
    let elsewhere = conf(&encrypted).check(Some(Program::JournalNode));
    assert!(matches!(elsewhere[0].verdict, Verdict::ReadBy(_)), "{elsewhere:?}");
    for (key, value) in [
        ("hadoop.security.authentication", "kerberos"),
        ("hadoop.rpc.protection", "authentication,privacy"),
        ("dfs.block.access.token.enable", "TRUE"),
        ("dfs.http.policy", "HTTP_AND_HTTPS"),
        ("dfs.encryption.key.provider.uri", "kms://https@h:9600/kms"),
        ("dfs.namenode.inode.attributes.provider.class", "org.apache.ranger.X"),
        (
            "dfs.block.replicator.classname",
            "x.BlockPlacementPolicyWithUpgradeDomain",
        ),
        (
            "hadoop.security.group.mapping",
            "org.apache.hadoop.security.LdapGroupsMapping",
        ),
    ] {
        let findings = conf(&[(key, value)]).check(Some(Program::NameNode));
        assert!(
            matches!(findings.as_slice(), [finding] if matches!(finding.verdict, Verdict::Refused(_))),
            "{key}: {findings:?}"
        );
    }
}

#[test]
fn a_setting_that_asks_for_what_is_so_anyway_is_no_finding() {
    for (key, value) in [
        ("hadoop.security.authentication", "simple"),
        ("dfs.encrypt.data.transfer", "false"),
        ("dfs.encryption.key.provider.uri", "kms://http@h:9600/kms"),
        ("dfs.http.policy", "HTTP_ONLY"),
        ("dfs.replication", "2"),
        ("dfs.namenode.name.dir.ns1.nn2", "/data"),
    ] {
        assert_eq!(findings(&[(key, value)], Program::NameNode), [""; 0], "{key}");
    }
}

#[test]
fn a_key_without_effect_says_why_and_a_misspelt_one_which_is_meant() {
    let found = findings(
        &[
            ("dfs.namenode.handler.count", "200"),
            ("dfs.namenode.safemode.extenson", "1"),
            ("my.own.key", "1"),
            ("dfs.datanode.data.dir", "/data"),
        ],
        Program::NameNode,
    );
    assert_eq!(
        found,
        [
            "dfs.datanode.data.dir (hdfs-site.xml) is read by others: DataNode",
            "dfs.namenode.handler.count (hdfs-site.xml) has no effect: calls are served without handler threads and \
             call queues",
            "dfs.namenode.safemode.extenson (hdfs-site.xml) is not known; is dfs.namenode.safemode.extension meant?",
            "my.own.key (hdfs-site.xml) is not known",
        ]
    );
}

#[test]
fn what_a_program_sets_itself_is_no_finding_and_only_what_is_obeyed_is_shown() {
    let mut conf = conf(&[("dfs.namenode.handler.count", "200"), ("dfs.replication", "2")]);
    conf.set("dfs.unheard.of", "1");
    assert_eq!(conf.check(Some(Program::NameNode)).len(), 1);
    let shown: BTreeMap<&str, String> = conf
        .obeyed(Program::NameNode)
        .map(|(key, value, _)| (key, value))
        .collect();
    assert_eq!(shown.get("dfs.replication").map(String::as_str), Some("2"));
    assert_eq!(
        shown.get("dfs.encrypt.data.transfer").map(String::as_str),
        Some("false")
    );
    assert!(!shown.contains_key("dfs.namenode.handler.count"));
    assert!(!shown.contains_key("dfs.datanode.data.dir"));
}

/// Sources of a crate, without its tests.
fn sources(dir: &Path, into: &mut Vec<PathBuf>) {
    let mut entries: Vec<_> = std::fs::read_dir(dir)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    entries.sort();
    for path in entries {
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        if path.is_dir() && name != "tests" {
            sources(&path, into);
        } else if name.ends_with(".rs") && !["tests.rs", "testing.rs"].contains(&name.as_str()) {
            into.push(path);
        }
    }
}

/// What looks like a key among a source's string literals.
fn literals(source: &str) -> BTreeSet<String> {
    let code = source.split("#[cfg(test)]\nmod tests {").next().unwrap_or("");
    let is_key = |text: &&str| {
        let mut chars = text.chars();
        FAMILIES.iter().any(|family| text.starts_with(family) && text.len() > family.len())
            && chars.all(|c| c.is_ascii_alphanumeric() || "._-{}".contains(c))
            // These literals are names of our protocols and exceptions.
            && !text.strip_prefix("hathi.").is_some_and(|rest| rest.starts_with(char::is_uppercase))
    };
    let found = code.split('"').skip(1).filter(is_key);
    // A literal that ends with a dot has a name appended to it.
    let whole = found.map(|key| match key.strip_suffix('.') {
        Some(begin) => format!("{begin}.x"),
        None => key.to_owned(),
    });
    whole.collect()
}

/// Keys in the sources below a folder, with the file of each.
fn keys_below(folder: &str) -> BTreeMap<String, PathBuf> {
    let mut files = Vec::new();
    sources(&workspace().join(folder), &mut files);
    let mut keys = BTreeMap::new();
    // Neither the table itself nor the table of renamed keys reads any key.
    files.retain(|file| !file.ends_with("conf/src/keys/table.rs") && !file.ends_with("conf/src/text.rs"));
    for file in files {
        for key in literals(&std::fs::read_to_string(&file).unwrap()) {
            keys.insert(key, file.clone());
        }
    }
    keys
}

#[test]
fn every_key_that_is_read_is_in_the_table_and_what_the_table_calls_read_is_read() {
    let readers = [
        ("node/namenode/src", Some(N)),
        ("node/namenode-http/src", Some(N)),
        ("node/datanode/src", Some(D)),
        ("node/journalnode/src", Some(J)),
        ("node/client/src", Some(C)),
        ("node/zkfc/src", Some(Z)),
        ("node/net/src", None),
        ("core", None),
        ("hathi/src/cmd", None),
        ("hathi/src/log", None),
        ("conf/src", None),
    ];
    let mut literals = BTreeSet::new();
    for (folder, reader) in readers {
        for (name, file) in keys_below(folder) {
            let key = find(&name).unwrap_or_else(|| panic!("{name} of {} is not in the table", file.display()));
            literals.insert(key.name);
            let Some(reader) = reader else { continue };
            let by = match key.usage {
                KeyUsage::Read(by) | KeyUsage::Refused { by, .. } => by,
                KeyUsage::NoEffect(_) => {
                    panic!("{name} has no effect, says the table, and {} reads it", file.display())
                }
            };
            assert!(
                by.contains(&reader),
                "{name} is read by {}, see {}",
                reader.name(),
                file.display()
            );
        }
    }
    for key in all() {
        let KeyUsage::Read(by) = key.usage else { continue };
        let is_ours = by.iter().any(|program| *program != H);
        assert!(
            !is_ours || key.is_pattern() || literals.contains(key.name) || READ_WITHOUT_LITERAL.contains(&key.name),
            "nobody reads {}",
            key.name
        );
    }
}

/// Keys that are read without a literal of their own: as part of other values, or by a composed name.
const READ_WITHOUT_LITERAL: &[&str] = &["hadoop.tmp.dir"];

/// The table as docs/configuration.md has it.
fn docs() -> String {
    let mut read =
        String::from("| key | default | read by | meaning, where it is not just Hadoop's |\n|---|---|---|---|\n");
    let mut refused =
        String::from("| key | default | refused when | by | why, and what to do |\n|---|---|---|---|---|\n");
    let mut unused: BTreeMap<&str, Vec<String>> = BTreeMap::new();
    let names = |by: &[Program]| by.iter().map(|program| program.name()).collect::<Vec<_>>().join(", ");
    let code = |text: &str| match text {
        "" => String::new(),
        text => format!("`{text}`"),
    };
    for key in all() {
        let (name, default) = (code(key.name), code(key.default));
        match key.usage {
            KeyUsage::Read(by) => {
                writeln!(read, "| {name} | {default} | {} | {} |", names(by), key.note).unwrap();
            }
            KeyUsage::Refused { by, when, what_to_do } => {
                let when = match when {
                    Set => "set".to_owned(),
                    True => "`true`".to_owned(),
                    NotBeginningWith(start) => format!("not {}…", code(start)),
                    NotOneOf(allowed) => {
                        let allowed: Vec<String> = allowed.iter().map(|value| code(value)).collect();
                        format!("not {}", allowed.join(" or "))
                    }
                };
                writeln!(
                    refused,
                    "| {name} | {default} | {when} | {} | {what_to_do} |",
                    names(by)
                )
                .unwrap();
            }
            KeyUsage::NoEffect(reason) => unused.entry(reason).or_default().push(name),
        }
    }
    let mut text =
        format!("### Keys that are read\n\n{read}\n### Settings with which a daemon does not start\n\n{refused}\n");
    text.push_str("### Keys of Hadoop without effect\n\n");
    for (reason, keys) in unused {
        writeln!(text, "- {reason}: {}", keys.join(", ")).unwrap();
    }
    text
}

/// `UPDATE_DOCS=1` writes the table into the document.
#[test]
fn the_document_has_the_table_as_it_is() {
    let path = workspace().join("docs/configuration.md");
    let document = std::fs::read_to_string(&path).unwrap();
    let (before, rest) = document.split_once(DOCS_BEGIN).expect("the table's begin");
    let (table, after) = rest.split_once(DOCS_END).expect("the table's end");
    if std::env::var_os("UPDATE_DOCS").is_some() {
        std::fs::write(&path, format!("{before}{DOCS_BEGIN}{}{DOCS_END}{after}", docs())).unwrap();
    } else {
        assert!(
            table == docs(),
            "docs/configuration.md is older than the table: run this test with UPDATE_DOCS=1"
        );
    }
}
