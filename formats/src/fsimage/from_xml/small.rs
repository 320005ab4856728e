//! Sections of the XML without inodes: directories, erasure coding policies, tokens, cache pools.

use std::io::{BufRead, Write};

use super::super::dates::parse_iso_date;
use super::{Maker, Result, int, ints, long, longs, require_int};
use crate::erasure_coding::SYSTEM_POLICIES;
use crate::proto::fsimage as pb;
use crate::proto::hdfs::{
    CacheDirectiveInfoExpirationProto, CacheDirectiveInfoProto, CachePoolInfoProto, EcSchemaOptionEntryProto,
    EcSchemaProto, ErasureCodingPolicyProto, ErasureCodingPolicyState,
};
use crate::xml_tree::{Node, XmlError, from_hex};

impl<R: BufRead, W: Write> Maker<R, W> {
    pub(super) fn directories(&mut self) -> Result {
        while let Some(mut node) = self.next_record("directory")? {
            let entry = pb::i_node_directory_section::DirEntry {
                parent: long(&mut node, "parent")?,
                children: longs(&mut node, "child")?,
                ref_children: ints(&mut node, "refChild")?,
            };
            node.done()?;
            self.out.message(&entry)?;
        }
        Ok(())
    }

    pub(super) fn files_under_construction(&mut self) -> Result {
        while let Some(mut node) = self.next_record("inode")? {
            let entry = pb::files_under_construction_section::FileUnderConstructionEntry {
                inode_id: long(&mut node, "id")?,
                full_path: node.take_text("path"),
            };
            node.done()?;
            self.out.message(&entry)?;
        }
        Ok(())
    }

    pub(super) fn erasure_coding(&mut self) -> Result {
        let mut policies = Vec::new();
        while let Some(mut node) = self.next_record("erasureCodingPolicy")? {
            policies.push(policy(&mut node)?);
            node.done()?;
        }
        Ok(self.out.message(&pb::ErasureCodingSection { policies })?)
    }

    pub(super) fn secrets(&mut self) -> Result {
        let mut head = self.xml.until("SecretManagerSection", &["delegationKey", "token"])?;
        let num_keys = require_int(&mut head, "numDelegationKeys")?;
        let num_tokens = require_int(&mut head, "numTokens")?;
        let header = pb::SecretManagerSection {
            current_id: Some(require_int(&mut head, "currentId")?),
            token_sequence_number: Some(require_int(&mut head, "tokenSequenceNumber")?),
            num_keys: Some(num_keys),
            num_tokens: Some(num_tokens),
        };
        head.done()?;
        self.out.message(&header)?;
        for _ in 0..num_keys {
            let mut node = self.require_record("delegationKey")?;
            let hex = node.require_text("key")?;
            let key = pb::secret_manager_section::DelegationKey {
                id: Some(require_int(&mut node, "id")?),
                expiry_date: date(&mut node, "expiry")?,
                key: Some(
                    from_hex(&hex)
                        .ok_or_else(|| node.error(format!("{hex:?} are no hex digits")))?
                        .into(),
                ),
            };
            node.done()?;
            self.out.message(&key)?;
        }
        for _ in 0..num_tokens {
            let mut node = self.require_record("token")?;
            let token = pb::secret_manager_section::PersistToken {
                version: node.take_number("version")?,
                owner: node.take_text("owner"),
                renewer: node.take_text("renewer"),
                real_user: node.take_text("realUser"),
                issue_date: date(&mut node, "issueDate")?,
                max_date: date(&mut node, "maxDate")?,
                sequence_number: int(&mut node, "sequenceNumber")?,
                master_key_id: int(&mut node, "masterKeyId")?,
                expiry_date: date(&mut node, "expiryDate")?,
            };
            node.done()?;
            self.out.message(&token)?;
        }
        Ok(self.xml.close()?)
    }

    pub(super) fn cache(&mut self) -> Result {
        let mut head = self.xml.until("CacheManagerSection", &["pool", "directive"])?;
        let header = pb::CacheManagerSection {
            next_directive_id: head.require_number::<i64>("nextDirectiveId")?.cast_unsigned(),
            num_directives: require_int(&mut head, "numDirectives")?,
            num_pools: require_int(&mut head, "numPools")?,
        };
        head.done()?;
        self.out.message(&header)?;
        for _ in 0..header.num_pools {
            let mut node = self.require_record("pool")?;
            let pool = CachePoolInfoProto {
                pool_name: Some(node.require_text("poolName")?),
                owner_name: Some(node.require_text("ownerName")?),
                group_name: Some(node.require_text("groupName")?),
                mode: Some(node.require_number("mode")?),
                limit: Some(node.require_number("limit")?),
                max_relative_expiry: Some(node.require_number("maxRelativeExpiry")?),
                default_replication: None,
            };
            node.done()?;
            self.out.message(&pool)?;
        }
        for _ in 0..header.num_directives {
            let mut node = self.require_record("directive")?;
            let directive = directive(&mut node)?;
            node.done()?;
            self.out.message(&directive)?;
        }
        Ok(self.xml.close()?)
    }
}

fn directive(node: &mut Node) -> std::result::Result<CacheDirectiveInfoProto, XmlError> {
    let expiration = match node.take("expiration") {
        Some(mut expiration) => {
            let when = CacheDirectiveInfoExpirationProto {
                millis: expiration.require_number("millis")?,
                is_relative: expiration.take("relative").is_some(),
            };
            expiration.done()?;
            Some(when)
        }
        None => None,
    };
    Ok(CacheDirectiveInfoProto {
        id: Some(node.require_number("id")?),
        path: Some(node.require_text("path")?),
        replication: Some(node.require_number("replication")?),
        pool: Some(node.require_text("pool")?),
        expiration,
    })
}

/// A policy. Of those that Hadoop knows by their id alone, nothing but id and state is written, as Hadoop does.
fn policy(node: &mut Node) -> std::result::Result<ErasureCodingPolicyProto, XmlError> {
    let id = require_int(node, "policyId")?;
    let name = node.require_text("policyName")?;
    let cell_size = node.require_number("cellSize")?;
    let state = node.require_text("policyState")?;
    let state = match state.as_str() {
        "DISABLED" => ErasureCodingPolicyState::Disabled,
        "ENABLED" => ErasureCodingPolicyState::Enabled,
        "REMOVED" => ErasureCodingPolicyState::Removed,
        _ => return Err(node.error(format!("{state} is no state of a policy"))),
    };
    let mut xml = node
        .take("ecSchema")
        .ok_or_else(|| node.error("<ecSchema> is missing"))?;
    let mut schema = EcSchemaProto {
        codec_name: xml.require_text("codecName")?,
        data_units: xml.require_number("dataUnits")?,
        parity_units: xml.require_number("parityUnits")?,
        options: Vec::new(),
    };
    if let Some(mut options) = xml.take("extraOptions") {
        for mut option in options.take_all("option") {
            schema.options.push(EcSchemaOptionEntryProto {
                key: option.require_text("key")?,
                value: option.require_text("value")?,
            });
            option.done()?;
        }
        options.done()?;
    }
    xml.done()?;
    let is_systems = SYSTEM_POLICIES.iter().any(|system| u32::from(system.id) == id);
    Ok(ErasureCodingPolicyProto {
        id,
        state: Some(state.into()),
        name: Some(name).filter(|_| !is_systems),
        cell_size: Some(cell_size).filter(|_| !is_systems),
        schema: Some(schema).filter(|_| !is_systems),
    })
}

fn date(node: &mut Node, name: &str) -> std::result::Result<Option<u64>, XmlError> {
    let Some(text) = node.take_text(name) else {
        return Ok(None);
    };
    parse_iso_date(&text)
        .map(|millis| Some(millis.cast_unsigned()))
        .ok_or_else(|| node.error(format!("Failed to parse ISO date string {text}")))
}
