//! Limits of the length and size of everything that comes from outside.
//!
//! Invariant: whatever part of a request is written into a small file of a journal (VERSION, `lease-epoch`,
//! `hathi-membership`, a recovery record) can be read from there again.

use super::membership::{MEMBERS_MAX, Membership};
use super::messages::{Envelope, Request, RequestInfo};
use crate::ids::{NamespaceInfo, TxId};

/// Longest name: journal and nameservice ids (a directory's name), cluster and block pool ids, a lease's holder. Hadoop
/// has no limit; its own names are below 100 bytes.
const NAME_MAX_BYTES: usize = 1024;
/// Longest `host:port`. A DNS name has 253 bytes.
const ADDRESS_MAX_BYTES: usize = 300;
/// Longest URL of a segment: an address, ids whose bytes may be encoded as three each, two numbers.
const URL_MAX_BYTES: usize = 16 << 10;
/// Highest transaction id. Java's are signed, and -12345 stands for none.
const TXID_MAX: u64 = i64::MAX as u64;

type Checked = Result<(), String>;

fn text(what: &str, text: &str, max: usize) -> Checked {
    if text.len() > max {
        return Err(format!("{what} has {} bytes, more than {max}", text.len()));
    }
    Ok(())
}

/// Checks a name that is written into a file as a line of its own.
fn name(what: &str, name: &str) -> Checked {
    text(what, name, NAME_MAX_BYTES)?;
    match name.chars().any(char::is_control) {
        true => Err(format!("{what} has a control character")),
        false => Ok(()),
    }
}

fn txid(what: &str, txid: TxId) -> Checked {
    if txid.0 > TXID_MAX {
        return Err(format!("{what} {txid} is no transaction id"));
    }
    Ok(())
}

fn namespace(info: &NamespaceInfo) -> Checked {
    name("the cluster id", &info.cluster_id)?;
    name("the block pool id", &info.block_pool_id)
}

fn members(membership: &Membership) -> Checked {
    if membership.members.len() > MEMBERS_MAX {
        return Err(format!("more than {MEMBERS_MAX} JournalNodes"));
    }
    let mut addresses = membership.members.iter();
    addresses.try_for_each(|member| text("an address", member, ADDRESS_MAX_BYTES))
}

fn info(info: &RequestInfo) -> Checked {
    match &info.lease {
        Some(lease) => name("the holder", &lease.holder),
        None => Ok(()),
    }
}

/// Describes what is wrong with a request.
pub(super) fn check(envelope: &Envelope, request: &Request) -> Checked {
    name("the journal id", &envelope.journal_id)?;
    name(
        "the nameservice",
        envelope.name_service_id.as_deref().unwrap_or_default(),
    )?;
    if let Some(writer) = request.info() {
        info(writer)?;
    }
    match request {
        Request::Format { ns_info, .. } | Request::JoinJournal { ns_info, .. } => namespace(ns_info),
        Request::NewEpoch { ns_info, lease, .. } => {
            namespace(ns_info)?;
            name("the holder", lease.as_ref().map_or("", |lease| &lease.holder))
        }
        Request::ReleaseLease { holder, .. } => name("the holder", holder),
        Request::DoUpgrade { storage } => namespace(storage),
        Request::CanRollBack { storage, previous, .. } => {
            namespace(storage)?;
            namespace(previous)
        }
        Request::SetMembership { membership, .. } => members(membership),
        Request::AcceptRecovery { state, from_url, .. } => {
            txid("the segment", state.start)?;
            txid("its end", state.end)?;
            text("the URL", from_url, URL_MAX_BYTES)
        }
        Request::StartLogSegment { txid: start, .. } => txid("the segment", *start),
        Request::Journal { segment, first, .. } => {
            txid("the segment", *segment)?;
            txid("the first transaction", *first)
        }
        Request::FinalizeLogSegment { start, end, .. } => {
            txid("the segment", *start)?;
            txid("its end", *end)
        }
        Request::PrepareRecovery { segment, .. } | Request::ResumeSegment { segment, .. } => {
            txid("the segment", *segment)
        }
        _ => Ok(()),
    }
}
