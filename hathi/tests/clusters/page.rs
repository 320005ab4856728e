//! The page of the cluster, in a real browser.
//!
//! With `HATHI_PICTURES=DIR` the pictures of docs/page.md are made anew in that directory.

use anyhow::{Context, Result, ensure};
use hathi_conf::Configuration;
use hathi_interop::{Chromium, Cluster, ClusterOptions, Role, wait_for};
use rustix::process::Signal;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::PathBuf;
use std::time::Duration;

/// What a daemon of the cluster may take.
const PATIENCE: Duration = Duration::from_secs(60);
const OPTIONS: ClusterOptions = ClusterOptions {
    namenodes: 3,
    journalnodes: 3,
    datanodes: 2,
};
const DESK: (u32, u32) = (1000, 1050);
const PHONE: (u32, u32) = (390, 1250);
/// The name of a file that would run as a script wherever it became markup.
const HOSTILE: &str = "<img src=x onerror=document.documentElement.dataset.broken=1>";

/// Looks at the page from inside, after it has shown the cluster. What it sees, it writes into attributes of the root.
const LOOK: &str = r##"
const root = document.documentElement;
addEventListener("error", (event) => { root.dataset.failure = event.message; });
addEventListener("unhandledrejection", (event) => { root.dataset.failure = event.reason; });
addEventListener("securitypolicyviolation", (event) => { root.dataset.failure = event.blockedURI; });
setTimeout(() => {
  const sort = [...document.querySelectorAll("#datanode-table button")].find((button) => button.textContent === "Used");
  sort.focus();
  sort.click();
  sort.click();
  document.querySelector("#compare").click();
}, 2500);
setTimeout(() => {
  root.dataset.wide = root.scrollWidth;
  root.dataset.focused = document.activeElement.textContent;
  root.dataset.sorted = document.activeElement.closest("th")?.getAttribute("aria-sort");
  root.dataset.images = document.images.length;
}, 6500);
"##;

/// A phone: the browser's own window is never so narrow. In the end it is what was shown in the frame.
const FRAME: &str = r##"<!doctype html><iframe id="frame" width="390" height="1200" src="/#/data"></iframe><script>
setTimeout(() => {
  const shown = document.importNode(document.getElementById("frame").contentDocument.documentElement, true);
  document.replaceChild(shown, document.documentElement);
}, 6800);
</script>"##;

fn get(address: &str, path: &str) -> Result<Vec<u8>> {
    let mut stream = TcpStream::connect(address).with_context(|| address.to_owned())?;
    stream.set_read_timeout(Some(PATIENCE))?;
    write!(stream, "GET {path} HTTP/1.0\r\nHost: {address}\r\n\r\n")?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer)?;
    Ok(answer)
}

fn text(address: &str, path: &str) -> Result<String> {
    Ok(String::from_utf8(get(address, path)?)?)
}

/// Serves everything of a NameNode, its policy of what may be loaded too, and adds a script to its page.
fn with_a_look(namenode: String) -> Result<String> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let address = listener.local_addr()?.to_string();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let namenode = namenode.clone();
            // A browser that goes away early is no failure.
            std::thread::spawn(move || stream.map(|stream| pass_on(stream, &namenode)));
        }
    });
    Ok(address)
}

fn pass_on(mut stream: TcpStream, namenode: &str) -> Result<()> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        stream.read_exact(&mut byte)?;
        head.extend(byte);
    }
    let path = String::from_utf8(head)?;
    let path = path.split(' ').nth(1).context("a path")?;
    if path == "/frame" {
        write!(stream, "HTTP/1.0 200 OK\r\nContent-Type: text/html\r\n\r\n{FRAME}")?;
        return Ok(());
    }
    if path == "/look.js" {
        let length = LOOK.len();
        write!(
            stream,
            "HTTP/1.0 200 OK\r\nContent-Type: text/javascript\r\nContent-Length: {length}\r\n\r\n{LOOK}"
        )?;
        return Ok(());
    }
    let answer = get(namenode, path)?;
    if path != "/" {
        return Ok(stream.write_all(&answer)?);
    }
    let page = String::from_utf8(answer)?;
    let lines = page.split_inclusive("\r\n");
    let kept: String = lines
        .filter(|line| !line.to_lowercase().starts_with("content-length"))
        .collect();
    let looked = kept.replace("</body>", "<script src=\"/look.js\"></script></body>");
    Ok(stream.write_all(looked.as_bytes())?)
}

/// Takes a picture for the documents, if it is asked for.
fn picture(browser: &Chromium, url: &str, size: (u32, u32), is_dark: bool, name: &str) -> Result<()> {
    let Some(dir) = std::env::var_os("HATHI_PICTURES").map(PathBuf::from) else {
        return Ok(());
    };
    browser.picture(url, size, is_dark, &dir.join(name))
}

/// How a card shows a NameNode.
fn card(id: &str, state: &str) -> String {
    format!("<h3>{id}</h3><span class=\"state {state}</span>")
}

fn has(document: &str, parts: &[&str]) -> Result<()> {
    for part in parts {
        ensure!(document.contains(part), "{part} is missing in {document}");
    }
    Ok(())
}

/// The web address of a daemon that is no NameNode.
fn address(cluster: &Cluster, role: Role, index: u16) -> Result<String> {
    let conf = Configuration::load(&cluster.daemon_conf(role, index))?;
    let key = match role {
        Role::JournalNode => "dfs.journalnode.http-address".to_owned(),
        Role::DataNode => "dfs.datanode.http.address".to_owned(),
        _ => format!("hathi.zkfc.http-address.{}.nn{index}", conf.nameservices().concat()),
    };
    conf.get(&key).context(key)
}

#[test]
fn every_namenode_shows_the_cluster_and_a_browser_shows_it_well() -> Result<()> {
    let Some(browser) = Chromium::find()? else {
        return Ok(());
    };
    let cluster = Cluster::start(env!("CARGO_BIN_EXE_hathi"), OPTIONS)?;
    let file = cluster.dir().join("file");
    std::fs::write(&file, vec![7; 1_234_567])?;
    cluster.hathi_ok("dfs", &["-mkdir", "/data"])?;
    for name in [HOSTILE, "part-00000"] {
        let path = format!("/data/{name}");
        cluster.hathi_ok("dfs", &["-put", &file.display().to_string(), &path])?;
    }
    let active = cluster.active().context("no active")?;
    let (first, second) = ((active + 1) % 3, (active + 2) % 3);
    let url = |index: u16| Ok::<_, anyhow::Error>(format!("http://{}/", cluster.namenode_http(index)?));
    let id = |index: u16| format!("nn{index}");

    // A standby names all daemons, and says where files are served.
    let document = browser.document(&url(first)?, DESK)?;
    has(
        &document,
        &[
            &card(&id(active), "good\">active"),
            &card(&id(first), "standby\">standby"),
            &card(&id(second), "standby\">standby"),
            "serves this page",
            ">answers<",
            &format!("open them at {}", id(active)),
        ],
    )?;
    for (role, count) in [
        (Role::JournalNode, OPTIONS.journalnodes),
        (Role::DataNode, OPTIONS.datanodes),
    ] {
        for index in 0..count {
            let key = if role == Role::JournalNode {
                "dfs.journalnode.rpc-address"
            } else {
                "dfs.datanode.address"
            };
            let conf = Configuration::load(&cluster.daemon_conf(role, index))?;
            has(&document, &[&conf.get(key).context(key)?])?;
        }
    }

    // The active, on a phone, with a look from inside.
    let looked = with_a_look(cluster.namenode_http(active)?)?;
    let document = browser.document(&format!("http://{looked}/frame"), DESK)?;
    let shown = HOSTILE.replace('<', "&lt;").replace('>', "&gt;");
    has(
        &document,
        &[
            &format!(">{shown}</a>"),
            ">part-00000</a>",
            "data-images=\"0\"",
            "data-wide=\"390\"",
            "data-focused=\"Used\"",
            "data-sorted=\"descending\"",
            "1.2 MiB",
            "among 11 daemons.",
        ],
    )?;
    ensure!(
        !document.contains("data-failure") && !document.contains("data-broken"),
        "{document}"
    );
    let files = format!("{}#/data", url(active)?);
    picture(&browser, &files, DESK, false, "page-light.png")?;
    picture(&browser, &files, DESK, true, "page-dark.png")?;
    picture(&browser, &files, PHONE, false, "page-phone.png")?;

    // Every daemon has a page that leads there, and says what a browser may do with it.
    for (role, count) in [(Role::JournalNode, 3), (Role::DataNode, 2), (Role::Zkfc, 3)] {
        for index in 0..count {
            let page = text(&address(&cluster, role, index)?, "/")?;
            let link = format!("<a href=\"{}\">", url(active)?);
            has(
                &page,
                &[
                    &link,
                    "content-security-policy: default-src 'none';",
                    "referrer-policy: no-referrer",
                ],
            )?;
        }
    }

    // After a failover the time line has it with its cause.
    cluster.signal(Role::NameNode, active, Signal::KILL)?;
    let observer = cluster.namenode_http(first)?;
    let successor = wait_for("the failover", PATIENCE, || {
        let told = text(&observer, "/api/cluster").ok()?;
        let told: serde_json::Value = serde_json::from_str(told.split_once("\r\n\r\n")?.1).ok()?;
        let failover = &told["failovers"][0];
        let is_it = failover["from"] == id(active) && failover["cause"].as_str()?.contains("process");
        is_it.then(|| failover["to"].as_str().map(str::to_owned))?
    });
    // One that says nothing, and whose controller can't end it, was heard of before.
    let silent = if successor == id(first) { second } else { first };
    let seer = first + second - silent;
    wait_for("all NameNodes", PATIENCE, || {
        let told = text(&cluster.namenode_http(seer).ok()?, "/api/cluster").ok()?;
        (!told.contains("unreachable")).then_some(())
    });
    cluster.signal(Role::Zkfc, silent, Signal::STOP)?;
    cluster.signal(Role::NameNode, silent, Signal::STOP)?;
    wait_for("a silent NameNode that counts as dead", PATIENCE, || {
        let told = text(&cluster.namenode_http(seer).ok()?, "/api/cluster").ok()?;
        told.contains("unreachable").then_some(())
    });
    let document = browser.document(&url(seer)?, DESK)?;
    has(
        &document,
        &[
            &format!("{} → {successor}", id(active)),
            "Cause: the NameNode's process",
            &card(&successor, "good\">active"),
            &card(&id(silent), "bad\">dead"),
            &format!("NameNode {} is dead: heard last", id(silent)),
        ],
    )?;
    picture(&browser, &url(seer)?, DESK, false, "page-failover.png")?;

    // It is served while nobody is active, and says why.
    for index in 0..2 {
        cluster.signal(Role::JournalNode, index, Signal::STOP)?;
    }
    wait_for("the end of the last active", PATIENCE, || {
        let told = text(&cluster.namenode_http(seer).ok()?, "/api/cluster").ok()?;
        (!told.contains("\"state\":\"active\"")).then_some(())
    });
    let document = browser.document(&url(seer)?, DESK)?;
    has(
        &document,
        &[
            "No NameNode is active.",
            "The majority of the JournalNodes is lost: 2 of 3",
        ],
    )?;
    Ok(())
}
