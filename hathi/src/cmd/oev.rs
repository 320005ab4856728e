//! `hathi oev`: the offline edits viewer, with the options of `hdfs oev`.

use anyhow::{Context, Result, bail};
use hathi_formats::editlog::{
    EditOp, EditsXml, Frames, OpCode, SEGMENT_HEADER_LEN, ScanEnd, SegmentHeader, XmlWriter, decode_frame, encode,
};
use hathi_formats::ids::{LayoutVersion, TxId};
use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::{BufReader, Write};
use std::process::ExitCode;

const USAGE: &str = "usage: hathi oev -i EDITS -o OUTPUT [-p PROCESSOR] [-f] [-r] [-v]
  -i, --inputFile FILE    edits file, or with a name that ends in .xml the XML of one
  -o, --outputFile FILE   output; - is the standard output
  -p, --processor NAME    xml (default), stats; of XML: stats, binary
  -f, --fix-txids         number the transactions anew, without gaps
  -r, --recover           leave out what is damaged
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

/// Status of a wrong command line or input, Java's -1.
const FAILED: u8 = 255;

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
    let processor = options.processor.as_deref().unwrap_or("xml").to_ascii_lowercase();
    if options.verbose {
        println!(
            "input  [{}]\noutput [{}]\nprocessor [{processor}]",
            input.display(),
            output.display()
        );
    }
    // As in Hadoop the name of a file says what is in it.
    let is_xml = input.to_string_lossy().to_ascii_lowercase().ends_with(".xml");
    let same = match (processor.as_str(), is_xml) {
        ("xml", true) => Some("XML"),
        ("binary", false) => Some("Binary"),
        _ => None,
    };
    if let Some(format) = same {
        eprintln!("{format} format input file is not allowed to be processed by {format} processor.");
        return Ok(ExitCode::from(FAILED));
    }
    let mut visitor = Visitor::new(&processor)?;
    let result = if is_xml {
        visit_xml(input, &options, &mut visitor)
    } else {
        visit_binary(input, &options, &mut visitor)
    };
    // The ops before a damaged place are printed as well.
    let text = visitor.finish()?;
    if output == "-" {
        crate::output::Stdout.write_all(&text)?;
    } else {
        std::fs::write(output, &text).with_context(|| format!("cannot write {}", output.display()))?;
    }
    match result {
        Ok(()) => Ok(ExitCode::SUCCESS),
        Err(error) => {
            eprintln!("Encountered exception. Exiting: {}: {error:#}", input.display());
            Ok(ExitCode::from(FAILED))
        }
    }
}

/// The binary log in a file.
fn visit_binary(input: &OsStr, options: &Options, visitor: &mut Visitor) -> Result<()> {
    let data = std::fs::read(input).context("cannot read")?;
    let layout = SegmentHeader::decode(&data)
        .context("not a binary edit log")?
        .layout_version;
    visitor.start(layout)?;
    let mut frames = Frames::new(
        data.get(SEGMENT_HEADER_LEN..).unwrap_or_default(),
        SEGMENT_HEADER_LEN as u64,
    );
    let mut next = None;
    loop {
        let visited = match frames.next_frame() {
            Ok(Some(frame)) => {
                let txid = renumbered(frame.txid, &mut next, options);
                if visitor.needs_op() {
                    let op = decode_frame(&frame, layout);
                    op.with_context(|| format!("op at byte {}", frame.offset))
                        .and_then(|op| visitor.op(txid, &op))
                } else {
                    visitor.count(frame.code);
                    Ok(())
                }
            }
            Ok(None) => {
                if options.verbose && frames.end() == Some(ScanEnd::Padding) {
                    println!("padding begins at byte {}", frames.good_until());
                }
                return Ok(());
            }
            Err(error) if options.recover => {
                eprintln!("Got IOException while reading stream!  Resyncing. {error}");
                if !frames.resync() {
                    return Ok(());
                }
                Ok(())
            }
            Err(error) => return Err(error.into()),
        };
        match visited {
            Err(error) if options.recover => eprintln!("left out: {error:#}"),
            visited => visited?,
        }
    }
}

/// The log whose XML is in a file.
fn visit_xml(input: &OsStr, options: &Options, visitor: &mut Visitor) -> Result<()> {
    let file = File::open(input).context("cannot read")?;
    let mut edits = EditsXml::new(BufReader::new(file))?;
    visitor.start(edits.layout())?;
    let mut next = None;
    while let Some((txid, op)) = edits.next_op()? {
        let txid = renumbered(txid, &mut next, options);
        visitor.count(op.code());
        visitor.op(txid, &op)?;
    }
    Ok(())
}

fn renumbered(txid: TxId, next: &mut Option<TxId>, options: &Options) -> TxId {
    let txid = if options.fix_txids { next.unwrap_or(txid) } else { txid };
    *next = Some(txid.next());
    txid
}

/// What becomes of the ops.
enum Visitor {
    Xml(Option<XmlWriter<String>>),
    Stats(Option<LayoutVersion>, BTreeMap<OpCode, u64>),
    Binary(Vec<u8>),
}

impl Visitor {
    fn new(processor: &str) -> Result<Visitor> {
        Ok(match processor {
            "xml" => Visitor::Xml(None),
            "stats" => Visitor::Stats(None, BTreeMap::new()),
            "binary" => Visitor::Binary(Vec::new()),
            other => bail!("unknown processor {other}\n{USAGE}"),
        })
    }

    fn start(&mut self, layout: LayoutVersion) -> Result<()> {
        match self {
            Visitor::Xml(writer) => *writer = Some(XmlWriter::new(String::new(), layout)?),
            Visitor::Stats(of, _) => *of = Some(layout),
            // Java's tool writes its own layout, whatever the XML says.
            Visitor::Binary(out) => out.extend_from_slice(&SegmentHeader::CURRENT.encode()),
        }
        Ok(())
    }

    /// Whether ops are decoded. A count needs only their codes, so it also takes ops that are not known.
    fn needs_op(&self) -> bool {
        !matches!(self, Visitor::Stats(..))
    }

    fn count(&mut self, code: OpCode) {
        if let Visitor::Stats(_, counts) = self {
            *counts.entry(code).or_default() += 1;
        }
    }

    fn op(&mut self, txid: TxId, op: &EditOp) -> Result<()> {
        match self {
            Visitor::Xml(writer) => match writer {
                Some(writer) => Ok(writer.op(txid, op)?),
                None => Ok(()),
            },
            Visitor::Stats(..) => Ok(()),
            Visitor::Binary(out) => Ok(encode(out, txid, op)?),
        }
    }

    fn finish(self) -> Result<Vec<u8>> {
        match self {
            Visitor::Xml(Some(writer)) => Ok(writer.finish()?.into_bytes()),
            Visitor::Xml(None) | Visitor::Stats(None, _) => Ok(Vec::new()),
            Visitor::Stats(Some(layout), counts) => {
                let mut out = Vec::new();
                writeln!(out, "    {:<30}      : {layout}", "VERSION")?;
                for code in OpCode::ALL {
                    let count = counts.get(code).copied().unwrap_or_default();
                    // Java's opcodes are signed, and its column is 30 wide.
                    let name: String = code.name().unwrap_or_default().chars().take(30).collect();
                    writeln!(out, "    {name:<30} ({:3}): {count}", code.0.cast_signed())?;
                }
                Ok(out)
            }
            Visitor::Binary(out) => Ok(out),
        }
    }
}
