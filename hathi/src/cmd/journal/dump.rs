//! `hathi journal dump`: edits as lines for people.

use std::io::{self, BufWriter, Write};
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context, Result};
use clap::Args;
use hathi_formats::editlog::{EditOp, Frame, Frames, SEGMENT_HEADER_LEN, SegmentHeader, XmlWriter, decode_frame};
use hathi_formats::ids::{LayoutVersion, TxId};

use super::segments::of_path;

#[derive(Args)]
pub struct Dump {
    /// A segment, or a directory of a JournalNode or NameNode
    path: PathBuf,
    /// Begin with this transaction
    #[arg(long, value_name = "TXID", default_value_t = 0)]
    from: u64,
}

impl Dump {
    pub fn run(&self) -> Result<ExitCode> {
        let mut out = BufWriter::new(io::stdout().lock());
        let mut code = ExitCode::SUCCESS;
        for (name, path) in of_path(&self.path)? {
            if name.end.is_some_and(|end| end.0 < self.from) {
                continue;
            }
            let data = std::fs::read(&path).with_context(|| format!("cannot read {}", path.display()))?;
            let written = match SegmentHeader::decode(&data) {
                Ok(header) => {
                    writeln!(out, "# {} layout {}", path.display(), header.layout_version)?;
                    dump(&mut out, &data, header.layout_version, TxId(self.from))
                }
                Err(error) => Ok(Some(error.to_string())),
            };
            match written {
                Ok(None) => {}
                Ok(Some(bad)) => {
                    // Behind the lines that could be read.
                    if let Err(error) = out.flush() {
                        return ended(error, code);
                    }
                    eprintln!("{}: {bad}", path.display());
                    code = ExitCode::from(1);
                }
                Err(error) => return ended(error, code),
            }
        }
        match out.flush() {
            Ok(()) => Ok(code),
            Err(error) => ended(error, code),
        }
    }
}

/// The end when nothing more can be printed. That the reader, for example a pager, has gone is no error.
fn ended(error: io::Error, code: ExitCode) -> Result<ExitCode> {
    match error.kind() {
        io::ErrorKind::BrokenPipe => Ok(code),
        _ => Err(error.into()),
    }
}

/// Prints a segment up to its end or to the first unreadable place, which is returned.
fn dump(out: &mut impl Write, data: &[u8], layout: LayoutVersion, from: TxId) -> io::Result<Option<String>> {
    let body = data.get(SEGMENT_HEADER_LEN..).unwrap_or_default();
    let mut frames = Frames::new(body, SEGMENT_HEADER_LEN as u64);
    loop {
        match frames.next_frame() {
            Ok(Some(frame)) if frame.txid < from => {}
            Ok(Some(frame)) => writeln!(out, "{}", line(&frame, layout))?,
            Ok(None) => return Ok(None),
            Err(error) => return Ok(Some(error.to_string())),
        }
    }
}

fn line(frame: &Frame<'_>, layout: LayoutVersion) -> String {
    match decode_frame(frame, layout) {
        Ok(op) => format!("{} @{} {}", frame.txid, frame.offset, flat(frame.txid, &op, layout)),
        Err(error) => format!("{} @{} op {}: {error}", frame.txid, frame.offset, frame.code.0),
    }
}

/// The offline edits viewer's elements on one line: `OP_MKDIR PATH=/a PERMISSION_STATUS { USERNAME=hdfs }`.
fn flat(txid: TxId, op: &EditOp, layout: LayoutVersion) -> String {
    let xml = XmlWriter::new(String::new(), layout).and_then(|mut writer| {
        writer.op(txid, op)?;
        writer.finish()
    });
    let xml = xml.unwrap_or_default();
    let mut words = Vec::new();
    let data = xml
        .lines()
        .map(str::trim)
        .skip_while(|line| *line != "<RECORD>")
        .skip(1);
    for line in data {
        let Some((element, rest)) = line.strip_prefix('<').and_then(|line| line.split_once('>')) else {
            words.push(line.to_owned());
            continue;
        };
        match (element, rest.rsplit_once("</")) {
            ("DATA" | "/DATA" | "/RECORD" | "/EDITS", _) => {}
            ("TXID" | "LENGTH", Some(_)) => {}
            ("OPCODE", Some((code, _))) => words.push(code.to_owned()),
            (name, Some((value, _))) => words.push(format!("{name}={value}")),
            (name, None) if name.starts_with('/') => words.push("}".to_owned()),
            (name, None) => match name.strip_suffix('/') {
                Some(name) => words.push(format!("{name}=")),
                None => words.push(format!("{name} {{")),
            },
        }
    }
    words.join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_op_is_one_line() {
        let op = EditOp::Delete {
            path: "/a <b>".into(),
            time: 7,
            rpc_ids: Default::default(),
        };
        let line = flat(TxId(3), &op, LayoutVersion::NAMENODE_CURRENT);
        assert!(line.starts_with("OP_DELETE PATH=/a "), "{line}");
        assert!(line.contains("TIMESTAMP=7"), "{line}");
        assert!(!line.contains('\n'));
    }
}
