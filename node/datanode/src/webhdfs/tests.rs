use super::*;
use hathi_conf::Environment;
use hathi_net::http::{HeaderMap, Uri};

fn conf(keys: &[(&str, &str)]) -> WebHdfsConf {
    let mut conf = Configuration::new(Environment::default());
    for (key, value) in keys {
        conf.set(key, *value);
    }
    WebHdfsConf::of(&conf)
}

fn pair() -> WebHdfsConf {
    conf(&[
        ("dfs.nameservices", "ns,elsewhere"),
        ("dfs.internal.nameservices", "ns"),
        ("dfs.ha.namenodes.ns", "a,b"),
        ("dfs.namenode.rpc-address.ns.a", "ha:8020"),
        ("dfs.namenode.rpc-address.ns.b", "hb:8020"),
        ("dfs.namenode.rpc-address.elsewhere", "he:8020"),
    ])
}

fn head(method: Method, query: &str) -> RequestHead {
    let uri: Uri = format!("/webhdfs/v1/f?{query}").parse().unwrap();
    RequestHead::new(method, &uri, HeaderMap::new(), ([127, 0, 0, 1], 1).into())
}

#[test]
fn a_request_leads_only_to_namenodes_of_this_datanode() {
    let ask = |conf: &WebHdfsConf, namenode: &str| {
        let query = format!("op=open&namenoderpcaddress={namenode}");
        Asked::of(conf, &head(Method::GET, &query), "/f").map(|asked| asked.namenode)
    };
    for known in ["ns", "ha:8020", "hb:8020"] {
        assert_eq!(ask(&pair(), known), Ok(known.to_owned()));
    }
    for unknown in ["elsewhere", "he:8020", "evil:80", "ha:9", "127.0.0.1", ""] {
        let refused = ask(&pair(), unknown).unwrap_err();
        assert!(refused.is(exceptions::ILLEGAL_ARGUMENT), "{unknown}: {refused}");
    }
    let single = conf(&[("dfs.namenode.rpc-address", "h:8020")]);
    assert_eq!(ask(&single, "h:8020"), Ok("h:8020".to_owned()));
}

#[test]
fn a_user_may_be_named_and_act_for_another() {
    let ask = |query: &str| {
        let query = format!("op=GETFILECHECKSUM&namenoderpcaddress=ns&{query}");
        Asked::of(&pair(), &head(Method::GET, &query), "/f").map(|asked| asked.user)
    };
    assert_eq!(ask("").unwrap().user, "dr.who");
    let proxied = ask("user.name=oozie&doas=alice").unwrap();
    assert_eq!(
        (proxied.user.as_str(), proxied.real_user.as_deref()),
        ("alice", Some("oozie"))
    );
    assert!(ask("user.name=a%20b").is_err());
}

#[test]
fn operations_on_names_are_the_namenodes() {
    for (method, query) in [
        (Method::GET, "op=LISTSTATUS&namenoderpcaddress=ns"),
        (Method::PUT, "op=OPEN&namenoderpcaddress=ns"),
        (Method::DELETE, "op=DELETE&namenoderpcaddress=ns"),
        (Method::GET, ""),
    ] {
        let refused = Asked::of(&pair(), &head(method, query), "/f").err().unwrap();
        assert!(refused.message.starts_with("Invalid operation "), "{refused}");
    }
}

#[test]
fn a_browser_is_told_that_it_may_send_a_file() {
    let allowed = preflight(&head(Method::OPTIONS, "op=CREATE"));
    assert_eq!(allowed.status(), StatusCode::OK);
    for (name, value) in [
        (ACCESS_CONTROL_ALLOW_ORIGIN, "*"),
        (ACCESS_CONTROL_ALLOW_METHODS, "PUT"),
        (ACCESS_CONTROL_MAX_AGE, "1728000"),
    ] {
        assert_eq!(allowed.headers()[name], value);
    }
    assert_eq!(
        preflight(&head(Method::OPTIONS, "op=OPEN")).status(),
        StatusCode::BAD_REQUEST
    );
}
