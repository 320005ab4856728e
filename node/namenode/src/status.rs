//! The NameNode's page for people.

use crate::journal_view::lease_states;
use crate::state::Shared;
use hathi_conf::host_and_port;
use hathi_formats::proto::hdfs::DatanodeReportTypeProto;
use hathi_namesystem::{HaState, Role};
use std::fmt::Write;

/// Text inside HTML or XML.
#[must_use]
pub fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            c => out.push(c),
        }
    }
    out
}

const STYLE: &str = "body{font:15px/1.5 system-ui,sans-serif;margin:2em auto;max-width:62em;padding:0 1em;color:#222;background:#fafafa}\
h1{font-size:1.5em}h2{font-size:1.1em;margin-top:2em}table{border-collapse:collapse;width:100%;background:#fff}\
td,th{padding:.35em .7em;border-bottom:1px solid #e4e4e4;text-align:left;font-variant-numeric:tabular-nums}\
th{font-weight:600;color:#555}.active{color:#0a7a34;font-weight:600}.standby{color:#8a6d00}.bad{color:#b00020;font-weight:600}";

/// The status page.
#[must_use]
pub fn page(shared: &Shared) -> String {
    let nn = &shared.nn;
    let ns = nn.ns.read();
    let counts = ns.blockmanager().counts();
    let state = ns.role().ha_state();
    let class = if state == HaState::Active { "active" } else { "standby" };
    let mut page = format!(
        "<!doctype html><html lang=en><meta charset=utf-8><meta http-equiv=refresh content=5><title>NameNode {id}</title>\
         <style>{STYLE}</style><h1>NameNode {id} <span class={class}>{state}</span></h1>",
        id = escape(&nn.settings.rpc.to_string()),
        state = state.name(),
    );
    if ns.blockmanager().in_safe_mode() {
        let _ = write!(
            page,
            "<p class=bad>Safe mode is on. {}</p>",
            escape(&ns.blockmanager().safe_mode_tip())
        );
    }
    let mut table = Table::new(&mut page, "Overview", &[]);
    table.row(&["Nameservice", &nn.settings.nameservice_id]);
    table.row(&["Cluster", &ns.info().cluster_id]);
    table.row(&["Block pool", &ns.info().block_pool_id]);
    table.row(&["Files, directories", &ns.namespace().inode_count().to_string()]);
    table.row(&["Blocks", &counts.blocks.to_string()]);
    table.row(&[
        "Missing, corrupt, under-replicated blocks",
        &format!("{}, {}, {}", counts.missing, counts.corrupt, counts.low_redundancy),
    ]);
    table.row(&[
        "Capacity",
        &format!(
            "{} used of {}, {} free",
            size(counts.dfs_used),
            size(counts.capacity),
            size(counts.remaining)
        ),
    ]);
    table.row(&[
        "Last transaction applied, durable",
        &format!("{}, {}", ns.edit_log().applied(), ns.edit_log().synced()),
    ]);
    table.row(&[
        "Last checkpoint",
        &format!("transaction {}", ns.most_recent_checkpoint()),
    ]);
    let failover_us = nn.observed.last_failover_us();
    let failover = match failover_us {
        0 => "none here".to_owned(),
        us => format!("took {:.1} ms", us as f64 / 1000.0),
    };
    table.row(&["Last change to active", &failover]);
    table.end();

    let mut table = Table::new(&mut page, "NameNodes", &["Id", "State", "Web"]);
    let own = if nn.settings.namenode_id.is_empty() {
        "this one"
    } else {
        &nn.settings.namenode_id
    };
    table.row(&[own, state.name(), &nn.settings.http.to_string()]);
    let holder = lease_states(shared)
        .values()
        .find_map(|lease| lease.holder.clone().filter(|_| lease.remaining_ms > 0));
    for peer in &nn.settings.peers {
        let active = holder
            .as_deref()
            .is_some_and(|holder| holder.split('@').next() == Some(peer.namenode_id.as_str()));
        let known = match (active, nn.role()) {
            (true, _) => "active",
            (false, Role::Active) => "not active",
            _ if holder.is_some() => "not active",
            _ => "unknown",
        };
        table.row(&[&peer.namenode_id, known, &peer.http.to_string()]);
    }
    table.end();

    let mut table = Table::new(&mut page, "Storage directories", &["Directory", "State"]);
    let failed = shared.dirs.failed();
    let settings = &nn.settings;
    let more = settings
        .edits_dirs
        .iter()
        .filter(|dir| !settings.name_dirs.contains(dir));
    for dir in settings.name_dirs.iter().chain(more) {
        let reason = failed.get(&dir.join("current"));
        let state = reason.map_or("in use".to_owned(), |reason| format!("failed: {reason}"));
        table.row(&[&dir.display().to_string(), &state]);
    }
    table.end();

    let mut table = Table::new(&mut page, "JournalNodes", &["Address", "Epoch", "Behind", "Read lease"]);
    let leases = lease_states(shared);
    let lags = nn.observed.journal_lags();
    for (place, index) in shared.readers.nodes.members().into_iter().enumerate() {
        let Some(address) = shared.readers.nodes.address(index) else {
            continue;
        };
        let lease = leases.get(&index);
        // Only the writer knows; what a standby was told may be old.
        let behind = match lags.get(place) {
            Some(lag) if lag.in_sync && lag.txns == 0 => "in sync".to_owned(),
            Some(lag) if lag.in_sync => format!("{} transactions on their way", lag.txns),
            Some(lag) => format!("{} transactions, catching up", lag.txns),
            None => "-".to_owned(),
        };
        match lease {
            None => table.row(&[&address.to_string(), "does not answer, or is Hadoop's", &behind, "-"]),
            Some(lease) => table.row(&[
                &address.to_string(),
                &lease.promised_epoch.to_string(),
                &behind,
                lease.holder.as_deref().unwrap_or("nobody"),
            ]),
        }
    }
    table.end();

    let mut table = Table::new(
        &mut page,
        "DataNodes",
        &["Address", "State", "Used", "Capacity", "Free"],
    );
    for (which, name) in [
        (DatanodeReportTypeProto::Live, "live"),
        (DatanodeReportTypeProto::Dead, "dead"),
    ] {
        for node in ns.blockmanager().datanode_report(which) {
            table.row(&[
                &host_and_port(&node.id.host_name, node.id.xfer_port),
                name,
                &size(node.dfs_used.unwrap_or(0)),
                &size(node.capacity.unwrap_or(0)),
                &size(node.remaining.unwrap_or(0)),
            ]);
        }
    }
    table.end();
    page.push_str(
        "<p><a href=/jmx>jmx</a> · <a href=/metrics>metrics</a> · <a href=/conf>configuration</a></p></html>\n",
    );
    page
}

struct Table<'a>(&'a mut String);

impl<'a> Table<'a> {
    fn new(page: &'a mut String, title: &str, headings: &[&str]) -> Table<'a> {
        let _ = write!(page, "<h2>{title}</h2><table>");
        if !headings.is_empty() {
            page.push_str("<tr>");
            for heading in headings {
                let _ = write!(page, "<th>{heading}</th>");
            }
            page.push_str("</tr>");
        }
        Table(page)
    }

    fn row(&mut self, cells: &[&str]) {
        self.0.push_str("<tr>");
        for cell in cells {
            let _ = write!(self.0, "<td>{}</td>", escape(cell));
        }
        self.0.push_str("</tr>");
    }

    fn end(self) {
        self.0.push_str("</table>");
    }
}

fn size(bytes: u64) -> String {
    let units = ["B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"];
    let mut value = bytes as f64;
    let mut unit = 0;
    while value >= 1024.0 && unit + 1 < units.len() {
        value /= 1024.0;
        unit += 1;
    }
    if unit == 0 {
        format!("{bytes} B")
    } else {
        format!("{value:.1} {}", units[unit])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_and_text_are_fit_for_a_page() {
        assert_eq!(size(512), "512 B");
        assert_eq!(size(1536), "1.5 KiB");
        assert_eq!(escape("<a&\"b\">"), "&lt;a&amp;&quot;b&quot;&gt;");
    }
}
