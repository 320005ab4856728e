//! What the audit log says of pools and directives (`FSNamesystem.logAuditEvent` of their calls).

use super::wire;
use crate::Namesystem;
use crate::context::Reply;
use bytes::Bytes;
use hathi_formats::caching::{directive_text, pool_text};
use hathi_formats::proto::hdfs::{
    AddCacheDirectiveResponseProto, AddCachePoolRequestProto, ListCacheDirectivesRequestProto,
    ModifyCacheDirectiveRequestProto, ModifyCachePoolRequestProto, RemoveCacheDirectiveRequestProto,
    RemoveCachePoolRequestProto,
};
use hathi_formats::protocols::ClientMethod as M;
use prost::Message;

/// What stands in the place of the paths.
#[derive(Debug, Default)]
pub(super) struct Places {
    pub(super) src: Option<String>,
    pub(super) dst: Option<String>,
}

pub(super) fn places(ns: &Namesystem, method: M, body: &Bytes, reply: &Reply) -> Places {
    let id = |id: i64| Some(format!("{{id: {id}}}"));
    let name = |name: &str| Some(format!("{{poolName: {name}}}"));
    let answer = reply.result.as_ref().ok();
    let mut places = Places::default();
    match method {
        // What was made is told, and nothing of what was refused.
        M::AddCacheDirective => {
            let made = answer.and_then(|answer| AddCacheDirectiveResponseProto::decode(&answer[..]).ok());
            let made = made.and_then(|made| ns.namespace().cache_directive(made.id));
            places.src = made.map(directive_text);
        }
        M::ModifyCacheDirective => {
            if let Ok(request) = wire::decode::<ModifyCacheDirectiveRequestProto>(body) {
                places.src = request.info.id.and_then(id).or_else(|| Some("{id: null}".to_owned()));
                places.dst = Some(directive_text(&request.info));
            }
        }
        M::RemoveCacheDirective => {
            let request = wire::decode::<RemoveCacheDirectiveRequestProto>(body).ok();
            places.src = request.and_then(|request| id(request.id));
        }
        M::ListCacheDirectives => {
            let request = wire::decode::<ListCacheDirectivesRequestProto>(body).ok();
            places.src = request.map(|request| directive_text(&request.filter));
        }
        M::AddCachePool => {
            let request = wire::decode::<AddCachePoolRequestProto>(body).ok();
            let made = request.filter(|_| answer.is_some());
            let made = made.and_then(|made| ns.namespace().cache_pool(made.info.pool_name()));
            places.src = made.map(pool_text);
        }
        M::ModifyCachePool => {
            if let Ok(request) = wire::decode::<ModifyCachePoolRequestProto>(body) {
                places.src = name(request.info.pool_name());
                places.dst = Some(pool_text(&request.info));
            }
        }
        M::RemoveCachePool => {
            let request = wire::decode::<RemoveCachePoolRequestProto>(body).ok();
            places.src = request.and_then(|request| name(&request.pool_name));
        }
        _ => {}
    }
    places
}
