//! Ops as the XML of Hadoop's offline edits viewer (`XmlEditsVisitor`, `FSEditLogOp.toXml`).

use std::fmt::{self, Display, Write};

use crate::ids::LayoutVersion;

/// Spaces per level.
const INDENT: usize = 2;

/// Writes an XML document of edits, op by op.
#[derive(Debug)]
pub struct XmlWriter<W> {
    out: W,
    depth: usize,
}

impl<W: Write> XmlWriter<W> {
    /// Starts the document.
    pub fn new(mut out: W, layout: LayoutVersion) -> Result<XmlWriter<W>, fmt::Error> {
        out.write_str("<?xml version=\"1.0\" encoding=\"UTF-8\" standalone=\"yes\"?>\n<EDITS>\n")?;
        let mut writer = XmlWriter { out, depth: 1 };
        writer.leaf("EDITS_VERSION", layout)?;
        Ok(writer)
    }

    /// Ends the document and hands the output back.
    pub fn finish(mut self) -> Result<W, fmt::Error> {
        self.close("EDITS")?;
        Ok(self.out)
    }

    fn indent(&mut self) -> fmt::Result {
        write!(self.out, "{:1$}", "", self.depth.saturating_mul(INDENT))
    }

    pub(super) fn open(&mut self, name: &str) -> fmt::Result {
        self.indent()?;
        self.depth = self.depth.saturating_add(1);
        writeln!(self.out, "<{name}>")
    }

    pub(super) fn close(&mut self, name: &str) -> fmt::Result {
        self.depth = self.depth.saturating_sub(1);
        self.indent()?;
        writeln!(self.out, "</{name}>")
    }

    /// An element that holds a number or another value without special characters.
    pub(super) fn leaf(&mut self, name: &str, value: impl Display) -> fmt::Result {
        self.indent()?;
        writeln!(self.out, "<{name}>{value}</{name}>")
    }

    /// An element that holds text.
    pub(super) fn text(&mut self, name: &str, value: &str) -> fmt::Result {
        self.indent()?;
        if value.is_empty() {
            return writeln!(self.out, "<{name}/>");
        }
        write!(self.out, "<{name}>")?;
        put_mangled(&mut self.out, value)?;
        writeln!(self.out, "</{name}>")
    }
}

/// Bytes as hex digits.
pub(super) struct Hex<'a>(pub(super) &'a [u8]);

impl Display for Hex<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

/// Text as Hadoop puts it into XML (`XMLUtils.mangleXmlString`). Characters that XML can't hold, and the backslash,
/// become `\ABCD;`. The rest is escaped.
fn put_mangled(out: &mut impl Write, text: &str) -> fmt::Result {
    for c in text.chars() {
        match c {
            '\t' | '\n' => out.write_char(c)?,
            // Java's serializer writes these as references, because its own readers would change them.
            '\r' | '\x7F'..='\u{9F}' | '\u{10000}'.. => write!(out, "&#{};", u32::from(c))?,
            '\0'..='\x1F' | '\\' | '\u{FFFE}' | '\u{FFFF}' => write!(out, "\\{:04x};", u32::from(c))?,
            '<' => out.write_str("&lt;")?,
            '>' => out.write_str("&gt;")?,
            '&' => out.write_str("&amp;")?,
            _ => out.write_char(c)?,
        }
    }
    Ok(())
}
