//! Files of operators: `*-site.xml`, addresses, access lists, policies.

use std::net::IpAddr;
use std::time::Duration;

use hathi_conf::{
    Configuration, DefaultFs, Environment, HostPort, JournalUri, NameNodeIdentity, StorageLocation, TimeUnit,
};
use hathi_net::auth::{AccessControlList, Authorizer, Groups, GroupsOptions, Machines};

use super::{samples_of, text};
use crate::{Memory, Target};

/// The memory holds all keys with their defaults. For each value that is read there is a copy with its substitutions.
const CONFIGURATION: Memory = Memory {
    fixed: 2 << 20,
    per_byte: 1000,
};
/// The memory holds an access list twice.
const LISTS: Memory = Memory {
    fixed: 64 << 10,
    per_byte: 200,
};

pub fn targets() -> Vec<Target> {
    let target = |name, samples, run, memory| Target {
        name,
        samples,
        run,
        memory,
    };
    vec![
        target("configuration_xml", xml_samples, xml, CONFIGURATION),
        target("configuration_values", value_samples, values, CONFIGURATION),
        target("addresses", address_samples, addresses, LISTS),
        target("access_lists", list_samples, lists, LISTS),
    ]
}

fn environment() -> Environment {
    Environment {
        properties: [("user.name".to_owned(), "hdfs".to_owned())].into(),
        variables: [("A".to_owned(), "1".to_owned())].into(),
    }
}

fn xml_samples() -> Vec<Vec<u8>> {
    samples_of(&[
        "<?xml version=\"1.0\"?>\n<!-- c -->\n<configuration>\n<property><name>dfs.nameservices</name><value>ns1</value>\
         <final>true</final></property>\n<property><name>dfs.ha.namenodes.ns1</name><value>nn1,nn2</value></property>\n\
         <property><name>dfs.namenode.rpc-address.ns1.nn1</name><value>${dfs.nameservices}:8020</value></property>\n\
         </configuration>\n",
        "<configuration><property name=\"a\" value=\"${b}${b}\"/><property><name>b</name><value><![CDATA[${a}]]>&amp;</value>\
         </property><property><name>c</name><value>${env.A-x}${env.B:-y}</value></property></configuration>",
        "<configuration><property><name>security.client.protocol.acl</name><value>alice,bob staff</value></property>\
         <property><name>security.client.protocol.hosts</name><value>10.0.0.0/8,dn1</value></property>\
         <property><name>hadoop.proxyuser.oozie.hosts</name><value>*</value></property>\
         <property><name>hadoop.proxyuser.oozie.users</name><value>alice</value></property></configuration>",
    ])
}

/// Reads everything that a daemon reads of its configuration.
fn xml(input: &[u8]) {
    let mut conf = Configuration::new(environment());
    if conf.add_text("site.xml", &text(input)).is_err() {
        return;
    }
    ask(&conf);
}

fn ask(conf: &Configuration) {
    for (key, value, _) in conf.iter() {
        assert!(value.len() <= 64 << 20, "{key} grows without bound");
    }
    let _ = conf.check(None);
    for nameservice in conf.nameservices() {
        for namenode in conf.namenode_ids(&nameservice) {
            let (nameservice, namenode) = (Some(&*nameservice), Some(&*namenode));
            let _ = conf.rpc_address(nameservice, namenode);
            let _ = conf.http_address(nameservice, namenode);
            let _ = conf.shared_edits(nameservice, namenode);
        }
        let _ = conf.is_ha(&nameservice);
    }
    let identity = conf.who_am_i(|_| true);
    let _ = conf.for_namenode(&identity.unwrap_or_else(|_| NameNodeIdentity::default()));
    let (_, _, _, _) = (conf.default_fs(), conf.name_dirs(), conf.edits_dirs(), conf.data_dirs());
    let groups = GroupsOptions::of(conf, "hdfs").map(|options| Groups::new(options, || 0));
    if let Ok(groups) = groups {
        let _ = Authorizer::of(conf, groups);
    }
}

fn value_samples() -> Vec<Vec<u8>> {
    samples_of(&[
        "10s",
        "500ms",
        "64m",
        "-0x10",
        "1.5f",
        "true",
        "/a,file:///b%20c,[SSD]/d",
        "nn1:8020",
        "${user.name}",
    ])
}

/// Reads one value as each type that a key can have.
fn values(input: &[u8]) {
    let mut conf = Configuration::new(environment());
    let value = text(input).into_owned();
    conf.set("k", value.clone());
    let _ = (
        conf.get_i64("k", 1),
        conf.get_u64("k", 1),
        conf.get_u32("k", 1),
        conf.get_usize("k", 1),
    );
    let _ = (
        conf.get_f64("k", 1.0),
        conf.get_bool("k", true),
        conf.get_bytes("k", 1),
        conf.get_list("k"),
    );
    for unit in [TimeUnit::Millis, TimeUnit::Seconds, TimeUnit::Minutes, TimeUnit::Hours] {
        let _ = conf.get_duration("k", Duration::ZERO, unit);
        let _ = conf.get_duration_ms("k", 1, unit);
    }
    for key in [
        "dfs.namenode.name.dir",
        "dfs.datanode.data.dir",
        "dfs.nameservices",
        "fs.defaultFS",
        "dfs.namenode.rpc-address",
    ] {
        conf.set(key, value.clone());
        let (_, _, _) = (conf.name_dirs(), conf.data_dirs(), conf.rpc_address(None, None));
        let (_, _) = (conf.default_fs(), conf.internal_nameservices());
    }
}

fn address_samples() -> Vec<Vec<u8>> {
    samples_of(&[
        "nn1.example:8020",
        "[::1]:8020",
        "hdfs://nn1:8020/path",
        "qjournal://jn1:8485;jn2:8485;[::1]:8485/ns1",
        "file:///data/%20x",
        "[SSD]file:///data",
        "/plain",
    ])
}

fn addresses(input: &[u8]) {
    let given = text(input);
    if let Ok(address) = HostPort::parse(&given, Some(1)) {
        let _ = HostPort::parse(&address.to_string(), None);
    }
    if let Ok(uri) = JournalUri::parse(&given) {
        let _ = JournalUri::parse(&uri.to_string());
    }
    let _ = StorageLocation::parse(&given);
    let _ = DefaultFs::parse(&given);
}

fn list_samples() -> Vec<Vec<u8>> {
    samples_of(&[
        "alice,bob staff,ops",
        "*",
        " staff",
        "10.0.0.0/8,127.0.0.1,fe80::/10,localhost",
        "",
    ])
}

/// Users and groups, and machines.
fn lists(input: &[u8]) {
    let given = text(input);
    let groups = ["staff".to_owned()];
    let list = AccessControlList::parse(&given);
    let both = AccessControlList::of(&given, &given);
    for groups in [None, Some(&groups[..])] {
        let (_, _) = (list.includes("alice", groups), both.includes("alice", groups));
    }
    let machines = Machines::parse(&given);
    for address in ["10.1.2.3", "::1", "::ffff:10.1.2.3"] {
        let address: IpAddr = address.parse().expect("an address");
        // Names are not resolved.
        let _ = machines.include(address, false);
    }
}
