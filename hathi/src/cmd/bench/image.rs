//! `hathi bench image`: how fast an image is saved and loaded.

use crate::cmd::resident_bytes;
use anyhow::{Context, Result, bail};
use clap::Args;
use hathi_formats::fsimage::{MD5_SUFFIX, format_md5_file};
use hathi_formats::ids::LayoutVersion;
use hathi_namenode::load::load_namespace;
use hathi_namenode::startup::LoadProgress;
use hathi_namespace::{Namespace, NamespaceConfig, generator};
use std::fs::File;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Instant;

#[derive(Args, Debug)]
pub(super) struct ImageArgs {
    /// Files in the image.
    #[arg(long, default_value_t = 1_000_000)]
    files: u64,
    /// Where the image is written; it is removed afterwards.
    #[arg(long, default_value = "hathi-bench.fsimage")]
    file: PathBuf,
    /// The image stays, with its MD5 file, as image 0 of this namespaceID; it is not loaded.
    #[arg(long)]
    keep_for: Option<u32>,
}

pub(super) fn run(args: ImageArgs) -> Result<ExitCode> {
    let mut namespace = Namespace::new(NamespaceConfig::default());
    let shape = generator::Shape {
        files: args.files,
        ..generator::Shape::default()
    };
    generator::fill(&mut namespace, &shape, &mut |_, _, _| {}).map_err(|refused| anyhow::anyhow!("{refused:?}"))?;
    let inodes = namespace.inode_count();
    if let Some(namespace_id) = args.keep_for {
        namespace.set_namespace_id(namespace_id);
        // The image stands at the beginning of a journal that has no transaction yet.
        namespace.set_last_applied_txid(0);
    }
    let started = Instant::now();
    let file = File::create(&args.file)?;
    let (file, summary) = namespace
        .freeze()
        .save(file, LayoutVersion::NAMENODE_CURRENT, &|| false)?;
    file.sync_all()?;
    let saved = started.elapsed().as_secs_f64();
    drop(namespace);
    if args.keep_for.is_some() {
        let name = args
            .file
            .file_name()
            .context("--file: it has no name")?
            .to_string_lossy();
        let digest = format_md5_file(&summary.md5, &name);
        std::fs::write(args.file.with_file_name(format!("{name}{MD5_SUFFIX}")), digest)?;
        println!(
            "files {} image {} bytes, saved and synced in {saved:.2} s",
            args.files, summary.len_bytes
        );
        return Ok(ExitCode::SUCCESS);
    }
    let before = resident_bytes();
    let started = Instant::now();
    let loaded = load_namespace(
        NamespaceConfig::default(),
        &File::open(&args.file)?,
        &LoadProgress::default(),
    )?;
    let load = started.elapsed().as_secs_f64();
    println!(
        "files {} image {} bytes, saved and synced in {saved:.2} s, loaded in {load:.2} s ({:.2} M inodes/s), resident grew by {} bytes",
        args.files,
        summary.len_bytes,
        inodes as f64 / load / 1e6,
        resident_bytes().saturating_sub(before)
    );
    std::fs::remove_file(&args.file)?;
    if loaded.inode_count() != inodes {
        bail!("{} inodes were saved and {} loaded", inodes, loaded.inode_count());
    }
    Ok(ExitCode::SUCCESS)
}
