//! The decisions of the failover controller: which NameNode should be active.
//!
//! A controller (Hadoop's ZKFC) runs beside each NameNode. It watches the health of that NameNode and the read lease at
//! the JournalNodes, and decides when its NameNode should try to become active, must step down or must be killed. It
//! excludes nothing: when two NameNodes try at once, the JournalNodes' epochs decide. A wrong decision here costs time,
//! never data.
//!
//! Everything is a function of events. Each of them comes with the time.

pub mod controller;
pub mod elector;
pub mod health_monitor;
mod lease_survey;

pub use controller::{
    AutomaticFailover, ControllerAction, ControllerConfig, ControllerEvent, Fenced, Health, Instance, ServiceState,
};
pub use elector::{ActiveStandbyElector, Elector, ElectorMessage, ElectorRequest, Former, JournalElector};
pub use hathi_journal::survey::{LeaseAnswer, QuorumLease};
pub use health_monitor::{HealthMonitor, HealthState};
pub use lease_survey::LeaseSurvey;
