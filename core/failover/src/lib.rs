//! Who should be active: the deciding half of the failover controller.
//!
//! A controller (Hadoop's ZKFC) stands beside each NameNode. It watches that NameNode's health and what the
//! JournalNodes say of the read lease, and decides when its NameNode should try to become active, must step down or
//! must be killed. It excludes nothing: two NameNodes that try at once are told apart by the JournalNodes' epochs, and
//! a wrong decision here costs time, never data.
//!
//! Everything is a function of events; time comes in with each of them.

pub mod controller;
pub mod elector;
pub mod health_monitor;

pub use controller::{Action, Controller, ControllerConfig, Event, Fenced, Health, Instance, ServiceState};
pub use elector::{ActiveStandbyElector, Elector, Former, JournalElector, LeaseSurvey};
pub use hathi_journal::survey::{LeaseAnswer, QuorumLease};
pub use health_monitor::{HealthMonitor, HealthState};
