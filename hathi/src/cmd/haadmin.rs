//! `hathi haadmin`: Hadoop's `hdfs haadmin`, with its options, output and exit codes.

use anyhow::{Context, Result, bail};
use hathi_formats::conf::{Configuration, JournalUri};
use hathi_formats::exceptions::{HEALTH_CHECK_FAILED, SERVICE_FAILED};
use hathi_formats::proto::common::{self, HaRequestSource, HaServiceStateProto};
use hathi_net::ipc::protocols::{HA_SERVICE_PROTOCOL, ZKFC_PROTOCOL};
use hathi_net::ipc::{ClientOptions, Protocol, RpcClient, RpcError, connect_to};
use hathi_zkfc::fencing::{self, Target};
use std::ffi::OsString;
use std::io::Write as _;
use std::process::ExitCode;
use std::time::Duration;

const USAGE: &str = "Usage: haadmin [-ns <nameserviceId>]
    [-transitionToActive [--forceactive] <serviceId>]
    [-transitionToStandby <serviceId>]
    [-transitionToObserver <serviceId>]
    [-failover [--forcefence] [--forceactive] <serviceId> <serviceId>]
    [-getServiceState <serviceId>]
    [-getAllServiceState]
    [-checkHealth <serviceId>]
    [-help <command>]
";
/// What Hadoop's tool returns as -1.
const FAILED: u8 = 255;
/// `ha.failover-controller.cli-check.rpc-timeout.ms`
const CHECK_TIMEOUT: Duration = Duration::from_secs(20);
/// `ha.failover-controller.new-active.rpc-timeout.ms`
const TRANSITION_TIMEOUT: Duration = Duration::from_secs(60);

/// Entry point.
pub fn run(args: Vec<OsString>) -> Result<ExitCode> {
    let (conf, rest) = super::conf_argument(args)?;
    let mut args: Vec<String> = rest
        .into_iter()
        .map(|arg| {
            arg.into_string()
                .map_err(|arg| anyhow::anyhow!("not UTF-8: {}", arg.display()))
        })
        .collect::<Result<_>>()?;
    let mut nameservice = None;
    if args.first().is_some_and(|arg| arg == "-ns") {
        if args.len() < 3 {
            eprintln!("Missing {}", if args.len() == 1 { "nameservice ID" } else { "command" });
            eprint!("{USAGE}");
            return Ok(ExitCode::from(FAILED));
        }
        nameservice = Some(args.remove(1));
        args.remove(0);
    }
    if args.is_empty() {
        eprint!("{USAGE}");
        return Ok(ExitCode::from(FAILED));
    }
    let command = args.remove(0);
    let flag = |args: &mut Vec<String>, name: &str| {
        let before = args.len();
        args.retain(|arg| arg.trim_start_matches('-') != name || !arg.starts_with('-'));
        before != args.len()
    };
    let options = Options {
        force_manual: flag(&mut args, "forcemanual"),
        force_active: flag(&mut args, "forceactive"),
        force_fence: flag(&mut args, "forcefence"),
    };
    let admin = Admin {
        nameservice: nameservice_of(&conf, nameservice)?,
        conf,
        options,
    };
    if admin.options.force_manual && !confirmed()? {
        eprintln!("Aborted");
        return Ok(ExitCode::from(FAILED));
    }
    let result = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?
        .block_on(admin.command(&command, &args));
    match result {
        Ok(true) => Ok(ExitCode::SUCCESS),
        Ok(false) => Ok(ExitCode::from(FAILED)),
        Err(error) => {
            eprintln!("Operation failed: {error:#}");
            Ok(ExitCode::from(FAILED))
        }
    }
}

struct Options {
    force_manual: bool,
    force_active: bool,
    force_fence: bool,
}

struct Admin {
    conf: Configuration,
    nameservice: String,
    options: Options,
}

fn nameservice_of(conf: &Configuration, given: Option<String>) -> Result<String> {
    let all = conf.nameservices();
    match (given, all.as_slice()) {
        (Some(given), all) if all.contains(&given) => Ok(given),
        (Some(given), _) => bail!("-ns {given}: not one of dfs.nameservices ({})", all.join(", ")),
        (None, [only]) => Ok(only.clone()),
        (None, _) => match conf.get("dfs.nameservice.id") {
            Some(own) => Ok(own),
            None => bail!(
                "Unable to determine the name service ID: dfs.nameservices is [{}]. Please re-run with the -ns option.",
                all.join(", ")
            ),
        },
    }
}

fn confirmed() -> Result<bool> {
    eprint!(
        "You have specified the --forcemanual flag. This may move the active role although automatic failover is on.\n\
         Are you sure you want to continue? (Y or N) "
    );
    std::io::stderr().flush()?;
    let mut answer = String::new();
    std::io::stdin().read_line(&mut answer)?;
    Ok(matches!(answer.trim(), "y" | "Y" | "yes" | "YES" | "Yes"))
}

/// An RPC error in the words of Hadoop's tool.
fn text(error: &RpcError) -> String {
    match error {
        RpcError::Remote(exception) => exception.message.clone(),
        other => other.to_string(),
    }
}

impl Admin {
    /// Runs a command; `false` is Hadoop's exit code -1.
    async fn command(&self, command: &str, args: &[String]) -> Result<bool> {
        match (command, args) {
            ("-help", _) => {
                print!("{USAGE}");
                Ok(true)
            }
            ("-getServiceState", [id]) => {
                println!("{}", state_name(self.state(id).await?));
                Ok(true)
            }
            ("-getAllServiceState", []) => self.all_states().await,
            ("-checkHealth", [id]) => self.check_health(id).await,
            ("-transitionToActive", [id]) => self.transition_to_active(id).await,
            ("-transitionToStandby", [id]) => {
                Ok(self.manual_allowed(id)? && self.transition(id, HaServiceStateProto::Standby).await?)
            }
            ("-transitionToObserver", [id]) => {
                Ok(self.manual_allowed(id)? && self.transition(id, HaServiceStateProto::Observer).await?)
            }
            ("-failover", [from, to]) => self.failover(from, to).await,
            (known, _) if USAGE.contains(&format!("[{known} ")) || known == "-getAllServiceState" => {
                eprintln!("{}: incorrect number of arguments", known.trim_start_matches('-'));
                eprint!("{USAGE}");
                Ok(false)
            }
            (unknown, _) => {
                eprintln!("{}: Unknown command", unknown.trim_start_matches('-'));
                eprint!("{USAGE}");
                Ok(false)
            }
        }
    }

    fn address(&self, id: &str) -> Result<String> {
        self.conf
            .service_or_rpc_address(Some(&self.nameservice), Some(id))
            .map(|address| address.to_string())
            .with_context(|| format!("Unable to determine service address for namenode '{id}'"))
    }

    async fn connect(
        &self,
        address: &str,
        protocol: &'static Protocol,
        timeout: Duration,
    ) -> Result<RpcClient, RpcError> {
        let mut options = ClientOptions::new(&super::user_name());
        options.connect_timeout = Duration::from_secs(5);
        options.call_timeout = timeout;
        connect_to(address, protocol, &options).await
    }

    async fn state(&self, id: &str) -> Result<HaServiceStateProto> {
        let address = self.address(id)?;
        let status: Result<common::GetServiceStatusResponseProto, RpcError> = async {
            let client = self.connect(&address, &HA_SERVICE_PROTOCOL, CHECK_TIMEOUT).await?;
            client
                .call("getServiceStatus", &common::GetServiceStatusRequestProto {})
                .await
        }
        .await;
        match status {
            Ok(status) => Ok(status.state()),
            Err(error) => bail!("{}", text(&error)),
        }
    }

    async fn all_states(&self) -> Result<bool> {
        let ids = self.conf.namenode_ids(&self.nameservice);
        if ids.is_empty() {
            eprintln!("Failed to get service IDs");
            return Ok(false);
        }
        for id in ids {
            let address = self.address(&id)?;
            let state = match self.state(&id).await {
                Ok(state) => state_name(state).to_owned(),
                Err(error) => format!("Failed to connect: {error}"),
            };
            println!("{address:<50} {state:<10}");
        }
        Ok(true)
    }

    async fn check_health(&self, id: &str) -> Result<bool> {
        let address = self.address(id)?;
        let result: Result<common::MonitorHealthResponseProto, RpcError> = async {
            let client = self.connect(&address, &HA_SERVICE_PROTOCOL, CHECK_TIMEOUT).await?;
            client
                .call("monitorHealth", &common::MonitorHealthRequestProto {})
                .await
        }
        .await;
        match result {
            Ok(_) => Ok(true),
            Err(error) if error.is_remote(HEALTH_CHECK_FAILED) => {
                eprintln!("Health check failed: {}", text(&error));
                Ok(false)
            }
            Err(error) => bail!("{}", text(&error)),
        }
    }

    /// With automatic failover the controllers manage the state, unless the user insists.
    fn manual_allowed(&self, id: &str) -> Result<bool> {
        if !self.automatic() || self.options.force_manual {
            return Ok(true);
        }
        eprintln!(
            "Automatic failover is enabled for NameNode at {}\n\
             Refusing to manually manage HA state, since it may cause\n\
             a split-brain scenario or other incorrect state.\n\
             If you are very sure you know what you are doing, please \n\
             specify the --forcemanual flag.",
            self.address(id)?
        );
        Ok(false)
    }

    fn automatic(&self) -> bool {
        let key = self
            .conf
            .scoped_key("dfs.ha.automatic-failover.enabled", Some(&self.nameservice), None);
        self.conf.get_bool(&key, false)
    }

    async fn transition(&self, id: &str, to: HaServiceStateProto) -> Result<bool> {
        let source = if self.options.force_manual {
            HaRequestSource::RequestByUserForced
        } else {
            HaRequestSource::RequestByUser
        };
        let req_info = common::HaStateChangeRequestInfoProto {
            req_source: source.into(),
        };
        let address = self.address(id)?;
        let result: Result<(), RpcError> = async {
            let client = self.connect(&address, &HA_SERVICE_PROTOCOL, TRANSITION_TIMEOUT).await?;
            match to {
                HaServiceStateProto::Active => {
                    let request = common::TransitionToActiveRequestProto { req_info };
                    let _: common::TransitionToActiveResponseProto =
                        client.call("transitionToActive", &request).await?;
                }
                HaServiceStateProto::Observer => {
                    let request = common::TransitionToObserverRequestProto { req_info };
                    let _: common::TransitionToObserverResponseProto =
                        client.call("transitionToObserver", &request).await?;
                }
                HaServiceStateProto::Standby | HaServiceStateProto::Initializing => {
                    let request = common::TransitionToStandbyRequestProto { req_info };
                    let _: common::TransitionToStandbyResponseProto =
                        client.call("transitionToStandby", &request).await?;
                }
            }
            Ok(())
        }
        .await;
        match result {
            Ok(()) => Ok(true),
            Err(error) => bail!("{}", text(&error)),
        }
    }

    async fn transition_to_active(&self, id: &str) -> Result<bool> {
        if !self.options.force_active {
            for other in self.conf.namenode_ids(&self.nameservice) {
                if other == id {
                    continue;
                }
                if !self.manual_allowed(&other)? {
                    return Ok(false);
                }
                match self.state(&other).await {
                    Ok(HaServiceStateProto::Active) => {
                        eprintln!("transitionToActive: Node {other} is already active");
                        eprint!("{USAGE}");
                        return Ok(false);
                    }
                    Ok(_) => {}
                    Err(error) => {
                        eprintln!("Unexpected error occurred  {error}");
                        eprint!("{USAGE}");
                        return Ok(false);
                    }
                }
            }
        }
        Ok(self.manual_allowed(id)? && self.transition(id, HaServiceStateProto::Active).await?)
    }

    async fn failover(&self, from: &str, to: &str) -> Result<bool> {
        if self.automatic() {
            if self.options.force_fence || self.options.force_active {
                eprintln!("forcefence and forceactive flags not supported with auto-failover enabled.");
                return Ok(false);
            }
            return self.failover_through_controller(to).await;
        }
        let was_active = self
            .state(from)
            .await
            .is_ok_and(|state| state == HaServiceStateProto::Active);
        if self.state(to).await? != HaServiceStateProto::Standby {
            bail!("Can't failover to an active service: {to} is not a standby");
        }
        let stepped_down = self.transition(from, HaServiceStateProto::Standby).await;
        if let Err(error) = &stepped_down {
            eprintln!("{from} did not step down ({error:#})");
        }
        let fenced = stepped_down.is_err() || self.options.force_fence;
        if fenced {
            self.fence(from)?;
        }
        if let Err(error) = self.transition(to, HaServiceStateProto::Active).await {
            // As Hadoop does: who was fenced does not come back.
            if was_active && !fenced {
                self.transition(from, HaServiceStateProto::Active).await?;
            }
            bail!("Unable to make {to} active: {error:#}");
        }
        println!("Failover from {from} to {to} successful");
        Ok(true)
    }

    /// Runs the fencing methods. A quorum excludes the old active by itself; in a shared directory only they surely do.
    fn fence(&self, from: &str) -> Result<()> {
        let address = self.address(from)?;
        let target = Target {
            address: &address,
            nameservice: &self.nameservice,
            namenode_id: from,
        };
        if fencing::fence(&self.conf, &target, |told| eprintln!("{told}")) {
            return Ok(());
        }
        let quorum = matches!(
            self.conf.shared_edits(Some(&self.nameservice), Some(from))?,
            Some(JournalUri::Quorum { .. })
        );
        if !quorum || self.options.force_fence {
            bail!("Unable to fence NameNode at {address} (dfs.ha.fencing.methods). Fencing failed.");
        }
        eprintln!("going on without fencing: the journal excludes {from}");
        Ok(())
    }

    async fn failover_through_controller(&self, to: &str) -> Result<bool> {
        let address = self.conf.service_or_rpc_address(Some(&self.nameservice), Some(to))?;
        let key = self
            .conf
            .scoped_key("dfs.ha.zkfc.port", Some(&self.nameservice), Some(to));
        let controller = format!("{}:{}", address.host, self.conf.get_u32(&key, 8019)?);
        let result: Result<common::GracefulFailoverResponseProto, RpcError> = async {
            let client = self.connect(&controller, &ZKFC_PROTOCOL, TRANSITION_TIMEOUT).await?;
            client
                .call("gracefulFailover", &common::GracefulFailoverRequestProto {})
                .await
        }
        .await;
        match result {
            Ok(_) => {
                println!("Failover to NameNode at {address} successful");
                Ok(true)
            }
            Err(error) if error.is_remote(SERVICE_FAILED) => {
                eprintln!("Failover failed: {}", text(&error));
                Ok(false)
            }
            Err(error) => bail!("{}", text(&error)),
        }
    }
}

fn state_name(state: HaServiceStateProto) -> &'static str {
    match state {
        HaServiceStateProto::Initializing => "initializing",
        HaServiceStateProto::Active => "active",
        HaServiceStateProto::Standby => "standby",
        HaServiceStateProto::Observer => "observer",
    }
}
