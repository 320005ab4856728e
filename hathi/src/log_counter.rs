//! Counts the lines of the log by level, for `/metrics`.

use hathi_net::metrics::log::LOG;
use tracing::{Event, Subscriber};
use tracing_subscriber::Layer;
use tracing_subscriber::layer::Context;

/// See the module.
pub struct LogCounter;

impl<S: Subscriber> Layer<S> for LogCounter {
    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        LOG.logged(*event.metadata().level());
    }
}
