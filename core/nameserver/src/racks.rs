//! The racks of DataNodes, as far as they are known (`CachedDNSToSwitchMapping`, `DatanodeManager.resolveNetworkLocation`),
//! and what the operator's script or table says of them (`ScriptBasedMapping`, `TableMapping`).
//!
//! The rack of an address is asked for once, before its first DataNode registers, and again when the lists of hosts are
//! refreshed. Known racks are kept beside the namesystem, which is made anew with each load. They may be lost:
//! DataNodes register again with a NameNode that was restarted, and their racks are asked for then.
//!
//! Invariant: an address with a known rack is neither unresolved nor in the default rack for want of an answer.

use hathi_blockmanager::DEFAULT_RACK;
use hathi_formats::exceptions::{INVALID_TOPOLOGY, RemoteException};
use hathi_namesystem::Namesystem;
use std::collections::{BTreeMap, BTreeSet};

/// Why an answer about racks is of no use.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RackError {
    /// The script must print a rack for each host.
    #[error("it printed {racks} racks for {hosts} hosts")]
    Count {
        /// What it printed.
        racks: usize,
        /// What it was asked for.
        hosts: usize,
    },
    /// It is no path.
    #[error("rack '{0}' does not begin with /")]
    Relative(String),
    /// It is the root.
    #[error("a rack must have a name")]
    Nameless,
}

/// What is known of racks, by address.
#[derive(Clone, Debug, Default)]
pub struct Racks {
    known: BTreeMap<String, String>,
    /// Addresses without an answer. The next DataNode with such an address registers in the default rack, and the one
    /// after causes another question.
    unresolved: BTreeSet<String>,
    /// Addresses that are in the default rack because there was no answer, and why there was none.
    defaulted: BTreeMap<String, String>,
}

impl Racks {
    /// Whether the rack of an address must be asked for before a DataNode registers from it. For an unresolved address
    /// this is true only every other time: the first time the call is held and then served again.
    pub fn must_ask(&mut self, host: &str) -> bool {
        !self.unresolved.remove(host) && !self.is_known(host)
    }

    /// Whether the rack of this address is known.
    #[must_use]
    pub fn is_known(&self, host: &str) -> bool {
        self.known.contains_key(host)
    }

    /// The racks of these addresses were found.
    pub fn found(&mut self, found: impl IntoIterator<Item = (String, String)>) {
        for (host, rack) in found {
            self.unresolved.remove(&host);
            self.defaulted.remove(&host);
            self.known.insert(host, rack);
        }
        self.check();
    }

    /// There was no answer for this address, and why.
    pub fn not_found(&mut self, host: String, why: String) {
        // Another DataNode of the address may have been answered meanwhile.
        if !self.is_known(&host) {
            self.unresolved.insert(host.clone());
            self.defaulted.insert(host, why);
        }
        self.check();
    }

    /// Number of addresses that are in the default rack because there was no answer for them, and why there was none for
    /// one of them.
    #[must_use]
    pub fn defaulted(&self) -> (u64, Option<&str>) {
        let why = self.defaulted.values().next();
        (self.defaulted.len() as u64, why.map(String::as_str))
    }

    /// The addresses whose racks are asked for again when the lists of hosts are refreshed.
    #[must_use]
    pub fn to_refresh(&self, ns: &Namesystem) -> Vec<String> {
        let mut hosts: BTreeSet<String> = self.known.keys().cloned().collect();
        hosts.extend(ns.blockmanager().datanodes().map(|(_, node)| node.id.ip_addr.clone()));
        hosts.into_iter().collect()
    }

    /// Tells a new namesystem the known racks.
    pub fn tell(&self, ns: &mut Namesystem) {
        for (host, rack) in &self.known {
            ns.set_rack(host, rack);
        }
    }

    fn check(&self) {
        let mut without_answer = self.unresolved.iter().chain(self.defaulted.keys());
        debug_assert!(
            without_answer.all(|host| !self.known.contains_key(host)),
            "what is known is resolved"
        );
    }
}

/// Gives a DataNode's address its rack.
///
/// # Errors
/// The rack has another depth than those of other live DataNodes (`NetworkTopology.add`).
pub fn place(ns: &mut Namesystem, host: &str, rack: &str) -> Result<(), RemoteException> {
    let depth = |rack: &str| rack.matches('/').count();
    let other = ns
        .blockmanager()
        .datanodes()
        .find(|(_, node)| node.alive && node.id.ip_addr != host && depth(&node.location) != depth(rack));
    if let Some((_, other)) = other {
        let message = format!(
            "Failed to add {rack}/{host}: You cannot have a rack and a non-rack node at the same level of the network \
             topology; {} is in {}",
            other.id.ip_addr, other.location
        );
        return Err(RemoteException::new(INVALID_TOPOLOGY, message));
    }
    ns.set_rack(host, rack);
    Ok(())
}

/// The racks of these hosts, of which a script has printed one for each.
///
/// # Errors
/// There are more or fewer, or one is no rack.
pub fn of_script(hosts: &[String], printed: &str) -> Result<Vec<(String, String)>, RackError> {
    let racks: Vec<&str> = printed.split_whitespace().collect();
    if racks.len() != hosts.len() {
        return Err(RackError::Count {
            racks: racks.len(),
            hosts: hosts.len(),
        });
    }
    let pairs = hosts.iter().zip(racks);
    pairs
        .map(|(host, rack)| Ok((host.clone(), normalized(rack)?)))
        .collect()
}

/// `net.topology.table.file.name`: racks by address or name.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Table<'a> {
    racks: BTreeMap<&'a str, String>,
    /// Lines without two columns.
    pub left_out: Vec<&'a str>,
}

impl<'a> Table<'a> {
    /// Two columns; `#` begins a comment (`TableMapping`).
    ///
    /// # Errors
    /// When a rack has no name or does not begin with `/`.
    pub fn parse(text: &'a str) -> Result<Table<'a>, RackError> {
        let mut table = Table::default();
        for line in text
            .lines()
            .map(str::trim)
            .filter(|line| !line.is_empty() && !line.starts_with('#'))
        {
            let columns: Vec<&str> = line.split_whitespace().collect();
            match columns.as_slice() {
                [host, rack] => {
                    table.racks.insert(host, normalized(rack)?);
                }
                _ => table.left_out.push(line),
            }
        }
        Ok(table)
    }

    /// The racks of these hosts. One that is not in the table is in the default rack.
    #[must_use]
    pub fn of(&self, hosts: &[String]) -> Vec<(String, String)> {
        let rack = |host: &String| self.racks.get(host.as_str()).map_or(DEFAULT_RACK, String::as_str);
        hosts.iter().map(|host| (host.clone(), rack(host).to_owned())).collect()
    }
}

/// `NodeBase.normalize`
fn normalized(rack: &str) -> Result<String, RackError> {
    if !rack.starts_with('/') {
        return Err(RackError::Relative(rack.to_owned()));
    }
    let rack = rack.trim_end_matches('/');
    if rack.is_empty() {
        return Err(RackError::Nameless);
    }
    Ok(rack.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tests::namesystem;
    use hathi_blockmanager::Now;
    use hathi_formats::proto::hdfs::DatanodeIdProto;
    use hathi_namesystem::Life;

    fn hosts(count: usize) -> Vec<String> {
        (0..count).map(|n| format!("10.0.0.{n}")).collect()
    }

    fn pairs(racks: &[&str]) -> Vec<(String, String)> {
        hosts(racks.len())
            .into_iter()
            .zip(racks.iter().map(|rack| (*rack).to_owned()))
            .collect()
    }

    #[test]
    fn a_known_address_is_asked_for_once_and_one_without_an_answer_every_other_time() {
        let mut racks = Racks::default();
        assert!(
            racks.must_ask("a") && racks.must_ask("a"),
            "a call that waits changes nothing"
        );
        let not_found = |racks: &mut Racks| racks.not_found("a".to_owned(), "no script".to_owned());
        not_found(&mut racks);
        assert!(!racks.must_ask("a"), "the held call is served");
        assert!(racks.must_ask("a"), "and the next one asks again");
        not_found(&mut racks);
        racks.found([("a".to_owned(), "/r".to_owned())]);
        for _ in 0..3 {
            assert!(!racks.must_ask("a"));
        }
        not_found(&mut racks);
        assert!(!racks.must_ask("a") && !racks.must_ask("a"), "it keeps its rack");
    }

    #[test]
    fn hosts_without_an_answer_are_told_of_until_there_is_one() {
        let mut racks = Racks::default();
        racks.not_found("a".to_owned(), "no script".to_owned());
        racks.not_found("b".to_owned(), "no script".to_owned());
        assert_eq!(racks.defaulted(), (2, Some("no script")));
        assert!(!racks.must_ask("a"));
        assert_eq!(racks.defaulted().0, 2, "a registration alone brings no answer");
        racks.found(["a", "b"].map(|host| (host.to_owned(), "/rack".to_owned())));
        assert_eq!(racks.defaulted(), (0, None));
    }

    #[test]
    fn a_script_prints_a_rack_for_each_host() {
        assert_eq!(of_script(&hosts(2), " /a/ \n/b/c\n"), Ok(pairs(&["/a", "/b/c"])));
        for (printed, racks) in [("/one", 1), ("", 0), ("/one /two /three", 3)] {
            assert_eq!(of_script(&hosts(2), printed), Err(RackError::Count { racks, hosts: 2 }));
        }
        assert_eq!(
            of_script(&hosts(2), "/one two"),
            Err(RackError::Relative("two".to_owned()))
        );
        assert_eq!(of_script(&hosts(1), "//"), Err(RackError::Nameless));
    }

    #[test]
    fn a_table_places_who_is_in_it_and_the_default_rack_the_others() {
        let table = Table::parse("# hosts\n10.0.0.0 /a\n\n 10.0.0.1\t/b/\nmalformed\nthree words here\n").unwrap();
        assert_eq!(table.of(&hosts(3)), pairs(&["/a", "/b", DEFAULT_RACK]));
        assert_eq!(table.left_out, ["malformed", "three words here"]);
        assert_eq!(Table::parse("10.0.0.0 a"), Err(RackError::Relative("a".to_owned())));
    }

    #[test]
    fn racks_have_one_depth_and_a_new_namesystem_is_told_of_them() {
        let mut ns = namesystem(5, Life::first());
        ns.become_standby().unwrap();
        let mut racks = Racks::default();
        racks.found([("10.0.0.1".to_owned(), "/a".to_owned())]);
        racks.tell(&mut ns);
        let id = DatanodeIdProto {
            ip_addr: "10.0.0.1".to_owned(),
            host_name: "dn".to_owned(),
            datanode_uuid: "u".to_owned(),
            xfer_port: 1,
            ..DatanodeIdProto::default()
        };
        let node = ns.register_datanode(id, "3.5.0", Now::default()).unwrap();
        let (_, known) = ns.blockmanager().datanodes().find(|(index, _)| *index == node).unwrap();
        assert_eq!(known.location, "/a");
        let refused = place(&mut ns, "10.0.0.2", "/a/b").unwrap_err();
        assert!(refused.message.contains("10.0.0.1 is in /a"), "{}", refused.message);
        assert!(refused.is(INVALID_TOPOLOGY));
        place(&mut ns, "10.0.0.2", "/b").unwrap();
        place(&mut ns, "10.0.0.1", "/a/b").expect("nobody else is there");
        assert_eq!(racks.to_refresh(&ns), ["10.0.0.1"]);
        assert_eq!(Racks::default().to_refresh(&ns), ["10.0.0.1"], "it is registered");
    }
}
