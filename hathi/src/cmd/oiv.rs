//! `hathi oiv`: the offline image viewer, with the options of `hdfs oiv`. All of it works on the file, not on a namespace,
//! so any image prints that has Hadoop's sections, whatever our NameNode makes of it.

mod corruption;
mod delimited;
mod distribution;
mod tree;
mod web;

use anyhow::{Context, Result, bail};
use hathi_formats::fsimage::{Image, MD5_SUFFIX, format_md5_file, image_from_xml, write_xml};
use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::{BufReader, BufWriter, Write};
use std::path::Path;
use std::process::ExitCode;

const USAGE: &str = "usage: hathi oiv -i FILE [-o OUTPUT] [-p PROCESSOR] [OPTION]...
  -i, --inputFile FILE    fsimage, or XML for ReverseXML
  -o, --outputFile FILE   output; - (default) is the standard output
  -p, --processor NAME    one of:
       XML                every element of the image as XML
       ReverseXML         an image of that XML, with OUTPUT.md5 beside it
       FileDistribution   how many files have which size
       Delimited          a table with a line for each inode
       DetectCorruption   inodes that directories name and the image does not have
       Web (default)      read-only WebHDFS
  -addr HOST:PORT         Web: where it listens, by default localhost:5978
  -maxSize BYTES          FileDistribution: the largest size that is told apart, by default 128 GiB
  -step BYTES             FileDistribution: width of a step, by default 2 MiB
  -format                 FileDistribution: sizes with units
  -delimiter TEXT         Delimited, DetectCorruption: between the columns, by default a tab
  -sp                     Delimited: also the storage policy
  -ec                     Delimited: also the erasure coding policy
  -t, --temp DIR          for Hadoop's scripts: nothing is kept in files here
  -m, --multiThread N     for Hadoop's scripts: one thread is used
  -h, --help              this text";

/// Status of a wrong command line or input, Java's -1.
const FAILED: u8 = 255;

struct Options {
    input: Option<OsString>,
    output: OsString,
    processor: String,
    address: String,
    delimiter: String,
    storage_policy: bool,
    erasure_coding: bool,
    max_size: u64,
    step: u64,
    format: bool,
}

/// How the command is used.
pub fn usage() -> String {
    format!("{USAGE}\n")
}

/// How the viewer of images before Hadoop 2.4 is used.
pub fn legacy_usage() -> String {
    "usage: hathi oiv_legacy\nImages of Hadoop before 2.4 are not read. Hadoop's own oiv_legacy reads them.\n"
        .to_owned()
}

/// Refuses `oiv_legacy` by its name.
pub fn legacy(_: Vec<OsString>) -> Result<ExitCode> {
    bail!(
        "oiv_legacy reads images of Hadoop before 2.4, which hathi does not read; Hadoop's own oiv_legacy does. For other \
         images there is hathi oiv"
    )
}

/// Runs the command.
pub fn run(args: Vec<OsString>) -> Result<ExitCode> {
    if args.is_empty() || matches!(args.as_slice(), [only] if ["-h", "--help", "-help"].iter().any(|help| only == help))
    {
        println!("{USAGE}");
        return Ok(ExitCode::SUCCESS);
    }
    let options = match parse(args) {
        Ok(options) => options,
        Err(error) => {
            println!("Error parsing command-line options: {error:#}\n{USAGE}");
            return Ok(ExitCode::from(FAILED));
        }
    };
    match show(&options) {
        Ok(code) => Ok(code),
        Err(error) => {
            eprintln!("Encountered exception.  Exiting: {error:#}");
            Ok(ExitCode::from(FAILED))
        }
    }
}

fn parse(args: Vec<OsString>) -> Result<Options> {
    let mut options = Options {
        input: None,
        output: "-".into(),
        processor: "Web".to_owned(),
        address: "localhost:5978".to_owned(),
        delimiter: "\t".to_owned(),
        storage_policy: false,
        erasure_coding: false,
        max_size: 0,
        step: 0,
        format: false,
    };
    let mut args = args.into_iter();
    while let Some(arg) = args.next() {
        let arg = arg.to_string_lossy().into_owned();
        let mut value = || args.next().with_context(|| format!("{arg} needs a value"));
        let text = |value: OsString| value.to_string_lossy().into_owned();
        match arg.as_str() {
            "-sp" => options.storage_policy = true,
            "-ec" => options.erasure_coding = true,
            "-format" => options.format = true,
            "-i" | "--inputFile" | "-inputFile" => options.input = Some(value()?),
            "-o" | "--outputFile" | "-outputFile" => options.output = value()?,
            "-p" | "--processor" | "-processor" => options.processor = text(value()?),
            "-addr" => options.address = text(value()?),
            "-delimiter" => options.delimiter = text(value()?),
            "-maxSize" => options.max_size = text(value()?).parse().context("-maxSize")?,
            "-step" => options.step = text(value()?).parse().context("-step")?,
            "-t" | "--temp" => drop(value()?),
            "-m" | "--multiThread" => {
                let _: u32 = text(value()?).parse().context("-m")?;
            }
            "-h" | "--help" => bail!("-h is not given with other options"),
            other => bail!("Unrecognized option: {other}"),
        }
    }
    if options.input.is_none() {
        bail!("Missing required option: i");
    }
    Ok(options)
}

fn show(options: &Options) -> Result<ExitCode> {
    let processor = options.processor.to_ascii_lowercase();
    let input = options.input.as_deref().unwrap_or_default();
    match processor.as_str() {
        "reversexml" => return reverse(input, &options.output),
        "xml" | "filedistribution" | "delimited" | "detectcorruption" | "web" => {}
        _ => {
            eprintln!("Invalid processor specified : {}", options.processor);
            println!("{USAGE}");
            return Ok(ExitCode::from(FAILED));
        }
    }
    let file = File::open(input).with_context(|| format!("cannot open {}", input.display()))?;
    let image = Image::open(&file).with_context(|| input.display().to_string())?;
    if processor == "web" {
        web::serve(&image, &options.address)?;
        return Ok(ExitCode::SUCCESS);
    }
    let mut out: Box<dyn Write> = if options.output == "-" {
        Box::new(BufWriter::new(crate::output::Stdout))
    } else {
        let path = &options.output;
        let file = File::create(path).with_context(|| format!("cannot create {}", path.display()))?;
        Box::new(BufWriter::new(file))
    };
    let named = || input.display().to_string();
    match processor.as_str() {
        "xml" => write_xml(&image, concat!("hathi-", env!("CARGO_PKG_VERSION")), &mut out).with_context(named)?,
        "delimited" => delimited::write(&image, options, &mut out).with_context(named)?,
        "filedistribution" => distribution::write(&image, options, &mut out).with_context(named)?,
        _ => corruption::write(&image, options, &mut out).with_context(named)?,
    }
    out.flush()?;
    Ok(ExitCode::SUCCESS)
}

/// Makes an image of XML, and the file with its MD5. A failure leaves neither behind.
fn reverse(input: &OsStr, output: &OsStr) -> Result<ExitCode> {
    if output == "-" {
        bail!("ReverseXML needs -o: an image and the file with its MD5 are written");
    }
    let source = File::open(input).with_context(|| format!("cannot open {}", input.display()))?;
    let file = File::create(output).with_context(|| format!("cannot create {}", output.display()))?;
    let made = image_from_xml(BufReader::new(source), BufWriter::new(file));
    let (_, summary) = match made {
        Ok(made) => made,
        Err(error) => {
            eprintln!("OfflineImageReconstructor failed: {}: {error}", input.display());
            std::fs::remove_file(output)?;
            return Ok(ExitCode::FAILURE);
        }
    };
    let name = Path::new(output).file_name().unwrap_or(output).to_string_lossy();
    let mut beside = output.to_owned();
    beside.push(MD5_SUFFIX);
    std::fs::write(&beside, format_md5_file(&summary.md5, &name))
        .with_context(|| format!("cannot write {}", beside.display()))?;
    Ok(ExitCode::SUCCESS)
}
