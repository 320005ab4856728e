//! Delegation tokens: what our command gets, Hadoop's shows, and what one NameNode issued, the other one renews.

use anyhow::{Context, Result, ensure};
use hathi_interop::{Hadoop, Kind, Single};
use std::path::Path;
use std::process::Stdio;

const HATHI: &str = env!("CARGO_BIN_EXE_hathi");
const ALWAYS: &[(&str, &str)] = &[("dfs.namenode.delegation.token.always-use", "true")];

/// Runs `fetchdt` of ours or of Hadoop's. Returns what it prints to either output.
fn fetchdt(single: &Single, kind: Kind, args: &[&str], file: &Path) -> Result<String> {
    let class = match kind {
        Kind::Ours => "fetchdt",
        Kind::Hadoops => "org.apache.hadoop.hdfs.tools.DelegationTokenFetcher",
    };
    let file = file.display().to_string();
    let args: Vec<&str> = args.iter().copied().chain([file.as_str()]).collect();
    let output = single
        .command(kind, class, &single.conf(), &args)?
        .stdin(Stdio::null())
        .output()?;
    let printed = [output.stdout, output.stderr].concat();
    let printed = String::from_utf8_lossy(&printed).into_owned();
    ensure!(output.status.success(), "{kind:?} {args:?}:\n{printed}");
    Ok(printed)
}

/// The lines about tokens: Hadoop's command says other things as well.
fn tokens(printed: &str) -> Vec<&str> {
    printed.lines().filter(|line| line.starts_with("Token (")).collect()
}

#[test]
fn a_token_of_one_namenode_is_shown_renewed_and_cancelled_by_either_command_at_the_other() -> Result<()> {
    let Some(hadoop) = Hadoop::get()? else { return Ok(()) };
    let renewer = hathi_net::users::process_user();
    let mut single = Single::new(HATHI, Some(hadoop), 1, ALWAYS)?;
    single.run_to_end(Kind::Ours, "namenode", &["-format", "-nonInteractive"])?;
    let dir = tempfile::tempdir()?;
    let [ours, theirs] = ["ours", "theirs"].map(|name| dir.path().join(name));
    for (issuer, other) in [(Kind::Ours, Kind::Hadoops), (Kind::Hadoops, Kind::Ours)] {
        single.start_namenode(issuer)?;
        let get = ["--renewer", renewer.as_str()];
        // A new active has no key for a moment, and then there is no token.
        let fetched = hathi_interop::wait_for("a token", std::time::Duration::from_secs(60), || {
            let told = fetchdt(&single, Kind::Ours, &get, &ours).ok()?;
            ours.exists().then_some(told)
        });
        ensure!(!fetched.contains("ERROR"), "{fetched}");
        fetchdt(&single, Kind::Hadoops, &get, &theirs)?;
        for file in [&ours, &theirs] {
            for options in [&["--print"][..], &["--print", "--verbose"]] {
                let shown = [Kind::Ours, Kind::Hadoops].map(|kind| fetchdt(&single, kind, options, file));
                let [ours, theirs] = shown;
                let (ours, theirs) = (ours?, theirs?);
                ensure!(
                    tokens(&ours) == tokens(&theirs) && tokens(&ours).len() == 1,
                    "{ours}\n{theirs}"
                );
            }
        }
        single.kill_namenode()?;
        single.start_namenode(other)?;
        for (file, command) in [(&ours, Kind::Hadoops), (&theirs, Kind::Ours)] {
            let what = || format!("{issuer:?} issued it, {command:?} has the file");
            fetchdt(&single, command, &["--renew"], file).with_context(what)?;
            fetchdt(&single, command, &["--cancel"], file).with_context(what)?;
            let gone = fetchdt(&single, Kind::Ours, &["--renew"], file);
            let gone = format!("{:#}", gone.err().context("it is cancelled")?);
            ensure!(gone.contains("Renewal request for unknown token"), "{gone}");
        }
        single.kill_namenode()?;
        for file in [&ours, &theirs] {
            std::fs::remove_file(file)?;
        }
    }
    Ok(())
}
