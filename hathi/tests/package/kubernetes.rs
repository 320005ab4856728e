//! The example for Kubernetes, with each pod's commands run on this machine, under addresses of it.

use anyhow::{Context, Result, ensure};
use hathi_interop::{PortRange, wait_for};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use tempfile::TempDir;

const HATHI: &str = env!("CARGO_BIN_EXE_hathi");
/// The StatefulSets, and the ports of their pods, of which each pod has its own here.
const SETS: [(&str, &[&str]); 3] = [
    ("journalnode", &["8485", "8480"]),
    ("namenode", &["8020", "9870", "8019"]),
    ("datanode", &["9866", "9867", "9864"]),
];
const PODS: u16 = 3;

struct Example {
    text: String,
    dir: TempDir,
    ports: PortRange,
    running: Vec<Child>,
}

impl Drop for Example {
    fn drop(&mut self) {
        for child in &mut self.running {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

impl Example {
    fn read() -> Result<Example> {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../dist/kubernetes/hathi.yaml");
        Ok(Example {
            text: std::fs::read_to_string(&path).with_context(|| path.display().to_string())?,
            dir: tempfile::tempdir()?,
            ports: PortRange::claim()?,
            running: Vec::new(),
        })
    }

    /// A text behind `KEY: |` or `- |`, without its indentation.
    fn literal(&self, begin: &str) -> Result<String> {
        let (_, rest) = self
            .text
            .split_once(&format!("{begin} |\n"))
            .with_context(|| format!("no {begin}"))?;
        let indent = rest.len() - rest.trim_start_matches(' ').len();
        let lines = rest.lines().map_while(|line| line.split_at_checked(indent));
        let lines = lines.take_while(|(before, _)| before.trim().is_empty());
        Ok(lines.map(|(_, line)| format!("{line}\n")).collect())
    }

    /// The words of the command of a container.
    fn command(&self, container: &str) -> Result<Vec<String>> {
        let (_, rest) = self
            .text
            .split_once(&format!(
                "- name: {container}\n          image: hathi:latest\n          command: "
            ))
            .with_context(|| format!("no container {container}"))?;
        let line = rest.lines().next().unwrap_or_default();
        serde_json::from_str(line).with_context(|| format!("{container}: {line}"))
    }

    fn data(&self, set: &str, pod: u16) -> PathBuf {
        self.dir.path().join(format!("{set}-{pod}"))
    }

    fn port(&self, port: &str, pod: u16) -> u16 {
        let all = SETS.iter().flat_map(|(_, ports)| ports.iter());
        let place = all.take_while(|known| **known != port).count();
        self.ports.base() + pod * 10 + u16::try_from(place).unwrap_or(9)
    }

    /// Something of the example, as it is in a pod here.
    fn here(&self, set: &str, pod: u16, text: &str) -> String {
        let mut text = text.replace("/data/", &format!("{}/", self.data(set, pod).display()));
        for (name, ports) in SETS {
            for port in ports {
                for other in 0..PODS {
                    let address = format!("127.0.0.1:{}", self.port(port, other));
                    text = text.replace(&format!("{name}-{other}.{name}:{port}"), &address);
                }
                let own = format!("127.0.0.1:{}", self.port(port, pod));
                text = text.replace(&format!("0.0.0.0:{port}"), &own);
            }
        }
        text
    }

    /// Writes the ConfigMap for a pod. Returns its directory.
    fn configure(&self, set: &str, pod: u16) -> Result<PathBuf> {
        let conf = self.data(set, pod).join("conf");
        if conf.exists() {
            return Ok(conf);
        }
        std::fs::create_dir_all(&conf)?;
        for name in ["core-site.xml", "hdfs-site.xml"] {
            let mut text = self.here(set, pod, &self.literal(&format!("  {name}:"))?);
            if name == "hdfs-site.xml" {
                // In a pod of its own it would know itself by its address, and all controllers have one port.
                let ports = (0..PODS).map(|nn| {
                    (
                        format!("dfs.ha.zkfc.port.hathi.nn{nn}"),
                        self.port("8019", nn).to_string(),
                    )
                });
                let mut own: Vec<_> = ports.collect();
                if set == "namenode" {
                    own.push(("dfs.ha.namenode.id".to_owned(), format!("nn{pod}")));
                }
                let own: String = own
                    .iter()
                    .map(|(key, value)| format!("<property><name>{key}</name><value>{value}</value></property>"))
                    .collect();
                text = text.replace("</configuration>", &format!("{own}</configuration>"));
            }
            std::fs::write(conf.join(name), text)?;
        }
        Ok(conf)
    }

    fn start(&mut self, container: &str, set: &str, pod: u16) -> Result<()> {
        let words = self.command(container)?;
        ensure!(words.first().is_some_and(|word| word == "hathi"), "{words:?}");
        let child = Command::new(HATHI)
            .args(words.iter().skip(1))
            .env("HADOOP_CONF_DIR", self.configure(set, pod)?)
            .stdin(Stdio::null())
            .spawn()?;
        self.running.push(child);
        Ok(())
    }

    /// Runs the script of the container that formats, in a pod.
    fn format(&self, pod: u16) -> Result<()> {
        let script = self.literal("            -")?;
        let script = self.here("namenode", pod, &script);
        let status = Command::new("sh")
            .args([
                "-c",
                &script
                    .replace("$(hostname)", &format!("namenode-{pod}"))
                    .replace("hathi namenode", &format!("{HATHI} namenode")),
            ])
            .env("HADOOP_CONF_DIR", self.configure("namenode", pod)?)
            .stdin(Stdio::null())
            .status()?;
        ensure!(status.success(), "the script ended with {status}");
        Ok(())
    }

    fn hathi(&self, args: &[&str]) -> Result<String> {
        let output = Command::new(HATHI)
            .args(args)
            .env("HADOOP_CONF_DIR", self.data("namenode", 0).join("conf"))
            .stdin(Stdio::null())
            .output()?;
        ensure!(
            output.status.success(),
            "{args:?}: {}",
            String::from_utf8_lossy(&output.stderr)
        );
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    }
}

#[test]
fn the_pods_of_the_example_make_a_cluster_and_a_lost_volume_is_filled_again() -> Result<()> {
    let mut example = Example::read()?;
    for pod in 0..PODS {
        example.start("journalnode", "journalnode", pod)?;
    }
    // The first NameNode is the last to start: nothing depends on an order.
    for pod in (0..PODS).rev() {
        example.format(pod)?;
        example.start("namenode", "namenode", pod)?;
        example.start("zkfc", "namenode", pod)?;
        example.start("datanode", "datanode", pod)?;
    }
    wait_for("the file system", crate::PATIENCE, || {
        example.hathi(&["dfs", "-put", "/etc/passwd", "/file"]).ok()
    });
    let three = |states: &String| states.matches("standby").count() == 2 && states.contains("active");
    wait_for("three NameNodes", crate::PATIENCE, || {
        example.hathi(&["haadmin", "-getAllServiceState"]).ok().filter(three)
    });

    // The script does not make a second namespace where the first NameNode has lost its volume.
    let lost = example.data("namenode", 0).join("name");
    let version = std::fs::read_to_string(lost.join("current/VERSION"))?;
    std::fs::remove_dir_all(&lost)?;
    example.format(0)?;
    let cluster = |version: &str| {
        version
            .lines()
            .find(|line| line.starts_with("clusterID="))
            .map(str::to_owned)
    };
    let now = std::fs::read_to_string(lost.join("current/VERSION"))?;
    ensure!(
        cluster(&now).is_some() && cluster(&now) == cluster(&version),
        "{version} became {now}"
    );
    example.hathi(&["dfs", "-cat", "/file"])?;
    Ok(())
}
