//! `ha.zookeeper.auth` and `ha.zookeeper.acl` (`org.apache.hadoop.util.ZKUtil`).

use zookeeper_client::{Acl, AuthId, Permission};

/// Who is known to ZooKeeper by these proves it while the connection is made, which is not done here.
const OF_CONNECTIONS: [&str; 2] = ["sasl", "x509"];

/// Credentials.
#[derive(Clone, PartialEq, Eq)]
pub struct Auth {
    /// Such as `digest`.
    pub scheme: String,
    /// Such as `user:password`.
    pub credentials: Vec<u8>,
}

impl std::fmt::Debug for Auth {
    /// Without the credentials.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Auth({})", self.scheme)
    }
}

fn words(value: &str) -> impl Iterator<Item = &str> {
    value.split(',').map(str::trim).filter(|word| !word.is_empty())
}

/// `SCHEME:CREDENTIALS`, divided by commas.
///
/// # Errors
/// When one has no scheme, or is of SASL; without the credentials.
pub fn parse_auths(value: &str) -> Result<Vec<Auth>, String> {
    words(value)
        .map(|word| match word.split_once(':') {
            Some((scheme, _)) if OF_CONNECTIONS.contains(&scheme) => Err(format!(
                "{scheme}: connections to ZooKeeper are neither encrypted nor made by SASL; use digest"
            )),
            Some((scheme, credentials)) => Ok(Auth {
                scheme: scheme.to_owned(),
                credentials: credentials.as_bytes().to_vec(),
            }),
            None => Err("must be SCHEME:CREDENTIALS, divided by commas".to_owned()),
        })
        .collect()
}

/// `SCHEME:ID:PERMISSIONS`, divided by commas; permissions are some of `rwcda`, and an id may have colons. Without any, all
/// rights are the creator's (`ZKFailoverController.initZK`).
///
/// # Errors
/// When one is something else, or all rights are those of somebody who proves by SASL who it is: a controller would shut itself
/// out.
pub fn parse_acls(value: &str) -> Result<Vec<Acl>, String> {
    let acls: Vec<Acl> = words(value).map(parse_acl).collect::<Result<_, _>>()?;
    let of_connections = |acl: &Acl| OF_CONNECTIONS.contains(&acl.scheme());
    let by_others = |acl: &Acl| !of_connections(acl) && acl.permission() == Permission::ALL;
    match acls.iter().find(|acl| of_connections(acl)) {
        Some(acl) if !acls.iter().any(by_others) => Err(format!(
            "{}: connections to ZooKeeper are neither encrypted nor made by SASL; use digest, with ha.zookeeper.auth",
            acl.scheme()
        )),
        _ if acls.is_empty() => Ok(vec![Acl::new(Permission::ALL, AuthId::authed())]),
        _ => Ok(acls),
    }
}

fn parse_acl(word: &str) -> Result<Acl, String> {
    let parts = word
        .split_once(':')
        .and_then(|(scheme, rest)| Some((scheme, rest.rsplit_once(':')?)));
    let Some((scheme, (id, permissions))) = parts else {
        return Err(format!("'{word}' must be SCHEME:ID:PERMISSIONS"));
    };
    let mut allowed = Permission::NONE;
    for letter in permissions.chars() {
        allowed = allowed
            | match letter {
                'r' => Permission::READ,
                'w' => Permission::WRITE,
                'c' => Permission::CREATE,
                'd' => Permission::DELETE,
                'a' => Permission::ADMIN,
                _ => return Err(format!("'{word}': permissions are some of rwcda")),
            };
    }
    Ok(Acl::new(allowed, AuthId::new(scheme, id)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rights_are_written_as_hadoop_writes_them() {
        let acls = parse_acls("world:anyone:rwcda, digest:hdfs:pO/4/=:wc,").unwrap();
        assert_eq!(acls[0], Acl::new(Permission::ALL, AuthId::anyone()));
        let second = Acl::new(
            Permission::WRITE | Permission::CREATE,
            AuthId::new("digest", "hdfs:pO/4/="),
        );
        assert_eq!(acls[1..], [second]);
        let creator = Acl::new(Permission::ALL, AuthId::authed());
        assert_eq!(parse_acls(" ,").unwrap(), [creator]);
        for wrong in ["world", "world:anyone", "world:anyone:rwx"] {
            assert!(parse_acls(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn credentials_are_not_told() {
        let auths = parse_auths("digest:hdfs:se:cret").unwrap();
        assert_eq!(auths[0].credentials, b"hdfs:se:cret");
        assert!(!format!("{auths:?}").contains("cret"));
        assert!(!parse_auths("secret").unwrap_err().contains("secret"));
        assert_eq!(parse_auths("").unwrap(), []);
    }
}
