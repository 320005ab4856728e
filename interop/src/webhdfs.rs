//! Users' clients of WebHDFS at work, while the active NameNode is killed again and again.

use crate::failovers::{PATIENCE, wait_for_active, wait_for_any_role};
use crate::{Cluster, FileClient, Role, wait_for};
use anyhow::{Context, Result, bail};
use rustix::process::Signal;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

/// What one client has done.
#[derive(Debug)]
struct Worker<'a> {
    name: &'a str,
    rounds: AtomicUsize,
}

/// Lets each client do one round after the other, in which it creates, appends, reads, renames and lists, and kills the
/// active `kills` times. Between two kills each client ends a round at least. At the end each of them finds everything
/// that was acknowledged.
///
/// # Errors
/// The first error that a client has seen.
pub fn survive_kills(cluster: &Cluster, clients: Vec<(&str, FileClient)>, kills: usize) -> Result<()> {
    let (clients, workers): (Vec<_>, Vec<_>) = clients
        .into_iter()
        .map(|(name, client)| {
            let rounds = AtomicUsize::new(0);
            (client, Worker { name, rounds })
        })
        .unzip();
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let threads: Vec<_> = clients
            .into_iter()
            .zip(&workers)
            .map(|(client, worker)| scope.spawn(|| worker.work(client, &stop)))
            .collect();
        let killed = kill_actives(cluster, &workers, kills, &stop);
        stop.store(true, Ordering::Relaxed);
        for thread in threads {
            match thread.join() {
                Ok(worked) => worked?,
                Err(_) => bail!("a client's thread panicked"),
            }
        }
        killed
    })
}

impl Worker<'_> {
    fn work(&self, mut client: FileClient, stop: &AtomicBool) -> Result<()> {
        let worked = self.rounds_until(&mut client, stop);
        // The others need not go on without this one.
        stop.store(true, Ordering::Relaxed);
        let number = worked.with_context(|| self.name.to_owned())?;
        client
            .run(&format!("verify {number}"))
            .with_context(|| self.name.to_owned())?;
        Ok(())
    }

    fn rounds_until(&self, client: &mut FileClient, stop: &AtomicBool) -> Result<usize> {
        let mut number = 0;
        while !stop.load(Ordering::Relaxed) {
            client.run(&format!("round {number}"))?;
            number += 1;
            self.rounds.store(number, Ordering::Relaxed);
        }
        Ok(number)
    }
}

fn kill_actives(cluster: &Cluster, workers: &[Worker<'_>], kills: usize, stop: &AtomicBool) -> Result<()> {
    let rounds = || workers.iter().map(|worker| worker.rounds.load(Ordering::Relaxed));
    for _ in 0..kills {
        let before: Vec<usize> = rounds().collect();
        wait_for("a round of each client", PATIENCE, || {
            let all_went_on = rounds().zip(&before).all(|(now, before)| now > *before);
            (all_went_on || stop.load(Ordering::Relaxed)).then_some(())
        });
        if stop.load(Ordering::Relaxed) {
            break;
        }
        let active = wait_for_active(cluster);
        cluster.signal(Role::NameNode, active, Signal::KILL)?;
        wait_for_any_role(cluster, active);
    }
    Ok(())
}
