//! Safe mode (`BlockManagerSafeMode`).

/// Safe mode.
#[derive(Clone, Debug, Default)]
pub struct SafeMode {}

/// Where safe mode stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SafeModeStatus {
    /// Waiting for blocks or DataNodes after a start.
    PendingThreshold,
    /// Thresholds reached; the extension runs.
    Extension,
    /// Out.
    Off,
}
