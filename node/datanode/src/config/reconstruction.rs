//! The keys of reconstruction: how lost internal blocks of striped files are made anew.

use std::time::Duration;

use hathi_conf::{Configuration, TimeUnit};
use hathi_formats::proto::hdfs::BlockEcReconstructionInfoProto;

use crate::DataNodeError;

/// Largest `dfs.datanode.ec.reconstruction.stripedread.buffer.size`, in bytes. A reconstruction takes as much for each source
/// and each target.
const BUFFER_MAX_BYTES: u64 = 16 << 20;
/// Most threads (`dfs.datanode.ec.reconstruction.threads`).
const THREADS_MAX: usize = 1024;
/// The keys `dfs.datanode.ec.reconstruction.*`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ReconstructionConf {
    /// `threads`: orders that are carried out at a time.
    pub threads: usize,
    /// `stripedread.timeout.millis`: how long a source may be silent before another one is read.
    pub read_timeout: Duration,
    /// `stripedread.buffer.size`, bytes: what is read of each source at once.
    pub buffer_bytes: usize,
    /// `dfs.datanode.ec.reconstruct.read.bandwidthPerSec`, bytes per second from all sources. 0 for no limit.
    pub read_bandwidth: u64,
    /// `dfs.datanode.ec.reconstruct.write.bandwidthPerSec`, bytes per second to all targets. 0 for no limit.
    pub write_bandwidth: u64,
    /// `xmits.weight`: how many transfers a source or target counts for.
    pub xmits_weight: f64,
}

impl ReconstructionConf {
    /// Reads and checks the keys.
    ///
    /// # Errors
    /// When a value can't be used, or asks for what is not there.
    pub fn of(conf: &Configuration) -> Result<ReconstructionConf, DataNodeError> {
        let bad = |key: &str, problem: &str| DataNodeError::Config(format!("{key} {problem}"));
        let threads = conf.get_usize(THREADS, 8)?;
        let read_timeout = conf.get_duration(READ_TIMEOUT, Duration::from_secs(5), TimeUnit::Millis)?;
        let buffer = conf.get_bytes(BUFFER_SIZE, 64 << 10)?;
        let xmits_weight = conf.get_f64(XMITS_WEIGHT, 0.5)?;
        if !(1..=THREADS_MAX).contains(&threads) {
            return Err(bad(THREADS, "is not between 1 and 1024"));
        }
        let buffer_bytes = u64::try_from(buffer).ok().filter(|buffer| *buffer <= BUFFER_MAX_BYTES);
        let Some(buffer_bytes) = buffer_bytes else {
            return Err(bad(BUFFER_SIZE, "is not between 0 and 16 MiB"));
        };
        if !(0.0..=100.0).contains(&xmits_weight) {
            return Err(bad(XMITS_WEIGHT, "is not between 0 and 100"));
        }
        Ok(ReconstructionConf {
            threads,
            read_timeout,
            buffer_bytes: buffer_bytes as usize,
            read_bandwidth: conf
                .get_bytes("dfs.datanode.ec.reconstruct.read.bandwidthPerSec", 0)?
                .max(0) as u64,
            write_bandwidth: conf
                .get_bytes("dfs.datanode.ec.reconstruct.write.bandwidthPerSec", 0)?
                .max(0) as u64,
            xmits_weight,
        })
    }

    /// How many transfers an order counts for, so that the NameNode gives fewer others (`ErasureCodingWorker`).
    pub(crate) fn xmits(&self, order: &BlockEcReconstructionInfoProto) -> usize {
        let streams = order
            .source_dn_infos
            .datanodes
            .len()
            .max(order.target_dn_infos.datanodes.len());
        ((streams.min(64) as f64 * self.xmits_weight) as usize).max(1)
    }
}

const THREADS: &str = "dfs.datanode.ec.reconstruction.threads";
const READ_TIMEOUT: &str = "dfs.datanode.ec.reconstruction.stripedread.timeout.millis";
const BUFFER_SIZE: &str = "dfs.datanode.ec.reconstruction.stripedread.buffer.size";
const XMITS_WEIGHT: &str = "dfs.datanode.ec.reconstruction.xmits.weight";

#[cfg(test)]
mod tests {
    use super::*;
    use hathi_conf::Environment;

    #[test]
    fn keys_that_can_not_be_honoured_stop_the_start() {
        let of = |key: &str, value: &str| {
            let mut conf = Configuration::new(Environment::default());
            conf.set(key, value);
            ReconstructionConf::of(&conf)
        };
        let default = of(THREADS, "8").unwrap();
        assert_eq!(
            default,
            ReconstructionConf {
                threads: 8,
                read_timeout: Duration::from_secs(5),
                buffer_bytes: 64 << 10,
                read_bandwidth: 0,
                write_bandwidth: 0,
                xmits_weight: 0.5,
            }
        );
        assert_eq!(of(READ_TIMEOUT, "7").unwrap().read_timeout, Duration::from_millis(7));
        for (key, value) in [
            (THREADS, "0"),
            (THREADS, "100000"),
            (BUFFER_SIZE, "1g"),
            (BUFFER_SIZE, "-1"),
            (XMITS_WEIGHT, "-1"),
        ] {
            let refused = of(key, value).unwrap_err().to_string();
            assert!(refused.contains(key), "{refused}");
        }
        let mut order = BlockEcReconstructionInfoProto::default();
        assert_eq!(default.xmits(&order), 1);
        order.source_dn_infos.datanodes.resize(9, Default::default());
        assert_eq!(default.xmits(&order), 4);
    }
}
