//! Ops of the XML that Hadoop's offline edits viewer writes (`OfflineEditsXmlLoader`).

use std::io::BufRead;

use super::table::{EditOp, OpCode};
use crate::ids::{LayoutVersion, TxId};
use crate::xml_tree::{XmlError, XmlInput};

/// Reads the XML of a log, op by op. Fields that the viewer does not print are 0 or empty, as in Hadoop.
#[derive(Debug)]
pub struct EditsXml<R> {
    xml: XmlInput<R>,
    layout: LayoutVersion,
}

impl<R: BufRead> EditsXml<R> {
    /// Reads the head.
    ///
    /// # Errors
    /// When it is no XML of edits.
    pub fn new(source: R) -> Result<EditsXml<R>, XmlError> {
        let mut xml = XmlInput::new(source);
        xml.expect("EDITS")?;
        let layout = xml.until("EDITS", &["RECORD"])?.require_number("EDITS_VERSION")?;
        Ok(EditsXml {
            xml,
            layout: LayoutVersion(layout),
        })
    }

    /// The layout of the log from which the XML was made.
    #[must_use]
    pub fn layout(&self) -> LayoutVersion {
        self.layout
    }

    /// The next op, or `None` at the end.
    ///
    /// # Errors
    /// When the file can't be read, or an element is missing, unknown or wrong.
    pub fn next_op(&mut self) -> Result<Option<(TxId, EditOp)>, XmlError> {
        match self.xml.open()?.as_deref() {
            None => return Ok(None),
            Some("RECORD") => {}
            Some(other) => return Err(self.xml.error(format!("<{other}> instead of <RECORD>"))),
        }
        let mut record = self.xml.record("RECORD")?;
        let at = |error: XmlError| self.xml.error(format!("just before: {}", error.problem));
        let name = record.require_text("OPCODE").map_err(at)?;
        let code = OpCode::ALL
            .iter()
            .find(|code| code.name() == Some(name.as_str()))
            .ok_or_else(|| self.xml.error(format!("{name} is no opcode")))?;
        let mut data = record.take("DATA").ok_or_else(|| self.xml.error("<DATA> is missing"))?;
        let txid = data.require_number("TXID").map_err(at)?;
        let op = EditOp::parse(*code, &mut data).map_err(at)?;
        data.done().and_then(|()| record.done()).map_err(at)?;
        Ok(Some((TxId(txid), op)))
    }
}
