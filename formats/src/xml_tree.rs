//! XML of Hadoop's offline viewers, read a record at a time: an image or a log does not fit into memory as a tree, one
//! inode or op does.

use std::io::BufRead;
use std::str::FromStr;

use quick_xml::Reader;
use quick_xml::events::Event;

/// Most elements of one record. (A directory of two million children has two million.)
const RECORD_ELEMENTS_MAX: usize = 1 << 24;
/// Most bytes of text of one record.
const RECORD_TEXT_MAX: usize = 1 << 30;
/// Deepest nesting of a record. Hadoop's have five levels.
const DEPTH_MAX: usize = 32;

/// Why an XML file can't be read.
#[derive(Debug, thiserror::Error)]
#[error("at byte {offset}: {problem}")]
pub struct XmlError {
    /// About where, in bytes from the start of the file.
    pub offset: u64,
    /// What is wrong.
    pub problem: String,
}

/// What stands in an XML file next.
#[derive(Debug)]
enum Token {
    Start(String),
    End(String),
    Text(String),
    Eof,
}

/// Reads XML. Text is decoded, and then what Hadoop's writers made of characters that XML can't hold
/// (`XMLUtils.unmangleXmlString`).
pub struct XmlInput<R> {
    reader: Reader<R>,
    buffer: Vec<u8>,
    peeked: Option<Token>,
}

impl<R> std::fmt::Debug for XmlInput<R> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("XmlInput")
    }
}

impl<R: BufRead> XmlInput<R> {
    /// Begins a file.
    pub fn new(source: R) -> XmlInput<R> {
        let mut reader = Reader::from_reader(source);
        reader.config_mut().expand_empty_elements = true;
        XmlInput {
            reader,
            buffer: Vec::new(),
            peeked: None,
        }
    }

    /// An error at the place that was read last.
    pub fn error(&self, problem: impl Into<String>) -> XmlError {
        XmlError {
            offset: self.reader.buffer_position(),
            problem: problem.into(),
        }
    }

    fn token(&mut self) -> Result<Token, XmlError> {
        if let Some(token) = self.peeked.take() {
            return Ok(token);
        }
        loop {
            self.buffer.clear();
            let at = self.reader.buffer_position();
            let error = |problem: String| XmlError { offset: at, problem };
            let event = self
                .reader
                .read_event_into(&mut self.buffer)
                .map_err(|problem| error(format!("not well-formed: {problem}")))?;
            let name = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
            let text = match event {
                Event::Start(start) => return Ok(Token::Start(name(start.local_name().as_ref()))),
                Event::End(end) => return Ok(Token::End(name(end.local_name().as_ref()))),
                Event::Eof => return Ok(Token::Eof),
                // Hadoop's viewer of images writes carriage returns as they are, so ends of lines are left alone.
                Event::Text(text) => text
                    .decode()
                    .map_err(|problem| error(problem.to_string()))?
                    .into_owned(),
                Event::CData(text) => text
                    .decode()
                    .map_err(|problem| error(problem.to_string()))?
                    .into_owned(),
                Event::GeneralRef(reference) => {
                    let name = reference.decode().map_err(|problem| error(problem.to_string()))?;
                    quick_xml::escape::unescape(&format!("&{name};"))
                        .map_err(|problem| error(problem.to_string()))?
                        .into_owned()
                }
                // Neither viewer writes any, and a file from outside shall not define entities.
                Event::DocType(_) => return Err(error("a document type is not allowed".to_owned())),
                Event::Empty(_) | Event::Decl(_) | Event::PI(_) | Event::Comment(_) => continue,
            };
            return Ok(Token::Text(text));
        }
    }

    /// The next token that is no white space. Text is an error: it belongs to no element of its own.
    fn tag(&mut self) -> Result<Token, XmlError> {
        loop {
            match self.token()? {
                Token::Text(text) if text.trim().is_empty() => {}
                Token::Text(text) => {
                    let start: String = text.trim().chars().take(40).collect();
                    return Err(self.error(format!("text between elements: {start:?}")));
                }
                token => return Ok(token),
            }
        }
    }

    /// Enters the next child of the open element and returns its name. `None` at the element's end, which is left then.
    ///
    /// # Errors
    /// When the file can't be read, is no XML, or ends here.
    pub fn open(&mut self) -> Result<Option<String>, XmlError> {
        match self.tag()? {
            Token::Start(name) => Ok(Some(name)),
            Token::End(_) => Ok(None),
            Token::Text(_) | Token::Eof => Err(self.error("the file ends before its elements do")),
        }
    }

    /// Enters the next child, which must have this name.
    ///
    /// # Errors
    /// As [`XmlInput::open`], and when there is none or another.
    pub fn expect(&mut self, name: &str) -> Result<(), XmlError> {
        match self.open()? {
            Some(found) if found == name => Ok(()),
            Some(found) => Err(self.error(format!("<{found}> instead of <{name}>"))),
            None => Err(self.error(format!("<{name}> is missing"))),
        }
    }

    /// Leaves the open element, which must have no more children.
    ///
    /// # Errors
    /// As [`XmlInput::open`], and when there is another child.
    pub fn close(&mut self) -> Result<(), XmlError> {
        match self.open()? {
            None => Ok(()),
            Some(found) => Err(self.error(format!("<{found}> where an element should end"))),
        }
    }

    /// Reads the open element to its end.
    ///
    /// # Errors
    /// As [`XmlInput::open`], and when it is larger than any record.
    pub fn record(&mut self, name: &str) -> Result<Node, XmlError> {
        self.until(name, &[])
    }

    /// Reads children of the open element until one with a name of `stops` or the element's end. With `stops` the element
    /// stays open.
    ///
    /// # Errors
    /// As [`XmlInput::record`].
    pub fn until(&mut self, name: &str, stops: &[&str]) -> Result<Node, XmlError> {
        let mut open = vec![Node::new(name)];
        let (mut elements, mut text_len) = (0_usize, 0_usize);
        loop {
            let depth = open.len();
            let token = self.token()?;
            let Some(node) = open.last_mut() else {
                return Err(self.error("elements do not nest"));
            };
            match token {
                Token::Start(child) if depth == 1 && stops.contains(&child.as_str()) => {
                    self.peeked = Some(Token::Start(child));
                    return open.pop().map(Node::unmangled).unwrap_or_else(|| Ok(Node::new(name)));
                }
                Token::Start(child) => {
                    elements = elements.saturating_add(1);
                    if elements > RECORD_ELEMENTS_MAX || depth >= DEPTH_MAX {
                        return Err(self.error(format!("<{name}> has too many elements")));
                    }
                    open.push(Node::new(&child));
                }
                Token::Text(text) => {
                    text_len = text_len.saturating_add(text.len());
                    if text_len > RECORD_TEXT_MAX {
                        return Err(self.error(format!("<{name}> has too much text")));
                    }
                    node.text.push_str(&text);
                }
                Token::End(end) => {
                    let Some(done) = open.pop() else {
                        return Err(self.error("elements do not nest"));
                    };
                    let Some(parent) = open.last_mut() else {
                        if !stops.is_empty() {
                            self.peeked = Some(Token::End(end));
                        }
                        return done.unmangled();
                    };
                    parent.children.push(done.unmangled()?);
                }
                Token::Eof => return Err(self.error(format!("the file ends inside <{name}>"))),
            }
        }
    }
}

/// An element with everything in it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Node {
    /// Its name.
    pub name: String,
    /// Its text.
    pub text: String,
    children: Vec<Node>,
}

impl Node {
    fn new(name: &str) -> Node {
        Node {
            name: name.to_owned(),
            text: String::new(),
            children: Vec::new(),
        }
    }

    fn unmangled(mut self) -> Result<Node, XmlError> {
        if !self.children.is_empty() {
            if !self.text.trim().is_empty() {
                return Err(self.error(format!("text beside elements: {:?}", self.text.trim())));
            }
            self.text.clear();
        } else if self.text.contains('\\') {
            self.text = unmangle(&self.text).ok_or_else(|| self.error("a backslash without four digits and ';'"))?;
        }
        Ok(self)
    }

    /// An error about this element. Its offset is not known.
    pub fn error(&self, problem: impl std::fmt::Display) -> XmlError {
        XmlError {
            offset: 0,
            problem: format!("<{}>: {problem}", self.name),
        }
    }

    /// Whether a child has this name.
    #[must_use]
    pub fn has(&self, name: &str) -> bool {
        self.children.iter().any(|child| child.name == name)
    }

    /// Takes the first child with this name out.
    pub fn take(&mut self, name: &str) -> Option<Node> {
        let at = self.children.iter().position(|child| child.name == name)?;
        Some(self.children.remove(at))
    }

    /// Takes all children with this name out, in their order.
    pub fn take_all(&mut self, name: &str) -> Vec<Node> {
        let (taken, rest) = std::mem::take(&mut self.children)
            .into_iter()
            .partition(|child| child.name == name);
        self.children = rest;
        taken
    }

    /// Takes the text of a child out.
    pub fn take_text(&mut self, name: &str) -> Option<String> {
        self.take(name).map(|child| child.text)
    }

    /// Takes the text of a child out, which must be there.
    ///
    /// # Errors
    /// When it is not.
    pub fn require_text(&mut self, name: &str) -> Result<String, XmlError> {
        self.take_text(name)
            .ok_or_else(|| self.error(format!("<{name}> is missing")))
    }

    /// Takes the number of a child out.
    ///
    /// # Errors
    /// When it is no number of this type.
    pub fn take_number<T: FromStr>(&mut self, name: &str) -> Result<Option<T>, XmlError> {
        self.take(name).map(|child| child.number()).transpose()
    }

    /// Takes the number of a child out, which must be there.
    ///
    /// # Errors
    /// When it is not, or is no number of this type.
    pub fn require_number<T: FromStr>(&mut self, name: &str) -> Result<T, XmlError> {
        self.take_number(name)?
            .ok_or_else(|| self.error(format!("<{name}> is missing")))
    }

    /// The number that this element's text is.
    ///
    /// # Errors
    /// When it is none.
    pub fn number<T: FromStr>(&self) -> Result<T, XmlError> {
        self.text
            .trim()
            .parse()
            .map_err(|_| self.error(format!("{:?} is not a number, or too large", self.text)))
    }

    /// Ends the reading of this element: every child must have been taken.
    ///
    /// # Errors
    /// When one is left.
    pub fn done(&self) -> Result<(), XmlError> {
        match self.children.first() {
            None => Ok(()),
            Some(child) => Err(self.error(format!("<{}> is not known here", child.name))),
        }
    }
}

/// Bytes of hex digits.
#[must_use]
pub fn from_hex(text: &str) -> Option<Vec<u8>> {
    let digits = text.as_bytes();
    if !digits.len().is_multiple_of(2) || !text.is_ascii() {
        return None;
    }
    digits
        .chunks(2)
        .map(|pair| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok())
        .collect()
}

/// Puts back what `XMLUtils.mangleXmlString` made of characters that XML can't hold: `\ABCD;`.
fn unmangle(text: &str) -> Option<String> {
    let mut out = String::with_capacity(text.len());
    let mut parts = text.split('\\');
    out.push_str(parts.next()?);
    for part in parts {
        let (digits, rest) = part.split_once(';')?;
        out.push(char::from_u32(u32::from_str_radix(digits, 16).ok()?)?);
        out.push_str(rest);
    }
    Some(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn input(text: &str) -> XmlInput<&[u8]> {
        XmlInput::new(text.as_bytes())
    }

    #[test]
    fn records_are_read_one_by_one() {
        let mut xml = input("<?xml version=\"1.0\"?>\n<a><n>1</n><r><x>5</x><x>6</x></r>\n<r/></a>");
        xml.expect("a").unwrap();
        let mut head = xml.until("a", &["r"]).unwrap();
        assert_eq!(head.require_number::<u8>("n").unwrap(), 1);
        head.done().unwrap();
        xml.expect("r").unwrap();
        let mut record = xml.record("r").unwrap();
        let numbers: Vec<u8> = record.take_all("x").iter().map(|x| x.number().unwrap()).collect();
        assert_eq!(numbers, [5, 6]);
        xml.expect("r").unwrap();
        xml.record("r").unwrap().done().unwrap();
        xml.close().unwrap();
    }

    #[test]
    fn a_header_without_records_leaves_its_element_open() {
        let mut xml = input("<a><n>1</n></a>");
        xml.expect("a").unwrap();
        assert!(xml.until("a", &["r"]).unwrap().has("n"));
        xml.close().unwrap();
    }

    #[test]
    fn text_is_what_it_was_before_it_was_written() {
        let mut xml = input("<a><t>x&amp;lt;&#128512;\\0001;\\005c;&lt;\r\n</t><e></e></a>");
        xml.expect("a").unwrap();
        let mut record = xml.record("a").unwrap();
        assert_eq!(record.take_text("t").unwrap(), "x&lt;\u{1F600}\u{1}\\<\r\n");
        assert_eq!(record.take_text("e").unwrap(), "");
        assert!(record.take_text("t").is_none());
    }

    #[test]
    fn what_is_no_record_is_an_error() {
        for bad in [
            "<a><t>1</a>",
            "<a>",
            "<a><t>\\zz;</t></a>",
            "<a><t>\\0001</t></a>",
            "<a>x<t>1</t></a>",
            "<!DOCTYPE a [<!ENTITY b \"c\">]><a>&b;</a>",
            "<a><t>&unknown;</t></a>",
        ] {
            let mut xml = input(bad);
            let read = xml.expect("a").and_then(|()| xml.record("a"));
            assert!(read.is_err(), "{bad}: {read:?}");
        }
        let deep = format!("<a>{}", "<b>".repeat(100));
        let mut xml = input(&deep);
        xml.expect("a").unwrap();
        assert!(xml.record("a").unwrap_err().problem.contains("too many"));
    }
}
