//! `hathi conf --check DIR`: settings in the files of a configuration directory that no daemon obeys.

use anyhow::{Context, Result, bail};
use hathi_conf::keys::Verdict;
use hathi_conf::{Configuration, NameNodeIdentity};
use hathi_datanode::DataNodeConf;
use hathi_namenode::Settings;
use std::collections::BTreeSet;
use std::ffi::OsString;
use std::path::Path;
use std::process::ExitCode;

/// How the command is used.
pub fn usage() -> String {
    "usage: hathi conf --check DIR\n\
     Names the settings in a configuration directory that no daemon obeys. Exit status 1 says that a daemon would refuse\n\
     to start.\n"
        .to_owned()
}

/// Entry point. Exit status 1 says that a daemon would refuse to start.
pub fn run(args: Vec<OsString>) -> Result<ExitCode> {
    let [option, dir] = args.as_slice() else {
        bail!("usage: hathi conf --check DIR");
    };
    if option != "--check" {
        bail!("usage: hathi conf --check DIR");
    }
    let conf = Configuration::load(Path::new(dir)).with_context(|| dir.display().to_string())?;
    let mut refused = false;
    for finding in conf.check(None) {
        refused |= matches!(finding.verdict, Verdict::Refused(_));
        println!("{finding}");
    }
    for problem in senseless(&conf) {
        refused = true;
        println!("{problem}");
    }
    Ok(if refused { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

/// The NameNodes of a configuration.
fn namenodes(conf: &Configuration) -> Vec<NameNodeIdentity> {
    let of = |nameservice: &String, namenode: Option<String>| NameNodeIdentity {
        nameservice: Some(nameservice.clone()),
        namenode,
    };
    let mut all = Vec::new();
    for nameservice in conf.nameservices() {
        let ids = conf.namenode_ids(&nameservice);
        match ids.is_empty() {
            true => all.push(of(&nameservice, None)),
            false => all.extend(ids.into_iter().map(|id| of(&nameservice, Some(id)))),
        }
    }
    // The files of clients of other file systems name none.
    if all.is_empty() && conf.default_fs().scheme == "hdfs" {
        all.push(NameNodeIdentity::default());
    }
    all
}

/// Errors with which NameNodes, controllers and DataNodes would refuse to start, in their own words. Each daemon stops
/// at its first error.
pub(super) fn senseless(conf: &Configuration) -> BTreeSet<String> {
    let mut problems = BTreeSet::new();
    let namenodes = namenodes(conf);
    for identity in &namenodes {
        let settings = Settings::from_conf(conf, identity).and_then(|settings| settings.namesystem().map(drop));
        problems.extend(settings.err().map(|error| format!("{error:#}")));
        if let NameNodeIdentity {
            nameservice: Some(nameservice),
            namenode: Some(id),
        } = identity
        {
            let controller = super::zkfc::check(conf, nameservice, id);
            problems.extend(controller.err().map(|error| format!("{error:#}")));
        }
    }
    if !namenodes.is_empty() {
        let datanode = DataNodeConf::from_configuration(conf, &super::user_name());
        problems.extend(datanode.err().map(|error| error.to_string()));
    }
    problems
}
