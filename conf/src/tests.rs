use super::*;

fn conf(text: &str) -> Configuration {
    let environment = Environment {
        properties: BTreeMap::from([("user.name".to_owned(), "hathi".to_owned())]),
        variables: BTreeMap::from([
            ("DIR".to_owned(), "/data".to_owned()),
            ("EMPTY".to_owned(), String::new()),
        ]),
    };
    let mut conf = Configuration::new(environment);
    let content = format!("<?xml version=\"1.0\"?>\n<configuration>{text}</configuration>");
    conf.add_text("test.xml", &content).unwrap();
    conf
}

fn property(name: &str, value: &str) -> String {
    format!("<property><name>{name}</name><value>{value}</value></property>")
}

fn with(properties: &[(&str, &str)]) -> Configuration {
    let text: String = properties.iter().map(|(name, value)| property(name, value)).collect();
    conf(&text)
}

const HA: &[(&str, &str)] = &[
    ("dfs.nameservices", "ns1"),
    ("dfs.ha.namenodes.ns1", "nn1, nn2"),
    ("dfs.namenode.rpc-address.ns1.nn1", "host1:8020"),
    ("dfs.namenode.rpc-address.ns1.nn2", "host2:8021"),
    ("dfs.namenode.http-address.ns1.nn2", "0.0.0.0:9999"),
    ("dfs.namenode.shared.edits.dir", "qjournal://j1:8485;j2;j3:18485/ns1"),
    ("fs.defaultFS", "hdfs://ns1"),
];

#[test]
fn defaults_are_hadoops() {
    assert_eq!(conf("").get_i64("dfs.replication", 7).unwrap(), 3);
    assert_eq!(
        conf("").name_dirs().unwrap(),
        [PathBuf::from("/tmp/hadoop-hathi/dfs/name")]
    );
    assert_eq!(conf("").edits_dirs().unwrap(), conf("").name_dirs().unwrap());
}

#[test]
fn substitutes_keys_properties_and_environment() {
    let conf = with(&[
        ("a", "${b}/x"),
        ("b", "${env.DIR}"),
        ("c", "${env.NONE-alt}${env.EMPTY:-fill}${env.EMPTY-x}"),
        ("loop", "${loop}"),
        ("ping", "${pong}"),
        ("pong", "${ping}"),
        ("unknown", "${nothing.here}"),
    ]);
    assert_eq!(conf.get("a").as_deref(), Some("/data/x"));
    assert_eq!(conf.get("c").as_deref(), Some("altfill"));
    assert_eq!(conf.get("loop").as_deref(), Some("${loop}"));
    assert!(conf.get("ping").is_some());
    assert_eq!(conf.get("unknown").as_deref(), Some("${nothing.here}"));
}

#[test]
fn final_wins_and_old_names_count() {
    let mut conf = conf("<property><name>k</name><value>1</value><final>true</final></property>");
    let later = "<configuration><property><name>k</name><value>2</value></property>\
        <property name=\"dfs.block.size\" value=\"1m\"/><!-- c --></configuration>";
    conf.add_text("later.xml", later).unwrap();
    assert_eq!(conf.get("k").as_deref(), Some("1"));
    assert_eq!(conf.get_bytes("dfs.blocksize", 0).unwrap(), 1 << 20);
    assert_eq!(conf.get_bytes("dfs.block.size", 0).unwrap(), 1 << 20);
    assert_eq!(conf.origin("dfs.blocksize"), "later.xml");
}

#[test]
fn typed_values() {
    let conf = with(&[
        ("ms", "500ms"),
        ("plain", "7"),
        ("day", "1d"),
        ("off", "-1"),
        ("size", "64K"),
        ("bool", " True "),
        ("odd", "yes"),
        ("list", "a, b,,c"),
        ("float", "0.999f"),
        ("hex", "0x10"),
        ("lowest", "-0x8000000000000000"),
        ("twice", "-0x-8000000000000000"),
        ("empty", ""),
        ("escaped", "a &lt; &#65;"),
    ]);
    let second = Duration::from_secs(1);
    let seconds = TimeUnit::Seconds;
    assert_eq!(
        conf.get_duration("ms", second, seconds).unwrap(),
        Duration::from_millis(500)
    );
    assert_eq!(
        conf.get_duration("plain", second, seconds).unwrap(),
        Duration::from_secs(7)
    );
    assert_eq!(
        conf.get_duration("day", second, seconds).unwrap(),
        Duration::from_secs(86400)
    );
    assert_eq!(conf.get_duration("none", second, seconds).unwrap(), second);
    assert_eq!(conf.get_duration_ms("off", 0, seconds).unwrap(), -1000);
    assert!(conf.get_duration("off", second, seconds).is_err());
    assert_eq!(conf.get_bytes("size", 0).unwrap(), 65536);
    assert!(conf.get_bool("bool", false));
    assert!(conf.get_bool("odd", true));
    assert!(!conf.get_bool("odd", false));
    assert_eq!(conf.get_list("list"), ["a", "b", "c"]);
    assert_eq!(conf.get_f64("float", 0.0).unwrap(), 0.999);
    assert_eq!(conf.get_i64("hex", 0).unwrap(), 16);
    assert_eq!(conf.get_i64("lowest", 0).unwrap(), i64::MIN);
    assert!(conf.get_i64("twice", 0).is_err());
    assert_eq!(conf.get("empty"), None);
    assert_eq!(conf.get("escaped").as_deref(), Some("a < A"));
    let error = conf.get_i64("bool", 0).unwrap_err().to_string();
    assert_eq!(error, "bool = 'True' (test.xml): not an integer");
}

#[test]
fn high_availability() {
    let conf = with(HA);
    assert_eq!(conf.nameservices(), ["ns1"]);
    assert_eq!(conf.namenode_ids("ns1"), ["nn1", "nn2"]);
    assert!(conf.is_ha("ns1"));
    let (ns1, nn2) = (Some("ns1"), Some("nn2"));
    assert_eq!(conf.rpc_address(ns1, nn2).unwrap().to_string(), "host2:8021");
    assert_eq!(conf.http_address(ns1, nn2).unwrap().to_string(), "host2:9999");
    assert_eq!(conf.service_or_rpc_address(ns1, nn2).unwrap().to_string(), "host2:8021");
    let journal = conf.shared_edits(ns1, nn2).unwrap().unwrap();
    assert_eq!(journal.to_string(), "qjournal://j1:8485;j2:8485;j3:18485/ns1");
    let me = conf.who_am_i(|address| address.host == "host2").unwrap();
    assert_eq!(me.namenode.as_deref(), nn2);
    let own = conf.for_namenode(&me);
    assert_eq!(own.get("dfs.namenode.rpc-address").as_deref(), Some("host2:8021"));
    assert_eq!(own.get("fs.defaultFS").as_deref(), Some("hdfs://host2:8021"));
    assert!(conf.who_am_i(|_| false).is_err());
    assert!(conf.who_am_i(|_| true).is_err());
}

#[test]
fn identity_by_id_asks_for_no_address() {
    let mut conf = with(HA);
    conf.set("dfs.ha.namenode.id", "nn1");
    let me = conf.who_am_i(|_| panic!("not needed")).unwrap();
    assert_eq!(me.namenode.as_deref(), Some("nn1"));
    assert_eq!(me.nameservice.as_deref(), Some("ns1"));
}

#[test]
fn without_nameservices() {
    let conf = with(&[("fs.defaultFS", "hdfs://single:9000")]);
    assert_eq!(conf.rpc_address(None, None).unwrap().to_string(), "single:9000");
    assert_eq!(conf.who_am_i(|_| false).unwrap(), NameNodeIdentity::default());
    assert!(with(&[]).rpc_address(None, None).is_err());
}

#[test]
fn directories() {
    let conf = with(&[("dfs.datanode.data.dir", "/a,[SSD]file:///b%20c,[ram_disk]/d")]);
    let dirs = conf.data_dirs().unwrap();
    assert_eq!(dirs[1].path, PathBuf::from("/b c"));
    assert_eq!(dirs[1].storage_type.as_str_name(), "SSD");
    assert_eq!(dirs[2].storage_type.as_str_name(), "RAM_DISK");
    assert!(with(&[("dfs.datanode.data.dir", "[TAPE]/x")]).data_dirs().is_err());
    assert!(HostPort::parse("[::1]:80", None).is_ok());
    assert!(HostPort::parse("host:99999", None).is_err());
}

#[test]
fn an_address_of_ipv6_stands_in_brackets_beside_its_port() {
    assert_eq!(host_and_port("::1", 8020), "[::1]:8020");
    assert_eq!(host_and_port("nn1", 8020), "nn1:8020");
    for (text, host, port) in [
        ("[::1]:8020", "::1", Some("8020")),
        ("[::1]", "::1", None),
        ("fe80::1", "fe80::1", None),
        ("nn1:8020", "nn1", Some("8020")),
        ("nn1", "nn1", None),
    ] {
        assert_eq!(split_host_and_port(text), (host, port), "{text}");
    }
    let uri = "qjournal://[::1]:8485;[::1]:8486;[::1]/ns";
    let JournalUri::Quorum { journal_nodes, .. } = JournalUri::parse(uri).unwrap() else {
        panic!("{uri} is a quorum");
    };
    let addresses: Vec<String> = journal_nodes.iter().map(ToString::to_string).collect();
    assert_eq!(addresses, ["[::1]:8485", "[::1]:8486", "[::1]:8485"]);
    assert_eq!(DefaultFs::parse("hdfs://[::1]:8020/").authority, "[::1]:8020");
}

#[test]
fn bad_files_are_errors() {
    for text in [
        "",
        "<configuration>",
        "<other/>",
        "<configuration><property/></configuration>",
        "<a",
    ] {
        let result = Configuration::new(Environment::default()).add_text("bad.xml", text);
        assert!(text.is_empty() || result.is_err(), "{text}");
    }
}

#[test]
fn broken_xml_is_named_with_file_line_and_column() {
    for (text, expected) in [
        // The end tag of another element.
        (
            "<configuration>\n  <property>\n  </proprety>\n",
            "bad.xml:3:3: not well-formed: ",
        ),
        // It ends too early: what is open is named where it begins.
        (
            "<configuration>\n\n  <property>\n",
            "bad.xml:3:3: <property> is not closed",
        ),
        // A column counts characters, not bytes.
        (
            "<configuration>\n<!-- \u{e4}\u{f6} --><property/>",
            "bad.xml:2:12: a <property> without <name>",
        ),
        ("\n<other/>", "bad.xml:2:1: the top element is not <configuration>"),
        ("<configuration>\n<property><name>a &wrong; b</name>", "bad.xml:2:19: "),
        ("<configuration>\n<property name=\"a", "bad.xml:2:1: not well-formed: "),
    ] {
        let error = Configuration::new(Environment::default())
            .add_text("bad.xml", text)
            .unwrap_err();
        assert!(error.to_string().starts_with(expected), "{text}: {error}");
    }
}

#[test]
fn loads_a_directory_with_an_include() {
    let dir = tempfile::tempdir().unwrap();
    let include =
        "<configuration xmlns:xi=\"http://www.w3.org/2001/XInclude\"><xi:include href=\"more.xml\"/></configuration>";
    std::fs::write(dir.path().join("hdfs-site.xml"), include).unwrap();
    let more = format!("<configuration>{}</configuration>", property("k", "v"));
    std::fs::write(dir.path().join("more.xml"), more).unwrap();
    let conf = Configuration::load(dir.path()).unwrap();
    assert_eq!(conf.get("k").as_deref(), Some("v"));
    assert!(conf.is_set("k"));
    assert!(!conf.is_set("dfs.replication"));
    assert!(Configuration::load(&dir.path().join("none")).is_err());
}
