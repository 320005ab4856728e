//! Delegation tokens: who gets one, who may renew and cancel it, and what another NameNode knows of it.

use super::*;
use crate::secrets::{KEY_BYTES, password};
use hathi_formats::editlog::DelegationTokenIdentifier;
use hathi_formats::proto::common::*;

impl Request for GetDelegationTokenRequestProto {
    const METHOD: ClientMethod = M::GetDelegationToken;
    type Response = GetDelegationTokenResponseProto;
}
impl Request for RenewDelegationTokenRequestProto {
    const METHOD: ClientMethod = M::RenewDelegationToken;
    type Response = RenewDelegationTokenResponseProto;
}
impl Request for CancelDelegationTokenRequestProto {
    const METHOD: ClientMethod = M::CancelDelegationToken;
    type Response = CancelDelegationTokenResponseProto;
}

const KEY: [u8; KEY_BYTES] = [9; KEY_BYTES];
const DAY_MS: u64 = 86_400_000;

fn issuing() -> Namesystem {
    let mut ns = active();
    ns.config.secrets.always_use = true;
    assert!(ns.needs_master_key(NOW.monotonic_ms));
    ns.update_master_key(KEY, NOW.wall_ms, NOW.monotonic_ms).unwrap();
    assert!(!ns.needs_master_key(NOW.monotonic_ms));
    ns
}

fn get(ns: &mut Namesystem, owner: &str, renewer: &str) -> Option<TokenProto> {
    let renewer = renewer.to_owned();
    let answer = call(ns, &user(owner, false), &GetDelegationTokenRequestProto { renewer });
    answer.unwrap().token
}

fn at(name: &str, after_ms: u64) -> CallContext {
    CallContext {
        now_ms: NOW.wall_ms + after_ms,
        ..user(name, false)
    }
}

fn renew(ns: &mut Namesystem, ctx: &CallContext, token: &TokenProto) -> Result<u64, RemoteException> {
    let token = token.clone();
    Ok(call(ns, ctx, &RenewDelegationTokenRequestProto { token })?.new_expiry_time)
}

fn cancel(ns: &mut Namesystem, name: &str, token: &TokenProto) -> Result<(), RemoteException> {
    let token = token.clone();
    call(ns, &user(name, false), &CancelDelegationTokenRequestProto { token }).map(drop)
}

#[test]
fn without_a_running_secret_manager_there_is_no_token() {
    let mut ns = active();
    assert!(!ns.needs_master_key(NOW.monotonic_ms), "nobody asked for tokens");
    assert_eq!(get(&mut ns, "alice", "yarn"), None);
    ns.config.secrets.always_use = true;
    assert_eq!(get(&mut ns, "alice", "yarn"), None, "it has no key yet");
    ns.enter_safe_mode();
    assert!(!ns.needs_master_key(NOW.monotonic_ms));
    let renewer = "yarn".to_owned();
    let refused = call(&mut ns, &hdfs(), &GetDelegationTokenRequestProto { renewer }).unwrap_err();
    assert!(
        refused
            .message
            .starts_with("Cannot issue delegation token. Name node is in safe mode.")
    );
}

#[test]
fn a_token_has_the_password_that_its_key_makes_and_another_namenode_can_renew_it() {
    let mut ns = issuing();
    let token = get(&mut ns, "alice", "yarn/host@REALM").unwrap();
    assert_eq!(
        (token.kind.as_str(), token.service.as_str()),
        ("HDFS_DELEGATION_TOKEN", "")
    );
    assert_eq!(token.password, password(&token.identifier, &KEY));
    let identifier = DelegationTokenIdentifier::from_bytes(&token.identifier).unwrap();
    assert_eq!(
        (identifier.owner.as_str(), identifier.renewer.as_str()),
        ("alice", "yarn")
    );
    assert_eq!((identifier.sequence_number, identifier.master_key_id), (1, 1));
    assert_eq!(identifier.issue_date, NOW.wall_ms as i64);
    assert_eq!(identifier.max_date, (NOW.wall_ms + 7 * DAY_MS) as i64);

    let mut other = standby();
    replay(&mut ns, &mut other);
    other.config.secrets.always_use = true;
    other.begin_activation().unwrap();
    other.start_active(NOW).unwrap();
    other.leave_safe_mode(true, NOW);
    assert_eq!(renew(&mut other, &at("yarn", 5), &token), Ok(NOW.wall_ms + 5 + DAY_MS));
    let last = 7 * DAY_MS - 5;
    assert_eq!(
        renew(&mut other, &at("yarn", last), &token),
        Ok(NOW.wall_ms + 7 * DAY_MS)
    );
    assert!(
        other.needs_master_key(NOW.monotonic_ms),
        "each active makes a key of its own"
    );
    other
        .update_master_key([8; KEY_BYTES], NOW.wall_ms, NOW.monotonic_ms)
        .unwrap();
    let next = get(&mut other, "bob", "yarn").unwrap();
    let next = DelegationTokenIdentifier::from_bytes(&next.identifier).unwrap();
    assert_eq!((next.sequence_number, next.master_key_id), (2, 2));
}

#[test]
fn only_the_renewer_with_the_password_renews() {
    let mut ns = issuing();
    let token = get(&mut ns, "alice", "yarn").unwrap();
    let mut refused = |ctx: &CallContext, token: &TokenProto| {
        let refused = renew(&mut ns, ctx, token).unwrap_err();
        (refused.is(exceptions::INVALID_TOKEN), refused.message)
    };
    let (invalid, why) = refused(&at("alice", 0), &token);
    assert!(
        !invalid
            && why.starts_with("alice tries to renew a token (token for alice: HDFS_DELEGATION_TOKEN owner=alice, ")
    );
    assert!(why.ends_with("with non-matching renewer yarn"), "{why}");
    let mut wrong = token.clone();
    wrong.password = vec![0; 20].into();
    assert!(refused(&at("yarn", 0), &wrong).1.ends_with("with wrong password"));
    let (invalid, why) = refused(&at("yarn", 8 * DAY_MS), &token);
    assert!(
        invalid && why.starts_with("yarn tried to renew an expired token"),
        "{why}"
    );
    let mut identifier = DelegationTokenIdentifier::from_bytes(&token.identifier).unwrap();
    identifier.owner = "hdfs".to_owned();
    let bytes = identifier.to_bytes().unwrap();
    let forged = TokenProto {
        password: password(&bytes, &KEY).into(),
        identifier: bytes.into(),
        ..token.clone()
    };
    assert!(
        refused(&at("yarn", 0), &forged)
            .1
            .starts_with("Renewal request for unknown token")
    );
    identifier.master_key_id = 77;
    let unknown = TokenProto {
        identifier: identifier.to_bytes().unwrap().into(),
        ..token.clone()
    };
    assert!(
        refused(&at("yarn", 0), &unknown)
            .1
            .starts_with("Unable to find master key for keyId=77")
    );
    let damaged = TokenProto {
        identifier: b"xyz".to_vec().into(),
        ..token
    };
    assert!(renew(&mut ns, &at("yarn", 0), &damaged).unwrap_err().is(exceptions::IO));
    let nobodys = get(&mut ns, "alice", "").unwrap();
    let refused = renew(&mut ns, &at("yarn", 0), &nobodys).unwrap_err();
    assert!(refused.message.ends_with("without a renewer"), "{refused}");
}

#[test]
fn owner_and_renewer_cancel_a_token_once() {
    let mut ns = issuing();
    let token = get(&mut ns, "alice", "yarn").unwrap();
    let refused = cancel(&mut ns, "bob", &token).unwrap_err();
    assert!(refused.is(exceptions::ACCESS_CONTROL), "{refused}");
    assert!(
        refused
            .message
            .starts_with("bob is not authorized to cancel the token (token for alice: ")
    );
    cancel(&mut ns, "alice", &token).unwrap();
    let refused = cancel(&mut ns, "alice", &token).unwrap_err();
    assert!(
        refused.message.starts_with("Token not found (token for alice: "),
        "{refused}"
    );
    let token = get(&mut ns, "alice", "yarn").unwrap();
    cancel(&mut ns, "yarn", &token).unwrap();
    assert!(renew(&mut ns, &at("yarn", 0), &token).is_err());
}

#[test]
fn keys_are_rolled_by_time_and_tokens_that_nobody_renews_are_removed() {
    let mut ns = issuing();
    let (first, second) = (
        get(&mut ns, "alice", "yarn").unwrap(),
        get(&mut ns, "bob", "yarn").unwrap(),
    );
    renew(&mut ns, &at("yarn", DAY_MS - 1), &second).unwrap();
    assert!(!ns.needs_master_key(NOW.monotonic_ms + DAY_MS));
    assert!(ns.needs_master_key(NOW.monotonic_ms + DAY_MS + 1));
    assert!(ns.needs_token_scan(NOW.monotonic_ms));
    ns.remove_expired_tokens(NOW.wall_ms + DAY_MS + 1, NOW.monotonic_ms)
        .unwrap();
    assert!(!ns.needs_token_scan(NOW.monotonic_ms + 3_600_000));
    assert!(ns.needs_token_scan(NOW.monotonic_ms + 3_600_001));
    assert!(renew(&mut ns, &at("yarn", 0), &first).is_err(), "it has expired");
    renew(&mut ns, &at("yarn", 0), &second).unwrap();
}
