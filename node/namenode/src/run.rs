//! A NameNode process: starts everything in order, and ends with a signal.

use crate::audit::{AuditLog, AuditOptions};
use crate::background;
use crate::debug_hooks::DebugHooks;
use crate::directory_log::{Directories, DirectoryLog};
use crate::ha::Controller;
use crate::hand_over::hand_over;
use crate::hosts::HostLists;
use crate::journalnodes;
use crate::load::{Loader, parts};
use crate::local_edits::LocalEdits;
use crate::log::LogTask;
use crate::settings::Settings;
use crate::shared_log::{DirectoryTail, SharedLog};
use crate::state::{NameNode, Parts, Shared};
use crate::storage::{self, NameDirs};
use crate::tail::Tail;
use crate::web::{StartWeb, Web};
use crate::{bootstrap, former_lease, identity, resources, rpc, serving};
use anyhow::Context;
use hathi_conf::JournalUri;
use hathi_formats::ids::TxId;
use hathi_journal::directory::SharedDirectory;
use hathi_journalclient::Readers;
use hathi_nameserver::standby_calls::LeaseView;
use hathi_namespace::Namespace;
use hathi_namesystem::Life;
use hathi_namesystem::loader::assemble;
use hathi_net::ipc::{RpcServer, ServerOptions, SharesOptions, StateIds};
use hathi_storage::OsDisk;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{mpsc, oneshot};

/// How long a directory of local edits may delay the end of the process.
const LOCAL_EDITS_TIMEOUT: Duration = Duration::from_secs(3);

/// Serves until a signal ends the process. Its pages are those of `start_web`.
pub fn serve(settings: Settings, start_web: StartWeb) -> anyhow::Result<()> {
    end_at_a_panic();
    let journal = settings.shared.clone();
    anyhow::ensure!(
        journal.is_some() || settings.is_single(),
        "dfs.namenode.shared.edits.dir is not set, and dfs.ha.namenodes.{} names several NameNodes",
        settings.nameservice_id
    );
    let nodes = journalnodes::configured(&settings).unwrap_or_else(|| journalnodes::none(&settings));
    // Without the lists it would be random which DataNodes may register.
    let lists = HostLists::read(&settings)?;
    let audit = match AuditOptions::from_conf(&settings.conf)? {
        Some(options) => Some(AuditLog::start(options)?),
        None => None,
    };
    if settings.joins && storage::has_some_data(&settings)?.is_empty() {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        runtime.block_on(bootstrap::join(&settings))?;
    }
    let dirs = Arc::new(NameDirs::open(&settings)?);
    if let Some(shared) = dirs.filling().filter(|_| journal.is_some()) {
        anyhow::bail!(
            "the shared edits lack edits of this NameNode: hdfs namenode -initializeSharedEdits ended while it filled {shared}. \
             Run it again, and it goes on"
        );
    }
    if let Some(JournalUri::File(path)) = &journal {
        SharedDirectory::new(OsDisk, path).check_namespace(&dirs.info)?;
    }
    if let Some(membership) = dirs.membership() {
        nodes.learn(&membership);
    }
    // bound: each holds the way back of one call of a superuser, of which the server limits how many are outstanding.
    let (transitions, transition_queue) = mpsc::unbounded_channel();
    // bound: who sends a command waits for its end, and there is one sender for each kind.
    let (log, log_queue) = mpsc::unbounded_channel();
    // bound: a writer is lost once, and there is one at a time.
    let (lost, lost_queue) = mpsc::unbounded_channel();
    // bound: calls that wait and calls that are asked about are counted together, and limited.
    let (questions, question_queue) = mpsc::unbounded_channel();
    let holder = format!("{}@{}", settings.namenode_id, uuid::Uuid::new_v4());
    let empty = assemble(
        parts(&settings, dirs.info.clone())?,
        Namespace::new(settings.namespace()?),
        TxId(0),
        Life::first(),
    );
    let nn = Arc::new(NameNode::new(Parts {
        settings: settings.clone(),
        ns: empty,
        holder,
        hosts: lists,
        audit,
        transitions,
        questions,
    })?);
    if settings.is_single() {
        nn.standby_calls.set_view(LeaseView::NoOther);
    }
    let readers = Arc::new(Readers::new(nodes.clone()));
    let shared = Arc::new(Shared::new(nn.clone(), dirs.clone(), log.clone(), readers.clone()));

    // The server listens before anything is loaded. Callers are told to try again.
    // bound: the handler counts what it holds, and refuses calls beyond its limit.
    let (held, held_queue) = mpsc::unbounded_channel();
    let handler = shared.handler(held);
    let options = ServerOptions {
        name: "namenode-rpc".to_owned(),
        reactors: settings.reactors,
        authorizer: Some(nn.callers.authorizer().clone()),
        // Everything that an answer shows is durable when it leaves, so the answer is not newer than this.
        state_ids: settings.state_context.then(|| {
            let replies = nn.replies.clone();
            StateIds::new(move || replies.state_id())
        }),
        shares: SharesOptions::of(&settings.conf, settings.rpc_bind.port())?,
        slow_call: Some(settings.slow_call).filter(|limit| !limit.is_zero()),
        ..ServerOptions::of(&settings.conf)?
    };
    let server = RpcServer::bind(settings.rpc_bind, handler.clone(), options).context("dfs.namenode.rpc-address")?;
    for (key, address) in [
        ("dfs.namenode.servicerpc-address", settings.service_rpc_bind),
        ("dfs.namenode.lifeline.rpc-address", settings.lifeline_rpc_bind),
    ] {
        if let Some(address) = address {
            server.add_listener(address, handler.clone()).context(key)?;
        }
    }
    // Set once, here.
    let _ = nn.observed.rpc.set(server.meter());
    serving::prove(&nn.serving, &nn.ns, &nn.clock, &server);
    if nn.settings.debug_hooks {
        // Set once, here.
        let _ = nn.debug_hooks.set(DebugHooks::new(server.reactors().to_vec()));
    }
    let Web { server: _web, looking } =
        start_web(shared.web_parts(), handler.clone()).context("dfs.namenode.http-address")?;
    tracing::info!(rpc = %server.local_addr(), http = %settings.http_bind, holder = &*nn.holder, "NameNode is up");
    server.reactor().spawn(hathi_net::systemd::watchdog());
    hathi_net::systemd::ready("listening");

    let (edits_lost, edits_are_lost) = oneshot::channel();
    let must_have = settings.edits_must_have.clone();
    // When these edits are not a copy, the task that releases replies writes them.
    let copies = if settings.is_single() {
        Vec::new()
    } else {
        dirs.edits_dirs().to_vec()
    };
    let local = LocalEdits::start(copies, must_have.clone(), move |reason| {
        // The receiver is gone only when the process ends.
        let _ = edits_lost.send(reason);
    })?;
    let local_at_the_end = local.clone();
    let reactor = server.reactor();
    reactor.spawn(nn.standby_calls.clone().count_turns());
    reactor.spawn(rpc::serve_held(handler.clone(), held_queue));
    let directories = match &journal {
        Some(JournalUri::Quorum { .. }) => None,
        Some(JournalUri::File(path)) => Some(Directories::Shared(path.clone())),
        None => Some(Directories::Own(dirs.clone(), must_have)),
    };
    // Read before the task writes this process's.
    let former_lease = settings.name_dirs.first().and_then(|dir| former_lease::find(dir));
    if let Some(lease) = former_lease.filter(|_| directories.is_none()) {
        reactor.spawn(former_lease::give_back(nodes.clone(), lease));
    }
    match directories {
        None => reactor.spawn(LogTask::new(nn.log_parts(), nn.serving.clone(), nodes, log_queue, lost, local).run()),
        Some(directories) => {
            reactor.spawn(DirectoryLog::start(nn.log_parts(), directories, log_queue, lost, local)?.run())
        }
    };

    let (readers_to_ask, info, name_dir) = (readers.clone(), dirs.info.clone(), settings.name_dirs.first().cloned());
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async move {
        let tail = Arc::new(match &journal {
            Some(JournalUri::Quorum { .. }) => {
                let tail = Arc::new(Tail::new(nn.replay(), readers, nn.settings.image_timeout));
                tokio::spawn(shared.lease_watchers(tail.clone()).run());
                SharedLog::Quorum(tail)
            }
            Some(JournalUri::File(path)) => {
                let directory = SharedDirectory::new(OsDisk, path);
                SharedLog::Directory(DirectoryTail::new(nn.replay(), vec![directory]))
            }
            None => SharedLog::Directory(DirectoryTail::new(nn.replay(), dirs.edits())),
        });
        let loader = Arc::new(Loader::new(settings, dirs).showing(nn.observed.startup.image.clone()));
        tokio::spawn(nn.pass_on(handler.clone()).settle_all(question_queue));
        let controller = Controller::new(shared.role_parts(), handler, tail.clone(), loader, log);
        tokio::spawn(resources::monitor(
            nn.ns.clone(),
            nn.observed.clone(),
            nn.settings.resources.clone(),
        ));
        tokio::spawn(background::monitors(nn.monitor_parts()));
        tokio::spawn(background::trigger_rolls(nn.settings.clone(), nn.replies.clone(), tail));
        tokio::spawn(nn.corrupt_marks().tell_again());
        tokio::spawn(nn.keys.clone().refill());
        tokio::spawn(nn.keys.clone().reencrypt());
        tokio::spawn(nn.comparison().run(controller.unusable()));
        tokio::spawn(shared.checkpoints.clone().run());
        tokio::spawn(shared.checkpoints.clone().keep_rollback_images());
        tokio::spawn(looking);
        let controller = tokio::spawn(controller.run(transition_queue, lost_queue));
        let hopeless = async {
            match controller.await {
                Ok(Err(error)) => error,
                // The controller has ended because nothing can be sent to it any more.
                Ok(Ok(())) => std::future::pending().await,
                Err(died) => died.into(),
            }
        };
        let foreign = async {
            match (&journal, name_dir) {
                (Some(JournalUri::Quorum { .. }), Some(dir)) => {
                    identity::refuse_foreign_journalnodes(readers_to_ask, info, &dir).await
                }
                _ => std::future::pending().await,
            }
        };
        let ended = tokio::select! {
            stopped = stopped() => {
                hathi_net::systemd::stopping();
                hand_over(&nn.settings, nn.replies.role(), &nn.standby_calls).await;
                stopped
            }
            reason = foreign => Err(reason),
            reason = hopeless => Err(reason),
            Ok(reason) = edits_are_lost => Err(anyhow::anyhow!(reason)),
        };
        // It may wait to be proven or compared, and the runtime ends only when its thread does.
        nn.images.cancel_checkpoint();
        ended
    })?;
    tracing::info!("stopping");
    drop(server);
    local_at_the_end.flush(LOCAL_EDITS_TIMEOUT);
    Ok(())
}

/// Waits for a signal to end.
pub(crate) async fn stopped() -> anyhow::Result<()> {
    use tokio::signal::unix::{SignalKind, signal};
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
    Ok(())
}

/// A thread that panicked leaves a NameNode that looks alive and answers nobody. So the process ends, and another
/// NameNode takes over.
fn end_at_a_panic() {
    let report = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        report(panic);
        std::process::abort();
    }));
}
