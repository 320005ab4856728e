//! WebHDFS through the death of active NameNodes, with a small HTTP client that fails over as Hadoop's does.

use anyhow::{Context, Result, bail, ensure};
use hathi_interop::webhdfs::survive_kills;
use hathi_interop::{Cluster, ClusterOptions, FileClient, Python, Role, wait_for};
use rustix::process::Signal;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

const PATIENCE: Duration = Duration::from_secs(60);
const NAMENODES: u16 = 3;

/// What came back for a request.
#[derive(Debug)]
pub(super) struct Answer {
    status: u16,
    head: String,
    body: Vec<u8>,
}

impl Answer {
    pub(super) fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// A text in the JSON.
    fn member(&self, name: &str) -> Option<String> {
        let text = self.text();
        let (_, rest) = text.split_once(&format!("\"{name}\":\""))?;
        rest.split_once('"').map(|(value, _)| value.to_owned())
    }
}

/// One request over a connection of its own, which ends with the answer. HTTP 1.0 has no chunks.
fn send(method: &str, url: &str, body: &[u8]) -> Result<Answer> {
    let rest = url.strip_prefix("http://").context("http")?;
    let (host, path) = rest.split_at(rest.find('/').context("a path")?);
    let mut stream = TcpStream::connect(host)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    let head = format!(
        "{method} {path} HTTP/1.0\r\nHost: {host}\r\nContent-Length: {}\r\n\r\n",
        body.len()
    );
    stream.write_all(&[head.as_bytes(), body].concat())?;
    let mut all = Vec::new();
    stream.read_to_end(&mut all)?;
    let end = all.windows(4).position(|four| four == b"\r\n\r\n");
    let body = all.split_off(end.context("no answer")? + 4);
    let head = String::from_utf8(all)?;
    let status = head.split(' ').nth(1).context("a status")?.parse()?;
    Ok(Answer { status, head, body })
}

/// A client that knows all NameNodes.
pub(super) struct Client {
    namenodes: Vec<String>,
    current: AtomicUsize,
}

impl Client {
    pub(super) fn new(cluster: &Cluster) -> Result<Client> {
        Ok(Client {
            namenodes: (0..NAMENODES)
                .map(|index| cluster.namenode_http(index))
                .collect::<Result<_>>()?,
            current: AtomicUsize::new(0),
        })
    }

    /// The answer of the active. A NameNode that is not active, or gone, leads to the next one.
    fn ask(&self, method: &str, path: &str) -> Result<Answer> {
        let started = Instant::now();
        loop {
            let at = self.current.load(Ordering::Relaxed) % self.namenodes.len();
            let url = format!("http://{}/webhdfs/v1{path}", self.namenodes[at]);
            let failed = match send(method, &url, b"") {
                Ok(answer) => match answer.member("exception").as_deref() {
                    Some("StandbyException" | "RetriableException") => answer.text(),
                    _ => return Ok(answer),
                },
                Err(error) => error.to_string(),
            };
            ensure!(started.elapsed() < PATIENCE, "{method} {path}: {failed}");
            self.current.fetch_add(1, Ordering::Relaxed);
        }
    }

    pub(super) fn ok(&self, method: &str, path: &str) -> Result<Answer> {
        let answer = self.ask(method, path)?;
        ensure!(
            answer.status == 200,
            "{method} {path}: {}{}",
            answer.head,
            answer.text()
        );
        Ok(answer)
    }

    /// Where a DataNode takes or gives the bytes.
    fn place(&self, method: &str, path: &str) -> Result<String> {
        let answer = self.ok(method, &format!("{path}&noredirect=true"))?;
        answer.member("Location").context("a location")
    }

    fn put(&self, path: &str, bytes: &[u8]) -> Result<Answer> {
        send("PUT", &self.place("PUT", path)?, bytes)
    }

    pub(super) fn read(&self, path: &str) -> Result<Vec<u8>> {
        let answer = send("GET", &self.place("GET", path)?, b"")?;
        ensure!(answer.status == 200, "{path}: {}", answer.text());
        Ok(answer.body)
    }
}

/// Makes one directory after the other until it is told to stop. Returns how many were acknowledged.
fn make_directories(client: &Client, made: &AtomicUsize, stop: &AtomicBool) -> Result<()> {
    while !stop.load(Ordering::Relaxed) {
        let number = made.load(Ordering::Relaxed);
        let answer = client.ok("PUT", &format!("/load/{number}?op=MKDIRS&user.name=alice"))?;
        ensure!(answer.text() == "{\"boolean\":true}", "{}", answer.text());
        made.fetch_add(1, Ordering::Relaxed);
    }
    Ok(())
}

#[test]
fn what_webhdfs_acknowledges_survives_kills_of_the_active() -> Result<()> {
    let settings = ["dfs.blocksize=1048576"];
    let cluster = Cluster::start_with(env!("CARGO_BIN_EXE_hathi"), ClusterOptions::default(), &settings)?;
    cluster.hathi_ok("dfs", &["-mkdir", "/load", "/files"])?;
    cluster.hathi_ok("dfs", &["-chmod", "777", "/load", "/files"])?;
    let client = Client::new(&cluster)?;
    let bytes: Vec<u8> = (0..3_000_001_u32)
        .map(|number| (number.wrapping_mul(7919) >> 8) as u8)
        .collect();
    let (made, stop) = (AtomicUsize::new(0), AtomicBool::new(false));
    std::thread::scope(|scope| {
        let load = scope.spawn(|| make_directories(&client, &made, &stop));
        let kills = || -> Result<()> {
            for round in 0..2 {
                let at = made.load(Ordering::Relaxed);
                wait_for("directories", PATIENCE, || {
                    (made.load(Ordering::Relaxed) > at).then_some(())
                });
                let path = format!("/files/{round}?op=CREATE&user.name=alice&permission=640");
                // The DataNode gets the bytes, and calls the nameservice, when the active is dead.
                let place = client.place("PUT", &path)?;
                let active = wait_for("one active", PATIENCE, || cluster.active());
                cluster.signal(Role::NameNode, active, Signal::KILL)?;
                let created = send("PUT", &place, &bytes)?;
                ensure!(created.status == 201, "{}", created.text());
                let location = format!("location: hdfs://hathi/files/{round}\r\n");
                ensure!(created.head.contains(&location), "{}", created.head);
                // Its standby came back before the next one is killed.
                let state = ["-getServiceState", &format!("nn{active}")];
                wait_for("the killed one as standby", PATIENCE, || {
                    let state = cluster.hathi_ok("haadmin", &state).ok()?;
                    (state.trim() == "standby").then_some(())
                });
            }
            Ok(())
        };
        let killed = kills();
        stop.store(true, Ordering::Relaxed);
        match load.join() {
            Ok(loaded) => loaded.and(killed),
            Err(_) => bail!("the load panicked"),
        }
    })?;
    let listed = client.ok("GET", "/load?op=LISTSTATUS&user.name=alice")?.text();
    for number in 0..made.into_inner() {
        ensure!(
            listed.contains(&format!("\"pathSuffix\":\"{number}\"")),
            "{number} is lost"
        );
    }
    for round in 0..2 {
        let path = format!("/files/{round}");
        ensure!(
            client.read(&format!("{path}?op=OPEN&user.name=alice"))? == bytes,
            "{path}"
        );
        let middle = client.read(&format!("{path}?op=OPEN&user.name=alice&offset=1048570&length=12"))?;
        ensure!(middle == bytes[1_048_570..1_048_582], "{middle:?}");
    }
    refusals(&client)
}

/// Each is told in Hadoop's words.
fn refusals(client: &Client) -> Result<()> {
    for (method, path, status, exception) in [
        ("PUT", "/x?op=MKDIRS&user.name=bob", 403, "AccessControlException"),
        (
            "GET",
            "/files/0?op=GETFILESTATUS&user.name=bob&doas=alice",
            403,
            "AuthorizationException",
        ),
        ("GET", "/none?op=GETFILESTATUS", 404, "FileNotFoundException"),
        ("GET", "/files/0?op=OPEN&offset=x", 400, "IllegalArgumentException"),
        ("GET", "/files/0?op=NONSENSE", 400, "IllegalArgumentException"),
        ("GET", "/files/0", 400, "UnsupportedOperationException"),
        ("PUT", "/files/0?op=CREATE&user.name=alice", 307, ""),
        (
            "PUT",
            "/files?op=CREATESNAPSHOT&user.name=alice",
            403,
            "AccessControlException",
        ),
    ] {
        let answer = client.ask(method, path)?;
        let named = answer.member("exception").unwrap_or_default();
        ensure!(
            answer.status == status && named == exception,
            "{path}: {}",
            answer.text()
        );
    }
    // The DataNode asks the NameNode for rights once more, and takes no bytes before it knows them.
    let denied = client.put("/files/1?op=CREATE&user.name=bob&overwrite=true", b"bob's")?;
    ensure!(denied.status == 403, "{}", denied.text());
    let place = client.place("GET", "/files/0?op=OPEN&user.name=alice")?;
    let elsewhere = send("GET", &place.replace("=hathi&", "=evil:80&"), b"")?;
    ensure!(elsewhere.status == 400, "{}", elsewhere.text());
    let secret = send("GET", &place.replace("=alice", "=bob"), b"")?;
    ensure!(
        secret.member("exception").as_deref() == Some("AccessControlException"),
        "{}",
        secret.text()
    );
    Ok(())
}

#[test]
fn clients_in_python_see_nothing_of_twenty_kills_and_lose_nothing() -> Result<()> {
    let Some(python) = Python::get()? else { return Ok(()) };
    let cluster = Cluster::start(env!("CARGO_BIN_EXE_hathi"), ClusterOptions::default())?;
    let namenodes = (0..NAMENODES)
        .map(|index| cluster.namenode_http(index))
        .collect::<Result<Vec<_>>>()?;
    let mut clients = Vec::new();
    for package in ["hdfs", "fsspec"] {
        let base = format!("/{package}");
        cluster.hathi_ok("dfs", &["-mkdir", &base])?;
        cluster.hathi_ok("dfs", &["-chmod", "777", &base])?;
        let args = [&[package.to_owned(), base], &namenodes[..]].concat();
        let client = FileClient::run_by(&mut python.command("webhdfs_clients.py", &args))?;
        clients.push((package, client));
    }
    survive_kills(&cluster, clients, 20)
}
