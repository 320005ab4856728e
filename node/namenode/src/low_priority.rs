//! Work that may take as long as it likes.

/// How nice a thread of such work is, of 0 to 19. It takes a core that nobody wants in full, and a tenth of one that a thread
/// with calls to serve wants as well.
const NICENESS: i32 = 10;

/// Does it on a thread of its own, behind those that serve calls, and waits for it. It must take no lock that they take.
pub(crate) fn run<T: Send>(name: &str, work: impl FnOnce() -> T + Send) -> std::io::Result<T> {
    std::thread::scope(|scope| {
        let thread = std::thread::Builder::new()
            .name(name.to_owned())
            .spawn_scoped(scope, || {
                // Linux takes 0, which `None` stands for, as this thread. Where it is refused the work goes on as before.
                if let Err(error) = rustix::process::setpriority_process(None, NICENESS) {
                    tracing::debug!(%error, "the priority stays");
                }
                work()
            })?;
        Ok(thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)))
    })
}
