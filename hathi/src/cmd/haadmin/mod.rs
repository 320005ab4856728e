//! `hathi haadmin`: Hadoop's `hdfs haadmin` (`DFSHAAdmin`, `HAAdmin`), with its options, output and exit codes.
//!
//! Lines that Hadoop's tool logs are printed on stderr as `LEVEL haadmin: TEXT`.

mod failover;
mod target;
mod usage;
pub(super) mod words;

use super::invocation::Invocation;
use super::table::{Arguments, Flags, Row, find, nearest};
use anyhow::Result;
use failover::{FailoverController, Force};
use hathi_conf::{Configuration, HostPort};
use hathi_formats::exceptions::{HEALTH_CHECK_FAILED, SERVICE_FAILED};
use hathi_formats::proto::common::{HaRequestSource, HaServiceStateProto};
use hathi_net::ipc::RpcError;
use std::ffi::OsString;
use std::net::TcpListener;
use std::process::ExitCode;
use std::time::Duration;
use target::HaServiceTarget;
use usage::{ROWS, Verb};

/// Exit code for a return value of -1 of Hadoop's tool.
const FAILED: u8 = 255;
/// How long another NameNode may take to say whether it is active (`HAAdmin.isOtherTargetNodeActive`).
const OTHERS_STATE: Duration = Duration::from_secs(5);
/// `HAServiceTarget.getProxy(conf, 0)`: a NameNode may take any time to change its role.
const NO_LIMIT: Duration = Duration::ZERO;
/// Most flags of a command with `--forcemanual` (`DFSHAAdmin.failover`).
const FLAGS_MAX: usize = 3;

const FORCE_MANUAL: &str = "You have specified the --forcemanual flag. This flag is dangerous, as it can induce a \
    split-brain scenario that WILL CORRUPT your HDFS namespace, possibly irrecoverably.\n\
    \n\
    It is recommended not to use this flag, but instead to shut down the cluster and disable automatic failover if you \
    prefer to manually manage your HA state.\n\
    \n\
    You may abort safely by answering 'n' or hitting ^C now.\n\
    \n\
    Are you sure you want to continue?";

/// Why a command failed: the text for stderr. The exit code is [`FAILED`].
struct Refused(String);

impl Refused {
    /// `IllegalArgumentException`
    fn argument(text: impl std::fmt::Display) -> Refused {
        Refused(format!("Illegal argument: {text}"))
    }

    /// `IOException`
    fn operation(error: &RpcError, target: &HaServiceTarget<'_>) -> Refused {
        Refused::call(error, target.address())
    }

    fn call(error: &RpcError, to: &HostPort) -> Refused {
        Refused(format!("Operation failed: {}", words::error(error, to)))
    }

    fn with_usage(text: &str) -> Refused {
        Refused(format!("{text}\n{}", usage::of_all()))
    }

    fn with_usage_of(row: &Row<Verb>, text: &str) -> Refused {
        Refused(format!("{text}\n{}", usage::of(row)))
    }
}

/// Time-outs of the calls (`ha.failover-controller.*.rpc-timeout.ms`).
#[derive(Clone, Copy)]
struct Timeouts {
    check: Duration,
    graceful_fence: Duration,
    new_active: Duration,
}

impl Timeouts {
    fn of(conf: &Configuration) -> Result<Timeouts, Refused> {
        let read = |key: &str, default: u64| super::times::duration(conf, key, default).map_err(Refused::argument);
        Ok(Timeouts {
            check: read("ha.failover-controller.cli-check.rpc-timeout.ms", 20_000)?,
            graceful_fence: read("ha.failover-controller.graceful-fence.rpc-timeout.ms", 5_000)?,
            new_active: read("ha.failover-controller.new-active.rpc-timeout.ms", 60_000)?,
        })
    }
}

/// What `--help` shows.
pub fn help_of_all() -> String {
    let mut text = usage::of_all();
    for row in ROWS {
        text.push_str(&format!("\n{}\n", usage::help(row)));
    }
    text
}

/// The names of the commands, for completion.
pub fn commands() -> Vec<String> {
    super::table::with_dash(ROWS)
}

/// Entry point.
pub fn run(args: Vec<OsString>) -> Result<ExitCode> {
    let mut invocation = Invocation::of(args)?;
    let words = invocation.words()?;
    match command(&invocation, &words) {
        Ok(()) => Ok(ExitCode::SUCCESS),
        Err(Refused(text)) => {
            eprintln!("{text}");
            Ok(ExitCode::from(FAILED))
        }
    }
}

/// Prints a line that Hadoop's tool writes to its log.
fn log(level: &str, text: &str) {
    eprintln!("{level} haadmin: {}", text.trim_end().replace('\n', " "));
}

fn command(invocation: &Invocation, mut args: &[String]) -> Result<(), Refused> {
    let mut nameservice = None;
    if args.first().is_some_and(|arg| arg == "-ns") {
        match args {
            [_] => return Err(Refused::with_usage("Missing nameservice ID")),
            [_, _] => return Err(Refused::with_usage("Missing command")),
            _ => {}
        }
        nameservice = Some(args[1].clone());
        args = &args[2..];
    }
    let [command, args @ ..] = args else {
        return Err(Refused(usage::of_all()));
    };
    if !command.starts_with('-') {
        return Err(Refused::with_usage(&format!(
            "Bad command '{command}': expected command starting with '-'"
        )));
    }
    let Some(row) = find(ROWS, command) else {
        let hint = nearest(command, ROWS.iter().map(|row| row.name));
        let hint = hint.map_or(String::new(), |name| format!("\nDid you mean -{name}?"));
        return Err(Refused::with_usage(&format!(
            "{}: Unknown command{hint}",
            &command[1..]
        )));
    };
    if row.verb == Verb::Help {
        return help(row, args);
    }
    let Ok(Arguments { flags, words }) = row.parse(args.to_vec()) else {
        return Err(Refused::with_usage_of(
            row,
            &format!("{}: incorrect arguments", row.name),
        ));
    };
    let mut source = HaRequestSource::RequestByUser;
    if flags.has("forcemanual") {
        if !super::confirmed(FORCE_MANUAL) {
            return Err(Refused("ERROR haadmin: Aborted".to_owned()));
        }
        source = HaRequestSource::RequestByUserForced;
    }
    let conf = &invocation.load().map_err(|error| Refused(format!("{error:#}")))?;
    let admin = Admin {
        timeouts: Timeouts::of(conf)?,
        conf,
        nameservice,
        source,
        json: flags.has("json"),
    };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(|error| Refused(format!("Operation failed: {error}")))?;
    runtime.block_on(admin.run(row, &flags, &words))
}

fn help(row: &Row<Verb>, args: &[String]) -> Result<(), Refused> {
    match args {
        [] => println!("{}", usage::of_all()),
        [command] => {
            let command = usage::with_hyphen(command);
            let Some(row) = find(ROWS, &command) else {
                return Err(Refused::with_usage(&format!("{command}: Unknown command")));
            };
            println!("{}", usage::help(row));
        }
        _ => return Err(Refused(usage::of(row))),
    }
    Ok(())
}

struct Admin<'a> {
    conf: &'a Configuration,
    nameservice: Option<String>,
    source: HaRequestSource,
    timeouts: Timeouts,
    /// `--json`
    json: bool,
}

impl Admin<'_> {
    async fn run(&self, row: &'static Row<Verb>, flags: &Flags, words: &[String]) -> Result<(), Refused> {
        let only_word = || match words {
            [only] => Ok(only.as_str()),
            _ => {
                let text = format!("{}: incorrect number of arguments", row.name);
                Err(Refused::with_usage_of(row, &text))
            }
        };
        match row.verb {
            Verb::GetServiceState => self.service_state(only_word()?).await,
            Verb::GetAllServiceState => self.all_service_states().await,
            Verb::CheckHealth => self.check_health(only_word()?).await,
            Verb::TransitionToActive => {
                self.transition_to_active(row, only_word()?, flags.has("forceactive"))
                    .await
            }
            Verb::TransitionToStandby => self.transition_to_standby(only_word()?).await,
            Verb::TransitionToObserver => self.transition_to_observer(only_word()?).await,
            Verb::Failover => self.failover(row, flags, words).await,
            // It is answered before there is a configuration.
            Verb::Help => Ok(()),
        }
    }

    fn target(&self, id: &str) -> Result<HaServiceTarget<'_>, Refused> {
        HaServiceTarget::new(self.conf, self.nameservice.as_deref(), id)
    }

    /// The NameNodes of the given nameservice, else of this machine's (`DFSUtil.getNamenodeNameServiceId`).
    fn ids(&self) -> Result<Vec<String>, Refused> {
        if let Some(given) = &self.nameservice {
            return Ok(self.conf.namenode_ids(given));
        }
        let all = self.conf.nameservices();
        let own = match (self.conf.get("dfs.nameservice.id"), all.as_slice()) {
            (Some(own), _) => Some(own),
            (None, [only]) => Some(only.clone()),
            (None, several) => self.local_nameservice(several)?,
        };
        Ok(own.map(|own| self.conf.namenode_ids(&own)).unwrap_or_default())
    }

    fn local_nameservice(&self, all: &[String]) -> Result<Option<String>, Refused> {
        let only_id = self.conf.get("dfs.ha.namenode.id");
        let mut found = Vec::new();
        for nameservice in all {
            for id in self.conf.namenode_ids(nameservice) {
                let address = self.conf.get(&format!("dfs.namenode.rpc-address.{nameservice}.{id}"));
                let address = address.and_then(|text| HostPort::parse(&text, Some(0)).ok());
                let is_local = |address: HostPort| TcpListener::bind((address.host.as_str(), 0)).is_ok();
                if only_id.as_ref().is_none_or(|only| *only == id) && address.is_some_and(is_local) {
                    found.push(nameservice.clone());
                }
            }
        }
        if found.len() > 1 {
            return Err(Refused::argument(
                "Configuration has multiple addresses that match local node's address. Please configure the system with \
                 dfs.nameservice.id and dfs.ha.namenode.id",
            ));
        }
        Ok(found.pop())
    }

    async fn service_state(&self, id: &str) -> Result<(), Refused> {
        let target = self.target(id)?;
        let status = target.status(self.timeouts.check).await;
        let status = status.map_err(|error| Refused::operation(&error, &target))?;
        let state = state_name(status.state());
        if self.json {
            println!(
                "{}",
                serde_json::json!({"serviceId": id, "address": target.address().to_string(), "state": state})
            );
        } else {
            println!("{state}");
        }
        Ok(())
    }

    async fn all_service_states(&self) -> Result<(), Refused> {
        let ids = self.ids()?;
        if ids.is_empty() {
            return Err(Refused("Failed to get service IDs".to_owned()));
        }
        let mut all = Vec::new();
        for id in ids {
            let target = self.target(&id)?;
            let address = target.address();
            if self.json {
                let mut service = serde_json::json!({"serviceId": id, "address": address.to_string()});
                match target.status(self.timeouts.check).await {
                    Ok(status) => service["state"] = state_name(status.state()).into(),
                    Err(error) => service["error"] = words::error(&error, address).into(),
                }
                all.push(service);
                continue;
            }
            // The form of Hadoop's output, also for IPv6.
            let name = format!("{}:{}", words::host(address), address.port);
            let state = match target.status(self.timeouts.check).await {
                Ok(status) => state_name(status.state()).to_owned(),
                Err(error) => format!("Failed to connect: {}", words::error(&error, address)),
            };
            println!("{name:<50} {state:<10}");
        }
        if self.json {
            println!("{}", serde_json::Value::Array(all));
        }
        Ok(())
    }

    async fn check_health(&self, id: &str) -> Result<(), Refused> {
        let target = self.target(id)?;
        match target.monitor_health(self.timeouts.check).await {
            Ok(()) => Ok(()),
            Err(error) if error.is_remote(HEALTH_CHECK_FAILED) => Err(Refused(format!(
                "Health check failed: {}",
                words::error(&error, target.address())
            ))),
            Err(error) => Err(Refused::operation(&error, &target)),
        }
    }

    /// Refuses a change by hand under automatic failover, because the controllers manage the state, unless the operator
    /// forces it (`checkManualStateManagementOK`).
    fn check_manual(&self, target: &HaServiceTarget<'_>) -> Result<(), Refused> {
        if !target.is_automatic() {
            return Ok(());
        }
        if self.source == HaRequestSource::RequestByUserForced {
            log(
                "WARN",
                &format!(
                    "Proceeding with manual HA state management even though automatic failover is enabled for {target}"
                ),
            );
            return Ok(());
        }
        Err(Refused(format!(
            "Automatic failover is enabled for {target}\n\
             Refusing to manually manage HA state, since it may cause\n\
             a split-brain scenario or other incorrect state.\n\
             If you are very sure you know what you are doing, please \n\
             specify the --forcemanual flag."
        )))
    }

    async fn transition(&self, target: &HaServiceTarget<'_>, to: HaServiceStateProto) -> Result<(), RpcError> {
        target.transition(to, self.source, NO_LIMIT).await
    }

    async fn transition_to_active(&self, row: &Row<Verb>, id: &str, force: bool) -> Result<(), Refused> {
        if !force {
            self.check_that_no_other_is_active(row, id).await?;
        }
        let target = self.target(id)?;
        self.check_manual(&target)?;
        let result = self.transition(&target, HaServiceStateProto::Active).await;
        result.map_err(|error| Refused::operation(&error, &target))
    }

    async fn check_that_no_other_is_active(&self, row: &Row<Verb>, id: &str) -> Result<(), Refused> {
        let refused = |text: &str| Refused::with_usage_of(row, text);
        for other in self.ids()? {
            if other == id {
                continue;
            }
            let target = self.target(&other)?;
            self.check_manual(&target)?;
            match target.status(OTHERS_STATE).await {
                Ok(status) if status.state() == HaServiceStateProto::Active => {
                    return Err(refused(&format!("transitionToActive: Node {other} is already active")));
                }
                Ok(_) => {}
                Err(error) => {
                    let error = words::error(&error, target.address());
                    return Err(refused(&format!("Unexpected error occurred  {error}")));
                }
            }
        }
        Ok(())
    }

    async fn transition_to_standby(&self, id: &str) -> Result<(), Refused> {
        let target = self.target(id)?;
        self.check_manual(&target)?;
        let result = self.transition(&target, HaServiceStateProto::Standby).await;
        result.map_err(|error| Refused::operation(&error, &target))
    }

    async fn transition_to_observer(&self, id: &str) -> Result<(), Refused> {
        let target = self.target(id)?;
        self.check_manual(&target)?;
        match self.transition(&target, HaServiceStateProto::Observer).await {
            Ok(()) => Ok(()),
            Err(error) if error.is_remote(SERVICE_FAILED) => Err(Refused(format!(
                "transitionToObserver failed! {}",
                words::error(&error, target.address())
            ))),
            Err(error) => Err(Refused::operation(&error, &target)),
        }
    }

    async fn failover(&self, row: &Row<Verb>, flags: &Flags, words: &[String]) -> Result<(), Refused> {
        let [from_id, to_id] = words else {
            return Err(Refused::with_usage_of(row, "failover: incorrect arguments"));
        };
        if flags.0.len() > FLAGS_MAX {
            return Err(Refused::with_usage_of(row, "failover: incorrect arguments"));
        }
        let force = Force {
            fence: flags.has("forcefence"),
            active: flags.has("forceactive"),
        };
        // Both are in one nameservice, so automatic failover is on for both or for none.
        let (from, to) = (self.target(from_id)?, self.target(to_id)?);
        if to.is_automatic() {
            if force.fence || force.active {
                return Err(Refused(
                    "forcefence and forceactive flags not supported with auto-failover enabled.".to_owned(),
                ));
            }
            return self.failover_through_controller(&to).await;
        }
        let controller = FailoverController {
            source: self.source,
            timeouts: self.timeouts,
        };
        match controller.failover(&from, &to, force).await? {
            Ok(()) => {
                println!("Failover from {from_id} to {to_id} successful");
                Ok(())
            }
            Err(failed) => Err(Refused(format!("Failover failed: {failed}"))),
        }
    }

    async fn failover_through_controller(&self, to: &HaServiceTarget<'_>) -> Result<(), Refused> {
        let controller = to.controller()?;
        match to.graceful_failover(&controller, self.timeouts.new_active).await {
            Ok(()) => {
                println!("Failover to {to} successful");
                Ok(())
            }
            Err(error) if error.is_remote(SERVICE_FAILED) => Err(Refused(format!(
                "Failover failed: {}",
                words::error(&error, &controller)
            ))),
            Err(error) => Err(Refused::call(&error, &controller)),
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
