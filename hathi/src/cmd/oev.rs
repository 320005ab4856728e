//! `hathi oev`: the offline edits viewer, with the options of `hdfs oev`.

use anyhow::{Context, Result, bail};
use hathi_formats::editlog::{
    Frames, OpCode, SEGMENT_HEADER_LEN, ScanEnd, SegmentHeader, XmlWriter, decode_frame, encode_for_layout,
};
use hathi_formats::ids::{LayoutVersion, TxId};
use std::collections::BTreeMap;
use std::ffi::OsString;
use std::io::Write;
use std::process::ExitCode;

const USAGE: &str = "usage: hathi oev -i EDITS -o OUTPUT [-p PROCESSOR] [-f] [-r] [-v]
  -i, --inputFile FILE    edits file
  -o, --outputFile FILE   output; - is the standard output
  -p, --processor NAME    xml (default), stats, binary
  -f, --fix-txids         number the transactions anew, without gaps
  -r, --recover           leave out what is damaged at the end
  -v, --verbose           name the files and say how the log ends
  -h, --help              this text";

#[derive(Default)]
struct Options {
    input: Option<OsString>,
    output: Option<OsString>,
    processor: Option<String>,
    fix_txids: bool,
    recover: bool,
    verbose: bool,
}

/// How the command is used.
pub fn usage() -> String {
    format!("{USAGE}\n")
}

/// Runs the command.
pub fn run(args: Vec<OsString>) -> Result<ExitCode> {
    let mut options = Options::default();
    let mut args = args.into_iter();
    while let Some(arg) = args.next() {
        let arg = arg.to_string_lossy().into_owned();
        match arg.as_str() {
            "-h" | "--help" | "-help" => {
                println!("{USAGE}");
                return Ok(ExitCode::SUCCESS);
            }
            "-f" | "--fix-txids" => options.fix_txids = true,
            "-r" | "--recover" => options.recover = true,
            "-v" | "--verbose" => options.verbose = true,
            "-i" | "--inputFile" => options.input = args.next(),
            "-o" | "--outputFile" => options.output = args.next(),
            "-p" | "--processor" => options.processor = args.next().map(|name| name.to_string_lossy().into_owned()),
            other => bail!("unknown option {other}\n{USAGE}"),
        }
    }
    let (Some(input), Some(output)) = (&options.input, &options.output) else {
        bail!("-i and -o are needed\n{USAGE}");
    };
    let data = std::fs::read(input).with_context(|| format!("cannot read {}", input.display()))?;
    let processor = options.processor.as_deref().unwrap_or("xml").to_ascii_lowercase();
    if options.verbose {
        println!(
            "input  [{}]\noutput [{}]\nprocessor [{processor}]",
            input.display(),
            output.display()
        );
    }
    let mut text = Vec::new();
    let result = process(&data, &processor, &options, &mut text);
    // The ops before a damaged place are printed as well.
    if output == "-" {
        crate::output::Stdout.write_all(&text)?;
    } else {
        std::fs::write(output, &text).with_context(|| format!("cannot write {}", output.display()))?;
    }
    result?;
    Ok(ExitCode::SUCCESS)
}

fn process(data: &[u8], processor: &str, options: &Options, out: &mut Vec<u8>) -> Result<()> {
    let layout = SegmentHeader::decode(data)
        .context("not a binary edit log")?
        .layout_version;
    let frames = Frames::new(
        data.get(SEGMENT_HEADER_LEN..).unwrap_or_default(),
        SEGMENT_HEADER_LEN as u64,
    );
    match processor {
        "xml" => xml(frames, layout, options, out),
        "stats" => stats(frames, layout, options, out),
        "binary" => binary(frames, layout, options, out),
        other => bail!("unknown processor {other}\n{USAGE}"),
    }
}

/// Calls `each` for every op with its txid.
fn for_each(
    mut frames: Frames<'_>,
    options: &Options,
    mut each: impl FnMut(TxId, &hathi_formats::editlog::Frame<'_>) -> Result<()>,
) -> Result<()> {
    let mut next = None;
    loop {
        match frames.next_frame() {
            Ok(Some(frame)) => {
                let txid = if options.fix_txids {
                    next.unwrap_or(frame.txid)
                } else {
                    frame.txid
                };
                next = Some(txid.next());
                each(txid, &frame)?;
            }
            Ok(None) => {
                if options.verbose && frames.end() == Some(ScanEnd::Padding) {
                    println!("padding begins at byte {}", frames.good_until());
                }
                return Ok(());
            }
            Err(error) if options.recover && frames.is_torn_tail() => {
                eprintln!("left out: {error}");
                return Ok(());
            }
            Err(error) => return Err(error.into()),
        }
    }
}

fn xml(frames: Frames<'_>, layout: LayoutVersion, options: &Options, out: &mut Vec<u8>) -> Result<()> {
    let mut writer = XmlWriter::new(String::new(), layout)?;
    let result = for_each(frames, options, |txid, frame| {
        let op = decode_frame(frame, layout).with_context(|| format!("op at byte {}", frame.offset))?;
        Ok(writer.op(txid, &op)?)
    });
    out.extend_from_slice(writer.finish()?.as_bytes());
    result
}

fn stats(frames: Frames<'_>, layout: LayoutVersion, options: &Options, out: &mut Vec<u8>) -> Result<()> {
    let mut counts: BTreeMap<OpCode, u64> = BTreeMap::new();
    let result = for_each(frames, options, |_, frame| {
        *counts.entry(frame.code).or_default() += 1;
        Ok(())
    });
    writeln!(out, "    {:<30}      : {layout}", "VERSION")?;
    for code in OpCode::ALL {
        let count = counts.get(code).copied().unwrap_or_default();
        // Java's opcodes are signed, and its column is 30 wide.
        let name: String = code.name().unwrap_or_default().chars().take(30).collect();
        writeln!(out, "    {name:<30} ({:3}): {count}", code.0.cast_signed())?;
    }
    result
}

fn binary(frames: Frames<'_>, layout: LayoutVersion, options: &Options, out: &mut Vec<u8>) -> Result<()> {
    out.extend_from_slice(&SegmentHeader { layout_version: layout }.encode());
    for_each(frames, options, |txid, frame| {
        let op = decode_frame(frame, layout).with_context(|| format!("op at byte {}", frame.offset))?;
        encode_for_layout(out, txid, &op, layout)?;
        Ok(())
    })
}
