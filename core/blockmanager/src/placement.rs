//! Choice of the DataNodes for new replicas (`BlockPlacementPolicyDefault`).
//!
//! The first replica goes to the writer's own node, or to a random one. The second goes to another rack, the third to
//! the rack of the second, and the others anywhere, while no rack holds more than its share.

#![cfg_attr(not(test), deny(clippy::indexing_slicing, clippy::arithmetic_side_effects))]

use crate::datanodes::{AdminState, Datanode, Datanodes};
use crate::rng::Rng;
use crate::types::{BlockManagerConfig, BlockManagerError, DatanodeIndex, Now, StorageIndex};
use hathi_formats::host_port::split_host_and_port;
use hathi_formats::proto::hdfs::StorageTypeProto;
use smallvec::SmallVec;

/// No wish for a storage type.
pub const STORAGE_TYPES_ANY: &[StorageTypeProto] = &[];

/// Storage types that a policy wants for the replicas of a file: one per replica, of which the last one repeats, and
/// types to take instead. Empty means any type.
#[derive(Clone, Copy, Debug, Default)]
pub struct PolicyTypes {
    /// Types in the order of the replicas.
    pub creation: &'static [StorageTypeProto],
    /// Types to take instead for replicas that are made later.
    pub fallback: &'static [StorageTypeProto],
}

/// The wanted storages.
#[derive(Clone, Debug, Default)]
pub struct PlacementRequest<'a> {
    /// Number of storages to find.
    pub count: usize,
    /// IP address or host name of the writer. A DataNode on this host comes first.
    pub writer: Option<&'a str>,
    /// Storages that have the block already, or will have it.
    pub chosen: &'a [StorageIndex],
    /// Nodes that must not be taken.
    pub excluded: &'a [DatanodeIndex],
    /// Nodes to prefer, as `ip:port` or `host:port`.
    pub favored: &'a [String],
    /// Largest size of the block in bytes.
    pub block_size: u64,
    /// Storage type per replica, as the storage policy wants it. The last one repeats. Empty means any type.
    pub storage_types: &'a [StorageTypeProto],
    /// Types to take when there is no storage of the wanted type.
    pub fallback_types: &'a [StorageTypeProto],
    /// `NO_LOCAL_WRITE`: not on the writer's own node.
    pub avoid_local_node: bool,
    /// `NO_LOCAL_RACK`.
    pub avoid_local_rack: bool,
    /// Internal blocks of a group: as evenly over the racks as there are nodes (`BlockPlacementPolicyRackFaultTolerant`).
    pub spread: bool,
    /// `IGNORE_CLIENT_LOCALITY`: the place of the writer does not matter.
    pub ignore_client_locality: bool,
}

/// The racks that may be used for one choice.
#[derive(Clone, Debug)]
enum Rack {
    Any,
    In(String),
    NotIn(Vec<String>),
}

/// The state of one choice.
struct Choice<'a> {
    request: &'a PlacementRequest<'a>,
    now: Now,
    /// Nodes that can't be taken, because they are excluded or have the block.
    out: Vec<DatanodeIndex>,
    results: Vec<StorageIndex>,
    max_per_rack: usize,
    /// Nodes with more xceivers than this are too busy.
    max_load: Option<f64>,
    avoid_stale: bool,
    /// Whether only the wanted type may be taken, and no type to fall back on.
    exact: bool,
}

fn is_busy(node: &Datanode, max_load: Option<f64>) -> bool {
    max_load.is_some_and(|max_load| f64::from(node.xceivers) > max_load)
}

/// What a choice depends on besides the request.
struct Placement<'a> {
    datanodes: &'a Datanodes,
    config: &'a BlockManagerConfig,
    rng: &'a mut Rng,
    /// Whether no rack may get more than its share of what is to be spread.
    evenly: bool,
}

/// Storages for new replicas, in the order of a pipeline. They are fewer than asked for when there are no more. It is an
/// error when there is none although some were asked for.
pub(crate) fn choose_targets(
    datanodes: &Datanodes,
    config: &BlockManagerConfig,
    rng: &mut Rng,
    request: &PlacementRequest<'_>,
    now: Now,
) -> Result<Vec<StorageIndex>, BlockManagerError> {
    if request.count == 0 {
        return Ok(Vec::new());
    }
    // A client may ask for any number. No node gets two replicas.
    let request = &PlacementRequest {
        count: request.count.min(datanodes.live().len().max(1)),
        ..*request
    };
    let mut placement = Placement {
        datanodes,
        config,
        rng,
        evenly: true,
    };
    let max_load = placement.max_load();
    let mut results = placement.choose(request, now, config.avoid_stale_for_write, max_load);
    if results.len() < request.count && config.avoid_stale_for_write {
        results = placement.choose(request, now, false, max_load);
    }
    // The known number of xceivers is that of the last heartbeat, and in a small cluster one more writer makes a
    // node look busy. A block that avoids it would lack a replica for a long time, because missing replicas are
    // made up for a few blocks at a time. So busy nodes are taken here rather than none. Hadoop leaves them out
    // even then.
    if results.len() < request.count && placement.any_is_busy(max_load) {
        results = placement.choose(request, now, false, None);
    }
    // A rack that is smaller than the others leaves more for them.
    if results.len() < request.count && request.spread {
        placement.evenly = false;
        results = placement.choose(request, now, false, None);
    }
    debug_assert!(results.len() <= request.count, "no more than were asked for");
    if results.is_empty() && request.chosen.is_empty() {
        let running = datanodes.live().len();
        let excluded = request.excluded.len();
        return Err(BlockManagerError::NotEnoughTargets {
            found: 0,
            wanted: usize::from(config.min_replication),
            detail: format!(
                "There are {running} datanode(s) running and {excluded} node(s) are excluded in this operation."
            ),
        });
    }
    Ok(results)
}

impl Placement<'_> {
    /// Mean number of xceivers of live nodes times the factor. `None`: the load does not matter.
    fn max_load(&self) -> Option<f64> {
        let mean = self.datanodes.live_xceivers() as f64 / self.datanodes.live().len().max(1) as f64;
        let max_load = mean * self.config.load_factor;
        (self.config.consider_load && max_load > 0.0).then_some(max_load)
    }

    fn any_is_busy(&self, max_load: Option<f64>) -> bool {
        let mut live = self.datanodes.live().iter();
        live.any(|&index| self.datanodes.get(index).is_some_and(|node| is_busy(node, max_load)))
    }

    fn choose(
        &mut self,
        request: &PlacementRequest<'_>,
        now: Now,
        avoid_stale: bool,
        max_load: Option<f64>,
    ) -> Vec<StorageIndex> {
        let racks = self.datanodes.rack_count().max(1);
        let total = request.count.saturating_add(request.chosen.len());
        let all_but_one = total.saturating_sub(1);
        let max_per_rack = if racks == 1 || total <= 1 || (request.spread && !self.evenly) {
            total
        } else if request.spread {
            // `getMaxNodesPerRack` of that policy.
            all_but_one.checked_div(racks).unwrap_or(0).saturating_add(1)
        } else {
            // `getMaxNodesPerRack`: one rack must never hold all replicas.
            let even = all_but_one.checked_div(racks).unwrap_or(0);
            even.saturating_add(2).min(all_but_one)
        };
        let mut out = request.excluded.to_vec();
        out.extend(
            request
                .chosen
                .iter()
                .filter_map(|&at| self.datanodes.storage(at))
                .map(|storage| storage.datanode),
        );
        let mut choice = Choice {
            request,
            now,
            out,
            results: Vec::new(),
            max_per_rack,
            max_load,
            avoid_stale,
            exact: false,
        };
        let writer = request.writer.filter(|_| !request.ignore_client_locality);
        let mut local: Vec<DatanodeIndex> = writer
            .map(|host| self.datanodes.on_host(host).to_vec())
            .unwrap_or_default();
        if local.len() > 1 {
            // Each DataNode of the host has its turn (`Host2NodesMap.getDatanodeByHost`).
            self.rng.shuffle(&mut local);
        }
        let local_rack = writer
            .and_then(|host| self.datanodes.rack_of_host(host))
            .map(str::to_owned);
        if request.avoid_local_node && self.datanodes.live().len() > local.len() {
            choice.out.extend(&local);
        }
        self.choose_favored(&mut choice);
        // To avoid the local rack is a wish: with a single rack it can't be fulfilled.
        let away = match &local_rack {
            Some(rack) if request.avoid_local_rack && racks > 1 => Rack::NotIn(vec![rack.clone()]),
            _ => Rack::Any,
        };
        while choice.results.len() < request.count {
            let position = request.chosen.len().saturating_add(choice.results.len());
            let rack_at = |at: usize| -> Option<String> {
                let storage = request.chosen.iter().chain(&choice.results).nth(at)?;
                self.datanodes.of(*storage).map(|node| node.location.clone())
            };
            let wishes: Vec<Rack> = match position {
                0 => {
                    if local.iter().any(|&node| self.take(&mut choice, node)) {
                        continue;
                    }
                    match (&local_rack, &away) {
                        (Some(rack), Rack::Any) => vec![Rack::In(rack.clone()), Rack::Any],
                        _ => vec![away.clone(), Rack::Any],
                    }
                }
                _ if request.spread => vec![away.clone(), Rack::Any],
                1 => vec![Rack::NotIn(rack_at(0).into_iter().collect()), Rack::Any],
                2 => match (rack_at(0), rack_at(1)) {
                    // Two replicas are on one rack already, so the third must go to another one.
                    (Some(first), Some(second)) if first == second => {
                        vec![Rack::NotIn(vec![first]), Rack::Any]
                    }
                    (_, Some(second)) => vec![Rack::In(second), Rack::Any],
                    _ => vec![Rack::Any],
                },
                _ => vec![away.clone(), Rack::Any],
            };
            // A type to fall back on is taken only when no node has the wanted type.
            let found = [true, false].into_iter().any(|exact| {
                choice.exact = exact;
                wishes.iter().any(|rack| self.take_random(&mut choice, rack))
            });
            choice.exact = false;
            if !found {
                break;
            }
        }
        let mut results = choice.results;
        self.order_pipeline(writer, &mut results);
        results
    }

    fn choose_favored(&mut self, choice: &mut Choice<'_>) {
        for favored in choice.request.favored {
            if choice.results.len() == choice.request.count {
                return;
            }
            let (host, Some(port)) = split_host_and_port(favored) else {
                continue;
            };
            let nodes: Vec<DatanodeIndex> = self.datanodes.on_host(host).to_vec();
            for node in nodes {
                let is_it = self
                    .datanodes
                    .get(node)
                    .is_some_and(|node| port.parse() == Ok(node.id.xfer_port));
                if is_it && self.take(choice, node) {
                    break;
                }
            }
        }
    }

    /// Takes a random node on one of these racks.
    fn take_random(&mut self, choice: &mut Choice<'_>, rack: &Rack) -> bool {
        let live = self.datanodes.live().len();
        if live == 0 {
            return false;
        }
        // First a few random tries, which are uniform and nearly always enough. Then all nodes in turn.
        for _ in 0..8 {
            let Some(&node) = self.datanodes.live().get(self.rng.below(live)) else {
                break;
            };
            if self.rack_fits(node, rack) && self.take(choice, node) {
                return true;
            }
        }
        let mut rest: Vec<DatanodeIndex> = self
            .datanodes
            .live()
            .iter()
            .copied()
            .filter(|&node| self.rack_fits(node, rack))
            .collect();
        self.rng.shuffle(&mut rest);
        rest.into_iter().any(|node| self.take(choice, node))
    }

    fn rack_fits(&self, node: DatanodeIndex, rack: &Rack) -> bool {
        let Some(node) = self.datanodes.get(node) else {
            return false;
        };
        match rack {
            Rack::Any => true,
            Rack::In(rack) => node.location == *rack,
            Rack::NotIn(racks) => !racks.contains(&node.location),
        }
    }

    /// Takes a storage of the node, if it has a suitable one.
    fn take(&mut self, choice: &mut Choice<'_>, node: DatanodeIndex) -> bool {
        if choice.out.contains(&node) {
            return false;
        }
        let wanted = self.wanted_type(choice);
        let Some(storage) = self.good_storage(choice, node, wanted) else {
            return false;
        };
        choice.results.push(storage);
        choice.out.push(node);
        true
    }

    /// The first type that the policy wants and no replica has yet (`BlockStoragePolicy.chooseStorageTypes`).
    fn wanted_type(&self, choice: &Choice<'_>) -> Option<StorageTypeProto> {
        let request = choice.request;
        let last = *request.storage_types.last()?;
        let asked = request.storage_types.iter().copied().chain(std::iter::repeat(last));
        let count = request.chosen.len().saturating_add(request.count);
        let mut missing: SmallVec<[StorageTypeProto; 8]> = asked.take(count).collect();
        for &at in request.chosen.iter().chain(&choice.results) {
            let there = self.datanodes.storage(at).map(|storage| storage.storage_type);
            if let Some(at) = missing.iter().position(|kind| Some(*kind) == there) {
                missing.remove(at);
            }
        }
        Some(missing.first().copied().unwrap_or(last))
    }

    fn good_storage(
        &mut self,
        choice: &Choice<'_>,
        index: DatanodeIndex,
        wanted: Option<StorageTypeProto>,
    ) -> Option<StorageIndex> {
        let node = self.datanodes.get(index)?;
        if !self.is_good_target(choice, node) {
            return None;
        }
        let fits = |kind: StorageTypeProto, exact: bool| match wanted {
            // RAM disks are only for files that ask for them.
            None => kind != StorageTypeProto::RamDisk && kind != StorageTypeProto::Provided,
            Some(wanted) => kind == wanted || (!exact && choice.request.fallback_types.contains(&kind)),
        };
        let scheduled_bytes = choice.request.block_size.saturating_mul(node.blocks_scheduled());
        let has_room = |at: StorageIndex, exact: bool| {
            self.datanodes.storage(at).is_some_and(|storage| {
                !storage.failed
                    && !storage.read_only
                    && fits(storage.storage_type, exact)
                    && storage.remaining.saturating_sub(scheduled_bytes) >= choice.request.block_size
            })
        };
        let mut storages: Vec<StorageIndex> = node.storages.iter().copied().filter(|&at| has_room(at, true)).collect();
        if storages.is_empty() && wanted.is_some() && !choice.exact {
            storages = node
                .storages
                .iter()
                .copied()
                .filter(|&at| has_room(at, false))
                .collect();
        }
        let at = self.rng.below(storages.len());
        storages.get(at).copied()
    }

    fn is_good_target(&self, choice: &Choice<'_>, node: &Datanode) -> bool {
        if !node.alive || node.admin_state != AdminState::Normal {
            return false;
        }
        if choice.avoid_stale && node.is_stale(self.config, choice.now) {
            return false;
        }
        if is_busy(node, choice.max_load) {
            return false;
        }
        let on_rack = choice
            .request
            .chosen
            .iter()
            .chain(&choice.results)
            .filter(|&&at| {
                self.datanodes
                    .of(at)
                    .is_some_and(|other| other.location == node.location)
            })
            .count();
        on_rack < choice.max_per_rack
    }

    /// Orders a pipeline: from the writer on, the next node is always the nearest of the rest (`getPipeline`).
    fn order_pipeline(&self, writer: Option<&str>, results: &mut [StorageIndex]) {
        let mut host: Option<String> = writer.map(str::to_owned);
        let mut rack: Option<String> = writer
            .and_then(|host| self.datanodes.rack_of_host(host))
            .map(str::to_owned);
        let mut rest = results;
        loop {
            let nearest = (0..rest.len()).min_by_key(|&at| {
                let node = rest.get(at).and_then(|at| self.datanodes.of(*at));
                node.map_or(3, |node| {
                    if host.as_deref() == Some(&node.id.ip_addr) || host.as_deref() == Some(&node.id.host_name) {
                        0
                    } else if rack.as_deref() == Some(&node.location) {
                        1
                    } else {
                        2
                    }
                })
            });
            let Some(nearer) = nearest.and_then(|nearest| rest.get_mut(..=nearest)) else {
                return;
            };
            nearer.rotate_right(1);
            let Some((next, behind)) = rest.split_first_mut() else {
                return;
            };
            if let Some(node) = self.datanodes.of(*next) {
                host = Some(node.id.ip_addr.clone());
                rack = Some(node.location.clone());
            }
            rest = behind;
        }
    }
}
