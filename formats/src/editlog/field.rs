//! Kinds of fields. A kind says once how a field stands in the body of an op, and how Hadoop's viewer prints it.
//!
//! The kind of most fields is their type. A type that stands in two ways in the format has more kinds, for example
//! [`VLong`] beside `i64`. The kinds of lists and of protobuf messages are in [`kinds`](super::kinds).

use std::fmt::{self, Write};

#[cfg(test)]
use super::source::Source;
use super::values::RpcIds;
use super::wire::{DecodeError, EncodeError, Encoded, Input, Output};
use super::xml::XmlWriter;
use crate::ids::{BlockId, GenerationStamp, InodeId, LayoutVersion, Uuid};
use crate::xml_tree::{Node, XmlError, from_hex};

/// What is made of XML.
pub(super) type Parsed<T> = Result<T, XmlError>;

/// `NameNodeLayoutVersion.Feature.ERASURE_CODING`.
const ERASURE_CODING: LayoutVersion = LayoutVersion(-64);
/// `NameNodeLayoutVersion.Feature.SNAPSHOT_MODIFICATION_TIME`.
const SNAPSHOT_MODIFICATION_TIME: LayoutVersion = LayoutVersion(-66);

/// A kind of field.
pub(super) trait Field {
    /// The type of the field in the op.
    type Value;

    /// Appends the field. Refuses a value that would be read back as another.
    fn put(value: &Self::Value, out: &mut Output<'_>) -> Encoded;

    /// Reads what [`Field::put`] writes.
    fn read(input: &mut Input<'_>) -> Result<Self::Value, DecodeError>;

    /// Prints the field. `name` is that of its element, for kinds that don't have elements of their own.
    fn print<W: Write>(value: &Self::Value, name: &str, xml: &mut XmlWriter<W>) -> fmt::Result;

    /// Takes what [`Field::print`] prints out of the elements of an op.
    fn parse(node: &mut Node, name: &str) -> Parsed<Self::Value>;

    /// The call to be remembered in the retry cache, if the field is one.
    fn retried_call(_value: &Self::Value) -> Option<&RpcIds> {
        None
    }

    /// Any value. A hostile source also gives values that the format can't hold.
    #[cfg(test)]
    fn any(source: &mut Source) -> Self::Value;
}

/// A kind of two fields of an op that share one place in its body.
pub(super) trait Pair {
    /// The type of the first field.
    type First;
    /// The type of the second field.
    type Second;

    /// As [`Field::put`].
    fn put(first: &Self::First, second: &Self::Second, out: &mut Output<'_>) -> Encoded;

    /// As [`Field::read`].
    fn read(input: &mut Input<'_>) -> Result<(Self::First, Self::Second), DecodeError>;

    /// As [`Field::print`].
    fn print<W: Write>(first: &Self::First, second: &Self::Second, name: &str, xml: &mut XmlWriter<W>) -> fmt::Result;

    /// As [`Field::parse`].
    fn parse(node: &mut Node, name: &str) -> Parsed<(Self::First, Self::Second)>;

    /// As [`Field::retried_call`].
    fn retried_call<'a>(_first: &'a Self::First, _second: &'a Self::Second) -> Option<&'a RpcIds> {
        None
    }

    /// As [`Field::any`].
    #[cfg(test)]
    fn any(source: &mut Source) -> (Self::First, Self::Second);
}

/// Where a field is printed.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Place {
    /// Before fields that precede it in the body.
    First,
    /// In the order of the body.
    Usual,
    /// Behind fields that follow it in the body.
    Later,
    /// Java's viewer does not print it.
    Never,
}

impl Place {
    /// The places that are printed, in their order.
    pub(super) const PRINTED: [Place; 3] = [Place::First, Place::Usual, Place::Later];
}

/// A string in `io.Text`; a `String` is one in Java's `UTF8` class.
pub(super) enum Text {}
/// A number of variable length (`WritableUtils.writeVLong`).
pub(super) enum VLong {}
/// As [`VLong`], in the range of Java's `int`.
pub(super) enum VInt {}
/// The time of a new directory.
pub(super) enum TimeTwice {}
/// The time of a change of snapshots, which older layouts don't have.
pub(super) enum SnapshotTime {}
/// The erasure coding policy of a file, which older layouts don't have.
pub(super) enum ErasureCodingPolicy {}
/// A user or group, and the empty string for none.
pub(super) enum NameOrNothing {}
/// The call of an op that Java leaves out of the retry cache.
pub(super) enum CallNotRetried {}

/// Implements [`Field`] for kinds that are a number or string. The printed expression is an element's content.
macro_rules! plain {
    (|$value:ident, $out:ident, $input:ident, $source:ident, $child:ident|
     $($kind:ty: $type:ty, $put:expr, $get:expr, $print:ident $printed:expr, $any:expr, $parse:expr;)*) => {$(
        impl Field for $kind {
            type Value = $type;

            fn put($value: &$type, $out: &mut Output<'_>) -> Encoded {
                $put
            }

            fn read($input: &mut Input<'_>) -> Result<$type, DecodeError> {
                $get
            }

            fn print<W: Write>($value: &$type, name: &str, xml: &mut XmlWriter<W>) -> fmt::Result {
                xml.$print(name, $printed)
            }

            fn parse(node: &mut Node, name: &str) -> Parsed<$type> {
                let $child = node
                    .take(name)
                    .ok_or_else(|| node.error(format_args!("<{name}> is missing")))?;
                $parse
            }

            #[cfg(test)]
            fn any($source: &mut Source) -> $type {
                $any
            }
        }
    )*};
}

plain! { |value, out, input, source, child|
    // A policy: Java prints it as its `byte`.
    u8: u8, out.u8(*value), input.u8(), leaf *value as i8, source.u8(), child.number::<i8>().map(i8::cast_unsigned);
    bool: bool, out.bool(*value), input.bool(), leaf value, source.bool(), child.number();
    i16: i16, out.i16(*value), input.i16(), leaf value, source.i16(), child.number();
    u16: u16, out.u16(*value), input.u16(), leaf value, source.u16(), child.number();
    i32: i32, out.i32(*value), input.i32(), leaf value, source.i32(), child.number();
    i64: i64, out.i64(*value), input.i64(), leaf value, source.i64(), child.number();
    String: String, out.str(value), input.str(), text value, source.str(), Ok(child.text);

    Text: String, out.text(value), input.text(), text value, source.text(), Ok(child.text);
    VLong: i64, out.vlong(*value), input.vlong(), leaf value, source.i64(), child.number();
    VInt: i32, out.vlong(i64::from(*value)), input.vint(), leaf value, source.i32(), child.number();

    InodeId: InodeId, out.unsigned("inode id", value.0), Ok(InodeId(input.unsigned("inode id")?)),
        leaf value, InodeId(source.u64()), child.number().map(InodeId);
    GenerationStamp: GenerationStamp, out.unsigned("generation stamp", value.0),
        Ok(GenerationStamp(input.unsigned("generation stamp")?)), leaf value, GenerationStamp(source.u64()), child.number().map(GenerationStamp);
    BlockId: BlockId, out.i64(value.0), Ok(BlockId(input.i64()?)), leaf value, BlockId(source.i64()), child.number().map(BlockId);

    // The second time is where a file has its access time. Readers ignore it.
    TimeTwice: i64, out.i64(*value).and_then(|()| out.i64(*value)),
        input.i64().and_then(|time| input.i64().map(|_| time)), leaf value, source.i64(), child.number();
    SnapshotTime: i64, put_since(SNAPSHOT_MODIFICATION_TIME, *value, out, Output::i64),
        get_since(SNAPSHOT_MODIFICATION_TIME, input, Input::i64), leaf value, source.i64(), child.number();
    ErasureCodingPolicy: u8, put_since(ERASURE_CODING, *value, out, Output::u8),
        get_since(ERASURE_CODING, input, Input::u8), leaf *value as i8, source.u8(), child.number::<i8>().map(i8::cast_unsigned);
}

/// Writes a field that layouts have from `since` on.
fn put_since<'a, T: Default + PartialEq>(
    since: LayoutVersion,
    value: T,
    out: &mut Output<'a>,
    put: fn(&mut Output<'a>, T) -> Encoded,
) -> Encoded {
    if out.layout <= since {
        return put(out, value);
    }
    if value == T::default() {
        return Ok(());
    }
    Err(EncodeError::Inexact("a field that the layout does not have"))
}

/// Reads a field that layouts have from `since` on. Before it is 0.
fn get_since<'a, T: Default>(
    since: LayoutVersion,
    input: &mut Input<'a>,
    get: fn(&mut Input<'a>) -> Result<T, DecodeError>,
) -> Result<T, DecodeError> {
    if input.layout <= since {
        get(input)
    } else {
        Ok(T::default())
    }
}

impl Field for NameOrNothing {
    type Value = Option<String>;

    fn put(name: &Option<String>, out: &mut Output<'_>) -> Encoded {
        if name.as_deref() == Some("") {
            return Err(EncodeError::Inexact("an empty name, which is read as none"));
        }
        out.str(name.as_deref().unwrap_or_default())
    }

    fn read(input: &mut Input<'_>) -> Result<Option<String>, DecodeError> {
        input.str().map(|name| (!name.is_empty()).then_some(name))
    }

    fn print<W: Write>(name: &Option<String>, element: &str, xml: &mut XmlWriter<W>) -> fmt::Result {
        name.as_deref().map_or(Ok(()), |name| xml.text(element, name))
    }

    fn parse(node: &mut Node, name: &str) -> Parsed<Option<String>> {
        Ok(node.take_text(name).filter(|name| !name.is_empty()))
    }

    #[cfg(test)]
    fn any(source: &mut Source) -> Option<String> {
        let hostile = source.hostile;
        source.some(Source::str).filter(|name| hostile || !name.is_empty())
    }
}

impl Field for RpcIds {
    type Value = RpcIds;

    fn put(ids: &RpcIds, out: &mut Output<'_>) -> Encoded {
        let client_id = ids.client_id.as_ref().map_or(&[][..], |id| id);
        out.u16(client_id.len() as u16)?;
        out.raw(client_id)?;
        out.i32(ids.call_id)
    }

    fn read(input: &mut Input<'_>) -> Result<RpcIds, DecodeError> {
        let client_id = match input.u16()? {
            0 => None,
            16 => Some(input.array()?),
            len => return Err(input.error(format!("client id of {len} bytes"))),
        };
        let call_id = input.i32()?;
        Ok(RpcIds { client_id, call_id })
    }

    fn print<W: Write>(ids: &RpcIds, _: &str, xml: &mut XmlWriter<W>) -> fmt::Result {
        match &ids.client_id {
            Some(id) => xml.leaf("RPC_CLIENTID", Uuid(id))?,
            None => xml.text("RPC_CLIENTID", "")?,
        }
        xml.leaf("RPC_CALLID", ids.call_id)
    }

    fn parse(node: &mut Node, _: &str) -> Parsed<RpcIds> {
        let Some(text) = node.take_text("RPC_CLIENTID") else {
            return Ok(RpcIds::NONE);
        };
        let client_id = match text.as_str() {
            "" => None,
            uuid => {
                let bytes = from_hex(&uuid.replace('-', "")).and_then(|bytes| bytes.try_into().ok());
                Some(bytes.ok_or_else(|| node.error(format_args!("{uuid:?} is no client id")))?)
            }
        };
        let call_id = node.require_number("RPC_CALLID")?;
        Ok(RpcIds { client_id, call_id })
    }

    fn retried_call(ids: &RpcIds) -> Option<&RpcIds> {
        Some(ids)
    }

    #[cfg(test)]
    fn any(source: &mut Source) -> RpcIds {
        RpcIds {
            client_id: source.some(|source| [source.u8(); 16]),
            call_id: source.i32(),
        }
    }
}

impl Field for CallNotRetried {
    type Value = RpcIds;

    fn put(ids: &RpcIds, out: &mut Output<'_>) -> Encoded {
        RpcIds::put(ids, out)
    }

    fn read(input: &mut Input<'_>) -> Result<RpcIds, DecodeError> {
        <RpcIds as Field>::read(input)
    }

    fn print<W: Write>(ids: &RpcIds, name: &str, xml: &mut XmlWriter<W>) -> fmt::Result {
        RpcIds::print(ids, name, xml)
    }

    fn parse(node: &mut Node, name: &str) -> Parsed<RpcIds> {
        <RpcIds as Field>::parse(node, name)
    }

    #[cfg(test)]
    fn any(source: &mut Source) -> RpcIds {
        RpcIds::any(source)
    }
}
