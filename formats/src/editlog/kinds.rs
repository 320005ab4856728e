//! Kinds of fields that are lists, tokens and protobuf messages.

use std::fmt::{self, Write};

use prost::Message as _;

use super::field::{Field, Pair, Parsed};
#[cfg(test)]
use super::source::Source;
use super::values::{
    AclEntry, AclEntryScope, AclEntryType, RenameOption, XAttr, XAttrNamespace, fs_action_bits, fs_action_symbol,
};
use super::wire::{DecodeError, EncodeError, Encoded, Input, Output, check_str, check_unsigned};
use super::xml::{Hex, XmlWriter};
use crate::ids::{Block, BlockId, GenerationStamp};
use crate::proto::hdfs as pb;
use crate::wire::{delimited_len, put_bytes, put_head, put_number, put_varint};
use crate::xml_tree::{Node, from_hex};

/// An element of a list whose length is Java's `int`. The list is a kind of field.
pub(super) trait Element: Sized {
    /// Fewest bytes of an element.
    const BYTES_MIN: usize;

    fn put(&self, out: &mut Output<'_>) -> Encoded;

    fn read(input: &mut Input<'_>) -> Result<Self, DecodeError>;

    fn print_all<W: Write>(list: &[Self], name: &str, xml: &mut XmlWriter<W>) -> fmt::Result;

    /// Takes what [`Element::print_all`] prints out of the elements of an op.
    fn parse_all(node: &mut Node, name: &str) -> Parsed<Vec<Self>>;

    #[cfg(test)]
    fn any(source: &mut Source) -> Self;
}

impl<T: Element> Field for Vec<T> {
    type Value = Vec<T>;

    fn put(list: &Vec<T>, out: &mut Output<'_>) -> Encoded {
        out.len(list.len())?;
        list.iter().try_for_each(|element| element.put(out))
    }

    fn read(input: &mut Input<'_>) -> Result<Vec<T>, DecodeError> {
        let count = i64::from(input.i32()?);
        let count = input.count(count, T::BYTES_MIN)?;
        (0..count).map(|_| T::read(input)).collect()
    }

    fn print<W: Write>(list: &Vec<T>, name: &str, xml: &mut XmlWriter<W>) -> fmt::Result {
        T::print_all(list, name, xml)
    }

    fn parse(node: &mut Node, name: &str) -> Parsed<Vec<T>> {
        T::parse_all(node, name)
    }

    #[cfg(test)]
    fn any(source: &mut Source) -> Vec<T> {
        source.list(T::any)
    }
}

impl Element for String {
    const BYTES_MIN: usize = 2;

    fn put(&self, out: &mut Output<'_>) -> Encoded {
        out.str(self)
    }

    fn read(input: &mut Input<'_>) -> Result<String, DecodeError> {
        input.str()
    }

    fn print_all<W: Write>(sources: &[String], name: &str, xml: &mut XmlWriter<W>) -> fmt::Result {
        if sources.is_empty() {
            return xml.text(name, "");
        }
        xml.open(name)?;
        for (number, source) in (1_u64..).zip(sources) {
            xml.text(&format!("SOURCE{number}"), source)?;
        }
        xml.close(name)
    }

    fn parse_all(node: &mut Node, name: &str) -> Parsed<Vec<String>> {
        let mut list = node
            .take(name)
            .ok_or_else(|| node.error(format_args!("<{name}> is missing")))?;
        let mut sources = Vec::new();
        while let Some(source) = list.take_text(&format!("SOURCE{}", sources.len().saturating_add(1))) {
            sources.push(source);
        }
        list.done()?;
        Ok(sources)
    }

    #[cfg(test)]
    fn any(source: &mut Source) -> String {
        source.str()
    }
}

impl Element for (String, String) {
    const BYTES_MIN: usize = 4;

    fn put(&self, out: &mut Output<'_>) -> Encoded {
        out.str(&self.0)?;
        out.str(&self.1)
    }

    fn read(input: &mut Input<'_>) -> Result<(String, String), DecodeError> {
        Ok((input.str()?, input.str()?))
    }

    fn print_all<W: Write>(options: &[(String, String)], name: &str, xml: &mut XmlWriter<W>) -> fmt::Result {
        xml.leaf(name, options.len())?;
        for (key, value) in options {
            xml.open("EXTRAOPTION")?;
            xml.text("KEY", key)?;
            xml.text("VALUE", value)?;
            xml.close("EXTRAOPTION")?;
        }
        Ok(())
    }

    fn parse_all(node: &mut Node, name: &str) -> Parsed<Vec<(String, String)>> {
        let count: usize = node.require_number(name)?;
        let mut options = Vec::new();
        for mut option in node.take_all("EXTRAOPTION") {
            options.push((option.require_text("KEY")?, option.require_text("VALUE")?));
            option.done()?;
        }
        if options.len() != count {
            return Err(node.error(format_args!("{} options instead of {count}", options.len())));
        }
        Ok(options)
    }

    #[cfg(test)]
    fn any(source: &mut Source) -> (String, String) {
        (source.str(), source.str())
    }
}

impl Element for RenameOption {
    const BYTES_MIN: usize = 1;

    fn put(&self, out: &mut Output<'_>) -> Encoded {
        out.u8(*self as u8)
    }

    fn read(input: &mut Input<'_>) -> Result<RenameOption, DecodeError> {
        let code = input.u8()?;
        RenameOption::from_code(code).ok_or_else(|| input.error(format!("rename option {code}")))
    }

    fn print_all<W: Write>(options: &[RenameOption], name: &str, xml: &mut XmlWriter<W>) -> fmt::Result {
        let names: Vec<&str> = options.iter().map(|option| option.name()).collect();
        xml.text(name, &names.join("|"))
    }

    fn parse_all(node: &mut Node, name: &str) -> Parsed<Vec<RenameOption>> {
        let text = node.require_text(name)?;
        let names = text.split('|').filter(|name| !name.is_empty());
        let mut options = Vec::new();
        for name in names {
            let option = (0..=2)
                .filter_map(RenameOption::from_code)
                .find(|option| option.name() == name)
                .ok_or_else(|| node.error(format_args!("{name} is no option of a rename")))?;
            options.push(option);
        }
        Ok(options)
    }

    #[cfg(test)]
    fn any(source: &mut Source) -> RenameOption {
        source.pick(&[RenameOption::None, RenameOption::Overwrite, RenameOption::ToTrash])
    }
}

impl Element for Block {
    const BYTES_MIN: usize = 24;

    fn put(&self, out: &mut Output<'_>) -> Encoded {
        out.i64(self.id.0)?;
        out.unsigned("block size", self.num_bytes)?;
        GenerationStamp::put(&self.generation_stamp, out)
    }

    fn read(input: &mut Input<'_>) -> Result<Block, DecodeError> {
        Ok(Block {
            id: BlockId(input.i64()?),
            num_bytes: input.unsigned("block size")?,
            generation_stamp: GenerationStamp::read(input)?,
        })
    }

    fn print_all<W: Write>(blocks: &[Block], _: &str, xml: &mut XmlWriter<W>) -> fmt::Result {
        for block in blocks {
            xml.open("BLOCK")?;
            xml.leaf("BLOCK_ID", block.id)?;
            xml.leaf("NUM_BYTES", block.num_bytes)?;
            xml.leaf("GENSTAMP", block.generation_stamp)?;
            xml.close("BLOCK")?;
        }
        Ok(())
    }

    fn parse_all(node: &mut Node, _: &str) -> Parsed<Vec<Block>> {
        let mut blocks = Vec::new();
        for mut block in node.take_all("BLOCK") {
            blocks.push(Block {
                id: BlockId(block.require_number("BLOCK_ID")?),
                num_bytes: block.require_number("NUM_BYTES")?,
                generation_stamp: GenerationStamp(block.require_number("GENSTAMP")?),
            });
            block.done()?;
        }
        Ok(blocks)
    }

    #[cfg(test)]
    fn any(source: &mut Source) -> Block {
        Block {
            id: BlockId(source.i64()),
            num_bytes: source.u64(),
            generation_stamp: GenerationStamp(source.u64()),
        }
    }
}

/// The blocks of a file that is complete. Java has one class for `OP_ADD` and `OP_CLOSE`, and so prints before them the
/// fields that only `OP_ADD` has.
pub(super) enum BlocksOfClosed {}

impl Field for BlocksOfClosed {
    type Value = Vec<Block>;

    fn put(blocks: &Vec<Block>, out: &mut Output<'_>) -> Encoded {
        <Vec<Block> as Field>::put(blocks, out)
    }

    fn read(input: &mut Input<'_>) -> Result<Vec<Block>, DecodeError> {
        <Vec<Block> as Field>::read(input)
    }

    fn print<W: Write>(blocks: &Vec<Block>, name: &str, xml: &mut XmlWriter<W>) -> fmt::Result {
        xml.text("CLIENT_NAME", "")?;
        xml.text("CLIENT_MACHINE", "")?;
        xml.leaf("OVERWRITE", false)?;
        Block::print_all(blocks, name, xml)
    }

    fn parse(node: &mut Node, name: &str) -> Parsed<Vec<Block>> {
        for only_of_add in ["CLIENT_NAME", "CLIENT_MACHINE", "OVERWRITE"] {
            node.take(only_of_add);
        }
        Block::parse_all(node, name)
    }

    #[cfg(test)]
    fn any(source: &mut Source) -> Vec<Block> {
        source.list(Block::any)
    }
}

/// Blocks whose numbers are differences from those of the block before (`FSEditLogOp.writeCompactBlockArray`).
pub(super) enum CompactBlocks {}

fn put_compact(blocks: &[Block], out: &mut Output<'_>) -> Encoded {
    out.vlong(blocks.len() as i64)?;
    let mut previous = Block::default();
    for block in blocks {
        check_unsigned("block size", block.num_bytes)?;
        check_unsigned("generation stamp", block.generation_stamp.0)?;
        out.i64(block.id.0)?;
        out.vlong(block.num_bytes.wrapping_sub(previous.num_bytes) as i64)?;
        let stamps = (block.generation_stamp.0, previous.generation_stamp.0);
        out.vlong(stamps.0.wrapping_sub(stamps.1) as i64)?;
        previous = *block;
    }
    Ok(())
}

impl Field for CompactBlocks {
    type Value = Vec<Block>;

    fn put(blocks: &Vec<Block>, out: &mut Output<'_>) -> Encoded {
        put_compact(blocks, out)
    }

    fn read(input: &mut Input<'_>) -> Result<Vec<Block>, DecodeError> {
        let count = i64::from(input.vint()?);
        let count = input.count(count, 10)?;
        let (mut num_bytes, mut stamp) = (0_i64, 0_i64);
        let mut blocks = Vec::with_capacity(count);
        for _ in 0..count {
            let id = BlockId(input.i64()?);
            num_bytes = num_bytes.wrapping_add(input.vlong()?);
            stamp = stamp.wrapping_add(input.vlong()?);
            let (Ok(num_bytes), Ok(stamp)) = (u64::try_from(num_bytes), u64::try_from(stamp)) else {
                return Err(input.error(format!("block {id} of negative size or generation stamp")));
            };
            blocks.push(Block {
                id,
                num_bytes,
                generation_stamp: GenerationStamp(stamp),
            });
        }
        Ok(blocks)
    }

    fn print<W: Write>(blocks: &Vec<Block>, name: &str, xml: &mut XmlWriter<W>) -> fmt::Result {
        Block::print_all(blocks, name, xml)
    }

    fn parse(node: &mut Node, name: &str) -> Parsed<Vec<Block>> {
        Block::parse_all(node, name)
    }

    #[cfg(test)]
    fn any(source: &mut Source) -> Vec<Block> {
        source.list(Block::any)
    }
}

/// At most one block, as [`CompactBlocks`].
pub(super) enum CompactBlock {}

impl Field for CompactBlock {
    type Value = Option<Block>;

    fn put(block: &Option<Block>, out: &mut Output<'_>) -> Encoded {
        put_compact(block.as_slice(), out)
    }

    fn read(input: &mut Input<'_>) -> Result<Option<Block>, DecodeError> {
        match CompactBlocks::read(input)?.as_slice() {
            [] => Ok(None),
            [block] => Ok(Some(*block)),
            blocks => Err(input.error(format!("{} blocks instead of at most one", blocks.len()))),
        }
    }

    fn print<W: Write>(block: &Option<Block>, name: &str, xml: &mut XmlWriter<W>) -> fmt::Result {
        Block::print_all(block.as_slice(), name, xml)
    }

    fn parse(node: &mut Node, name: &str) -> Parsed<Option<Block>> {
        match Block::parse_all(node, name)?.as_slice() {
            [] => Ok(None),
            [block] => Ok(Some(*block)),
            blocks => Err(node.error(format_args!("{} blocks instead of at most one", blocks.len()))),
        }
    }

    #[cfg(test)]
    fn any(source: &mut Source) -> Option<Block> {
        source.some(Block::any)
    }
}

/// The last block of a file and, if there is one, the block before it, as [`CompactBlocks`].
pub(super) enum LastBlocks {}

impl Pair for LastBlocks {
    type First = Option<Block>;
    type Second = Block;

    fn put(penultimate: &Option<Block>, last: &Block, out: &mut Output<'_>) -> Encoded {
        match penultimate {
            Some(penultimate) => put_compact(&[*penultimate, *last], out),
            None => put_compact(&[*last], out),
        }
    }

    fn read(input: &mut Input<'_>) -> Result<(Option<Block>, Block), DecodeError> {
        match CompactBlocks::read(input)?.as_slice() {
            [last] => Ok((None, *last)),
            [penultimate, last] => Ok((Some(*penultimate), *last)),
            blocks => Err(input.error(format!("{} blocks instead of one or two", blocks.len()))),
        }
    }

    fn print<W: Write>(penultimate: &Option<Block>, last: &Block, name: &str, xml: &mut XmlWriter<W>) -> fmt::Result {
        Block::print_all(penultimate.as_slice(), name, xml)?;
        Block::print_all(&[*last], name, xml)
    }

    fn parse(node: &mut Node, name: &str) -> Parsed<(Option<Block>, Block)> {
        match Block::parse_all(node, name)?.as_slice() {
            [last] => Ok((None, *last)),
            [penultimate, last] => Ok((Some(*penultimate), *last)),
            blocks => Err(node.error(format_args!("{} blocks instead of one or two", blocks.len()))),
        }
    }

    #[cfg(test)]
    fn any(source: &mut Source) -> (Option<Block>, Block) {
        (source.some(Block::any), Block::any(source))
    }
}

fn permission_bits(entry: &AclEntry) -> Result<u8, EncodeError> {
    match entry.permission {
        bits @ 0..=7 => Ok(bits),
        _ => Err(EncodeError::Inexact("more than three permission bits of an ACL entry")),
    }
}

fn scope(number: i32) -> AclEntryScope {
    if number == 0 {
        AclEntryScope::Access
    } else {
        AclEntryScope::Default
    }
}

impl Element for AclEntry {
    const BYTES_MIN: usize = 1;

    fn put(&self, out: &mut Output<'_>) -> Encoded {
        let bits = permission_bits(self)? | ((self.entry_type as u8) << 3) | ((self.scope as u8) << 5);
        match &self.name {
            Some(name) => {
                out.u8(bits | 1 << 6)?;
                out.str(name)
            }
            None => out.u8(bits),
        }
    }

    fn read(input: &mut Input<'_>) -> Result<AclEntry, DecodeError> {
        let bits = input.u8()?;
        Ok(AclEntry {
            scope: scope(i32::from(bits >> 5 & 1)),
            entry_type: AclEntryType::from_bits(u32::from(bits >> 3)),
            name: if bits & 1 << 6 != 0 { Some(input.str()?) } else { None },
            permission: bits & 7,
        })
    }

    fn print_all<W: Write>(entries: &[AclEntry], _: &str, xml: &mut XmlWriter<W>) -> fmt::Result {
        for entry in entries {
            xml.open("ENTRY")?;
            xml.leaf("SCOPE", entry.scope.name())?;
            xml.leaf("TYPE", entry.entry_type.name())?;
            if let Some(name) = &entry.name {
                xml.text("NAME", name)?;
            }
            xml.leaf("PERM", fs_action_symbol(entry.permission))?;
            xml.close("ENTRY")?;
        }
        Ok(())
    }

    fn parse_all(node: &mut Node, _: &str) -> Parsed<Vec<AclEntry>> {
        let mut entries = Vec::new();
        for mut entry in node.take_all("ENTRY") {
            let (scope, kind) = (entry.require_text("SCOPE")?, entry.require_text("TYPE")?);
            let permission = entry.require_text("PERM")?;
            let unknown = |what: &str| entry.error(format_args!("{what} is not known"));
            let scopes = [AclEntryScope::Access, AclEntryScope::Default];
            let parsed = AclEntry {
                scope: scopes
                    .into_iter()
                    .find(|known| known.name() == scope)
                    .ok_or_else(|| unknown(&scope))?,
                entry_type: (0..4)
                    .map(AclEntryType::from_bits)
                    .find(|known| known.name() == kind)
                    .ok_or_else(|| unknown(&kind))?,
                permission: fs_action_bits(&permission).ok_or_else(|| unknown(&permission))?,
                name: entry.take_text("NAME"),
            };
            entry.done()?;
            entries.push(parsed);
        }
        Ok(entries)
    }

    #[cfg(test)]
    fn any(source: &mut Source) -> AclEntry {
        AclEntry {
            scope: source.pick(&[AclEntryScope::Access, AclEntryScope::Default]),
            entry_type: AclEntryType::from_bits(u32::from(source.u8())),
            name: source.some(Source::str),
            permission: if source.hostile {
                source.pick(&[0, 7, 8, 255])
            } else {
                source.u8() & 7
            },
        }
    }
}

/// A path and its whole ACL: a delimited `AclEditLogProto`.
pub(super) enum AclMessage {}

impl Pair for AclMessage {
    type First = String;
    type Second = Vec<AclEntry>;

    fn put(src: &String, entries: &Vec<AclEntry>, out: &mut Output<'_>) -> Encoded {
        let entry = |entry: &AclEntry| {
            // This message could hold the name, but the `OP_ADD` of a file that inherits the entry could not.
            check_str(entry.name.as_deref().unwrap_or_default())?;
            Ok(pb::AclEntryProto {
                r#type: entry.entry_type as i32,
                scope: entry.scope as i32,
                permissions: i32::from(permission_bits(entry)?),
                name: entry.name.clone(),
            })
        };
        let message = pb::AclEditLogProto {
            src: src.clone(),
            entries: entries.iter().map(entry).collect::<Result<_, EncodeError>>()?,
        };
        out.raw(&message.encode_length_delimited_to_vec())
    }

    fn read(input: &mut Input<'_>) -> Result<(String, Vec<AclEntry>), DecodeError> {
        let bytes = input.delimited()?;
        let message = pb::AclEditLogProto::decode(bytes).map_err(|error| input.error(error.to_string()))?;
        let mut entries = Vec::with_capacity(message.entries.len());
        for entry in message.entries {
            let (Ok(entry_type @ 0..=3), Ok(permission @ 0..=7), 0..=1) =
                (u8::try_from(entry.r#type), u8::try_from(entry.permissions), entry.scope)
            else {
                return Err(input.error("ACL entry with unknown numbers"));
            };
            entries.push(AclEntry {
                scope: scope(entry.scope),
                entry_type: AclEntryType::from_bits(u32::from(entry_type)),
                name: entry.name,
                permission,
            });
        }
        Ok((message.src, entries))
    }

    fn print<W: Write>(src: &String, entries: &Vec<AclEntry>, name: &str, xml: &mut XmlWriter<W>) -> fmt::Result {
        xml.text(name, src)?;
        AclEntry::print_all(entries, name, xml)
    }

    fn parse(node: &mut Node, name: &str) -> Parsed<(String, Vec<AclEntry>)> {
        Ok((node.require_text(name)?, AclEntry::parse_all(node, name)?))
    }

    #[cfg(test)]
    fn any(source: &mut Source) -> (String, Vec<AclEntry>) {
        (source.str(), source.list(AclEntry::any))
    }
}

/// Length of a field of `len` bytes, with its key and length.
fn field_len(len: usize) -> usize {
    delimited_len(len).saturating_add(1)
}

fn xattr_len(xattr: &XAttr) -> usize {
    let value = xattr.value.as_ref().map_or(0, |value| field_len(value.len()));
    field_len(xattr.name.len()).saturating_add(value).saturating_add(2)
}

/// A delimited `XAttrEditLogProto`, written by hand because every `OP_ADD` and `OP_MKDIR` holds one.
fn put_xattrs(src: Option<&str>, xattrs: &[XAttr], out: &mut Output<'_>) -> Encoded {
    let src_len = src.map_or(0, |src| field_len(src.len()));
    let fields = xattrs.iter().map(|xattr| field_len(xattr_len(xattr)));
    let out = &mut *out.bytes;
    put_varint(out, fields.fold(src_len, usize::saturating_add) as u64);
    if let Some(src) = src {
        put_bytes(out, 1, src.as_bytes());
    }
    for xattr in xattrs {
        put_head(out, 2, xattr_len(xattr));
        put_number(out, 1, xattr.namespace as u64);
        put_bytes(out, 2, xattr.name.as_bytes());
        if let Some(value) = &xattr.value {
            put_bytes(out, 3, value);
        }
    }
    Ok(())
}

/// A path, empty if absent, and extended attributes: a delimited `XAttrEditLogProto`.
pub(super) enum XAttrMessage {}

impl Pair for XAttrMessage {
    type First = String;
    type Second = Vec<XAttr>;

    fn put(src: &String, xattrs: &Vec<XAttr>, out: &mut Output<'_>) -> Encoded {
        put_xattrs(Some(src), xattrs, out)
    }

    fn read(input: &mut Input<'_>) -> Result<(String, Vec<XAttr>), DecodeError> {
        let bytes = input.delimited()?;
        if bytes.is_empty() {
            return Ok((String::new(), Vec::new()));
        }
        let message = pb::XAttrEditLogProto::decode(bytes).map_err(|error| input.error(error.to_string()))?;
        let mut xattrs = Vec::with_capacity(message.x_attrs.len());
        for xattr in message.x_attrs {
            let Some(namespace) = XAttrNamespace::from_number(xattr.namespace) else {
                return Err(input.error(format!("extended attribute namespace {}", xattr.namespace)));
            };
            xattrs.push(XAttr {
                namespace,
                name: xattr.name,
                value: xattr.value.map(|value| value.to_vec()),
            });
        }
        Ok((message.src.unwrap_or_default(), xattrs))
    }

    fn print<W: Write>(src: &String, xattrs: &Vec<XAttr>, name: &str, xml: &mut XmlWriter<W>) -> fmt::Result {
        xml.text(name, src)?;
        <Vec<XAttr> as Field>::print(xattrs, name, xml)
    }

    fn parse(node: &mut Node, name: &str) -> Parsed<(String, Vec<XAttr>)> {
        Ok((node.require_text(name)?, <Vec<XAttr> as Field>::parse(node, name)?))
    }

    #[cfg(test)]
    fn any(source: &mut Source) -> (String, Vec<XAttr>) {
        (source.str(), <Vec<XAttr> as Field>::any(source))
    }
}

/// As [`XAttrMessage`] without the path.
impl Field for Vec<XAttr> {
    type Value = Vec<XAttr>;

    fn put(xattrs: &Vec<XAttr>, out: &mut Output<'_>) -> Encoded {
        put_xattrs(None, xattrs, out)
    }

    fn read(input: &mut Input<'_>) -> Result<Vec<XAttr>, DecodeError> {
        XAttrMessage::read(input).map(|(_, xattrs)| xattrs)
    }

    fn print<W: Write>(xattrs: &Vec<XAttr>, _: &str, xml: &mut XmlWriter<W>) -> fmt::Result {
        for xattr in xattrs {
            xml.open("XATTR")?;
            xml.leaf("NAMESPACE", xattr.namespace.name())?;
            xml.text("NAME", &xattr.name)?;
            if let Some(value) = &xattr.value {
                xml.leaf("VALUE", format_args!("0x{}", Hex(value)))?;
            }
            xml.close("XATTR")?;
        }
        Ok(())
    }

    fn parse(node: &mut Node, _: &str) -> Parsed<Vec<XAttr>> {
        let mut xattrs = Vec::new();
        for mut xattr in node.take_all("XATTR") {
            let namespace = xattr.require_text("NAMESPACE")?;
            let name = xattr.require_text("NAME")?;
            let value = match xattr.take_text("VALUE") {
                None => None,
                Some(text) => Some(
                    from_hex(text.strip_prefix("0x").unwrap_or(&text))
                        .ok_or_else(|| xattr.error(format_args!("{text:?} are no hex digits")))?,
                ),
            };
            xattr.done()?;
            xattrs.push(XAttr {
                namespace: XAttrNamespace::from_name(&namespace)
                    .ok_or_else(|| xattr.error(format_args!("{namespace} is no namespace")))?,
                name,
                value,
            });
        }
        Ok(xattrs)
    }

    #[cfg(test)]
    fn any(source: &mut Source) -> Vec<XAttr> {
        source.list(|source| XAttr {
            namespace: source.pick(&[
                XAttrNamespace::User,
                XAttrNamespace::Trusted,
                XAttrNamespace::Security,
                XAttrNamespace::System,
                XAttrNamespace::Raw,
            ]),
            name: source.str(),
            value: source.some(Source::bytes),
        })
    }
}

/// The bytes of a key, behind their number, which is -1 when the writer had none.
pub(super) enum KeyBytes {}

impl Field for KeyBytes {
    type Value = Option<Vec<u8>>;

    fn put(key: &Option<Vec<u8>>, out: &mut Output<'_>) -> Encoded {
        let Some(bytes) = key else { return out.vlong(-1) };
        out.vlong(bytes.len() as i64)?;
        out.raw(bytes)
    }

    fn read(input: &mut Input<'_>) -> Result<Option<Vec<u8>>, DecodeError> {
        let len = input.vint()?;
        if len == -1 {
            return Ok(None);
        }
        let len = input.count(i64::from(len), 1)?;
        input.take(len).map(|bytes| Some(bytes.to_vec()))
    }

    fn print<W: Write>(key: &Option<Vec<u8>>, name: &str, xml: &mut XmlWriter<W>) -> fmt::Result {
        key.as_deref().map_or(Ok(()), |bytes| xml.leaf(name, Hex(bytes)))
    }

    fn parse(node: &mut Node, name: &str) -> Parsed<Option<Vec<u8>>> {
        let Some(text) = node.take_text(name) else {
            return Ok(None);
        };
        let bytes = from_hex(&text).ok_or_else(|| node.error(format_args!("{text:?} are no hex digits")))?;
        Ok(Some(bytes))
    }

    #[cfg(test)]
    fn any(source: &mut Source) -> Option<Vec<u8>> {
        source.some(Source::bytes)
    }
}
