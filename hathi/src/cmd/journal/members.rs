//! `hathi journal add|remove HOST:PORT`: changes the JournalNodes of a running cluster, one at a time.

use anyhow::{Result, bail};
use clap::Args;
use hathi_conf::{Configuration, HostPort};
use hathi_formats::exceptions::STANDBY;
use hathi_formats::proto::ext::{ChangeJournalNodesRequestProto, ChangeJournalNodesResponseProto};
use hathi_net::ipc::protocols::SUPERVISOR_PROTOCOL;
use hathi_net::ipc::{ClientOptions, RpcError, connect_to};
use std::process::ExitCode;
use std::time::Duration;

/// Default port of a JournalNode (`dfs.journalnode.rpc-address`).
const DEFAULT_PORT: u16 = 8485;
/// Time-out. A new JournalNode may have to fetch many segments first.
const TIMEOUT: Duration = Duration::from_secs(900);

#[derive(Args)]
pub struct Members {
    /// Its RPC server; port 8485 when none is given
    #[arg(value_name = "HOST:PORT")]
    address: String,
    /// The nameservice, when the configuration has several
    #[arg(long, visible_alias = "ns", value_name = "NAMESERVICE")]
    nameservice: Option<String>,
}

impl Members {
    /// Adds or removes it, and prints the new value for the configuration.
    pub fn run(&self, conf: &Configuration, add: bool) -> Result<ExitCode> {
        let address = HostPort::parse(&self.address, Some(DEFAULT_PORT)).map_err(anyhow::Error::msg)?;
        let all = conf.nameservices();
        let nameservice = match (&self.nameservice, all.as_slice()) {
            (Some(given), _) => given,
            (None, [only]) => only,
            (None, _) => bail!("dfs.nameservices is [{}]: which one? (--nameservice)", all.join(", ")),
        };
        change(conf, nameservice, add, &address.to_string())
    }
}

fn change(conf: &Configuration, nameservice: &str, add: bool, address: &str) -> Result<ExitCode> {
    let request = ChangeJournalNodesRequestProto {
        add: add.then(|| address.to_owned()),
        remove: (!add).then(|| address.to_owned()),
    };
    let answer = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?
        .block_on(ask_active(conf, nameservice, &request))?;
    println!("The JournalNodes are now {}.", answer.members.join(", "));
    println!("NameNodes, controllers and JournalNodes know already. Put this into their configuration all the same:");
    println!(
        "dfs.namenode.shared.edits.dir=qjournal://{}/{}",
        answer.members.join(";"),
        answer.journal_id
    );
    Ok(ExitCode::SUCCESS)
}

async fn ask_active(
    conf: &Configuration,
    nameservice: &str,
    request: &ChangeJournalNodesRequestProto,
) -> Result<ChangeJournalNodesResponseProto> {
    let mut problem = String::new();
    for namenode in conf.namenode_ids(nameservice) {
        let options = ClientOptions {
            connect_timeout: Duration::from_secs(3),
            call_timeout: TIMEOUT,
            ..ClientOptions::new(&crate::cmd::user_name())
        };
        let address = conf.rpc_address(Some(nameservice), Some(&namenode))?.to_string();
        let asked = async {
            let client = connect_to(&address, &SUPERVISOR_PROTOCOL, &options).await?;
            client.call("changeJournalNodes", request).await
        };
        match asked.await {
            Ok(answer) => return Ok(answer),
            Err(RpcError::Remote(exception)) if !exception.is(STANDBY) => bail!(exception.message),
            Err(error) => problem = format!("{address}: {error}"),
        }
    }
    bail!("no NameNode of {nameservice} is active: {problem}")
}
