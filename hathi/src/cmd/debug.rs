//! `hathi debug`: checks and mends the files of replicas and the leases of files (`DebugAdmin`).

use super::dfs::full_path;
use super::invocation::Invocation;
use super::table::{Flags, Grammar, Row};
use super::waiting::{explained, say_what_is_waited_for};
use anyhow::{Context, Result, bail};
use hathi_client::{ClientError, FileSystem};
use hathi_conf::Configuration;
use hathi_formats::datatransfer::{BlockMetadataHeader, DataChecksum, META_HEADER_BYTES};
use hathi_formats::proto::hdfs::{RecoverLeaseRequestProto, RecoverLeaseResponseProto};
use hathi_net::ipc::Idempotence;
use std::ffi::OsString;
use std::fs::File;
use std::io::{BufReader, BufWriter, Read, Write};
use std::process::ExitCode;
use std::time::Duration;

/// Pause before another attempt to recover a lease (`RecoverLeaseCommand.TIMEOUT_MS`).
const RETRY_PAUSE: Duration = Duration::from_secs(5);
/// Chunks that are read at once.
const CHUNKS: usize = 1024;

/// What to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Verb {
    VerifyMeta,
    ComputeMeta,
    RecoverLease,
}

const fn row(
    name: &'static str,
    verb: Verb,
    arguments: &'static str,
    flags: &'static [&'static str],
    help: &'static str,
) -> Row<Verb> {
    Row {
        name,
        verb,
        arguments,
        flags,
        grammar: Grammar::Anywhere,
        words: 0..=0,
        help,
    }
}

/// The commands. In Hadoop these have no dash.
#[rustfmt::skip]
const ROWS: &[Row<Verb>] = &[
    row("verifyMeta", Verb::VerifyMeta, "-meta <metadata-file> [-block <block-file>]", &["meta=", "block="],
        "Verify HDFS metadata and block files.  If a block file is specified, we will verify that the checksums in the metadata file match the block file."),
    row("computeMeta", Verb::ComputeMeta, "-block <block-file> -out <output-metadata-file>", &["block=", "out="],
        "Compute HDFS metadata from the specified block file, and save it to the specified output metadata file. Only for a replica whose metadata file is lost: what is wrong with the block is hidden by it."),
    row("recoverLease", Verb::RecoverLease, "-path <path> [-retries <num-retries>]", &["path=", "retries="],
        "Recover the lease on the specified path.  The path must reside on an HDFS filesystem.  The default number of retries is 1."),
];

/// How the command is used.
pub fn usage() -> String {
    let mut text = "Usage: hdfs debug <command> [arguments]\n\n\
                    These commands are for advanced users only.\n"
        .to_owned();
    for row in ROWS {
        text.push_str(&format!("\n{} {}\n{}\n", row.name, row.arguments, row.help));
    }
    text
}

/// Entry point.
pub fn run(args: Vec<OsString>) -> Result<ExitCode> {
    say_what_is_waited_for();
    let mut invocation = Invocation::of(args)?;
    let mut words = invocation.words()?.into_iter();
    let command = words.next().unwrap_or_default();
    let Some(row) = ROWS.iter().find(|row| row.name == command) else {
        eprint!("{}", usage());
        return Ok(if command.is_empty() {
            ExitCode::SUCCESS
        } else {
            ExitCode::FAILURE
        });
    };
    let parsed = row.parse(words.collect());
    let flags = match parsed {
        Ok(args) => args.flags,
        Err(misuse) => {
            eprintln!("{misuse}\n{} {}", row.name, row.arguments);
            return Ok(ExitCode::FAILURE);
        }
    };
    match row.verb {
        Verb::VerifyMeta => verify_meta(&flags)?,
        Verb::ComputeMeta => compute_meta(&flags)?,
        Verb::RecoverLease => return recover_lease(&invocation.load()?, &flags),
    }
    Ok(ExitCode::SUCCESS)
}

fn required<'a>(flags: &'a Flags, name: &str) -> Result<&'a str> {
    flags.value(name).with_context(|| format!("You must specify -{name}"))
}

/// Fills the buffer as far as the file goes.
fn fill(file: &mut impl Read, buffer: &mut [u8]) -> Result<usize> {
    let mut len = 0;
    while len < buffer.len() {
        match file.read(buffer.get_mut(len..).unwrap_or_default())? {
            0 => break,
            more => len += more,
        }
    }
    Ok(len)
}

fn verify_meta(flags: &Flags) -> Result<()> {
    let path = required(flags, "meta")?;
    let mut meta = BufReader::new(File::open(path).with_context(|| path.to_owned())?);
    let mut header = [0; META_HEADER_BYTES];
    meta.read_exact(&mut header).with_context(|| path.to_owned())?;
    let checksum = BlockMetadataHeader::decode(&header)
        .with_context(|| path.to_owned())?
        .checksum;
    let kind = format!("{:?}", checksum.kind()).to_uppercase();
    println!(
        "Checksum type: DataChecksum(type={kind}, chunkSize={})",
        checksum.bytes_per_checksum()
    );
    let Some(path) = flags.value("block") else {
        return Ok(());
    };
    let mut block = File::open(path).with_context(|| path.to_owned())?;
    let mut data = vec![0; usize::try_from(checksum.bytes_per_checksum())? * CHUNKS];
    let mut sums = vec![0; checksum.checksum_size() * CHUNKS];
    let mut at = 0_u64;
    let whole = data.len();
    loop {
        let len = fill(&mut block, &mut data)?;
        let wanted = checksum.checksum_len(len);
        let found = fill(&mut meta, sums.get_mut(..wanted).unwrap_or_default())?;
        if found < wanted {
            bail!("the metadata file ends before the block, in the checksums of offset {at}");
        }
        let (data, sums) = (
            data.get(..len).unwrap_or_default(),
            sums.get(..wanted).unwrap_or_default(),
        );
        if let Err(mismatch) = checksum.verify(data, sums) {
            bail!("Checksum verification failed on block file {path}, from offset {at} on: {mismatch}");
        }
        at += len as u64;
        if len < whole {
            break;
        }
    }
    if fill(&mut meta, &mut sums)? > 0 {
        bail!("the metadata file goes on after the end of the block, at offset {at}");
    }
    println!("Checksum verification succeeded on block file {path}");
    Ok(())
}

fn compute_meta(flags: &Flags) -> Result<()> {
    let (block, out) = (required(flags, "block")?, required(flags, "out")?);
    let checksum = DataChecksum::DEFAULT;
    let mut data = vec![0; usize::try_from(checksum.bytes_per_checksum())? * CHUNKS];
    let mut source = File::open(block).with_context(|| block.to_owned())?;
    let target = File::create_new(out).with_context(|| format!("output file {out}"))?;
    let mut target = BufWriter::new(target);
    target.write_all(&BlockMetadataHeader::new(checksum).encode())?;
    let mut sums = Vec::new();
    loop {
        let len = fill(&mut source, &mut data)?;
        sums.clear();
        checksum.compute_into(data.get(..len).unwrap_or_default(), &mut sums);
        target.write_all(&sums)?;
        if len < data.len() {
            break;
        }
    }
    target.flush()?;
    println!("Checksum calculation succeeded on block file {block} saved metadata to {out}");
    Ok(())
}

fn first_line(text: &str) -> &str {
    text.lines().next().unwrap_or_default()
}

fn recover_lease(conf: &Configuration, flags: &Flags) -> Result<ExitCode> {
    let path = flags
        .value("path")
        .context("You must supply a -path argument to recoverLease.")?;
    let retries: u32 = match flags.value("retries") {
        None => 1,
        Some(text) => text.parse().with_context(|| format!("-retries {text}"))?,
    };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let recovered = runtime.block_on(async {
        let fs = FileSystem::new(conf, "", &super::user_name())?;
        let request = RecoverLeaseRequestProto {
            src: full_path(path),
            client_name: fs.options().client_name.clone(),
        };
        for retry in 0..=retries {
            let answer: Result<RecoverLeaseResponseProto, ClientError> =
                fs.call("recoverLease", &request, Idempotence::Idempotent).await;
            if let Err(error) = &answer
                && let Some(exception) = error.remote()
            {
                eprintln!("recoverLease got exception: {}", first_line(&exception.message));
                let tries = if retry == 0 { "try" } else { "tries" };
                eprintln!("Giving up on recoverLease for {path} after {} {tries}", retry + 1);
                return Ok(None);
            }
            if answer?.result {
                return anyhow::Ok(Some(true));
            }
            println!("recoverLease returned false.");
            if retry < retries {
                println!("Retrying in {} ms...", RETRY_PAUSE.as_millis());
                tokio::time::sleep(RETRY_PAUSE).await;
                println!("Retry #{}", retry + 1);
            }
        }
        Ok(Some(false))
    });
    match recovered.map_err(|error| anyhow::anyhow!(explained(conf, &error)))? {
        Some(true) => println!("recoverLease SUCCEEDED on {path}"),
        None => return Ok(ExitCode::FAILURE),
        Some(false) => {
            eprintln!("Giving up on recoverLease for {path} after {} tries.", retries + 1);
            return Ok(ExitCode::FAILURE);
        }
    }
    Ok(ExitCode::SUCCESS)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn flags(pairs: &[(&str, &str)]) -> Flags {
        let owned = |(name, value): &(&str, &str)| ((*name).to_owned(), Some((*value).to_owned()));
        Flags(pairs.iter().map(owned).collect())
    }

    #[test]
    fn metadata_that_is_computed_is_right_until_a_bit_flips() {
        let dir = tempfile::tempdir().unwrap();
        let path = |name: &str| dir.path().join(name).display().to_string();
        let (block, meta) = (path("block"), path("meta"));
        for len in [0, 1, 511, 512, 513, 512 * CHUNKS, 512 * CHUNKS + 1] {
            let mut data: Vec<u8> = (0..len).map(|at| u8::try_from(at % 251).unwrap()).collect();
            std::fs::write(&block, &data).unwrap();
            let _ = std::fs::remove_file(&meta);
            compute_meta(&flags(&[("block", &block), ("out", &meta)])).unwrap();
            let both = flags(&[("block", &block), ("meta", &meta)]);
            verify_meta(&both).unwrap();
            data.push(0);
            std::fs::write(&block, &data).unwrap();
            assert!(verify_meta(&both).is_err(), "longer than {len}");
            data.pop();
            if let Some(last) = data.last_mut() {
                *last ^= 1;
                std::fs::write(&block, &data).unwrap();
                assert!(verify_meta(&both).is_err(), "a bit of {len}");
            }
        }
        assert!(
            compute_meta(&flags(&[("block", &block), ("out", &meta)])).is_err(),
            "replaced"
        );
    }
}
